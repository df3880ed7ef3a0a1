// Package cookie is what makes a probe recognisable without remembering it: a
// keyed hash of the two endpoints, carried in a sequence number, that only the
// probed host (or someone on the path to it) can send back. The same idea as
// SYN cookies (Bernstein 1996), pointed the other way.
//
// Keys are small values, safe for concurrent use; nothing allocates.
package cookie

import (
	"encoding/binary"
	"net/netip"

	"synoptic/internal/siphash"
)

// Key is the 128-bit key of one scan. Every shard of a scan, and a resumed one,
// derives the same key from the same seed and so validates the others' answers.
type Key struct{ key [16]byte }

// NewKey derives a scan's key from its seed: SipHash of two labels under the
// seed, so that the order of the scan, which is visible on the wire, does not
// give away the key by itself. A seed that others can guess makes cookies that
// others can forge.
func NewKey(seed uint64) (k Key) {
	binary.LittleEndian.PutUint64(k.key[:8], seed)
	copy(k.key[8:], "Synoptic")
	first, second := siphash.Sum64(k.key, []byte{0}), siphash.Sum64(k.key, []byte{1})
	binary.LittleEndian.PutUint64(k.key[:8], first)
	binary.LittleEndian.PutUint64(k.key[8:], second)
	return k
}

// Bytes returns the key of the hash, for the kernel programs that compute or check
// cookies. It is as secret as the Key.
func (k Key) Bytes() [16]byte { return k.key }

// Of returns the cookie of a probe from source to target: the low 32 bits of
// SipHash-2-4 over target address, target port, source address, source port,
// addresses as 4 or 16 bytes and ports as 2, all in network byte order. Both
// addresses must be of one family.
func (k Key) Of(target, source netip.AddrPort) uint32 {
	var buf [36]byte
	n := endpoint(buf[:], target)
	n += endpoint(buf[n:], source)
	return uint32(siphash.Sum64(k.key, buf[:n]))
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
