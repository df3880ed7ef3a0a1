package detector

import (
	"math"
	"net/netip"
	"slices"

	"synoptic/bpf/watch"
)

// episode is what one policy says of one source, from the packet that crossed
// the line until the source has been quiet for long enough.
type episode struct {
	number uint64
	rule   *rule  // that began it
	quiet  uint64 // nanoseconds, by the rules of now
	source netip.Prefix
	last   uint64 // the time of the last probe, or packet, that is known
	index  int    // in the heap

	// The packet that crossed the line.
	time                        uint64
	points                      int
	proof                       []watch.Probe
	from, destination           netip.Addr
	sourcePort, destinationPort uint16
	udp                         bool
	device                      string
	kind                        Kind
	direction                   Direction

	// What was last heard of the source.
	ref            watch.Ref
	born           uint64
	kinds          [watch.Kinds]uint32
	handshakes     uint32
	hosts, ports   int // ports is how many were seen at one time, since the proof
	minTTL, maxTTL uint8

	tally tally
}

// newEpisode begins an episode at the snapshot's packet.
func newEpisode(r *rule, o *watch.Snapshot, points int) *episode {
	e := &episode{
		rule: r, quiet: r.quiet, source: o.Source, last: o.Time, time: o.Time, points: points, proof: r.proof(o),
		from: o.From, destination: o.To, sourcePort: o.SourcePort,
		ref: o.Ref, born: o.Born, kinds: o.Kinds, handshakes: o.Handshakes, minTTL: o.MinTTL, maxTTL: o.MaxTTL,
	}
	newest := e.proof[len(e.proof)-1]
	e.destinationPort = newest.Port
	e.udp = r.line != packets && newest.Kind == watch.UDP
	if o.Born >= e.begin() { // else they may be of a time before
		e.tally.handshakes = uint64(o.Handshakes)
	}
	e.seeHosts(o)
	e.direction = direction(e.hosts, e.tallyProof(o))
	e.kind = e.tally.kind()
	return e
}

// begin is the time of the first probe in the proof.
func (e *episode) begin() uint64 { return e.proof[0].Time }

// tallyProof counts the ports of the proof by kind and returns how many there
// are. Packets have no kind, so that of the latest probe to their port is taken.
func (e *episode) tallyProof(o *watch.Snapshot) int {
	if e.rule.line != packets {
		for _, p := range e.proof {
			e.tally.kinds[p.Kind]++
		}
		return len(e.proof)
	}
	n := 0
next:
	for i, p := range e.proof {
		if slices.ContainsFunc(e.proof[:i], func(q watch.Probe) bool { return q.Port == p.Port }) {
			continue
		}
		n++
		for i := range o.Probes {
			if q := &o.Probes[i]; q.Port == p.Port && q.Kind != watch.UDP && e.rule.counts(o, q) {
				e.tally.kinds[q.Kind]++
				continue next
			}
		}
		e.tally.unprobed++
	}
	return n
}

// deadline is the last moment at which the source may go on.
func (e *episode) deadline() uint64 {
	if e.last > math.MaxUint64-e.quiet {
		return math.MaxUint64
	}
	return e.last + e.quiet
}

// follow moves last on to what the snapshot tells, and says whether the episode
// has ended by the time now: whether the source was silent for longer than the
// quiet time, between two of the times that the snapshot has or after them.
//
// A snapshot has the latest probe to each port and, if it came with a packet,
// the last probe before this one. So a silence may only seem to be one if the
// source has filled it with repeats and was not looked up for a quiet time; the
// Scorer's callers see to it that it is.
func (e *episode) follow(o *watch.Snapshot, now uint64) (ended bool) {
	times, before, newest := o.Probes, o.Before, o.Last
	if e.rule.line == packets {
		times, before, newest = o.Packets, o.BeforePacket, o.LastPacket
	}
	if newest > e.deadline() {
		for i := range times {
			if times[i].Time < newest && !e.reach(times[i].Time) {
				return true
			}
		}
		if !e.reach(before) {
			return true
		}
	}
	return !e.reach(newest) || now > e.deadline()
}

// reach moves last on to a time at which the source sent, unless that is of
// another episode.
func (e *episode) reach(time uint64) bool {
	if time > e.deadline() {
		return false
	}
	e.last = max(e.last, time)
	return true
}

// beyond says whether the snapshot knows of something after the episode.
func (e *episode) beyond(o *watch.Snapshot) bool {
	if e.rule.line == packets {
		return o.LastPacket > e.last
	}
	return o.Last > e.last
}

// hear takes from the snapshot what the summary will say.
func (e *episode) hear(o *watch.Snapshot) {
	if o.Born < e.born {
		return // it was told before the source lost its place, and came late
	}
	if o.Born > e.born { // its place was taken from it and it has another
		e.born, e.kinds, e.handshakes = o.Born, [watch.Kinds]uint32{}, 0
	}
	e.ref = o.Ref
	for k := range o.Kinds {
		if watch.Kind(k) == watch.UDP && !e.rule.datagrams {
			continue
		}
		e.tally.kinds[k] += grown(&e.kinds[k], o.Kinds[k])
	}
	e.tally.handshakes += grown(&e.handshakes, o.Handshakes)
	e.minTTL, e.maxTTL = min(e.minTTL, o.MinTTL), max(e.maxTTL, o.MaxTTL)
	e.seeHosts(o)
}

// grown moves a count on to what it is now, unless that is older, and returns
// the difference.
func grown(count *uint32, now uint32) uint64 {
	n := now - *count // right when the count has wrapped
	if n > math.MaxInt32 {
		return 0
	}
	*count = now
	return uint64(n)
}

func (e *episode) seeHosts(o *watch.Snapshot) {
	n := 0
	for i := range o.Probes {
		if o.Probes[i].Time >= e.begin() {
			n++
		}
	}
	e.ports, e.hosts = max(e.ports, n), max(e.hosts, o.Hosts)
}

// probes by the source since it is remembered.
func (e *episode) probes() (n uint64) {
	for k, c := range e.kinds {
		if watch.Kind(k) != watch.UDP || e.rule.datagrams {
			n += uint64(c)
		}
	}
	return n
}

// directionAtEnd knows at most MaxProbes ports by name. If there were more, they
// are as many as each host was sent probes.
func (e *episode) directionAtEnd() Direction {
	return direction(e.hosts, max(e.ports, int(e.probes())/max(e.hosts, 1)))
}
