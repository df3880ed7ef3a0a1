package target

import "math/bits"

// range4 is one interval of IPv4 targets. start is the number of targets below
// lo; it fits because no target has 2^32 others below it.
type range4 struct{ lo, hi, start uint32 }

// table4 is the IPv4 part of a Set. A probe asks at, a reply asks rank; both
// first look into a guide.
type table4 struct {
	ranges  []range4 // ascending, disjoint, not adjacent
	n       uint64   // number of addresses, at most 2^32
	base    uint32   // the lowest address
	extent  uint32   // the highest address less base
	byIndex guide    // over start
	byAddr  guide    // over lo-base
}

// newTable4 takes normalised spans.
func newTable4(s []span[addr4]) table4 {
	if len(s) == 0 {
		return table4{}
	}
	t := table4{
		ranges: make([]range4, len(s)),
		base:   uint32(s[0].lo),
		extent: uint32(s[len(s)-1].hi - s[0].lo),
	}
	for k, r := range s {
		t.ranges[k] = range4{uint32(r.lo), uint32(r.hi), uint32(t.n)}
		t.n += uint64(r.hi-r.lo) + 1
	}
	shift := guideShift(len(s), bits.Len32(uint32(t.n-1)))
	t.byIndex = newGuide(len(s), shift, (t.n-1)>>shift, func(k, s int) bool {
		return uint64(t.ranges[k].start) <= uint64(s)<<shift
	})
	shift = guideShift(len(s), bits.Len32(t.extent))
	t.byAddr = newGuide(len(s), shift, uint64(t.extent>>shift), func(k, s int) bool {
		return uint64(t.ranges[k].lo-t.base) <= uint64(s)<<shift
	})
	return t
}

// at returns address number i, which the caller has checked to be below n.
func (t *table4) at(i uint32) addr4 {
	if len(t.ranges) == 1 {
		return addr4(t.base + i)
	}
	lo, hi := t.byIndex.around(uint64(i >> (t.byIndex.shift & 31))) // the mask spares a test for wide shifts
	for lo < hi {
		mid := (lo + hi + 1) / 2
		if t.ranges[mid].start <= i {
			lo = mid
		} else {
			hi = mid - 1
		}
	}
	r := &t.ranges[lo]
	return addr4(r.lo + (i - r.start))
}

func (t *table4) rank(a addr4) (i uint32, ok bool) {
	key := uint32(a) - t.base // wraps to a large number when a is below base
	if key > t.extent || len(t.ranges) == 0 {
		return 0, false
	}
	if len(t.ranges) == 1 {
		return key, true
	}
	lo, hi := t.byAddr.around(uint64(key >> (t.byAddr.shift & 31)))
	for lo < hi {
		mid := (lo + hi + 1) / 2
		if t.ranges[mid].lo <= uint32(a) {
			lo = mid
		} else {
			hi = mid - 1
		}
	}
	r := &t.ranges[lo]
	return r.start + (uint32(a) - r.lo), uint32(a) <= r.hi
}
