package detector

import (
	"slices"

	"synoptic/bpf/watch"
)

// line is what of a source a policy looks at.
type line uint8

const (
	window  line = iota // the distinct ports probed within a sliding window
	gap                 // those probed in a chain of new ports
	packets             // TCP packets within a sliding window
)

func lineOf(policy string) (line, bool) {
	switch policy {
	case Sophos:
		return window, true
	case Scanlogd:
		return gap, true
	case SophosPacket:
		return packets, true
	}
	return 0, false
}

// ports is a set of ports.
type ports [1 << 16 / 64]uint64

func (p *ports) has(port uint16) bool { return p[port/64]>>(port%64)&1 != 0 }
func (p *ports) add(port uint16)      { p[port/64] |= 1 << (port % 64) }

// rule is a policy ready to judge. It does not change: episodes keep the one
// that began them.
type rule struct {
	Policy
	line      line
	span      uint64 // nanoseconds
	quiet     uint64
	traps     *ports
	datagrams bool // they are probes
}

func newRules(set *Ruleset) []*rule {
	traps := new(ports)
	for _, port := range set.Traps {
		traps.add(port)
	}
	var rules []*rule
	for _, p := range set.Policies {
		l, _ := lineOf(p.Name)
		rules = append(rules, &rule{Policy: p, line: l, span: uint64(p.Span), quiet: uint64(p.Quiet),
			traps: traps, datagrams: set.UDP == watch.UDPScore})
	}
	return rules
}

// points of a port; those of UDP are weighed like those of TCP.
func (r *rule) points(port uint16) int {
	switch {
	case r.Trap > 0 && r.traps.has(port):
		return r.Trap
	case port < 1024:
		return r.Low
	}
	return r.High
}

// judge returns the points of the source at the snapshot's packet and whether
// they cross the line. They do not if the packet is none of those that the
// policy counts.
func (r *rule) judge(o *watch.Snapshot) (points int, over bool) {
	if r.line == packets && o.LastPacket != o.Time || r.line != packets && !o.Probed {
		return 0, false
	}
	points = r.sum(o)
	return points, r.crossed(points)
}

// sum returns the points of the source as of the snapshot's time.
func (r *rule) sum(o *watch.Snapshot) (points int) {
	candidates := r.candidates(o)
	for i := range candidates {
		if r.counts(o, &candidates[i]) {
			points += r.points(candidates[i].Port)
		}
	}
	return points
}

// candidates returns what the line is drawn in, oldest first.
func (r *rule) candidates(o *watch.Snapshot) []watch.Probe {
	if r.line == packets {
		return o.Packets
	}
	return o.Probes
}

// counts says whether a port scores at the snapshot's packet.
func (r *rule) counts(o *watch.Snapshot, p *watch.Probe) bool {
	if r.line == gap {
		return p.Time >= o.Chain
	}
	return p.Time <= o.Time && o.Time-p.Time <= r.span
}

// proof returns those that score, in memory of its own.
func (r *rule) proof(o *watch.Snapshot) []watch.Probe {
	candidates := r.candidates(o)
	proof := make([]watch.Probe, 0, watch.MaxProbes) // on the stack
	for i := range candidates {
		if r.counts(o, &candidates[i]) {
			proof = append(proof, candidates[i])
		}
	}
	return slices.Clone(proof)
}
