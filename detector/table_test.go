package detector_test

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"synoptic/bpf/watch"
	"synoptic/detector/naive"
)

// table remembers of each source what the kernel half does, by the same rules
// and with the same memory for a source; but sources never lose their place.
type table struct {
	rules   watch.Rules
	every   bool // tells every snapshot, not only what is interesting and new
	entries []*entry
}

type entry struct {
	snapshot watch.Snapshot // all but Probes
	slots    []watch.Probe
	packets  []watch.Probe
	fresh    uint64
	over     bool
	told     uint64
	toldOver int
}

const retold = uint64(50 * time.Millisecond)

// Source implements detector.Sources.
func (t *table) Source(ref watch.Ref) (watch.Snapshot, bool) {
	if int(ref) >= len(t.entries) {
		return watch.Snapshot{}, false
	}
	o := t.entries[ref].copy()
	o.Time, o.Probed, o.Before, o.BeforePacket, o.From = 0, false, 0, 0, netip.Addr{}
	return o, true
}

func (e *entry) copy() watch.Snapshot {
	o := e.snapshot
	o.Probes, o.Packets = slices.Clone(e.slots), slices.Clone(e.packets)
	slices.SortStableFunc(o.Probes, func(a, b watch.Probe) int { return cmp.Compare(a.Time, b.Time) })
	return o
}

// packet takes a packet and returns its snapshot if it is to be told.
func (t *table) packet(p naive.Packet) (watch.Snapshot, bool) {
	rules := &t.rules
	prefix := naive.Prefix(p.Source, rules.V6Bits)
	i := slices.IndexFunc(t.entries, func(e *entry) bool { return e.snapshot.Source == prefix })
	if p.Handshake && i >= 0 {
		t.entries[i].snapshot.Handshakes++
	}
	udp := p.Probe && p.Kind == watch.UDP
	if udp && rules.UDP != watch.UDPScore {
		if i >= 0 && rules.UDP == watch.UDPCount {
			t.entries[i].snapshot.Kinds[watch.UDP]++
			t.entries[i].snapshot.Classes[watch.Datagram]++
		}
		return watch.Snapshot{}, false
	}
	if !p.Probe && !rules.Packets.On {
		return watch.Snapshot{}, false
	}
	if i < 0 {
		if p.Probe && p.Kind == watch.SYNACK && !rules.Packets.On {
			return watch.Snapshot{}, false
		}
		i = len(t.entries)
		t.entries = append(t.entries, &entry{snapshot: watch.Snapshot{Ref: watch.Ref(i), Source: prefix, Born: p.Time}})
	}
	e := t.entries[i]
	o := &e.snapshot
	o.Time = max(p.Time, o.Last, o.LastPacket)
	o.From, o.Before, o.BeforePacket, o.Probed = p.Source, o.Last, o.LastPacket, false

	crossed, interesting := 0, false
	line := func(bit int, l *watch.Line, of []watch.Probe, counts func(*watch.Probe) bool) bool {
		sum := uint32(0)
		for i := range of {
			if counts(&of[i]) {
				sum += t.points(l, of[i].Port)
			}
		}
		over := l.On && (sum > l.Threshold || l.Reaches && sum == l.Threshold)
		if over {
			crossed |= bit
		}
		interesting = interesting || l.On && 3*sum >= 2*l.Threshold
		return over
	}
	young := func(l *watch.Line) func(*watch.Probe) bool {
		return func(p *watch.Probe) bool { return o.Time-p.Time <= uint64(l.Span) }
	}
	if rules.Packets.On && !udp {
		o.LastPacket = o.Time
		e.packets = append(e.packets, watch.Probe{Time: o.Time, Port: p.Port, Kind: watch.UDP}) // it has no meaning
		e.packets = e.packets[max(0, len(e.packets)-watch.MaxProbes):]
		line(4, &rules.Packets, e.packets, young(&rules.Packets))
	}
	apart := o.Last == 0 || o.Time-e.fresh > uint64(rules.Gap.Span)
	if p.Probe && !(p.Kind == watch.SYNACK && apart) {
		o.Probed, o.Last = true, o.Time
		if apart {
			o.Chain, e.fresh, e.over = o.Time, o.Time, false
		}
		was, known := e.put(watch.Probe{Time: o.Time, Port: p.Port, Kind: p.Kind})
		newInChain := !known || was < o.Chain
		newInWindow := !known || o.Time-was > uint64(rules.Window.Span)
		if newInChain || e.over {
			e.fresh = o.Time
		}
		o.Kinds[p.Kind]++
		if newInChain || newInWindow {
			e.over = line(2, &rules.Gap, e.slots, func(p *watch.Probe) bool { return p.Time >= o.Chain })
			line(1, &rules.Window, e.slots, young(&rules.Window))
		}
	} else if !rules.Packets.On || udp {
		return watch.Snapshot{}, false
	}
	tell := interesting && !(crossed != 0 && crossed&^e.toldOver == 0 && o.Time-e.told < retold)
	if tell {
		e.told, e.toldOver = o.Time, crossed
	}
	if !tell && !t.every {
		return watch.Snapshot{}, false
	}
	return e.copy(), true
}

func (t *table) points(l *watch.Line, port uint16) uint32 {
	switch {
	case l.Trap > 0 && slices.Contains(t.rules.Traps, port):
		return uint32(l.Trap)
	case port < 1024:
		return uint32(l.Low)
	}
	return uint32(l.High)
}

// put remembers a probe, in the place of the oldest if it has to, and returns
// when its port was probed before, if that is known.
func (e *entry) put(p watch.Probe) (was uint64, known bool) {
	oldest := 0
	for i := range e.slots {
		q := &e.slots[i]
		if q.Port == p.Port && (q.Kind == watch.UDP) == (p.Kind == watch.UDP) {
			was, *q = q.Time, p
			return was, true
		}
		if q.Time < e.slots[oldest].Time {
			oldest = i
		}
	}
	if len(e.slots) < watch.MaxProbes {
		e.slots = append(e.slots, p)
	} else {
		e.slots[oldest] = p
	}
	return 0, false
}
