package target

import "math/bits"

// guide narrows the search for the last of n ascending keys that is not above a
// value. Slot s holds the number of that key for the value s<<shift, so a value
// v finds its own between slots v>>shift and v>>shift + 1. Keys that are spread
// evenly leave one or two to look at; keys that crowd in one slot leave a binary
// search, which is what there would be without a guide.
type guide struct {
	slots []uint32
	shift uint8
}

// newGuide returns a guide over n keys, the first of them 0. top is the slot of
// the largest value to be looked up. reached reports whether key k is not above
// s<<shift.
func newGuide(n int, shift uint8, top uint64, reached func(k, s int) bool) guide {
	g := guide{slots: make([]uint32, top+2), shift: shift}
	k := 0
	for s := range g.slots {
		for k+1 < n && reached(k+1, s) {
			k++
		}
		g.slots[s] = uint32(k)
	}
	return g
}

// guideShift returns the shift that spreads values of width bits over at least
// n/2 and at most 2n slots, or over one for each value if those are fewer.
func guideShift(n, width int) uint8 {
	return uint8(max(0, width-bits.Len(uint(n))))
}

// around returns the numbers of the first and the last key to look at for the
// values of a slot.
func (g *guide) around(slot uint64) (lo, hi uint32) {
	return g.slots[slot], g.slots[slot+1]
}
