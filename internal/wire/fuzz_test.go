package wire

import (
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// What Decode calls a segment, gopacket reads with the same addresses, ports,
// numbers and flags; and what gopacket finds to be a whole TCP header behind
// plain Ethernet and IP, Decode finds too.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		ether4 + ip4tcp + synAck, ether6 + ip6tcp + synAck,
		`020000000001 020000000002 8100 0002 0800` + ip4tcp + synAck,
		ether6 + `60000000 0020 00 3f fd000000000000000000000000000001 fd000000000000000000000000000002 06 00 010400000000` + synAck,
	} {
		f.Add(raw(seed))
	}
	// A total length of 0, which gopacket takes for segmentation offload and
	// guesses; no packet that answers a probe has it.
	f.Add(raw(ether4 + `45 00 0000 0000 4000 40 06 0000 0a000001 ac100001` + synAck))
	// A routing header of a type that gopacket does not read, before TCP.
	f.Add(raw(ether6 + `60000000 0030 2b 3f fd000000000000000000000000000001 fd000000000000000000000000000002 06 00 2a0a00000000` + synAck))
	f.Fuzz(func(t *testing.T, data []byte) {
		var p Packet
		p.Decode(data, Ethernet)
		oracle := gopacket.NewPacket(data, layers.LayerTypeEthernet, gopacket.DecodeOptions{NoCopy: true})
		tcp, _ := oracle.Layer(layers.LayerTypeTCP).(*layers.TCP)
		if p.Kind == Segment {
			if tcp == nil {
				header, judged := behindIP(oracle)
				if !judged {
					return
				}
				if tcp = header; tcp == nil {
					t.Fatalf("Decode finds a segment where there is none: %+v", p)
				}
			}
			compareTCP(t, &p.TCP, tcp)
			compareAddrs(t, &p, oracle)
			return
		}
		if tcp != nil && plain(oracle, len(data)) {
			t.Fatalf("Decode misses a segment (kind %d): %v", p.Kind, oracle)
		}
	})
}

// FuzzICMPQuote feeds the bytes of an ICMP error's quote.
func FuzzICMPQuote(f *testing.F) {
	f.Add(false, byte(3), byte(3), raw(`45 00 002c 0000 4000 3f 06 0000 ac100001 0a000001`+probe8))
	f.Add(true, byte(1), byte(4), raw(`60000000 0018 06 3f fd000000000000000000000000000002 fd000000000000000000000000000001`+probe8))
	f.Add(false, byte(11), byte(0), raw(`46 00 0030 0000 4000 3f 06 0000 ac100001 0a000001 01010100`+probe8))
	f.Fuzz(func(t *testing.T, ipv6 bool, kind, code byte, quote []byte) {
		if len(quote) > 1400 {
			return
		}
		message := append([]byte{kind, code, 0, 0, 0, 0, 0, 0}, quote...)
		var data []byte
		if ipv6 {
			data = raw(ether6 + `60000000 0000 3a 40 fd0000000000000000000000000000fe fd000000000000000000000000000002`)
			data[18], data[19] = byte(len(message)>>8), byte(len(message))
		} else {
			data = raw(ether4 + `45 00 0000 0000 0000 40 01 0000 0a0000fe ac100001`)
			total := IPv4Len + len(message)
			data[16], data[17] = byte(total>>8), byte(total)
		}
		var p Packet
		p.Decode(append(data, message...), Ethernet)
		if p.Kind != ICMPError {
			return
		}
		// The quote, decoded by gopacket as the packet that it is.
		first := layers.LayerTypeIPv4
		if ipv6 {
			first = layers.LayerTypeIPv6
		}
		oracle := gopacket.NewPacket(quote, first, gopacket.DecodeOptions{NoCopy: true, Lazy: true})
		src, dst, ok := addrs(oracle)
		if !ok {
			t.Fatalf("Decode finds a quote that gopacket does not: %+v", p)
		}
		if p.QuoteSrc != src || p.QuoteDst != dst {
			t.Fatalf("quote of %v -> %v, gopacket says %v -> %v", p.QuoteSrc, p.QuoteDst, src, dst)
		}
		if p.ICMPType != kind || p.ICMPCode != code {
			t.Fatalf("type %d code %d, want %d %d", p.ICMPType, p.ICMPCode, kind, code)
		}
		var header *layers.TCP
		if header = tcpAfter(quote, ipv6); header == nil {
			return // cut behind its first eight bytes, or behind extension headers
		}
		if p.TCP.SrcPort != uint16(header.SrcPort) || p.TCP.DstPort != uint16(header.DstPort) || p.TCP.Seq != header.Seq {
			t.Fatalf("quote %+v, gopacket says %v", p.TCP, header)
		}
	})
}

