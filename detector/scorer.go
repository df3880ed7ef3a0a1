package detector

import (
	"cmp"
	"container/heap"
	"net/netip"
	"slices"
	"time"

	"synoptic/bpf/watch"
)

// Scorer decides who is a scanner. It takes snapshots of sources as the kernel
// half tells them and gives an alert when an episode begins, and another, the
// summary, when it ends. All times are those of the snapshots.
//
// Its decisions are those of one who keeps every packet, as long as no source
// loses its place in the table, no snapshot is lost, and Advance is called before
// each packet with its time, or with an earlier one if older packets of others
// are still to come. Live, Advance is called a few times a second instead; then
// an episode may be told as two, or two as one, if all that shows the difference
// happened since the last call.
//
// It is not safe for concurrent use. What it needs grows with the episodes that
// are active, and there it has a bound.
type Scorer struct {
	c         ScorerConfig
	rules     []*rule
	active    map[key]*episode
	deadlines deadlines
	episodes  uint64
	stats     ScorerStats
}

// An episode is told from others that are active by its source and by what its
// policy looks at.
type key struct {
	source netip.Prefix
	line   line
}

// Sources is where the sources are remembered: the kernel half's table.
type Sources interface {
	// Source returns what is remembered at a place, or false if it is empty.
	// The packet that a snapshot is usually of, and Before, are unknown.
	Source(watch.Ref) (watch.Snapshot, bool)
}

// ScorerConfig is what a Scorer is made of.
type ScorerConfig struct {
	Ruleset Ruleset
	Sources Sources                // asked when an episode seems to be over; nil: everything is told
	Wall    func(uint64) time.Time // from the snapshots' clock to the world's
	Device  func(index int) string // an interface's name; nil: there are none
	Alert   func(*Alert)           // takes alerts and summaries, and may keep them
	Most    int                    // active episodes; 0: DefaultMost
}

// DefaultMost is how many episodes are active at most by default: so many
// sources that are scanning at a time are no matter of single scanners any more.
const DefaultMost = 65536

// ScorerStats count since the start, but for Active.
type ScorerStats struct {
	Active    int // episodes
	Snapshots uint64
	Alerts    uint64
	Summaries uint64
	Crowded   uint64 // episodes that were ended early, to have room for others
	Forgotten uint64 // episodes that ended after their source had lost its place in the table
}

// NewScorer returns a Scorer without episodes, or what is wrong with the Ruleset.
func NewScorer(c ScorerConfig) (*Scorer, error) {
	if c.Most <= 0 {
		c.Most = DefaultMost
	}
	s := &Scorer{c: c, active: map[key]*episode{}}
	if err := s.SetPolicies(c.Ruleset); err != nil {
		return nil, err
	}
	return s, nil
}

// SetPolicies goes on with other rules. Active episodes stay, with the proof and
// the numbers that began them and the quiet time of now; those of a policy that
// is no more are ended. An error says what is wrong, and nothing has changed.
func (s *Scorer) SetPolicies(set Ruleset) error {
	if err := set.Validate(); err != nil {
		return err
	}
	s.rules = newRules(&set)
	over := slices.SortedFunc(slices.Values(s.deadlines), endsSooner)
	for _, r := range s.rules {
		over = slices.DeleteFunc(over, func(e *episode) bool { return e.rule.line == r.line })
	}
	for _, e := range over {
		s.lookUp(e, 0)
		s.end(e)
	}
	for _, r := range s.rules {
		for _, e := range s.deadlines {
			if e.rule.line == r.line {
				e.quiet = r.quiet
			}
		}
	}
	heap.Init(&s.deadlines)
	return nil
}

// Next returns the time beyond which Advance has something to do, or false if
// there is none.
func (s *Scorer) Next() (uint64, bool) {
	if len(s.deadlines) == 0 {
		return 0, false
	}
	return s.deadlines[0].deadline(), true
}

// Observe takes a snapshot. It keeps nothing of it that it does not copy.
func (s *Scorer) Observe(o *watch.Snapshot) {
	s.stats.Snapshots++
	for _, r := range s.rules {
		e := s.active[key{o.Source, r.line}]
		if e != nil && e.follow(o, o.Time) {
			s.end(e)
			e = nil
		}
		if e != nil {
			e.hear(o)
			heap.Fix(&s.deadlines, e.index)
		} else if points, over := r.judge(o); over {
			s.begin(newEpisode(r, o, points), o.Device)
		}
	}
}

