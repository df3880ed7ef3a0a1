package twin

import (
	"encoding/binary"
	"net/netip"
)

// maxExtensions is how many IPv6 extension headers are looked through. RFC 8200
// section 4.1 recommends each kind once and destination options twice.
const maxExtensions = 8

// Extension headers that carry the number of the next one (RFC 8200 section 4,
// RFC 4302 section 2).
const (
	extHopByHop       = 0
	extRouting        = 43
	extFragment       = 44
	extAuthentication = 51
	extDestination    = 60

	extMinLen = 8
)

func isExtension(next uint8) bool {
	switch next {
	case extHopByHop, extRouting, extFragment, extAuthentication, extDestination:
		return true
	}
	return false
}

// ip6 reads RFC 8200 section 3 and the extension headers. Of these only the
// first 8 bytes must be in the frame, but all within the packet's own length: a
// jumbogram, whose length is 0, is Malformed (RFC 2675).
func (p *Frame) ip6(b []byte) Class {
	if len(b) < ip6Len || b[0]>>4 != 6 {
		return Malformed
	}
	length, next := int(binary.BigEndian.Uint16(b[4:])), b[6]
	p.TTL = b[7]
	p.Source = netip.AddrFrom16([16]byte(b[8:]))
	p.Destination = netip.AddrFrom16([16]byte(b[24:]))
	b = b[ip6Len:]
	part := whole
	for n := 0; part != later && isExtension(next); n++ {
		if n == maxExtensions {
			return TooDeep
		}
		if len(b) < extMinLen {
			return Malformed
		}
		size := extensionLen(next, b[1])
		if size > length {
			return Malformed
		}
		if next == extFragment {
			switch fragment := binary.BigEndian.Uint16(b[2:]); {
			case fragment&0xfff8 != 0:
				part = later
			case fragment&1 != 0:
				part = first
			}
		}
		next = b[0]
		length -= size
		b = b[min(size, len(b)):]
	}
	p.Protocol = next
	return p.payload(b, length, part, protoICMP6)
}

// extensionLen is the size in bytes of an extension header by its length byte,
// which counts 4-byte units for authentication and means nothing in a fragment
// header.
func extensionLen(header, length uint8) int {
	switch header {
	case extFragment:
		return 8
	case extAuthentication:
		return (int(length) + 2) * 4
	}
	return (int(length) + 1) * 8
}
