package target

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
	"slices"

	"lukechampine.com/uint128"
)

// point is an address of one family taken as a number, so that the interval
// algebra below is written once. next and prev wrap around at the ends of the
// family's space.
type point[P any] interface {
	comparable
	less(P) bool
	next() P
	prev() P
}

// addr4 is an IPv4 address as a number in host order.
type addr4 uint32

func (a addr4) less(b addr4) bool { return a < b }
func (a addr4) next() addr4       { return a + 1 }
func (a addr4) prev() addr4       { return a - 1 }

func point4(a netip.Addr) addr4 {
	b := a.As4()
	return addr4(binary.BigEndian.Uint32(b[:]))
}

func (a addr4) addr() netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], uint32(a))
	return netip.AddrFrom4(b)
}

// addr6 is an IPv6 address as a number in host order.
type addr6 uint128.Uint128

func (a addr6) less(b addr6) bool {
	_, borrow := bits.Sub64(a.Lo, b.Lo, 0)
	_, borrow = bits.Sub64(a.Hi, b.Hi, borrow)
	return borrow != 0
}

func (a addr6) plus(b addr6) addr6 {
	lo, carry := bits.Add64(a.Lo, b.Lo, 0)
	hi, _ := bits.Add64(a.Hi, b.Hi, carry)
	return addr6{Lo: lo, Hi: hi}
}

func (a addr6) minus(b addr6) addr6 {
	lo, borrow := bits.Sub64(a.Lo, b.Lo, 0)
	hi, _ := bits.Sub64(a.Hi, b.Hi, borrow)
	return addr6{Lo: lo, Hi: hi}
}

func (a addr6) next() addr6 { return a.plus(addr6{Lo: 1}) }
func (a addr6) prev() addr6 { return a.minus(addr6{Lo: 1}) }

func point6(a netip.Addr) addr6 {
	b := a.As16()
	return addr6{Hi: binary.BigEndian.Uint64(b[:8]), Lo: binary.BigEndian.Uint64(b[8:])}
}

func (a addr6) addr() netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], a.Hi)
	binary.BigEndian.PutUint64(b[8:], a.Lo)
	return netip.AddrFrom16(b)
}

// span is the addresses from lo to hi, both included; lo is never above hi.
type span[P point[P]] struct{ lo, hi P }

func (s span[P]) holds(t span[P]) bool { return !t.lo.less(s.lo) && !s.hi.less(t.hi) }

// normalise sorts spans and joins those that overlap or touch. It reuses the
// slice it is given.
func normalise[P point[P]](s []span[P]) []span[P] {
	if len(s) == 0 {
		return s
	}
	byLo := func(a, b span[P]) int {
		switch {
		case a.lo.less(b.lo):
			return -1
		case b.lo.less(a.lo):
			return 1
		}
		return 0
	}
	// Target files are mostly sorted already, and octet lists always are.
	if !slices.IsSortedFunc(s, byLo) {
		slices.SortFunc(s, byLo)
	}
	out := s[:1]
	for _, t := range s[1:] {
		last := &out[len(out)-1]
		switch {
		case last.hi.less(t.lo) && last.hi.next() != t.lo:
			out = append(out, t)
		case last.hi.less(t.hi):
			last.hi = t.hi
		}
	}
	return out
}

// subtract returns what is in from and not in cut, in time linear in both. Both
// must be normalised, and so is the result, which may be from itself.
func subtract[P point[P]](from, cut []span[P]) []span[P] {
	if len(from) == 0 || len(cut) == 0 {
		return from
	}
	out := make([]span[P], 0, len(from))
	for _, s := range from {
		for len(cut) > 0 && cut[0].hi.less(s.lo) {
			cut = cut[1:]
		}
		out = appendRest(out, s, cut)
	}
	return out
}

// appendRest appends what cut leaves of s. The first of cut is not below s.
func appendRest[P point[P]](out []span[P], s span[P], cut []span[P]) []span[P] {
	for _, c := range cut {
		if s.hi.less(c.lo) {
			break
		}
		if s.lo.less(c.lo) {
			out = append(out, span[P]{s.lo, c.lo.prev()})
		}
		if !c.hi.less(s.hi) {
			return out
		}
		s.lo = c.hi.next()
	}
	return append(out, s)
}

// spans is a set of addresses on its way to becoming a Set: intervals in any
// order, which may overlap until normalise is called.
type spans struct {
	v4 []span[addr4]
	v6 []span[addr6]
}

// add takes the addresses from lo to hi, which are of one family.
func (s *spans) add(lo, hi netip.Addr) {
	if lo.Is4() {
		s.v4 = append(s.v4, span[addr4]{point4(lo), point4(hi)})
	} else {
		s.v6 = append(s.v6, span[addr6]{point6(lo), point6(hi)})
	}
}

func (s *spans) addAll(t spans) {
	s.v4 = append(s.v4, t.v4...)
	s.v6 = append(s.v6, t.v6...)
}

func (s *spans) normalise() {
	s.v4 = normalise(s.v4)
	s.v6 = normalise(s.v6)
}

func (s spans) minus(cut spans) spans {
	return spans{subtract(s.v4, cut.v4), subtract(s.v6, cut.v6)}
}

// size returns the number of addresses in normalised spans. It is modulo 2^128,
// a number that only both families in full can reach.
func (s spans) size() uint128.Uint128 {
	var n4 uint64
	for _, t := range s.v4 {
		n4 += uint64(t.hi-t.lo) + 1
	}
	n := addr6{Lo: n4}
	for _, t := range s.v6 {
		n = n.plus(t.hi.minus(t.lo).next())
	}
	return uint128.Uint128(n)
}
