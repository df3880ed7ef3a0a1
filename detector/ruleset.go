package detector

import (
	"fmt"
	"slices"

	"synoptic/bpf/watch"
)

// Ruleset is what decides who is a scanner. The kernel half works by its Rules,
// the Scorer by the Ruleset itself; the two must be of one Ruleset.
type Ruleset struct {
	Policies []Policy // no two of one name
	Traps    []uint16
	UDP      watch.UDPMode
	V6Bits   int // leading bits of an IPv6 address that make a source, 1 to 128
}

// Validate says in one sentence what is wrong.
func (r *Ruleset) Validate() error {
	if len(r.Policies) == 0 {
		return fmt.Errorf("check the policies: there is none: select at least one of them")
	}
	seen := map[string]bool{}
	for i := range r.Policies {
		p := &r.Policies[i]
		if err := p.Validate(); err != nil {
			return err
		}
		if seen[p.Name] {
			return fmt.Errorf("check the policies: %s is there twice: leave one out", p.Name)
		}
		seen[p.Name] = true
	}
	if r.UDP > watch.UDPOff {
		return fmt.Errorf("check the mode for UDP: %d is none: give score, count or off", r.UDP)
	}
	if r.V6Bits < 1 || r.V6Bits > 128 {
		return fmt.Errorf("check the IPv6 prefix of a source: %d bits cannot be used: give 1 to 128", r.V6Bits)
	}
	return nil
}

// Rules returns what the kernel half has to know. It has no filters yet. The
// lines that are not selected are off, with their published numbers: the gap
// between new ports also decides which SYN+ACKs are probes.
func (r *Ruleset) Rules() (watch.Rules, error) {
	if err := r.Validate(); err != nil {
		return watch.Rules{}, err
	}
	w := watch.Rules{Traps: slices.Clone(r.Traps), UDP: r.UDP, V6Bits: r.V6Bits}
	for _, p := range Policies() {
		*lineIn(&w, p.Name) = p.line(false)
	}
	for _, p := range r.Policies {
		*lineIn(&w, p.Name) = p.line(true)
	}
	return w, nil
}

func lineIn(w *watch.Rules, name string) *watch.Line {
	switch l, _ := lineOf(name); l {
	case window:
		return &w.Window
	case gap:
		return &w.Gap
	}
	return &w.Packets
}

func (p *Policy) line(on bool) watch.Line {
	return watch.Line{On: on, Span: p.Span, Threshold: uint32(p.Threshold), Reaches: p.Reaches,
		High: uint8(p.High), Low: uint8(p.Low), Trap: uint8(p.Trap)}
}
