package wire

import (
	"encoding/binary"
	"net/netip"
)

// Link is the kind of header in front of the IP header.
type Link uint8

const (
	// Ethernet: 14 bytes and up to two VLAN tags.
	Ethernet Link = iota
	// Raw: none, as on tun and wireguard devices.
	Raw
)

// Kind is what Decode made of a packet.
type Kind uint8

const (
	// Malformed: a header is cut short or contradicts itself.
	Malformed Kind = iota
	// Other: well formed as far as it was read, but nothing that could answer
	// a probe: another protocol, a fragment, an ICMP message that is no error.
	Other
	// Segment: a TCP header.
	Segment
	// ICMPError: an ICMP error that quotes a TCP header.
	ICMPError
)

// TCP is a decoded TCP header, or the part of one that an ICMP error quotes.
type TCP struct {
	SrcPort, DstPort uint16
	Seq              uint32
	// The rest is valid iff the Packet's Kind is Segment.
	Ack     uint32
	Window  uint16
	Flags   uint8
	Options bool // the header carries options
}

// Packet is the outcome of Decode. It holds no reference to the decoded bytes
// and is meant to be reused.
type Packet struct {
	Kind     Kind
	Src, Dst netip.Addr // valid iff Kind is Segment or ICMPError
	TTL      uint8      // TTL or hop limit; valid as Src
	TCP      TCP        // the segment, or the quoted probe

	// Valid iff Kind is ICMPError.
	ICMPType, ICMPCode uint8
	QuoteSrc, QuoteDst netip.Addr // of the quoted probe
}

// Decode reads one received packet into p. The bytes may be cut at any length.
func (p *Packet) Decode(b []byte, link Link) {
	p.Kind = Malformed
	version := byte(0)
	if link == Ethernet {
		var etherType uint16
		var ok bool
		if b, etherType, ok = etherPayload(b); !ok {
			return
		}
		switch etherType {
		case EtherIPv4:
			version = 4
		case EtherIPv6:
			version = 6
		default:
			p.Kind = Other
			return
		}
	} else if len(b) > 0 {
		version = b[0] >> 4
	}

	h, kind := ip(b, version)
	if kind != Segment {
		p.Kind = kind
		return
	}
	p.Src, p.Dst, p.TTL = h.src, h.dst, h.ttl
	switch {
	case h.proto == ProtoTCP:
		p.Kind = p.TCP.segment(h.payload)
	case h.proto == ProtoICMP && version == 4, h.proto == ProtoICMP6 && version == 6:
		p.Kind = p.icmp(h.payload, version)
	default:
		p.Kind = Other
	}
}

// etherPayload skips the Ethernet header and at most two VLAN tags.
func etherPayload(b []byte) (payload []byte, etherType uint16, ok bool) {
	if len(b) < EthernetLen {
		return nil, 0, false
	}
	etherType, b = binary.BigEndian.Uint16(b[12:]), b[EthernetLen:]
	for range 2 {
		if etherType != EtherVLAN && etherType != EtherQinQ {
			break
		}
		if len(b) < 4 {
			return nil, 0, false
		}
		etherType, b = binary.BigEndian.Uint16(b[2:]), b[4:]
	}
	return b, etherType, true
}

// header is an IP header and what follows it.
type header struct {
	src, dst netip.Addr
	ttl      uint8
	proto    uint8
	payload  []byte // cut at the IP header's length, if that many bytes are there
}

// ip reads the IP header of the expected version. Its Kind is Segment when an
// upper header follows, whichever it is.
func ip(b []byte, version byte) (header, Kind) {
	if len(b) == 0 || b[0]>>4 != version {
		return header{}, Malformed
	}
	switch version {
	case 4:
		return ip4(b)
	case 6:
		return ip6(b)
	}
	return header{}, Malformed
}

