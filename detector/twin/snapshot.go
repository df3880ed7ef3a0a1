package twin

import (
	"cmp"
	"net/netip"
	"slices"

	"synoptic/bpf/watch"
)

// moment is what a snapshot tells of one packet, beside what is remembered of
// its source.
type moment struct {
	ref          watch.Ref
	from, to     netip.Addr
	sourcePort   uint16
	time         uint64
	before       uint64 // the latest probe before this packet
	beforePacket uint64
	probed       bool
}

// event is a snapshot with the memory that its lists lie in. The lists are tied
// to it only when it is handed out: until then it may move.
type event struct {
	snapshot watch.Snapshot
	probes   [watch.MaxProbes]watch.Probe
	packets  [watch.MaxProbes]watch.Probe
	np, nk   int
}

// Read calls f for every snapshot that waits, in the order of the packets. A
// snapshot is valid only during the call, and f must not call Run. What waits
// is kept without bound, so none is lost.
func (t *Twin) Read(f func(*watch.Snapshot)) error {
	for i := range t.waiting {
		f(t.waiting[i].tie())
	}
	t.waiting = t.waiting[:0]
	return nil
}

// Source returns what is remembered at a place, if that is given to a source.
// The snapshot is the caller's. No packet belongs to it: Time is that of the
// source's last, Probed is false, From, To, Device and SourcePort are zero.
func (t *Twin) Source(ref watch.Ref) (watch.Snapshot, bool) {
	if int64(ref) >= int64(len(t.entries)) || !t.entries[ref].occupied {
		return watch.Snapshot{}, false
	}
	e := new(event)
	t.fill(e, &t.entries[ref], lookup(ref, &t.entries[ref]))
	return *e.tie(), true
}

// Sources calls f with what is remembered at each place that is given to a
// source. A snapshot is as by Source, but valid only during the call.
func (t *Twin) Sources(f func(*watch.Snapshot)) error {
	var e event
	for i := range t.entries {
		if t.entries[i].occupied {
			t.fill(&e, &t.entries[i], lookup(watch.Ref(i), &t.entries[i]))
			f(e.tie())
		}
	}
	return nil
}

func lookup(ref watch.Ref, e *entry) moment {
	return moment{ref: ref, time: e.latest()}
}

func (t *Twin) tell(e *entry, m moment) {
	t.counters.Events++
	t.waiting = append(t.waiting, event{})
	t.fill(&t.waiting[len(t.waiting)-1], e, m)
}

// fill makes the snapshot of e at m.
func (t *Twin) fill(v *event, e *entry, m moment) {
	s := &v.snapshot
	*s = watch.Snapshot{
		Ref: m.ref, Source: t.prefix(e.addr), From: m.from, To: m.to,
		Time: m.time, Probed: m.probed, Born: e.born, Last: e.last, Before: m.before, Chain: e.chain,
		Classes: e.classes, Kinds: e.kinds, Handshakes: e.handshakes,
		Hosts: e.hosts.estimate(), SourcePort: m.sourcePort, MinTTL: e.minTTL, MaxTTL: e.maxTTL,
	}
	if e.last != 0 {
		s.First, s.Latest = e.first.netip(), e.newest.netip()
	}
	v.np, v.nk = int(e.used), 0
	for i, p := range e.slots[:e.used] {
		v.probes[i] = watch.Probe{Time: p.time, Port: p.port, Kind: p.kind}
	}
	slices.SortStableFunc(v.probes[:v.np], func(a, b watch.Probe) int { return cmp.Compare(a.Time, b.Time) })
	if !t.packets.On {
		return
	}
	s.LastPacket, s.BeforePacket = e.lastPacket, m.beforePacket
	r := &t.rings[m.ref]
	v.nk = r.len()
	for i := range v.nk {
		p := &r.packets[(r.n-uint64(v.nk)+uint64(i))%watch.MaxProbes]
		v.packets[i] = watch.Probe{Time: p.time, Port: p.port}
	}
}

// prefix is what counts as the source with that key.
func (t *Twin) prefix(key address) netip.Prefix {
	a := key.netip()
	if a.Is4() {
		return netip.PrefixFrom(a, 32)
	}
	return netip.PrefixFrom(a, t.rules.V6Bits).Masked()
}

// tie gives the snapshot its lists.
func (v *event) tie() *watch.Snapshot {
	v.snapshot.Probes, v.snapshot.Packets = v.probes[:v.np], nil
	if v.nk > 0 {
		v.snapshot.Packets = v.packets[:v.nk]
	}
	return &v.snapshot
}