// tcpAfter decodes the TCP header right behind a quoted IP header without
// extension headers, by gopacket, after filling up what the quote cut off.
func tcpAfter(quote []byte, ipv6 bool) *layers.TCP {
	offset := IPv6Len
	if !ipv6 {
		offset = int(quote[0]&15) * 4
	} else if quote[6] != ProtoTCP {
		return nil
	}
	header := make([]byte, TCPLen)
	copy(header, quote[offset:])
	header[12] = 5 << 4
	var tcp layers.TCP
	if tcp.DecodeFromBytes(header, gopacket.NilDecodeFeedback) != nil {
		return nil
	}
	return &tcp
}

// behindIP decodes the first 20 bytes behind the last IP header or extension
// header that gopacket could read, where it gave up on a TCP header's options,
// which Decode never reads. It does not judge what follows an extension header
// that gopacket cannot read.
func behindIP(oracle gopacket.Packet) (header *layers.TCP, judged bool) {
	var next layers.IPProtocol
	var payload []byte
	for _, layer := range oracle.Layers() {
		switch l := layer.(type) {
		case *layers.IPv4:
			next, payload = l.Protocol, l.Payload
		case *layers.IPv6:
			next, payload = l.NextHeader, l.Payload
		case *layers.IPv6HopByHop:
			next, payload = l.NextHeader, l.Payload
		case *layers.IPv6Routing:
			next, payload = l.NextHeader, l.Payload
		case *layers.IPv6Destination:
			next, payload = l.NextHeader, l.Payload
		case *layers.IPv6Fragment:
			next, payload = l.NextHeader, l.Payload
		case *layers.IPSecAH:
			next, payload = l.NextHeader, l.Payload
		}
	}
	switch next {
	case layers.IPProtocolIPv6HopByHop, layers.IPProtocolIPv6Routing, layers.IPProtocolIPv6Destination,
		layers.IPProtocolIPv6Fragment, layers.IPProtocolAH:
		return nil, false
	case layers.IPProtocolTCP:
	default:
		return nil, true
	}
	if len(payload) < TCPLen {
		return nil, true
	}
	b := append([]byte(nil), payload[:TCPLen]...)
	b[12] = 5 << 4
	var tcp layers.TCP
	if tcp.DecodeFromBytes(b, gopacket.NilDecodeFeedback) != nil {
		return nil, true
	}
	return &tcp, true
}

func compareTCP(t *testing.T, got *TCP, want *layers.TCP) {
	t.Helper()
	var flags uint8
	for i, set := range []bool{want.FIN, want.SYN, want.RST, want.PSH, want.ACK, want.URG, want.ECE, want.CWR} {
		if set {
			flags |= 1 << i
		}
	}
	if got.SrcPort != uint16(want.SrcPort) || got.DstPort != uint16(want.DstPort) || got.Seq != want.Seq || got.Ack != want.Ack ||
		got.Flags != flags || got.Window != want.Window {
		t.Fatalf("%+v, gopacket says %+v", got, want)
	}
}

func compareAddrs(t *testing.T, p *Packet, oracle gopacket.Packet) {
	t.Helper()
	if src, dst, ok := addrs(oracle); !ok || p.Src != src || p.Dst != dst {
		t.Fatalf("%v -> %v, gopacket says %v -> %v", p.Src, p.Dst, src, dst)
	}
}

// addrs returns the addresses of the outermost IP header.
func addrs(oracle gopacket.Packet) (src, dst netip.Addr, ok bool) {
	for _, layer := range oracle.Layers() {
		switch ip := layer.(type) {
		case *layers.IPv4:
			src, _ = netip.AddrFromSlice(ip.SrcIP.To4())
			dst, _ = netip.AddrFromSlice(ip.DstIP.To4())
			return src, dst, true
		case *layers.IPv6:
			src, _ = netip.AddrFromSlice(ip.SrcIP)
			dst, _ = netip.AddrFromSlice(ip.DstIP)
			return src, dst, true
		}
	}
	return src, dst, false
}

// plain tells whether gopacket's reading is one that Decode promises to share:
// Ethernet, at most two VLAN tags, one IP header, TCP, and no tunnel between.
func plain(oracle gopacket.Packet, size int) bool {
	tags, ips := 0, 0
	for _, layer := range oracle.Layers() {
		switch l := layer.(type) {
		case *layers.Ethernet:
			if l.EthernetType < 0x0600 || l.Length != 0 {
				return false
			}
		case *layers.Dot1Q:
			tags++
		case *layers.IPv4:
			ips++
			// Lengths that gopacket reads over.
			if l.Version != 4 || l.Contents[2]|l.Contents[3] == 0 || int(l.Length) < int(l.IHL)*4+TCPLen || l.FragOffset != 0 {
				return false
			}
		case *layers.IPv6:
			ips++
			if l.Version != 6 || int(l.Length) < TCPLen {
				return false
			}
		case *layers.TCP:
			return tags <= 2 && ips == 1 && oracle.ErrorLayer() == nil && int(l.DataOffset)*4 <= len(l.Contents)
		default:
			return false
		}
	}
	return false
}
