package wire

import (
	"encoding/hex"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
)

// slowChecksum is RFC 1071 as it is written: 16 bits at a time, end-around
// carry after every addition.
func slowChecksum(b []byte) uint16 {
	var sum uint16
	for i := 0; i < len(b); i += 2 {
		word := uint16(b[i]) << 8
		if i+1 < len(b) {
			word |= uint16(b[i+1])
		}
		next := sum + word
		if next < sum {
			next++
		}
		sum = next
	}
	return ^sum
}

func TestChecksumEqualsTheSlowOneForEveryLength(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for n := range 1501 {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		if got, want := Checksum(Sum(0, b)), slowChecksum(b); got != want {
			t.Fatalf("length %d: %04x, want %04x", n, got, want)
		}
	}
	if got := Checksum(Sum(0, make([]byte, 65535))); got != 0xffff {
		t.Errorf("of zeros: %04x", got)
	}
	ones := make([]byte, 65535)
	for i := range ones {
		ones[i] = 0xff
	}
	if got, want := Checksum(Sum(0, ones)), slowChecksum(ones); got != want {
		t.Errorf("of ones: %04x, want %04x", got, want)
	}
}

// raw turns annotated hex into bytes: everything after # on a line is comment.
func raw(annotated string) []byte {
	var digits strings.Builder
	for line := range strings.Lines(annotated) {
		line, _, _ = strings.Cut(line, "#")
		digits.WriteString(strings.Join(strings.Fields(line), ""))
	}
	b, err := hex.DecodeString(digits.String())
	if err != nil {
		panic(err)
	}
	return b
}

const (
	ether4 = `
		020000000001 020000000002 0800 # Ethernet, IPv4
`
	ether6 = `
		020000000001 020000000002 86dd # Ethernet, IPv6
`
	ip4tcp = `
		45 00 002c 0000 4000 40 06 0000 # IPv4, 44 bytes, DF, TTL 64, TCP
		0a000001 ac100001               # 10.0.0.1 -> 172.16.0.1
`
	ip6tcp = `
		60000000 0018 06 3f              # IPv6, 24 bytes, TCP, hop limit 63
		fd000000000000000000000000000001 # fd00::1
		fd000000000000000000000000000002 # fd00::2
`
	synAck = `
		0050 ee48 11223344 55667788 # 80 -> 61000, seq, ack
		60 12 7210 0000 0000        # 24 bytes, SYN ACK, window 29200
		020405b4                    # MSS 1460
`
	probe8 = `
		ee48 0050 deadbeef # 61000 -> 80, the cookie
`
)

