package wire

import (
	"encoding/binary"
	"net/netip"
)

// EtherARP is the Ethernet type of ARP, RFC 826.
const EtherARP = 0x0806

// Sizes in bytes of the questions for a link address.
const (
	ARPRequestLen   = EthernetLen + 28
	SolicitationLen = EthernetLen + IPv6Len + 32
)

// ARP operations, RFC 826, and Neighbor Discovery messages and options, RFC
// 4861 sections 4.3, 4.4 and 4.6.1.
const (
	arpRequest   = 1
	ARPReply     = 2
	solicitation = 135
	// Advertisement is the ICMPv6 type of a neighbour advertisement.
	Advertisement     = 136
	optionSourceLink  = 1
	optionTargetLink  = 2
	onlyFromTheLink   = 255 // a hop limit that no router passes on: RFC 4861 section 7.1
	arpEthernetIPv4   = 0x0001_0800_0604
	arpHeader         = 8 // hardware and protocol, their lengths, operation
	solicitedNodeLast = 3 // bytes of the target in its solicited-node address
)

// PutARPRequest writes a frame that asks the link for target's link address,
// and returns its length; dst has room for ARPRequestLen bytes. An invalid
// sender makes it a probe, which claims no address (RFC 5227 section 2.1.1).
func PutARPRequest(dst []byte, mac [6]byte, sender, target netip.Addr) int {
	b := dst[:ARPRequestLen]
	clear(b)
	copy(b, "\xff\xff\xff\xff\xff\xff")
	copy(b[6:], mac[:])
	binary.BigEndian.PutUint16(b[12:], EtherARP)
	arp := b[EthernetLen:]
	binary.BigEndian.PutUint64(arp, arpEthernetIPv4<<16|arpRequest)
	copy(arp[8:], mac[:])
	if sender.Is4() {
		a := sender.As4()
		copy(arp[14:], a[:])
	}
	a := target.As4()
	copy(arp[24:], a[:])
	return ARPRequestLen
}

// PutSolicitation writes a frame that asks target's solicited-node group for
// its link address (RFC 4861 section 4.3), and returns its length; dst has room
// for SolicitationLen bytes.
func PutSolicitation(dst []byte, mac [6]byte, sender, target netip.Addr) int {
	b := dst[:SolicitationLen]
	clear(b)
	from, to := sender.As16(), target.As16()
	last := to[16-solicitedNodeLast:]
	copy(b, "\x33\x33\xff") // RFC 2464 section 7
	copy(b[3:], last)
	copy(b[6:], mac[:])
	binary.BigEndian.PutUint16(b[12:], EtherIPv6)
	ip, icmp := b[EthernetLen:EthernetLen+IPv6Len], b[EthernetLen+IPv6Len:]
	ip[0] = 6 << 4
	binary.BigEndian.PutUint16(ip[4:], uint16(len(icmp)))
	ip[6], ip[7] = ProtoICMP6, onlyFromTheLink
	copy(ip[8:], from[:])
	copy(ip[24:], "\xff\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\xff") // RFC 4291 section 2.7.1
	copy(ip[24+13:], last)
	icmp[0] = solicitation
	copy(icmp[8:], to[:])
	icmp[24], icmp[25] = optionSourceLink, 1
	copy(icmp[26:], mac[:])
	sum := Sum(Sum(ProtoICMP6+uint32(len(icmp)), ip[8:]), icmp)
	binary.BigEndian.PutUint16(icmp[2:], Checksum(sum))
	return SolicitationLen
}

// Neighbour is an answer to a question for a link address.
type Neighbour struct {
	Addr netip.Addr // who has
	MAC  [6]byte    // this link address
	To   netip.Addr // and told so to whom
}

// Decode reads an ARP reply or a solicited neighbour advertisement from an
// Ethernet frame, and reports whether it is one.
func (n *Neighbour) Decode(b []byte) bool {
	if len(b) < EthernetLen {
		return false
	}
	n.MAC = [6]byte(b[6:12])
	payload, etherType, ok := etherPayload(b)
	switch {
	case !ok:
		return false
	case etherType == EtherARP:
		return n.reply(payload)
	case etherType == EtherIPv6:
		return n.advertisement(payload)
	}
	return false
}

func (n *Neighbour) reply(b []byte) bool {
	if len(b) < ARPRequestLen-EthernetLen || binary.BigEndian.Uint64(b) != arpEthernetIPv4<<16|ARPReply {
		return false
	}
	n.MAC = [6]byte(b[8:14])
	n.Addr, n.To = netip.AddrFrom4([4]byte(b[14:18])), netip.AddrFrom4([4]byte(b[24:28]))
	return true
}

func (n *Neighbour) advertisement(b []byte) bool {
	const header = 24 // of the advertisement, before its options
	if len(b) < IPv6Len+header || b[6] != ProtoICMP6 || b[7] != onlyFromTheLink {
		return false
	}
	n.To = netip.AddrFrom16([16]byte(b[24:40]))
	b = b[IPv6Len:min(len(b), IPv6Len+int(binary.BigEndian.Uint16(b[4:])))]
	const solicited = 0x40
	if len(b) < header || b[0] != Advertisement || b[1] != 0 || b[4]&solicited == 0 {
		return false
	}
	n.Addr = netip.AddrFrom16([16]byte(b[8:24]))
	for options := b[header:]; len(options) >= 8; {
		size := int(options[1]) * 8
		if size == 0 || size > len(options) {
			return false
		}
		if options[0] == optionTargetLink {
			n.MAC = [6]byte(options[2:8])
			break // without the option, the frame's sender is meant: section 4.4
		}
		options = options[size:]
	}
	return true
}
