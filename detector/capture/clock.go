package capture

import "math/bits"

// The times that Next gives. The package's snapshots have no time 0.
const (
	earliest = 1
	latest   = 1<<63 - 1
)

func clamp(ns uint64) uint64 { return min(max(ns, earliest), latest) }

// nanoseconds converts a time of a pcapng interface: ticks of the resolution
// (if_tsresol: a negative power of 10, or of 2 if the highest bit is set) since
// offset seconds after 1970 (if_tsoffset). The sum is exact; the fraction of a
// nanosecond is dropped.
func nanoseconds(ticks uint64, resolution uint8, offset int64) uint64 {
	var hi, lo uint64
	switch exponent := uint(resolution & 0x7f); {
	case resolution&0x80 != 0:
		hi, lo = bits.Mul64(ticks, 1e9)
		if exponent < 64 {
			lo = lo>>exponent | hi<<(64-exponent)
			hi >>= exponent
		} else {
			hi, lo = 0, hi>>(exponent-64)
		}
	case exponent <= 9:
		hi, lo = bits.Mul64(ticks, power10(9-exponent))
	case exponent <= 9+19:
		lo = ticks / power10(exponent-9)
	default: // less than a nanosecond altogether
	}

	// Both parts are below 2^94, so 128 bits hold the sum.
	if offset >= 0 {
		shiftHi, shiftLo := bits.Mul64(uint64(offset), 1e9)
		var carry uint64
		lo, carry = bits.Add64(lo, shiftLo, 0)
		hi += shiftHi + carry
	} else {
		shiftHi, shiftLo := bits.Mul64(-uint64(offset), 1e9)
		var borrow uint64
		lo, borrow = bits.Sub64(lo, shiftLo, 0)
		if hi, borrow = bits.Sub64(hi, shiftHi, borrow); borrow != 0 {
			return earliest
		}
	}
	if hi != 0 {
		return latest
	}
	return clamp(lo)
}

// power10 is 10 to the n-th, n at most 19.
func power10(n uint) uint64 {
	p := uint64(1)
	for range n {
		p *= 10
	}
	return p
}
