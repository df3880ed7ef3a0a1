package lab

import (
	"encoding/binary"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"

	"synoptic/bpf/respond"
)

// Segment is an Ethernet frame with a TCP segment over IPv4, without options and
// data. Its checksums are right and stay so.
type Segment [14 + 20 + 20]byte

// Where a Segment has what.
const (
	atIPSum  = 14 + 10
	atSource = 14 + 12
	atPorts  = 14 + 20
	atFlags  = 14 + 20 + 12 // and the header's length
	atTCPSum = 14 + 20 + 16
)

// Segment makes one that arrives at a host with a cable of its own.
func (h *Host) Segment(from, to netip.AddrPort, flags uint8) *Segment {
	s := new(Segment)
	copy(s[0:], h.MAC)
	copy(s[6:], net.HardwareAddr{2, 0, 0, 0, 9, 9})
	copy(s[12:], []byte{8, 0, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, unix.IPPROTO_TCP})
	copy(s[atSource:], from.Addr().AsSlice())
	copy(s[atSource+4:], to.Addr().AsSlice())
	binary.BigEndian.PutUint16(s[atPorts:], from.Port())
	binary.BigEndian.PutUint16(s[atPorts+2:], to.Port())
	binary.BigEndian.PutUint32(s[atPorts+4:], 0x01020304)
	s[atFlags], s[atFlags+1] = 5<<4, flags
	binary.BigEndian.PutUint16(s[atFlags+2:], 1024)
	fixChecksums(s[:])
	return s
}

// SetSource forges the source.
func (s *Segment) SetSource(a uint32) {
	s.put(atSource, uint16(a>>16), atIPSum, atTCPSum)
	s.put(atSource+2, uint16(a), atIPSum, atTCPSum)
}

// SetPort sets the destination's.
func (s *Segment) SetPort(port uint16) { s.put(atPorts+2, port, atTCPSum) }

// SetFlags sets the lower eight.
func (s *Segment) SetFlags(flags uint8) { s.put(atFlags, 5<<12|uint16(flags), atTCPSum) }

// put writes a field and keeps a checksum over it right (RFC 1624).
func (s *Segment) put(at int, v uint16, sums ...int) {
	old := binary.BigEndian.Uint16(s[at:])
	binary.BigEndian.PutUint16(s[at:], v)
	for _, sum := range sums {
		c := uint32(^binary.BigEndian.Uint16(s[sum:])) + uint32(^old) + uint32(v)
		c = c&0xffff + c>>16
		c = c&0xffff + c>>16
		binary.BigEndian.PutUint16(s[sum:], ^uint16(c))
	}
}

// fixChecksums computes both checksums of an IPv4 frame without options.
func fixChecksums(f []byte) {
	sum := func(from uint32, b []byte) uint16 {
		for i := 0; i+1 < len(b); i += 2 {
			from += uint32(binary.BigEndian.Uint16(b[i:]))
		}
		for from > 0xffff {
			from = from&0xffff + from>>16
		}
		return ^uint16(from)
	}
	f[24], f[25], f[50], f[51] = 0, 0, 0, 0
	binary.BigEndian.PutUint16(f[24:], sum(0, f[14:34]))
	binary.BigEndian.PutUint16(f[50:], sum(unix.IPPROTO_TCP+uint32(len(f)-34), f[26:]))
}

// Walk makes SYNs from one source to one port after the other, for a Flood.
func (h *Host) Walk(source netip.Addr, first uint16) func(uint64, *[1514]byte) int {
	s := h.Segment(netip.AddrPortFrom(source, 40000), netip.AddrPortFrom(h.Addr4, first), respond.SYN)
	return func(n uint64, buf *[1514]byte) int {
		s.SetPort(first + uint16(n))
		return copy(buf[:], s[:])
	}
}

// Storm makes SYNs, each from another forged source, to ports below 1024, or to
// port only, for a Flood.
func (h *Host) Storm(seed uint64, port uint16) func(uint64, *[1514]byte) int {
	s := h.Segment(netip.AddrPortFrom(h.Neighbour(1), 40000), netip.AddrPortFrom(h.Addr4, port), respond.SYN)
	return func(n uint64, buf *[1514]byte) int {
		s.SetSource(forged(seed, n))
		if port == 0 {
			s.SetPort(1 + uint16(n*2654435761>>16)%1023)
		}
		return copy(buf[:], s[:])
	}
}

// forged is the n-th forged source of a seed: an address of the unicast range
// outside the lab's own and loopback's, almost always another one.
func forged(seed, n uint64) uint32 {
	x := seed + n*0x9e3779b97f4a7c15 // SplitMix64
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	x ^= x >> 31
	return 128<<24 + uint32(x%(40<<24)) // 128.0.0.0 to 167.255.255.255
}