func ip4(b []byte) (header, Kind) {
	if len(b) < IPv4Len {
		return header{}, Malformed
	}
	headerLen := int(b[0]&15) * 4
	total := int(binary.BigEndian.Uint16(b[2:]))
	if headerLen < IPv4Len || headerLen > len(b) || total < headerLen {
		return header{}, Malformed
	}
	if binary.BigEndian.Uint16(b[6:])&0x1fff != 0 {
		return header{}, Other // not the first fragment: no ports here
	}
	return header{
		src:     netip.AddrFrom4([4]byte(b[12:16])),
		dst:     netip.AddrFrom4([4]byte(b[16:20])),
		ttl:     b[8],
		proto:   b[9],
		payload: b[headerLen:min(total, len(b))],
	}, Segment
}

// maxExtensions bounds the chain of IPv6 extension headers; RFC 8200 section 4.1
// recommends each at most once, which makes seven.
const maxExtensions = 8

func ip6(b []byte) (header, Kind) {
	if len(b) < IPv6Len {
		return header{}, Malformed
	}
	h := header{
		src: netip.AddrFrom16([16]byte(b[8:24])),
		dst: netip.AddrFrom16([16]byte(b[24:40])),
		ttl: b[7],
	}
	next := b[6]
	total := IPv6Len + int(binary.BigEndian.Uint16(b[4:]))
	b = b[IPv6Len:min(total, len(b))]
	for range maxExtensions {
		var size int
		switch next {
		case 0, 43, 60: // hop-by-hop, routing, destination options: RFC 8200
			if len(b) < 8 {
				return header{}, Malformed
			}
			size = int(b[1])*8 + 8
		case 51: // authentication: RFC 4302 section 2.2, in 4-byte units
			if len(b) < 8 {
				return header{}, Malformed
			}
			size = int(b[1])*4 + 8
		case 44: // fragment
			if len(b) < 8 {
				return header{}, Malformed
			}
			if binary.BigEndian.Uint16(b[2:])&^7 != 0 {
				return header{}, Other
			}
			size = 8
		default:
			h.proto, h.payload = next, b
			return h, Segment
		}
		if size > len(b) {
			return header{}, Malformed
		}
		next, b = b[0], b[size:]
	}
	return header{}, Other
}

// segment reads a whole TCP header.
func (t *TCP) segment(b []byte) Kind {
	if len(b) < TCPLen {
		return Malformed
	}
	headerLen := int(b[12]>>4) * 4
	if headerLen < TCPLen || headerLen > len(b) {
		return Malformed
	}
	t.quoted(b)
	t.Ack = binary.BigEndian.Uint32(b[8:])
	t.Flags = b[13]
	t.Window = binary.BigEndian.Uint16(b[14:])
	t.Options = headerLen > TCPLen
	return Segment
}

// quoted reads the first eight bytes of a TCP header, which is what RFC 792
// promises of the packet that caused an error.
func (t *TCP) quoted(b []byte) {
	t.SrcPort = binary.BigEndian.Uint16(b)
	t.DstPort = binary.BigEndian.Uint16(b[2:])
	t.Seq = binary.BigEndian.Uint32(b[4:])
}

// ICMP types that report the fate of a probe.
const (
	icmp4Unreachable  = 3
	icmp4TimeExceeded = 11
	icmp6Unreachable  = 1
	icmp6TimeExceeded = 3
	icmp6Parameter    = 4
)

func (p *Packet) icmp(b []byte, version byte) Kind {
	if len(b) < 8 {
		return Malformed
	}
	p.ICMPType, p.ICMPCode = b[0], b[1]
	if version == 4 {
		if p.ICMPType != icmp4Unreachable && p.ICMPType != icmp4TimeExceeded {
			return Other
		}
	} else if p.ICMPType != icmp6Unreachable && p.ICMPType != icmp6TimeExceeded && p.ICMPType != icmp6Parameter {
		return Other
	}
	// The quote's own length field speaks of the whole probe; the bytes are
	// what is there.
	h, kind := ip(b[8:], version)
	if kind != Segment {
		return kind
	}
	if h.proto != ProtoTCP {
		return Other
	}
	if len(h.payload) < 8 {
		return Malformed
	}
	p.QuoteSrc, p.QuoteDst = h.src, h.dst
	p.TCP = TCP{}
	p.TCP.quoted(h.payload)
	return ICMPError
}
