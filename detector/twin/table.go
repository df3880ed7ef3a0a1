package twin

import (
	"math/bits"
	"net/netip"

	"synoptic/bpf/watch"
)

// ways is how many places a set has. A source may be in any place of the set
// that the keyed hash of its address gives, and in no other.
const ways = 8

// address is an IPv6 address, or an IPv4 address as ::ffff:a.b.c.d.
type address [16]byte

// key of f's source: what counts as one source.
func (t *Twin) key(f *Frame) address {
	a := address(f.Source.As16())
	if !f.Source.Is4() {
		for i := range a {
			a[i] &= t.mask[i]
		}
	}
	return a
}

// maskOf has its first n bits set.
func maskOf(n int) (m address) {
	for i := range n {
		m[i/8] |= 0x80 >> (i % 8)
	}
	return m
}

// netip is the address as the rest of the project spells it: never 4-in-6.
func (a *address) netip() netip.Addr { return netip.AddrFrom16(*a).Unmap() }

// set is the index of the first place of a source's set. The high half of the
// hash is scaled to the number of sets, which need be no power of two.
func (t *Twin) set(key address) int {
	return int(t.hashKey.Set(key, uint32(t.sets))) * ways
}

// find returns the entry of a source and its place in the set at that index, or
// nil.
func (t *Twin) find(at int, key address) (*entry, watch.Ref) {
	for i := range ways {
		if e := &t.entries[at+i]; e.occupied && e.addr == key {
			return e, watch.Ref(at + i)
		}
	}
	return nil, 0
}

// source returns the entry of f's source, or nil.
func (t *Twin) source(f *Frame) *entry {
	key := t.key(f)
	e, _ := t.find(t.set(key), key)
	return e
}

// place gives a source that has none the place of the least suspicious of its
// set, as of now.
func (t *Twin) place(at int, key address, now uint64) (*entry, watch.Ref) {
	least, rank := at, t.entries[at].rank(now, t.horizon)
	for i := 1; i < ways; i++ {
		if r := t.entries[at+i].rank(now, t.horizon); r < rank {
			least, rank = at+i, r
		}
	}
	e := &t.entries[least]
	switch {
	case !e.occupied:
	case e.idle(now, t.horizon):
		t.counters.EvictedIdle++
	default:
		t.counters.EvictedLive++
	}
	t.counters.Sources++
	*e = entry{occupied: true, addr: key, born: now}
	if t.rings != nil {
		t.rings[least] = ring{}
	}
	return e, watch.Ref(least)
}

// idle tells whether a source has been silent for longer than any policy looks
// back.
func (e *entry) idle(now, horizon uint64) bool {
	return since(now, e.latest()) > horizon
}

// rank orders the places of a set: the empty ones, which are all zero, then those of sources that
// no policy can accuse any more, then by the new ports of the present chain;
// among equals the one that was silent for longest.
func (e *entry) rank(now, horizon uint64) uint64 {
	heat := uint64(e.heat)
	if e.idle(now, horizon) {
		heat = 0
	}
	return heat<<rankHeat | e.latest()&(1<<rankHeat-1)
}

// rankHeat is the number of bits that a rank has for the time.
const rankHeat = 56

// maxHeat keeps a rank below 2^63, which the kernel program has to.
const maxHeat = 127

// since is the time from then to now, and 0 if then is later.
func since(now, then uint64) uint64 {
	d, borrow := bits.Sub64(now, then, 0)
	if borrow != 0 {
		return 0
	}
	return d
}
