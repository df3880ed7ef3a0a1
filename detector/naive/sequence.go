package naive

import (
	"cmp"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"synoptic/bpf/watch"
)

// retold is for how long the table says nothing more of a source that is over
// its line.
const retold = 50 * time.Millisecond

// Sequence returns up to a few hundred packets of up to four sources. They aim at
// the edges of the rules: sums at the threshold and one point beside it, times at
// the spans and quiet times and a nanosecond beside them, more ports than the
// table remembers, repeats, and answers that join a chain or do not.
//
// They come in the order of their times, or else all from one source: then the
// time may run backwards, and Clock still tells how late it is.
func Sequence(r *rand.Rand, setup *Setup) []Packet {
	if r.IntN(3) > 0 {
		return write(r, setup, 1+r.IntN(4))
	}
	all := write(r, setup, 1)
	for i := range all {
		all[i].Source = all[0].Source
	}
	return disturb(r, setup, all)
}

// Disorder returns the like of Sequence, but from several sources and in any
// order.
func Disorder(r *rand.Rand, setup *Setup) []Packet {
	return disturb(r, setup, write(r, setup, 1+r.IntN(4)))
}

// Clock returns for each packet the latest time of which it is known before it
// comes that neither it nor a later one is of an earlier time, as times are
// counted: a source's never run backwards. To a Scorer that is told the clock
// before each packet of a Sequence nothing has happened that it could not know.
func Clock(sequence []Packet, setup *Setup) []uint64 {
	s := New(*setup)
	clock := make([]uint64, len(sequence))
	for i, p := range sequence {
		if clock[i] = s.Packet(p); clock[i] == 0 {
			clock[i] = math.MaxUint64 // it does not matter when it came
		}
	}
	for i := len(clock) - 2; i >= 0; i-- {
		clock[i] = min(clock[i], clock[i+1])
	}
	return clock
}

func write(r *rand.Rand, setup *Setup, sources int) []Packet {
	start := uint64(1+r.IntN(1000)) * uint64(time.Second)
	if r.IntN(4) == 0 {
		start += 1_700_000_000 * uint64(time.Second) // of a capture
	}
	var all []Packet
	for i := range sources {
		a := &author{r: r, setup: setup, now: start + r.Uint64N(uint64(time.Second))}
		a.source = func() netip.Addr { return netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}) }
		if r.IntN(3) == 0 {
			// More than one address in what may be one source.
			spread := 1 + r.IntN(3)
			a.source = func() netip.Addr {
				return netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 0xff, byte(i), 7: byte(r.IntN(spread)), 15: byte(1 + r.IntN(spread))})
			}
		}
		a.write()
		all = append(all, a.packets...)
	}
	slices.SortStableFunc(all, func(a, b Packet) int { return cmp.Compare(a.Time, b.Time) })
	keepDecidable(setup, all)
	return all
}

// keepDecidable leaves out what only a detector without limits can decide: which
// SYN+ACKs join a chain, when the chain has more ports than are remembered and
// no line says that it may go on with any of them.
func keepDecidable(setup *Setup, all []Packet) {
	if setup.Rules.Gap.On {
		return
	}
	seen := map[netip.Prefix]map[Packet]bool{}
	for _, p := range all {
		prefix := Prefix(p.Source, setup.Rules.V6Bits)
		if seen[prefix] == nil {
			seen[prefix] = map[Packet]bool{}
		}
		if p.Probe {
			seen[prefix][Packet{Port: p.Port, Handshake: p.udp()}] = true
		}
	}
	for i := range all {
		if p := &all[i]; p.Probe && p.Kind == watch.SYNACK && len(seen[Prefix(p.Source, setup.Rules.V6Bits)]) > watch.MaxProbes {
			p.Kind = watch.ACK
		}
	}
}

// disturb puts a few packets out of order, by little or by much.
func disturb(r *rand.Rand, setup *Setup, all []Packet) []Packet {
	for range 1 + r.IntN(6) {
		i := r.IntN(len(all))
		if r.IntN(2) == 0 {
			j := min(i+1+r.IntN(3), len(all)-1)
			all[i], all[j] = all[j], all[i]
			continue
		}
		if back := edge(r, setup); back < all[i].Time {
			all[i].Time -= back
		}
	}
	keepDecidable(setup, all)
	return all
}

// edge returns a time at which some decision may change.
func edge(r *rand.Rand, setup *Setup) uint64 {
	i := r.IntN(3)
	d := one(r, setup.line(i).Span, setup.Quiet[i], retold, setup.line(i).Span/time.Duration(1+r.IntN(24)), setup.Quiet[i]/2, 0)
	return uint64(max(0, d+one[time.Duration](r, -1, 0, 0, 1)))
}