// Advance ends the episodes whose sources have been quiet for longer than they may
// at the time now. All packets before now have been remembered and their snapshots
// observed: what comes later but is older may find its episode ended and begin
// another. If nothing is due it costs a comparison.
func (s *Scorer) Advance(now uint64) {
	for len(s.deadlines) > 0 {
		e := s.deadlines[0]
		if now <= e.deadline() {
			return
		}
		if s.lookUp(e, now) {
			s.end(e)
		} else {
			heap.Fix(&s.deadlines, e.index)
		}
	}
}

// Close ends all episodes that are active. The Scorer can be used again.
func (s *Scorer) Close() {
	for len(s.deadlines) > 0 {
		e := s.deadlines[0]
		s.lookUp(e, 0)
		s.end(e)
	}
}

// Stats returns the counts.
func (s *Scorer) Stats() ScorerStats {
	stats := s.stats
	stats.Active = len(s.deadlines)
	return stats
}

func (s *Scorer) begin(e *episode, device int) {
	for len(s.deadlines) >= s.c.Most {
		first := s.deadlines[0]
		s.lookUp(first, 0)
		s.end(first)
		s.stats.Crowded++
	}
	s.episodes++
	e.number = s.episodes
	if device != 0 && s.c.Device != nil {
		e.device = s.c.Device(device)
	}
	s.active[key{e.source, e.rule.line}] = e
	heap.Push(&s.deadlines, e)
	s.stats.Alerts++
	s.c.Alert(s.alert(e))
}

// lookUp moves an episode on to what is remembered of its source and says
// whether it has ended by the time now.
func (s *Scorer) lookUp(e *episode, now uint64) (ended bool) {
	if s.c.Sources == nil {
		return now > e.deadline()
	}
	o, found := s.c.Sources.Source(e.ref)
	if !found || o.Source != e.source {
		s.stats.Forgotten++
		return now > e.deadline()
	}
	ended = e.follow(&o, now)
	if !e.beyond(&o) {
		e.hear(&o)
	}
	return ended
}

func (s *Scorer) end(e *episode) {
	heap.Remove(&s.deadlines, e.index)
	delete(s.active, key{e.source, e.rule.line})
	s.stats.Summaries++
	s.c.Alert(s.summary(e))
}

// endsSooner orders episodes by the time at which they end if nothing more
// comes; of those that end together the older is first.
func endsSooner(a, b *episode) int {
	return cmp.Or(cmp.Compare(a.deadline(), b.deadline()), cmp.Compare(a.number, b.number))
}

// alert returns what is said at an episode's beginning.
func (s *Scorer) alert(e *episode) *Alert {
	r := e.rule
	crossed := s.c.Wall(e.time) // asked once: the times are as far apart as the probes
	wall := func(ns uint64) time.Time { return crossed.Add(time.Duration(ns - e.time)) }
	a := &Alert{
		Policy: r.Name, Threshold: r.Threshold, Reaches: r.Reaches, Span: r.Span, Points: e.points,
		Kind: e.kind, Direction: e.direction, Episode: e.number,
		Time: crossed, Begin: wall(e.begin()),
		Source: e.from, Prefix: e.source, Destination: e.destination,
		SourcePort: e.sourcePort, DestinationPort: e.destinationPort, Protocol: "TCP", Interface: e.device,
		Hosts: e.hosts, Probes: e.probes(), Handshakes: uint64(e.handshakes), MinTTL: e.minTTL, MaxTTL: e.maxTTL,
	}
	if e.udp {
		a.Protocol = "UDP"
	}
	for _, p := range e.proof {
		a.Proof = append(a.Proof, Point{Time: wall(p.Time), Port: p.Port,
			UDP: r.line != packets && p.Kind == watch.UDP, Points: r.points(p.Port)})
	}
	return a
}

// summary returns what is said at its end.
func (s *Scorer) summary(e *episode) *Alert {
	a := s.alert(e)
	a.Summary = true
	a.Time = a.Time.Add(time.Duration(e.last - e.time))
	a.Kind = e.tally.kindAtEnd(e.kind)
	a.Direction = e.directionAtEnd()
	return a
}
