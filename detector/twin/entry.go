package twin

import "synoptic/bpf/watch"

// entry is what a place remembers of its source. Times are nanoseconds on the
// clock of the observations; 0 is never.
type entry struct {
	addr     address
	occupied bool
	heat     uint8 // new ports in the present chain, at most maxHeat; 1 for a source that is only known by packets
	over     bool  // the gap line is crossed in the present chain
	toldOver uint8 // the lines that were crossed when user space was last told

	born       uint64
	last       uint64 // of the latest probe
	lastPacket uint64 // of the latest TCP packet, while Rules.Packets is on
	chain      uint64 // when the present chain of new ports began
	fresh      uint64 // the chain ends if no new port comes within Rules.Gap.Span of it
	told       uint64 // when user space was last told

	used  uint8
	slots [watch.MaxProbes]slot // in no order

	classes       [watch.Classes]uint32
	kinds         [watch.Kinds]uint32
	handshakes    uint32
	first, newest address // destinations
	hosts         hostSet
	minTTL        uint8
	maxTTL        uint8
}

// slot is a distinct port that was probed.
type slot struct {
	time uint64 // latest
	port uint16
	udp  bool
	kind watch.Kind // latest
}

// latest is the time of the source's last sign, of either sort.
func (e *entry) latest() uint64 { return max(e.last, e.lastPacket) }

// broken tells whether a probe at t would begin another chain.
func (e *entry) broken(t, gap uint64) bool { return e.last == 0 || t-e.fresh > gap }

// probe records a probe of port at t, which is not before the source's latest,
// and tells whether it has changed any sum: whether the port is new in the
// chain, or in the window.
func (e *entry) probe(t uint64, port uint16, kind watch.Kind, gap, window uint64) (novel bool) {
	if e.broken(t, gap) {
		e.chain, e.fresh, e.heat, e.over = t, t, 0, false
	}
	s, known := e.slot(port, kind == watch.UDP)
	was := s.time
	*s = slot{time: t, port: port, udp: kind == watch.UDP, kind: kind}
	newInChain := !known || was < e.chain
	if newInChain {
		e.fresh = t
		if e.heat < maxHeat {
			e.heat++
		}
	}
	if e.over {
		e.fresh = t // while the line stays crossed, every probe prolongs the chain
	}
	e.last = t
	return newInChain || !known || t-was > window
}

// slot is where a port is remembered, and whether it already was: else it is a
// slot that was never used, or the one probed longest ago.
func (e *entry) slot(port uint16, udp bool) (_ *slot, known bool) {
	used := e.slots[:e.used]
	for i := range used {
		if s := &used[i]; s.port == port && s.udp == udp {
			return s, true
		}
	}
	if len(used) < len(e.slots) {
		e.used++
		return &e.slots[len(used)], false
	}
	oldest := &e.slots[0]
	for i := range e.slots {
		if s := &e.slots[i]; s.time < oldest.time {
			oldest = s
		}
	}
	return oldest, false
}

// gapSum is the points of the ports probed in the present chain.
func (e *entry) gapSum(l *line) (sum uint64) {
	for i := range e.slots[:e.used] {
		if s := &e.slots[i]; s.time >= e.chain {
			sum += l.points(s.port)
		}
	}
	return sum
}

// windowSum is the points of the ports probed within the line's span before t.
func (e *entry) windowSum(l *line, t uint64) (sum uint64) {
	for i := range e.slots[:e.used] {
		if s := &e.slots[i]; t-s.time <= l.span {
			sum += l.points(s.port)
		}
	}
	return sum
}

// count adds a probe to what is counted since the source is remembered.
func (e *entry) count(f *Frame, kind watch.Kind, class watch.Class, earlier bool) {
	e.kinds[kind]++
	e.classes[class]++
	e.newest = f.Destination.As16()
	e.hosts.add(e.newest)
	if !earlier {
		e.first, e.minTTL, e.maxTTL = e.newest, f.TTL, f.TTL
	}
	e.minTTL = min(e.minTTL, f.TTL)
	e.maxTTL = max(e.maxTTL, f.TTL)
}

// ring is the last TCP packets of a source, of any flags.
type ring struct {
	packets [watch.MaxProbes]packet
	n       uint64 // all that were ever added
}

type packet struct {
	time uint64
	port uint16
}

func (r *ring) add(t uint64, port uint16) {
	r.packets[r.n%watch.MaxProbes] = packet{t, port}
	r.n++
}

// len is how many there are.
func (r *ring) len() int { return int(min(r.n, watch.MaxProbes)) }

// sum is the points of the packets within the line's span before t.
func (r *ring) sum(l *line, t uint64) (sum uint64) {
	for i := range r.packets[:r.len()] {
		if p := &r.packets[i]; t-p.time <= l.span {
			sum += l.points(p.port)
		}
	}
	return sum
}
