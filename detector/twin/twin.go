package twin

import (
	"fmt"

	"synoptic/bpf/watch"
)

// Config is what stays as it is while a Twin lives.
type Config struct {
	Sets    int       // of 8 sources each, 1 to MaxSets
	Key     watch.Key // of the hash that finds a source's set
	Gateway bool      // what passes through is watched: there are no sockets to ask
}

// MaxSets is the most that the numbers of the places leave room for.
const MaxSets = 1 << 28

// Twin is the kernel program's double.
type Twin struct {
	gateway bool
	hashKey watch.Key
	sets    int
	entries []entry // ways to a set
	rings   []ring  // as entries; nil until Rules.Packets is on

	rules                watch.Rules
	window, gap, packets line
	traps                portSet
	mask                 address // of Rules.V6Bits
	horizon              uint64  // nanoseconds after which no policy can accuse a silent source

	counters watch.Counters
	frame    Frame
	waiting  []event // not yet read
}

// New returns a Twin that remembers 8*Sets sources. Until SetRules, no line is
// on and each IPv6 address is a source.
func New(c Config) (*Twin, error) {
	if c.Sets < 1 || c.Sets > MaxSets {
		return nil, fmt.Errorf("make the table: %d sets of %d sources: choose 1 to %d", c.Sets, ways, MaxSets)
	}
	t := &Twin{gateway: c.Gateway, hashKey: c.Key, sets: c.Sets, entries: make([]entry, c.Sets*ways)}
	return t, t.SetRules(watch.Rules{V6Bits: 128})
}

// Close releases nothing: the memory goes with the Twin. It is there because
// the kernel program has it.
func (t *Twin) Close() error { return nil }

// Counters returns what was counted since New.
func (t *Twin) Counters() (watch.Counters, error) { return t.counters, nil }

// Run does with a frame what the kernel program would: now is the time at which
// it came, in nanoseconds (0 counts as 1); c is asked for TCP with ACK and without
// RST, and for UDP. The frame is not kept.
func (t *Twin) Run(frame []byte, now uint64, c watch.Context) error {
	t.run(frame[:min(len(frame), watch.MaxFrame)], max(now, 1), c)
	return nil
}

func (t *Twin) run(frame []byte, now uint64, c watch.Context) {
	f := &t.frame
	Decode(frame, f)
	if !t.count(f) {
		return
	}
	kind, probe := t.possible(f, c)
	packet := t.packets.On && (f.Class == TCP || f.Class == Tiny)
	if !probe && !packet {
		return
	}
	if !t.rules.Score.Match(&f.Packet) {
		if probe {
			t.counters.Ignored++
		}
		return
	}
	if f.Class == UDP && t.rules.UDP == watch.UDPCount {
		if e := t.source(f); e != nil {
			e.classes[watch.Datagram]++
			e.kinds[watch.UDP]++
		}
		return
	}
	t.observe(f, kind, probe, packet, now)
}

// count counts f in its class, and tells whether there is more to do with it.
func (t *Twin) count(f *Frame) bool {
	n := &t.counters
	switch f.Class {
	case Malformed:
		n.Malformed++
		return false
	case NotIP:
		n.NotIP++
		return false
	case TooDeep:
		n.TooDeep++
		return false
	}
	if !t.rules.Count.Match(&f.Packet) {
		n.Filtered++
		return false
	}
	switch f.Class {
	case TCP:
		n.TCP[f.Flags&flagSets]++
	case UDP:
		n.UDP++
	case ICMP:
		n.ICMP++
	case Other:
		n.Other++
	case Fragment:
		n.Fragments++
	case Tiny:
		n.Tiny++
	}
	return true
}

// observe takes f into the table: as a possible probe, as a packet, or as both.
func (t *Twin) observe(f *Frame, kind watch.Kind, probe, packet bool, now uint64) {
	key := t.key(f)
	at := t.set(key)
	e, ref := t.find(at, key)
	if e == nil {
		// Answers to what was sent in the source's name by somebody else: they
		// must not push out anybody.
		if kind == watch.SYNACK && !packet {
			t.counters.Backscatter++
			return
		}
		e, ref = t.place(at, key, now)
	}
	now = max(now, e.latest())
	m := moment{ref: ref, from: f.Source.Unmap(), to: f.Destination.Unmap(), sourcePort: f.SourcePort, time: now, before: e.last, beforePacket: e.lastPacket}
	var v verdict

	if packet {
		e.lastPacket = now
		r := &t.rings[ref]
		r.add(now, f.DestinationPort)
		v.add(&t.packets, overPackets, r.sum(&t.packets, now))
		if !probe {
			e.heat = max(e.heat, 1)
		}
	}

	switch {
	case !probe:
	case kind == watch.SYNACK && e.broken(now, t.gap.span):
		t.counters.Backscatter++
	default:
		m.probed = true
		t.counters.Probes++
		novel := e.probe(now, f.DestinationPort, kind, t.gap.span, t.window.span)
		e.count(f, kind, classOf(f.DestinationPort, kind == watch.UDP, &t.traps), m.before != 0)
		if !novel {
			t.counters.Repeats++
			break
		}
		gap := e.gapSum(&t.gap)
		e.over = t.gap.On && t.gap.crossed(gap)
		v.add(&t.gap, overGap, gap)
		v.add(&t.window, overWindow, e.windowSum(&t.window, now))
	}

	if v.due(e, now) {
		e.told, e.toldOver = now, v.over
		t.tell(e, m)
	}
}
