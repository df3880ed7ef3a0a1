package twin

import (
	"encoding/binary"
	"math"
	"math/bits"
)

// hostSet estimates how many different addresses were added to it: each has one
// of 64 bits (linear counting; Whang, Vander-Zanden and Taylor, 1990).
type hostSet uint64

func (s *hostSet) add(addr [16]byte) { *s |= 1 << (mix(addr) & 63) }

// manyHosts stands for any number that sets all 64 bits.
const manyHosts = 300

func (s hostSet) estimate() int {
	switch zero := 64 - bits.OnesCount64(uint64(s)); zero {
	case 0:
		return manyHosts
	case 63:
		return 1
	default:
		return int(math.Round(-64 * math.Log(float64(zero)/64)))
	}
}

// mix spreads an address over 64 bits. It has no key: who picks addresses that
// share a bit makes the estimate too small, and nothing else.
func mix(addr [16]byte) uint64 {
	x := binary.LittleEndian.Uint64(addr[:8]) ^ binary.LittleEndian.Uint64(addr[8:])*0x9E3779B97F4A7C15
	x ^= x >> 32
	x *= 0xD6E8FEB86659FD93
	return x ^ x>>32
}
