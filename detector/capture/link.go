package capture

import (
	"encoding/binary"
	"fmt"
)

// Link types that become Ethernet: LINKTYPE_* of tcpdump.org/linktypes.html.
// Raw IP has had three numbers.
const (
	linkNull      = 0
	linkEthernet  = 1
	linkPPP       = 9
	linkRaw12     = 12
	linkRaw14     = 14
	linkPPPSerial = 50
	linkPPPoE     = 51
	linkRaw       = 101
	linkCiscoHDLC = 104
	linkLoop      = 108
	linkCooked    = 113
	linkIPv4      = 228
	linkIPv6      = 229
	linkCooked2   = 276
)

// EtherTypes that are put in front of packets. The last says that it is
// neither, and is none.
const (
	etherIPv4 = 0x0800
	etherIPv6 = 0x86dd
	etherNone = 0
)

// headroom is what a packet needs in front of it so that an Ethernet header
// fits even where its own link header had no bytes.
const headroom = 14

// known tells whether packets of a link type can be made Ethernet frames.
func known(link uint32) bool {
	switch link {
	case linkNull, linkEthernet, linkPPP, linkRaw12, linkRaw14, linkPPPSerial, linkPPPoE, linkRaw, linkCiscoHDLC,
		linkLoop, linkCooked, linkIPv4, linkIPv6, linkCooked2:
		return true
	}
	return false
}

// ethernet makes the packet at buf[headroom:] an Ethernet frame, in its place:
// its link header, which is read first, is written over.
func ethernet(buf []byte, link uint32) []byte {
	packet := buf[headroom:]
	if link == linkEthernet {
		return packet
	}
	header, etherType, ok := linkHeader(packet, link)
	if !ok {
		return packet[:0]
	}
	frame := buf[header:] // headroom bytes before what header bytes precede
	clear(frame[:12])
	binary.BigEndian.PutUint16(frame[12:], etherType)
	return frame
}

// linkHeader reads the link header of a packet: how long it is, at most
// len(packet), and what comes behind it. It is not ok if it is cut.
func linkHeader(packet []byte, link uint32) (header int, etherType uint16, ok bool) {
	switch link {
	case linkIPv4:
		return 0, etherIPv4, len(packet) > 0
	case linkIPv6:
		return 0, etherIPv6, len(packet) > 0
	case linkRaw, linkRaw12, linkRaw14:
		if len(packet) == 0 {
			return 0, 0, false
		}
		if packet[0]>>4 == 6 {
			return 0, etherIPv6, true
		}
		return 0, etherIPv4, true // a wrong version is for the reader of the IP header to find
	case linkNull, linkLoop:
		return loopback(packet)
	case linkCooked: // the EtherType ends a header of 16 bytes
		return typed(packet, 14, 16)
	case linkCooked2: // and begins one of 20
		return typed(packet, 0, 20)
	case linkCiscoHDLC:
		return typed(packet, 2, 4)
	case linkPPPoE: // six bytes of RFC 2516 section 4, then PPP
		if len(packet) < 6 {
			return 0, 0, false
		}
		header, etherType, ok = ppp(packet[6:])
		return 6 + header, etherType, ok
	case linkPPPSerial:
		if len(packet) > 0 && (packet[0] == 0x0f || packet[0] == 0x8f) { // Cisco's framing, RFC 1547 section 4.3.1
			return typed(packet, 2, 4)
		}
		return ppp(packet)
	case linkPPP:
		return ppp(packet)
	}
	return 0, 0, false
}

// typed reads a header of the given size that has an EtherType at an offset.
func typed(packet []byte, at, size int) (header int, etherType uint16, ok bool) {
	if len(packet) < size {
		return 0, 0, false
	}
	return size, binary.BigEndian.Uint16(packet[at:]), true
}

// loopback reads the address family in front of BSD loopback packets. It is in
// the byte order of the machine that captured (or of the network), and the
// families are small numbers. That of IPv6 is another one on every system.
func loopback(packet []byte) (header int, etherType uint16, ok bool) {
	if len(packet) < 4 {
		return 0, 0, false
	}
	family := binary.LittleEndian.Uint32(packet)
	if family > 0xffff {
		family = binary.BigEndian.Uint32(packet)
	}
	switch family {
	case 2:
		return 4, etherIPv4, true
	case 10, 23, 24, 28, 30: // Linux, Windows, NetBSD and OpenBSD, FreeBSD, macOS
		return 4, etherIPv6, true
	}
	return 4, etherNone, true
}

// ppp reads the header of RFC 1661 section 2, with the address and control
// bytes of RFC 1662 section 3.1 if they are there. A protocol whose first byte
// is odd has been compressed to that byte.
func ppp(packet []byte) (header int, etherType uint16, ok bool) {
	if len(packet) >= 2 && packet[0] == 0xff && packet[1] == 0x03 {
		header = 2
	}
	packet = packet[header:]
	if len(packet) == 0 {
		return 0, 0, false
	}
	protocol := uint16(packet[0])
	header++
	if packet[0]&1 == 0 {
		if len(packet) < 2 {
			return 0, 0, false
		}
		protocol = binary.BigEndian.Uint16(packet)
		header++
	}
	switch protocol {
	case 0x0021:
		return header, etherIPv4, true
	case 0x0057:
		return header, etherIPv6, true
	}
	return header, etherNone, true
}

// linkName is what Stats calls a link type that is passed over.
func linkName(link uint32) string {
	switch link {
	case 105:
		return "IEEE 802.11"
	case 107:
		return "frame relay"
	case 127:
		return "IEEE 802.11 with radiotap"
	case 187, 201:
		return "Bluetooth"
	case 189, 220, 249:
		return "USB"
	case 195, 230:
		return "IEEE 802.15.4"
	case 227:
		return "CAN"
	case 239:
		return "netfilter log"
	case 253:
		return "netlink"
	}
	return fmt.Sprintf("link type %d", link)
}
