package target

import "lukechampine.com/uint128"

// range6 is one interval of IPv6 targets. start is the number of IPv6 targets
// below lo.
type range6 struct{ lo, hi, start addr6 }

// table6 is the IPv6 part of a Set, and works as table4 does. Nobody sweeps IPv6
// from end to end: the intervals are a few networks, or millions of known
// addresses, each an interval of its own.
type table6 struct {
	ranges  []range6 // ascending, disjoint, not adjacent
	n       addr6    // number of addresses
	base    addr6    // the lowest address
	extent  addr6    // the highest address less base
	byIndex guide    // over start
	byAddr  guide    // over lo-base
}

// newTable6 takes normalised spans.
func newTable6(s []span[addr6]) table6 {
	if len(s) == 0 {
		return table6{}
	}
	t := table6{
		ranges: make([]range6, len(s)),
		base:   s[0].lo,
		extent: s[len(s)-1].hi.minus(s[0].lo),
	}
	for k, r := range s {
		t.ranges[k] = range6{r.lo, r.hi, t.n}
		t.n = t.n.plus(r.hi.minus(r.lo).next())
	}
	guideOver := func(top addr6, key func(k int) addr6) guide {
		shift := guideShift(len(s), uint128.Uint128(top).Len())
		return newGuide(len(s), shift, top.slot(shift), func(k, s int) bool {
			return key(k).slot(shift) < uint64(s) || key(k) == addr6(uint128.From64(uint64(s)).Lsh(uint(shift)))
		})
	}
	t.byIndex = guideOver(t.n.prev(), func(k int) addr6 { return t.ranges[k].start })
	t.byAddr = guideOver(t.extent, func(k int) addr6 { return t.ranges[k].lo.minus(t.base) })
	return t
}

// slot returns a>>shift, which the caller knows to fit.
func (a addr6) slot(shift uint8) uint64 {
	if shift >= 64 {
		return a.Hi >> (shift - 64)
	}
	return a.Hi<<(64-shift) | a.Lo>>shift
}

// at returns address number i, which the caller has checked to be below n.
func (t *table6) at(i addr6) addr6 {
	lo, hi := t.byIndex.around(i.slot(t.byIndex.shift))
	for lo < hi {
		mid := (lo + hi + 1) / 2
		if i.less(t.ranges[mid].start) {
			hi = mid - 1
		} else {
			lo = mid
		}
	}
	r := &t.ranges[lo]
	return r.lo.plus(i.minus(r.start))
}

func (t *table6) rank(a addr6) (i addr6, ok bool) {
	key := a.minus(t.base) // wraps to a large number when a is below base
	if t.extent.less(key) || len(t.ranges) == 0 {
		return addr6{}, false
	}
	lo, hi := t.byAddr.around(key.slot(t.byAddr.shift))
	for lo < hi {
		mid := (lo + hi + 1) / 2
		if a.less(t.ranges[mid].lo) {
			hi = mid - 1
		} else {
			lo = mid
		}
	}
	r := &t.ranges[lo]
	if r.hi.less(a) {
		return addr6{}, false
	}
	return r.start.plus(a.minus(r.lo)), true
}