// author writes what one source sends.
type author struct {
	r       *rand.Rand
	setup   *Setup
	source  func() netip.Addr
	now     uint64
	packets []Packet

	kind    watch.Kind
	strays  int // of 16 probes so many are of any kind
	silent  int // of 16 packets so many are no probes
	answers int // of 16 probes so many are SYN+ACKs
}

func (a *author) write() {
	for range 1 + a.r.IntN(5) {
		a.kind = one(a.r, watch.SYN, watch.SYN, watch.SystemSYN, watch.UDP, watch.Kind(a.r.IntN(watch.Kinds)))
		a.strays, a.silent, a.answers = one(a.r, 0, 0, 1, 4, 16), one(a.r, 0, 0, 1, 8, 15), one(a.r, 0, 0, 0, 1, 8)
		a.burst(a.ports())
		for range a.r.IntN(4) { // what keeps an episode alive without being told
			a.now += edge(a.r, a.setup)
			a.send(a.port())
		}
		a.now += edge(a.r, a.setup)
		if a.r.IntN(3) == 0 {
			a.now += edge(a.r, a.setup)
		}
	}
}

// burst sends to the ports at times that are, in all or one by one, at an edge.
func (a *author) burst(ports []uint16) {
	steps := make([]uint64, len(ports))
	switch a.r.IntN(4) {
	case 0: // all in a window, or just not
		whole := edge(a.r, a.setup)
		for i := 1; i < len(steps); i++ {
			steps[i] = whole / uint64(len(steps)-1)
		}
		steps[len(steps)-1] += whole % uint64(max(1, len(steps)-1))
	case 1: // evenly, and once not
		step := edge(a.r, a.setup)
		for i := range steps {
			steps[i] = step
		}
		steps[a.r.IntN(len(steps))] = edge(a.r, a.setup)
	case 2: // as fast as can be, with a pause in the middle
		steps[a.r.IntN(len(steps))] = edge(a.r, a.setup)
	case 3:
		for i := range steps {
			steps[i] = edge(a.r, a.setup)
		}
	}
	for i, port := range ports {
		a.now += steps[i]
		a.send(port)
	}
}

// ports returns the ports of a burst; there is at least one.
func (a *author) ports() []uint16 {
	var ports []uint16
	switch a.r.IntN(4) {
	case 0: // a sum at the threshold, or one port beside it
		line := a.setup.line(a.r.IntN(3))
		s := Scorer{setup: *a.setup}
		cheap := a.r.IntN(2) == 0
		for sum := 0; sum < int(line.Threshold); {
			p := a.port()
			if cheap && s.points(line, p) != int(min(line.High, line.Low)) || slices.Contains(ports, p) {
				continue
			}
			ports = append(ports, p)
			sum += s.points(line, p)
		}
		for range a.r.IntN(3) {
			ports = append(ports, a.port())
		}
		ports = ports[min(a.r.IntN(2), len(ports)-1):]
	case 1: // the same ones over and over
		cycle := one(a.r, 1, 2, 7, 8, 20, 21, 22, 23, 24, 45)
		first := uint16(one(a.r, 1, 1000, 1020, 2000, 30000))
		for i := range 1 + a.r.IntN(60) {
			ports = append(ports, first+uint16(i%cycle))
		}
	case 2: // some of a few
		few := 1 + a.r.IntN(30)
		for range 1 + a.r.IntN(40) {
			ports = append(ports, uint16(1010+a.r.IntN(few)))
		}
	case 3:
		for range 1 + a.r.IntN(30) {
			ports = append(ports, a.port())
		}
	}
	return ports
}

// port returns any port: half are below 1024, some are traps.
func (a *author) port() uint16 {
	traps := a.setup.Rules.Traps
	switch a.r.IntN(8) {
	case 0:
		if len(traps) > 0 {
			return one(a.r, traps...)
		}
	case 1:
		return one[uint16](a.r, 0, 1, 1023, 1024, 65535)
	case 2, 3, 4:
		return uint16(a.r.IntN(1024))
	}
	return uint16(a.r.IntN(1 << 16))
}

func (a *author) send(port uint16) {
	p := Packet{Time: a.now, Source: a.source(), Port: port, Probe: true, Kind: a.kind}
	switch r := a.r; {
	case r.IntN(16) < a.silent:
		p.Probe, p.Kind, p.Handshake = false, 0, r.IntN(8) == 0
	case r.IntN(16) < a.answers:
		p.Kind = watch.SYNACK
	case r.IntN(16) < a.strays:
		p.Kind = watch.Kind(r.IntN(watch.Kinds))
	}
	a.packets = append(a.packets, p)
}
