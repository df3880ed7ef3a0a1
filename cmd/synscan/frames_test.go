package main

import (
	"encoding/binary"
	"net/netip"
)

// seen is what the networks' tests want to know of a frame on the wire.
type seen struct {
	src, dst netip.Addr // of an IP packet
	tcp      bool
	target   netip.Addr // of an ARP request or a neighbour solicitation
	claims   netip.Addr // the sender's address, by the same
}

// parseFrame takes an Ethernet frame apart, ok if it is one of interest.
func parseFrame(f []byte) (s seen, ok bool) {
	if len(f) < 14 {
		return s, false
	}
	p := f[14:]
	switch binary.BigEndian.Uint16(f[12:]) {
	case 0x0806: // ARP, RFC 826
		if len(p) < 28 || binary.BigEndian.Uint16(p[6:]) != 1 {
			return s, false
		}
		s.claims, s.target = netip.AddrFrom4([4]byte(p[14:18])), netip.AddrFrom4([4]byte(p[24:28]))
	case 0x0800:
		if len(p) < 20 {
			return s, false
		}
		s.src, s.dst, s.tcp = netip.AddrFrom4([4]byte(p[12:16])), netip.AddrFrom4([4]byte(p[16:20])), p[9] == 6
	case 0x86dd:
		if len(p) < 40 {
			return s, false
		}
		s.src, s.dst, s.tcp = netip.AddrFrom16([16]byte(p[8:24])), netip.AddrFrom16([16]byte(p[24:40])), p[6] == 6
		if p[6] == 58 && len(p) >= 64 && p[40] == 135 { // a neighbour solicitation, RFC 4861 4.3
			s.claims, s.target = s.src, netip.AddrFrom16([16]byte(p[48:64]))
		}
	default:
		return s, false
	}
	return s, true
}
