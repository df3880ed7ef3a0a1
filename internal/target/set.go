package target

import (
	"fmt"
	"iter"
	"net/netip"

	"lukechampine.com/uint128"
)

// maxLen is the most addresses a Set may hold, 2^127: one bit less than
// an index has room for, so that the sum of two indexes never overflows, and
// four times what IPv6 calls global unicast (2000::/3, RFC 4291 section 2.4).
var maxLen = uint128.New(0, 1<<63)

// Set is an immutable set of IPv4 and IPv6 addresses, numbered in ascending
// order from 0, IPv4 before IPv6. The zero value is the empty set. All methods
// may be called by many goroutines at once.
//
// A Set never holds an address with a zone, nor an IPv4-mapped one
// (::ffff:0:0/96): no packet carries either.
type Set struct {
	v4 table4
	v6 table6
}

// newSet takes normalised spans without IPv4-mapped addresses.
func newSet(s spans) (*Set, error) {
	// IPv6 alone comes first: together both can add up to 2^128, which is 0.
	if (spans{v6: s.v6}).size().Cmp(maxLen) > 0 || s.size().Cmp(maxLen) > 0 {
		return nil, fmt.Errorf("%w: more than 2^127 addresses", ErrTooLarge)
	}
	return &Set{newTable4(s.v4), newTable6(s.v6)}, nil
}

// Len returns the number of addresses, at most 2^127.
func (s *Set) Len() uint128.Uint128 {
	return uint128.Uint128(s.v6.n.plus(addr6{Lo: s.v4.n}))
}

// At returns address number i. It panics when i is not below Len.
func (s *Set) At(i uint128.Uint128) netip.Addr {
	if i.Hi == 0 && i.Lo < s.v4.n {
		return s.v4.at(uint32(i.Lo)).addr()
	}
	j := addr6(i).minus(addr6{Lo: s.v4.n})
	if !j.less(s.v6.n) {
		panic(fmt.Sprintf("target: address number %v of a set of %v", i, s.Len()))
	}
	return s.v6.at(j).addr()
}

// Rank returns the number of a, such that At(i) == a; ok is false when a is not
// in the set.
func (s *Set) Rank(a netip.Addr) (i uint128.Uint128, ok bool) {
	if a.Is4() {
		i, ok := s.v4.rank(point4(a))
		if !ok {
			return uint128.Uint128{}, false
		}
		return uint128.From64(uint64(i)), true
	}
	if !a.Is6() || a.Zone() != "" {
		return uint128.Uint128{}, false
	}
	j, ok := s.v6.rank(point6(a))
	if !ok {
		return uint128.Uint128{}, false
	}
	return uint128.Uint128(j.plus(addr6{Lo: s.v4.n})), true
}

// Contains reports whether a is in the set.
func (s *Set) Contains(a netip.Addr) bool {
	_, ok := s.Rank(a)
	return ok
}

// Has4 reports whether the set holds an IPv4 address.
func (s *Set) Has4() bool { return len(s.v4.ranges) > 0 }

// Has6 reports whether the set holds an IPv6 address.
func (s *Set) Has6() bool { return len(s.v6.ranges) > 0 }

// NumRanges returns how many intervals Ranges yields.
func (s *Set) NumRanges() int { return len(s.v4.ranges) + len(s.v6.ranges) }

// Ranges yields the set as the fewest intervals, ascending, by their first and
// last address.
func (s *Set) Ranges() iter.Seq2[netip.Addr, netip.Addr] {
	return func(yield func(first, last netip.Addr) bool) {
		for _, r := range s.v4.ranges {
			if !yield(addr4(r.lo).addr(), addr4(r.hi).addr()) {
				return
			}
		}
		for _, r := range s.v6.ranges {
			if !yield(r.lo.addr(), r.hi.addr()) {
				return
			}
		}
	}
}
