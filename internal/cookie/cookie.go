// Package cookie is what makes a probe recognisable without remembering it: a
// keyed hash of the two endpoints, carried in a sequence number, that only the
// probed host (or someone on the path to it) can send back. The same idea as
// SYN cookies (Bernstein 1996), pointed the other way.
//
// Keys are small values, safe for concurrent use; nothing allocates.
package cookie

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
)

// Key is the 128-bit key of one scan. Every shard of a scan, and a resumed one,
// derives the same key from the same seed and so validates the others' answers.
type Key struct{ k0, k1 uint64 }

// NewKey derives a scan's key from its seed: SipHash of two labels under the
// seed, so that the order of the scan, which is visible on the wire, does not
// give away the key by itself. A seed that others can guess makes cookies that
// others can forge.
func NewKey(seed uint64) Key {
	k := Key{k0: seed, k1: 0x53796e6f70746963} // "Synoptic"
	return Key{k0: k.Sum([]byte{0}), k1: k.Sum([]byte{1})}
}

// Of returns the cookie of a probe from source to target: the low 32 bits of
// SipHash-2-4 over target address, target port, source address, source port,
// addresses as 4 or 16 bytes and ports as 2, all in network byte order. Both
// addresses must be of one family.
func (k Key) Of(target, source netip.AddrPort) uint32 {
	var buf [36]byte
	n := endpoint(buf[:], target)
	n += endpoint(buf[n:], source)
	return uint32(k.Sum(buf[:n]))
}

func endpoint(b []byte, ap netip.AddrPort) int {
	n := 4
	if a := ap.Addr(); a.Is4() {
		*(*[4]byte)(b) = a.As4()
	} else {
		*(*[16]byte)(b) = a.As16()
		n = 16
	}
	binary.BigEndian.PutUint16(b[n:], ap.Port())
	return n + 2
}

// Sum is SipHash-2-4 of b (Aumasson and Bernstein, "SipHash: a fast short-input
// PRF", 2012), a 64-bit result of a message read as little-endian words.
func (k Key) Sum(b []byte) uint64 {
	v0 := k.k0 ^ 0x736f6d6570736575
	v1 := k.k1 ^ 0x646f72616e646f6d
	v2 := k.k0 ^ 0x6c7967656e657261
	v3 := k.k1 ^ 0x7465646279746573
	last := uint64(len(b)) << 56
	for ; len(b) >= 8; b = b[8:] {
		m := binary.LittleEndian.Uint64(b)
		v3 ^= m
		v0, v1, v2, v3 = round(v0, v1, v2, v3)
		v0, v1, v2, v3 = round(v0, v1, v2, v3)
		v0 ^= m
	}
	for i, c := range b {
		last |= uint64(c) << (8 * i)
	}
	v3 ^= last
	v0, v1, v2, v3 = round(v0, v1, v2, v3)
	v0, v1, v2, v3 = round(v0, v1, v2, v3)
	v0 ^= last
	v2 ^= 0xff
	for range 4 {
		v0, v1, v2, v3 = round(v0, v1, v2, v3)
	}
	return v0 ^ v1 ^ v2 ^ v3
}

func round(v0, v1, v2, v3 uint64) (uint64, uint64, uint64, uint64) {
	v0 += v1
	v1 = bits.RotateLeft64(v1, 13) ^ v0
	v0 = bits.RotateLeft64(v0, 32)
	v2 += v3
	v3 = bits.RotateLeft64(v3, 16) ^ v2
	v0 += v3
	v3 = bits.RotateLeft64(v3, 21) ^ v0
	v2 += v1
	v1 = bits.RotateLeft64(v1, 17) ^ v2
	v2 = bits.RotateLeft64(v2, 32)
	return v0, v1, v2, v3
}