func TestDecode(t *testing.T) {
	segment := TCP{SrcPort: 80, DstPort: 61000, Seq: 0x11223344, Ack: 0x55667788, Window: 29200, Flags: SYN | ACK, Options: true}
	quote := TCP{SrcPort: 61000, DstPort: 80, Seq: 0xdeadbeef}
	addr := netip.MustParseAddr
	for _, tt := range []struct {
		fact  string
		bytes string
		link  Link
		want  Packet
	}{
		{"syn_ack_over_ipv4", ether4 + ip4tcp + synAck, Ethernet,
			Packet{Kind: Segment, Src: addr("10.0.0.1"), Dst: addr("172.16.0.1"), TTL: 64, TCP: segment}},
		{"syn_ack_over_ipv6", ether6 + ip6tcp + synAck, Ethernet,
			Packet{Kind: Segment, Src: addr("fd00::1"), Dst: addr("fd00::2"), TTL: 63, TCP: segment}},
		{"no_link_header", ip4tcp + synAck, Raw,
			Packet{Kind: Segment, Src: addr("10.0.0.1"), Dst: addr("172.16.0.1"), TTL: 64, TCP: segment}},
		{"trailing_ethernet_padding_is_not_payload", ether4 + ip4tcp + synAck + "0000000000000000", Ethernet,
			Packet{Kind: Segment, Src: addr("10.0.0.1"), Dst: addr("172.16.0.1"), TTL: 64, TCP: segment}},
		{"two_vlan_tags", `020000000001 020000000002 88a8 0001 8100 0002 0800` + ip4tcp + synAck, Ethernet,
			Packet{Kind: Segment, Src: addr("10.0.0.1"), Dst: addr("172.16.0.1"), TTL: 64, TCP: segment}},
		{"three_vlan_tags_are_other", `020000000001 020000000002 88a8 0001 8100 0002 8100 0003 0800` + ip4tcp + synAck, Ethernet,
			Packet{Kind: Other}},
		{"ip_options_are_skipped", ether4 + `
			46 00 0030 0000 4000 40 06 0000 0a000001 ac100001 01010100` + synAck, Ethernet,
			Packet{Kind: Segment, Src: addr("10.0.0.1"), Dst: addr("172.16.0.1"), TTL: 64, TCP: segment}},
		{"extension_headers_are_skipped", ether6 + `
			60000000 0030 00 3f fd000000000000000000000000000001 fd000000000000000000000000000002
			3c 00 010400000000           # hop-by-hop, 8 bytes, then destination options
			33 00 010400000000           # destination options, then authentication
			06 00 0000 00000000          # AH of 8 bytes, then TCP` + synAck, Ethernet,
			Packet{Kind: Segment, Src: addr("fd00::1"), Dst: addr("fd00::2"), TTL: 63, TCP: segment}},
		{"later_fragment_is_other", ether4 + `
			45 00 002c 0000 0001 40 06 0000 0a000001 ac100001` + synAck, Ethernet, Packet{Kind: Other}},
		{"later_ipv6_fragment_is_other", ether6 + `
			60000000 0020 2c 3f fd000000000000000000000000000001 fd000000000000000000000000000002
			06 00 0008 00000001` + synAck, Ethernet, Packet{Kind: Other}},
		{"port_unreachable_quotes_the_probe", ether4 + `
			45 00 0038 0000 0000 40 01 0000 0a0000fe ac100001 # ICMP from 10.0.0.254
			03 03 0000 00000000
			45 00 002c 0000 4000 3f 06 0000 ac100001 0a000001` + probe8, Ethernet,
			Packet{Kind: ICMPError, Src: addr("10.0.0.254"), Dst: addr("172.16.0.1"), TTL: 64, TCP: quote,
				ICMPType: 3, ICMPCode: 3, QuoteSrc: addr("172.16.0.1"), QuoteDst: addr("10.0.0.1")}},
		{"icmpv6_prohibited_quotes_the_probe", ether6 + `
			60000000 0038 3a 40 fd0000000000000000000000000000fe fd000000000000000000000000000002
			01 01 0000 00000000
			60000000 0018 06 3f fd000000000000000000000000000002 fd000000000000000000000000000001` + probe8, Ethernet,
			Packet{Kind: ICMPError, Src: addr("fd00::fe"), Dst: addr("fd00::2"), TTL: 64, TCP: quote,
				ICMPType: 1, ICMPCode: 1, QuoteSrc: addr("fd00::2"), QuoteDst: addr("fd00::1")}},
		{"quote_without_sequence_number_is_malformed", ether4 + `
			45 00 0034 0000 0000 40 01 0000 0a0000fe ac100001 03 03 0000 00000000
			45 00 002c 0000 4000 3f 06 0000 ac100001 0a000001 ee480050`, Ethernet, Packet{Kind: Malformed}},
		{"quote_of_udp_is_other", ether4 + `
			45 00 0038 0000 0000 40 01 0000 0a0000fe ac100001 03 03 0000 00000000
			45 00 002c 0000 4000 3f 11 0000 ac100001 0a000001` + probe8, Ethernet, Packet{Kind: Other}},
		{"echo_reply_is_other", ether4 + `
			45 00 0024 0000 0000 40 01 0000 0a0000fe ac100001 00 00 0000 00000000 0000000000000000`, Ethernet, Packet{Kind: Other}},
		{"icmpv4_inside_ipv6_is_other", ether6 + `
			60000000 0008 01 40 fd0000000000000000000000000000fe fd000000000000000000000000000002 03 03 0000 00000000`,
			Ethernet, Packet{Kind: Other}},
		{"arp_is_other", `ffffffffffff 020000000002 0806 0001`, Ethernet, Packet{Kind: Other}},
		{"wrong_version_is_malformed", ether4 + `
			65 00 002c 0000 4000 40 06 0000 0a000001 ac100001` + synAck, Ethernet, Packet{Kind: Malformed}},
		{"header_longer_than_packet_is_malformed", ether4 + `
			4f 00 002c 0000 4000 40 06 0000 0a000001 ac100001` + synAck, Ethernet, Packet{Kind: Malformed}},
		{"tcp_header_longer_than_segment_is_malformed", ether4 + ip4tcp + `
			0050 ee48 11223344 55667788 f0 12 7210 0000 0000 020405b4`, Ethernet, Packet{Kind: Malformed}},
		{"tcp_offset_below_five_is_malformed", ether4 + ip4tcp + `
			0050 ee48 11223344 55667788 40 12 7210 0000 0000 020405b4`, Ethernet, Packet{Kind: Malformed}},
		{"nothing_is_malformed", ``, Ethernet, Packet{Kind: Malformed}},
		{"nothing_without_link_header_is_malformed", ``, Raw, Packet{Kind: Malformed}},
	} {
		t.Run(tt.fact, func(t *testing.T) {
			var got Packet
			got.Decode(raw(tt.bytes), tt.link)
			if got.Kind != tt.want.Kind {
				t.Fatalf("kind %d, want %d", got.Kind, tt.want.Kind)
			}
			if got.Kind == Segment {
				got.ICMPType, got.ICMPCode = 0, 0 // not valid
			}
			if (got.Kind == Segment || got.Kind == ICMPError) && got != tt.want {
				t.Errorf("%+v\nwant %+v", got, tt.want)
			}
		})
	}
}

// Cut anywhere, an answer is malformed, never read beyond its end.
func TestEveryTruncationIsMalformed(t *testing.T) {
	whole := raw(ether4 + ip4tcp + synAck)
	for n := range len(whole) {
		cut := append(make([]byte, 0, n), whole[:n]...)
		var p Packet
		if p.Decode(cut, Ethernet); p.Kind != Malformed {
			t.Errorf("%d of %d bytes: kind %d", n, len(whole), p.Kind)
		}
	}
}

func TestNothingAllocates(t *testing.T) {
	for _, annotated := range []string{ether4 + ip4tcp + synAck, ether6 + ip6tcp + synAck} {
		b := raw(annotated)
		var p Packet
		if n := testing.AllocsPerRun(1000, func() { p.Decode(b, Ethernet) }); n != 0 {
			t.Errorf("%v allocations per packet", n)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	for name, annotated := range map[string]string{"family=ipv4": ether4 + ip4tcp + synAck, "family=ipv6": ether6 + ip6tcp + synAck} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			data := raw(annotated)
			var p Packet
			for b.Loop() {
				p.Decode(data, Ethernet)
			}
		})
	}
}
