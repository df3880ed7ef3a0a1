package twin

import (
	"encoding/binary"
	"net/netip"

	"synoptic/bpf/watch"
)

// Class is what a frame is counted as; each has its counter in watch.Counters.
type Class uint8

const (
	Malformed Class = iota // a header is cut short or contradicts itself
	NotIP                  // another EtherType, or a third VLAN tag
	TooDeep                // more than 8 IPv6 extension headers
	TCP
	UDP
	ICMP     // ICMP over IPv4, ICMPv6 over IPv6
	Other    // another protocol over IP
	Fragment // a later fragment, of any protocol
	Tiny     // the first fragment of a TCP segment, ending before the flags
)

// Frame is the outcome of Decode. It holds no reference to the decoded bytes
// and is meant to be reused.
type Frame struct {
	Class Class

	// The rest is valid iff Class is none of Malformed, NotIP and TooDeep, and
	// zero otherwise.
	watch.Packet
	TTL uint8 // or hop limit

	Flags     uint8 // the TCP header's byte 13, as it came; valid iff Class is TCP
	HeaderLen uint8 // of the TCP header, in bytes, by its data offset; valid iff Class is TCP
}

// Bits of Frame.Flags (RFC 9293 section 3.1).
const (
	FIN uint8 = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG
)

// flagSets masks the flags that are told apart; ECE and CWR are not.
const flagSets = 0x3f

const (
	ethernetLen = 14
	tagLen      = 4
	maxTags     = 2
	ip4Len      = 20
	ip6Len      = 40
	tcpLen      = 20
	tcpFlagsEnd = 14 // bytes of a TCP header up to and with its flags
	udpLen      = 8
	portsLen    = 4 // of TCP, UDP and SCTP: the two ports come first
)

const (
	etherIPv4 = 0x0800
	etherIPv6 = 0x86dd

	etherVLAN  = 0x8100 // IEEE 802.1Q
	etherQinQ  = 0x88a8 // IEEE 802.1ad, the outer tag
	etherQinQ9 = 0x9100 // the outer tag before that standard
)

const (
	protoICMP  = 1
	protoTCP   = 6
	protoUDP   = 17
	protoICMP6 = 58
	protoSCTP  = 132
)

// Decode reads one Ethernet frame into p. The frame may be cut at any length:
// what is not there makes it Malformed only where it is needed.
func Decode(frame []byte, p *Frame) {
	*p = Frame{}
	switch class := p.ethernet(frame); class {
	case Malformed, NotIP, TooDeep:
		*p = Frame{Class: class}
	default:
		p.Class = class
	}
}

func (p *Frame) ethernet(b []byte) Class {
	if len(b) < ethernetLen {
		return Malformed
	}
	etherType, b := binary.BigEndian.Uint16(b[12:]), b[ethernetLen:]
	for range maxTags {
		if etherType != etherVLAN && etherType != etherQinQ && etherType != etherQinQ9 {
			break
		}
		if len(b) < tagLen {
			return Malformed
		}
		etherType, b = binary.BigEndian.Uint16(b[2:]), b[tagLen:]
	}
	switch etherType {
	case etherIPv4:
		return p.ip4(b)
	case etherIPv6:
		return p.ip6(b)
	}
	return NotIP
}

// piece says which part of a datagram a packet carries.
type piece uint8

const (
	whole piece = iota
	first       // offset 0, and more to come
	later
)

// ip4 reads RFC 791 section 3.1.
func (p *Frame) ip4(b []byte) Class {
	if len(b) < ip4Len || b[0]>>4 != 4 {
		return Malformed
	}
	header, total := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
	if total == 0 { // left to the network card to fill in, or too long for the field
		total = len(b)
	}
	if header < ip4Len || total < header || header > len(b) {
		return Malformed
	}
	p.Source = netip.AddrFrom4([4]byte(b[12:]))
	p.Destination = netip.AddrFrom4([4]byte(b[16:]))
	p.TTL, p.Protocol = b[8], b[9]
	part := whole
	switch fragment := binary.BigEndian.Uint16(b[6:]); {
	case fragment&0x1fff != 0:
		part = later
	case fragment&0x2000 != 0:
		part = first
	}
	return p.payload(b[header:], total-header, part, protoICMP)
}

// payload reads what follows the IP headers: b, up to the end of the frame, of
// which length bytes are this packet's.
func (p *Frame) payload(b []byte, length int, part piece, icmp uint8) Class {
	b = b[:min(length, len(b))]
	switch {
	case part == later:
		return Fragment
	case p.Protocol == protoTCP:
		return p.tcp(b, length, part)
	case p.Protocol == protoUDP:
		if length < udpLen || len(b) < portsLen {
			return Malformed
		}
		p.ports(b)
		return UDP
	case p.Protocol == protoSCTP:
		if len(b) >= portsLen {
			p.ports(b)
		}
		return Other
	case p.Protocol == icmp:
		return ICMP
	}
	return Other
}

// tcp reads as much of a TCP header as decides. A fragment may end inside the
// header: RFC 1858 section 3 tells what that is good for.
func (p *Frame) tcp(b []byte, length int, part piece) Class {
	if part == first && length < tcpFlagsEnd {
		if len(b) < portsLen {
			return Malformed
		}
		p.ports(b)
		return Tiny
	}
	if len(b) < tcpFlagsEnd {
		return Malformed
	}
	header := b[12] >> 4 * 4 // too long or too short for a whole packet of less than 20 bytes
	if header < tcpLen || part == whole && int(header) > length {
		return Malformed
	}
	p.ports(b)
	p.Flags, p.HeaderLen = b[13], header
	return TCP
}

func (p *Frame) ports(b []byte) {
	p.HasPorts = true
	p.SourcePort = binary.BigEndian.Uint16(b)
	p.DestinationPort = binary.BigEndian.Uint16(b[2:])
}
