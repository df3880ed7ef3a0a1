package detector

import "synoptic/bpf/watch"

// Scale weighs sources between their packets, as the policies would have at the
// last one: for showing them, not for deciding.
type Scale struct{ rules []*rule }

// NewScale returns a Scale for rules that are valid.
func NewScale(set *Ruleset) *Scale { return &Scale{newRules(set)} }

// Points returns the points of a source by each policy's name.
func (s *Scale) Points(o *watch.Snapshot) map[string]int {
	points := make(map[string]int, len(s.rules))
	for _, r := range s.rules {
		points[r.Name] = r.sum(o)
	}
	return points
}

// Suspicion is how near to the nearest line a source has come: from 1 on it has
// crossed one.
func (s *Scale) Suspicion(o *watch.Snapshot) float64 {
	most := 0.0
	for _, r := range s.rules {
		line := r.Threshold
		if !r.Reaches {
			line++
		}
		most = max(most, float64(r.sum(o))/float64(line))
	}
	return most
}
