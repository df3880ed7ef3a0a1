package twin

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"strings"
)

// raw makes bytes of hex in which spaces and line ends mean nothing.
func raw(s string) []byte {
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		panic(err)
	}
	return b
}

// testPacket describes a frame for the tests of the table. Unless said otherwise it
// is a SYN of 20 bytes from one port of a source to a fixed destination.
type testPacket struct {
	from, to string // default 192.0.2.1, 198.51.100.1, or their like in IPv6
	port     uint16
	source   uint16 // default 40000
	flags    uint8
	noFlags  bool // flags are really 0
	header   int  // default 20
	ttl      uint8
	udp      bool
	tiny     bool // a first fragment of 8 bytes
}

func (p testPacket) frame() []byte {
	def := func(s, alternative string) netip.Addr {
		if s == "" {
			s = alternative
		}
		return netip.MustParseAddr(s)
	}
	from := def(p.from, "192.0.2.1")
	to := def(p.to, "198.51.100.1")
	if from.Is6() {
		to = def(p.to, "2001:db8:ffff::1")
	}
	if p.source == 0 {
		p.source = 40000
	}
	if p.flags == 0 && !p.noFlags {
		p.flags = SYN
	}
	if p.header == 0 {
		p.header = 20
	}
	if p.ttl == 0 {
		p.ttl = 64
	}
	protocol, l4 := byte(6), make([]byte, p.header)
	switch {
	case p.udp:
		protocol, l4 = 17, make([]byte, 8)
		l4[5] = 8
	case p.tiny:
		l4 = l4[:8]
	default:
		l4[12], l4[13] = byte(p.header/4<<4), p.flags
	}
	binary.BigEndian.PutUint16(l4, p.source)
	binary.BigEndian.PutUint16(l4[2:], p.port)

	b := raw(`020000000001 020000000002 0800`)
	if from.Is6() {
		b[12], b[13] = 0x86, 0xdd
		b = append(b, 0x60, 0, 0, 0, 0, byte(len(l4)), protocol, p.ttl)
		if p.tiny {
			b[18], b[19], b[20] = 0, byte(len(l4)+8), 44
		}
		b = append(b, from.AsSlice()...)
		b = append(b, to.AsSlice()...)
		if p.tiny {
			b = append(b, protocol, 0, 0, 1, 0, 0, 0, 1)
		}
	} else {
		b = append(b, 0x45, 0, 0, byte(20+len(l4)), 0, 1, 0, 0, p.ttl, protocol, 0, 0)
		if p.tiny {
			b[20] = 0x20
		}
		b = append(b, from.AsSlice()...)
		b = append(b, to.AsSlice()...)
	}
	return append(b, l4...)
}
