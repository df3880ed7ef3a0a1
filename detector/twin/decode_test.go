package twin

import (
	"fmt"
	"net/netip"
	"testing"

	"synoptic/bpf/watch"
)

const (
	macs   = `020000000001 020000000002 `
	ether4 = macs + `0800 `
	ether6 = macs + `86dd `

	addrs4 = `0a000001 ac100002 `
	addrs6 = `20010db8000000000000000000000001 20010db8000000000000000000000002 `

	// Ports 12345 and 80; sequence and acknowledgment numbers; 20 bytes, SYN; window, checksum, urgent.
	tcp = `3039 0050 00000001 00000000 50 02 ffff 0000 0000 `
	// The same with 12 bytes of options.
	tcpOptions = `3039 0050 00000001 00000000 80 02 ffff 0000 0000 020405b4 01030307 04020000 `
	udp        = `3039 0050 0008 0000 `

	// Version and header length, TOS, total length 40, id, no fragment, TTL 64, TCP, checksum.
	ip4tcp = `45 00 0028 0001 0000 40 06 0000 ` + addrs4
	ip4udp = `45 00 001c 0001 0000 40 11 0000 ` + addrs4
	// Version and flow, payload length 20, TCP, hop limit 64.
	ip6tcp = `60000000 0014 06 40 ` + addrs6
)

var (
	from4, to4 = netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("172.16.0.2")
	from6, to6 = netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
)

// over4 is a Frame of the addresses above; add what is behind IP.
func over4(class Class, protocol uint8) Frame {
	return Frame{Class: class, TTL: 64, Packet: watch.Packet{Source: from4, Destination: to4, Protocol: protocol}}
}

func over6(class Class, protocol uint8) Frame {
	return Frame{Class: class, TTL: 64, Packet: watch.Packet{Source: from6, Destination: to6, Protocol: protocol}}
}

func (p Frame) withPorts() Frame {
	p.SourcePort, p.DestinationPort, p.HasPorts = 12345, 80, true
	return p
}

func (p Frame) withTCP(flags, header uint8) Frame {
	p.Flags, p.HeaderLen = flags, header
	return p.withPorts()
}

func TestDecode(t *testing.T) {
	syn4, syn6 := over4(TCP, 6).withTCP(SYN, 20), over6(TCP, 6).withTCP(SYN, 20)
	malformed, notIP := Frame{Class: Malformed}, Frame{Class: NotIP}

	for _, c := range []struct {
		name  string
		frame string
		want  Frame
	}{
		// Ethernet.
		{"nothing", ``, malformed},
		{"thirteen_bytes", `020000000001 020000000002 08`, malformed},
		{"arp", macs + `0806 0001 0800 06 04 0001`, notIP},
		{"ether_type_and_no_more", macs + `0806`, notIP},
		{"ethernet_802_3_length", macs + `0026 424203`, notIP},
		{"vlan", macs + `8100 0002 0800` + ip4tcp + tcp, syn4},
		{"service_tag", macs + `88a8 0002 86dd` + ip6tcp + tcp, syn6},
		{"old_qinq_tag", macs + `9100 0002 0800` + ip4tcp + tcp, syn4},
		{"qinq", macs + `88a8 0002 8100 0003 0800` + ip4tcp + tcp, syn4},
		{"three_tags", macs + `88a8 0002 8100 0003 8100 0004 0800` + ip4tcp + tcp, notIP},
		{"third_tag_that_is_cut", macs + `88a8 0002 8100 0003 8100`, notIP},
		{"tag_that_is_cut", macs + `8100 0002 08`, malformed},
		{"second_tag_that_is_cut", macs + `8100 0002 8100 0003 08`, malformed},
		{"tag_before_arp", macs + `8100 0002 0806 0001`, notIP},
		{"tag_and_no_more", macs + `8100 0002 0800`, malformed},

		// IPv4.
		{"ipv4", ether4 + ip4tcp + tcp, syn4},
		{"ipv4_padded_to_60_bytes", ether4 + ip4tcp + tcp + `000000000000`, syn4},
		{"ipv4_version_6", ether4 + `65 00 0028 0001 0000 40 06 0000` + addrs4 + tcp, malformed},
		{"ipv4_header_of_16_bytes", ether4 + `44 00 0028 0001 0000 40 06 0000` + addrs4 + tcp, malformed},
		{"ipv4_header_of_16_bytes_before_anything", ether4 + `44 00 0028 0001 0000 40 01 0000` + addrs4 + tcp, malformed},
		{"ipv4_header_of_0_bytes", ether4 + `40 00 0028 0001 0000 40 01 0000` + addrs4 + tcp, malformed},
		{"ipv4_header_beyond_the_frame", ether4 + `4f 00 0050 0001 0000 40 06 0000` + addrs4 + tcp, malformed},
		{"ipv4_options", ether4 + `46 00 002c 0001 0000 40 06 0000` + addrs4 + `01010100` + tcp, syn4},
		{"ipv4_options_as_long_as_the_frame", ether4 + `46 00 0018 0001 0000 40 01 0000` + addrs4 + `01010100`, over4(ICMP, 1)},
		{"ipv4_total_below_the_header", ether4 + `45 00 0013 0001 0000 40 01 0000` + addrs4, malformed},
		{"ipv4_total_below_the_options", ether4 + `46 00 0017 0001 0000 40 01 0000` + addrs4 + `01010100`, malformed},
		{"ipv4_total_of_the_header_alone", ether4 + `45 00 0014 0001 0000 40 01 0000` + addrs4, over4(ICMP, 1)},
		{"ipv4_total_of_0_is_all_there_is", ether4 + `45 00 0000 0001 0000 40 06 0000` + addrs4 + tcp, syn4},
		{"ipv4_total_beyond_the_frame", ether4 + `45 00 05dc 0001 0000 40 06 0000` + addrs4 + tcp, syn4},
		{"ipv4_dont_fragment", ether4 + `45 00 0028 0001 4000 40 06 0000` + addrs4 + tcp, syn4},
		{"ipv4_reserved_bit", ether4 + `45 00 0028 0001 8000 40 06 0000` + addrs4 + tcp, syn4},
		{"ipv4_ttl", ether4 + `45 00 0028 0001 0000 01 06 0000` + addrs4 + tcp,
			func() Frame { p := syn4; p.TTL = 1; return p }()},

		// Fragments of IPv4.
		{"later_fragment_of_tcp", ether4 + `45 00 0028 0001 0001 40 06 0000` + addrs4 + tcp, over4(Fragment, 6)},
		{"later_fragment_in_the_middle", ether4 + `45 00 0028 0001 2001 40 06 0000` + addrs4 + tcp, over4(Fragment, 6)},
		{"later_fragment_at_the_highest_offset", ether4 + `45 00 0028 0001 1fff 40 11 0000` + addrs4 + tcp, over4(Fragment, 17)},
		{"later_fragment_by_the_highest_bit_of_its_offset", ether4 + `45 00 0028 0001 1000 40 06 0000` + addrs4 + tcp, over4(Fragment, 6)},
		{"later_fragment_of_nothing", ether4 + `45 00 0014 0001 0001 40 06 0000` + addrs4, over4(Fragment, 6)},
		{"later_fragment_of_icmp", ether4 + `45 00 0014 0001 0001 40 01 0000` + addrs4, over4(Fragment, 1)},
		{"later_fragment_of_another_protocol", ether4 + `45 00 0014 0001 0001 40 2f 0000` + addrs4, over4(Fragment, 47)},
		{"first_fragment_of_tcp", ether4 + `45 00 0028 0001 2000 40 06 0000` + addrs4 + tcp, syn4},
		{"first_fragment_ends_in_the_options", ether4 + `45 00 002c 0001 2000 40 06 0000` + addrs4 + tcpOptions,
			over4(TCP, 6).withTCP(SYN, 32)},
		{"first_fragment_ends_in_the_header", ether4 + `45 00 0022 0001 2000 40 06 0000` + addrs4 + tcp,
			syn4}, // 14 bytes: up to the flags
		{"first_fragment_ends_before_the_flags", ether4 + `45 00 0021 0001 2000 40 06 0000` + addrs4 + tcp,
			over4(Tiny, 6).withPorts()},
		{"first_fragment_of_8_bytes", ether4 + `45 00 001c 0001 2000 40 06 0000` + addrs4 + `3039 0050 00000001`,
			over4(Tiny, 6).withPorts()},
		{"first_fragment_of_4_bytes", ether4 + `45 00 0018 0001 2000 40 06 0000` + addrs4 + `3039 0050`,
			over4(Tiny, 6).withPorts()},
		{"first_fragment_of_3_bytes", ether4 + `45 00 0017 0001 2000 40 06 0000` + addrs4 + tcp, malformed},
		{"tiny_fragment_cut_in_its_ports", ether4 + `45 00 001c 0001 2000 40 06 0000` + addrs4 + `3039 00`, malformed},
		{"first_fragment_with_short_data_offset", ether4 + `45 00 0028 0001 2000 40 06 0000` + addrs4 +
			`3039 0050 00000001 00000000 40 02 ffff 0000 0000`, malformed},
		{"first_fragment_cut_before_the_flags", ether4 + `45 00 0028 0001 2000 40 06 0000` + addrs4 +
			`3039 0050 00000001 00000000 50`, malformed},
		{"first_fragment_of_udp", ether4 + `45 00 001c 0001 2000 40 11 0000` + addrs4 + udp, over4(UDP, 17).withPorts()},
		{"first_fragment_of_udp_below_its_header", ether4 + `45 00 001b 0001 2000 40 11 0000` + addrs4 + udp, malformed},

		// TCP.
		{"tcp_options", ether4 + `45 00 0034 0001 0000 40 06 0000` + addrs4 + tcpOptions, over4(TCP, 6).withTCP(SYN, 32)},
		{"tcp_header_of_60_bytes", ether4 + `45 00 0050 0001 0000 40 06 0000` + addrs4 + `3039 0050 00000001 00000000 f0 02 ffff 0000 0000`,
			over4(TCP, 6).withTCP(SYN, 60)},
		{"tcp_all_flags", ether4 + ip4tcp + `3039 0050 00000001 00000000 50 ff ffff 0000 0000`, over4(TCP, 6).withTCP(0xff, 20)},
		{"tcp_reserved_bits_are_no_length", ether4 + ip4tcp + `3039 0050 00000001 00000000 5f 02 ffff 0000 0000`, syn4},
		{"tcp_of_19_bytes", ether4 + `45 00 0027 0001 0000 40 06 0000` + addrs4 + tcp, malformed},
		{"tcp_of_14_bytes", ether4 + `45 00 0022 0001 0000 40 06 0000` + addrs4 + tcp, malformed},
		{"tcp_of_8_bytes_is_tiny_only_as_a_fragment", ether4 + `45 00 001c 0001 0000 40 06 0000` + addrs4 + tcp, malformed},
		{"tcp_data_offset_4", ether4 + ip4tcp + `3039 0050 00000001 00000000 4f 02 ffff 0000 0000`, malformed},
		{"tcp_data_offset_beyond_the_packet", ether4 + ip4tcp + `3039 0050 00000001 00000000 60 02 ffff 0000 0000 01010100`, malformed},
		{"tcp_data_offset_beyond_the_frame", ether4 + `45 00 0034 0001 0000 40 06 0000` + addrs4 + `3039 0050 00000001 00000000 80 02`,
			over4(TCP, 6).withTCP(SYN, 32)},
		{"tcp_cut_behind_the_flags", ether4 + ip4tcp + `3039 0050 00000001 00000000 50 02`, syn4},
		{"tcp_cut_before_the_flags", ether4 + ip4tcp + `3039 0050 00000001 00000000 50`, malformed},

		// The others.
		{"udp", ether4 + ip4udp + udp, over4(UDP, 17).withPorts()},
		{"udp_of_7_bytes", ether4 + `45 00 001b 0001 0000 40 11 0000` + addrs4 + udp, malformed},
		{"udp_cut_behind_the_ports", ether4 + ip4udp + `3039 0050`, over4(UDP, 17).withPorts()},
		{"udp_cut_in_the_ports", ether4 + ip4udp + `3039 00`, malformed},
		{"icmp", ether4 + `45 00 001c 0001 0000 40 01 0000` + addrs4 + `0800 0000 0001 0001`, over4(ICMP, 1)},
		{"icmp_first_fragment", ether4 + `45 00 001c 0001 2000 40 01 0000` + addrs4 + `0800 0000 0001 0001`, over4(ICMP, 1)},
		{"icmp6_over_ipv4", ether4 + `45 00 001c 0001 0000 40 3a 0000` + addrs4 + `8000 0000 0001 0001`, over4(Other, 58)},
		{"icmp4_over_ipv6", ether6 + `60000000 0008 01 40` + addrs6 + `0800 0000 0001 0001`, over6(Other, 1)},
		{"icmp6", ether6 + `60000000 0008 3a 40` + addrs6 + `8000 0000 0001 0001`, over6(ICMP, 58)},
		{"sctp", ether4 + `45 00 0020 0001 0000 40 84 0000` + addrs4 + `3039 0050 00000001 00000000`, over4(Other, 132).withPorts()},
		{"sctp_of_4_bytes", ether4 + `45 00 0018 0001 0000 40 84 0000` + addrs4 + `3039 0050`, over4(Other, 132).withPorts()},
		{"sctp_of_3_bytes", ether4 + `45 00 0017 0001 0000 40 84 0000` + addrs4 + `3039 0050`, over4(Other, 132)},
		{"sctp_cut_in_the_ports", ether4 + `45 00 0020 0001 0000 40 84 0000` + addrs4 + `3039 00`, over4(Other, 132)},
		{"gre", ether4 + `45 00 0018 0001 0000 40 2f 0000` + addrs4 + `0000 0800`, over4(Other, 47)},
		{"authentication_header_over_ipv4", ether4 + `45 00 0028 0001 0000 40 33 0000` + addrs4 + tcp, over4(Other, 51)},
		{"protocol_0_over_ipv4", ether4 + `45 00 0014 0001 0000 40 00 0000` + addrs4, over4(Other, 0)},

		// IPv6.
		{"ipv6", ether6 + ip6tcp + tcp, syn6},
		{"ipv6_version_4", ether6 + `40000000 0014 06 40` + addrs6 + tcp, malformed},
		{"ipv6_header_of_39_bytes", ether6 + `60000000 0000 3b 40 20010db8000000000000000000000001 20010db80000000000000000000000`, malformed},
		{"ipv6_no_next_header", ether6 + `60000000 0000 3b 40` + addrs6, over6(Other, 59)},
		{"ipv6_payload_beyond_the_frame", ether6 + `60000000 ffff 06 40` + addrs6 + tcp, syn6},
		{"ipv6_payload_of_19_bytes", ether6 + `60000000 0013 06 40` + addrs6 + tcp, malformed},
		{"ipv6_padded", ether6 + `60000000 0000 3a 40` + addrs6 + tcp, over6(ICMP, 58)},
		{"ipv6_mapped_address_is_ipv6", ether6 + `60000000 0014 06 40 00000000000000000000ffff0a000001` +
			`20010db8000000000000000000000002` + tcp, func() Frame {
			p := syn6
			p.Source = netip.MustParseAddr("::ffff:10.0.0.1")
			return p
		}()},

		// Extension headers.
		{"hop_by_hop", ether6 + `60000000 001c 00 40` + addrs6 + `06 00 010400000000` + tcp, syn6},
		{"routing", ether6 + `60000000 001c 2b 40` + addrs6 + `06 00 0400 00000000` + tcp, syn6},
		{"destination_options", ether6 + `60000000 001c 3c 40` + addrs6 + `06 00 010400000000` + tcp, syn6},
		{"destination_options_of_16_bytes", ether6 + `60000000 0024 3c 40` + addrs6 + `06 01 010c 000000000000 000000000000` + tcp, syn6},
		{"authentication_of_24_bytes", ether6 + `60000000 002c 33 40` + addrs6 +
			`06 04 0000 00000001 00000002 00000003 00000004 00000005` + tcp, syn6},
		{"authentication_of_12_bytes_is_no_multiple_of_8", ether6 + `60000000 0020 33 40` + addrs6 + `06 01 0000 00000001 00000002` + tcp, syn6},
		{"authentication_of_8_bytes", ether6 + `60000000 001c 33 40` + addrs6 + `06 00 0000 00000001` + tcp, syn6},
		{"esp_is_no_extension", ether6 + `60000000 0014 32 40` + addrs6 + tcp, over6(Other, 50)},
		{"mobility_is_no_extension", ether6 + `60000000 0014 87 40` + addrs6 + tcp, over6(Other, 135)},
		{"extension_cut_in_its_first_8_bytes", ether6 + `60000000 001c 00 40` + addrs6 + `06 00 0104000000`, malformed},
		{"extension_beyond_the_payload", ether6 + `60000000 0007 00 40` + addrs6 + `3a 00 010400000000` + tcp, malformed},
		{"extension_as_long_as_the_payload", ether6 + `60000000 0008 00 40` + addrs6 + `3a 00 010400000000`, over6(ICMP, 58)},
		{"long_extension_beyond_the_payload", ether6 + `60000000 000f 00 40` + addrs6 + `3a 01 010c 000000000000 000000000000`, malformed},
		{"extension_cut_behind_its_first_8_bytes", ether6 + `60000000 0010 3c 40` + addrs6 + `3a 01 010c 00000000`, over6(ICMP, 58)},
		{"tcp_behind_a_cut_extension", ether6 + `60000000 0024 3c 40` + addrs6 + `06 01 010c 00000000`, malformed},
		{"jumbogram", ether6 + `60000000 0000 00 40` + addrs6 + `06 00 c204 00010000` + tcp, malformed},

		// Fragments of IPv6. The length byte of a fragment header means nothing.
		{"atomic_fragment", ether6 + `60000000 001c 2c 40` + addrs6 + `06 00 0000 00000001` + tcp, syn6},
		{"fragment_header_has_no_length", ether6 + `60000000 001c 2c 40` + addrs6 + `06 ff 0000 00000001` + tcp, syn6},
		{"fragment_reserved_bits", ether6 + `60000000 001c 2c 40` + addrs6 + `06 00 0006 00000001` + tcp, syn6},
		{"ipv6_first_fragment", ether6 + `60000000 001c 2c 40` + addrs6 + `06 00 0001 00000001` + tcp, syn6},
		{"ipv6_tiny_fragment", ether6 + `60000000 0010 2c 40` + addrs6 + `06 00 0001 00000001 3039 0050 00000001`, over6(Tiny, 6).withPorts()},
		{"ipv6_later_fragment", ether6 + `60000000 001c 2c 40` + addrs6 + `06 00 0008 00000001` + tcp, over6(Fragment, 6)},
		{"ipv6_later_fragment_in_the_middle", ether6 + `60000000 001c 2c 40` + addrs6 + `11 00 fff9 00000001` + tcp, over6(Fragment, 17)},
		{"ipv6_later_fragment_of_an_extension", ether6 + `60000000 0008 2c 40` + addrs6 + `3c 00 0008 00000001`, over6(Fragment, 60)},
		{"ipv6_fragment_beyond_the_payload", ether6 + `60000000 0007 2c 40` + addrs6 + `06 00 0008 00000001`, malformed},
		{"extension_before_a_fragment", ether6 + `60000000 0024 00 40` + addrs6 + `2c 00 010400000000 06 00 0001 00000001` + tcp, syn6},
		{"extension_behind_a_first_fragment", ether6 + `60000000 0018 2c 40` + addrs6 + `3c 00 0001 00000001 06 00 010400000000 3039 0050 00000001`,
			over6(Tiny, 6).withPorts()},
		{"first_fragment_stays_first_behind_an_atomic_one", ether6 + `60000000 0018 2c 40` + addrs6 +
			`2c 00 0001 00000001 06 00 0000 00000001 3039 0050 00000001`, over6(Tiny, 6).withPorts()},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := Frame{Class: TCP, TTL: 9, Flags: 9, Packet: watch.Packet{HasPorts: true}} // must not shine through
			Decode(raw(c.frame), &p)
			if p != c.want {
				t.Errorf("got  %+v\nwant %+v", p, c.want)
			}
		})
	}
}

// Chains of each extension header, 0 to 10 long, with TCP or another behind it.
func TestEightExtensionHeadersAndNoMore(t *testing.T) {
	for _, ext := range []struct {
		name   string
		number string
		body   string // behind the next header's number
	}{
		{"hop_by_hop", "00", `00 010400000000`},
		{"routing", "2b", `00 0400 00000000`},
		{"fragment", "2c", `00 0000 00000001`},
		{"destination", "3c", `00 010400000000`},
		{"authentication", "33", `00 0000 00000001`},
	} {
		for n := range 11 {
			t.Run(fmt.Sprintf("%s/n=%d", ext.name, n), func(t *testing.T) {
				chain, next := "", "06"
				for range n {
					chain, next = next+ext.body+chain, ext.number
				}
				want := over6(TCP, 6).withTCP(SYN, 20)
				if n > 8 {
					want = Frame{Class: TooDeep}
				}
				var p Frame
				Decode(raw(ether6+fmt.Sprintf("60000000 %04x %s 40", 20+8*n, next)+addrs6+chain+tcp), &p)
				if p != want {
					t.Errorf("got  %+v\nwant %+v", p, want)
				}
			})
		}
	}
}

// The ninth header is too many whether or not it is there; the eighth may be a
// later fragment, which ends the chain whatever follows.
func TestTheNinthExtensionHeader(t *testing.T) {
	eight := `3c 00 010400000000 3c 00 010400000000 3c 00 010400000000 3c 00 010400000000
	          3c 00 010400000000 3c 00 010400000000 3c 00 010400000000 `
	for _, c := range []struct {
		name string
		tail string
		want Frame
	}{
		{"is_not_in_the_frame", `3c 00 010400000000`, Frame{Class: TooDeep}},
		{"is_no_extension", `3a 00 010400000000`, over6(ICMP, 58)},
	} {
		t.Run(c.name, func(t *testing.T) {
			var p Frame
			Decode(raw(ether6+`60000000 0040 3c 40`+addrs6+eight+c.tail), &p)
			if p != c.want {
				t.Errorf("got  %+v\nwant %+v", p, c.want)
			}
		})
	}
	t.Run("follows_a_later_fragment", func(t *testing.T) {
		seven := `3c 00 010400000000 3c 00 010400000000 3c 00 010400000000 3c 00 010400000000
		          3c 00 010400000000 3c 00 010400000000 2c 00 010400000000 `
		var p Frame
		Decode(raw(ether6+`60000000 0040 3c 40`+addrs6+seven+`3c 00 0008 00000001`), &p)
		if want := over6(Fragment, 60); p != want {
			t.Errorf("got  %+v\nwant %+v", p, want)
		}
	})
}

// Each frame is cut at every length. Its classes are told by the length from
// which on they hold.
func TestCutAtEveryLength(t *testing.T) {
	type from struct {
		len   int
		class Class
	}
	for _, c := range []struct {
		name    string
		frame   string
		classes []from
	}{
		{"ipv4_tcp", ether4 + `45 00 0034 0001 0000 40 06 0000` + addrs4 + tcpOptions, []from{{0, Malformed}, {14 + 20 + 14, TCP}}},
		{"ipv4_tcp_vlan", macs + `8100 0002 0800` + ip4tcp + tcp, []from{{0, Malformed}, {18 + 20 + 14, TCP}}},
		{"ipv4_tcp_qinq", macs + `88a8 0003 8100 0002 0800` + ip4tcp + tcp, []from{{0, Malformed}, {22 + 20 + 14, TCP}}},
		{"arp", macs + `0806 0001 0800`, []from{{0, Malformed}, {14, NotIP}}},
		{"vlan_arp", macs + `8100 0002 0806 0001`, []from{{0, Malformed}, {18, NotIP}}},
		{"three_tags", macs + `8100 0002 8100 0002 8100 0002 0800` + ip4tcp + tcp, []from{{0, Malformed}, {22, NotIP}}},
		{"ipv4_options_udp", ether4 + `46 00 0020 0001 0000 40 11 0000` + addrs4 + `01010100` + udp, []from{{0, Malformed}, {14 + 24 + 4, UDP}}},
		{"ipv4_icmp", ether4 + `45 00 001c 0001 0000 40 01 0000` + addrs4 + `0800 0000 0001 0001`, []from{{0, Malformed}, {14 + 20, ICMP}}},
		{"ipv4_tiny", ether4 + `45 00 0020 0001 2000 40 06 0000` + addrs4 + `3039 0050 00000001 00000000`, []from{{0, Malformed}, {14 + 20 + 4, Tiny}}},
		{"ipv4_later_fragment", ether4 + `45 00 0028 0001 0001 40 06 0000` + addrs4 + tcp, []from{{0, Malformed}, {14 + 20, Fragment}}},
		{"ipv4_sctp", ether4 + `45 00 0020 0001 0000 40 84 0000` + addrs4 + `3039 0050 00000001 00000000`, []from{{0, Malformed}, {14 + 20, Other}}},
		{"ipv6_tcp", ether6 + ip6tcp + tcp, []from{{0, Malformed}, {14 + 40 + 14, TCP}}},
		{"ipv6_extensions_tcp", ether6 + `60000000 0028 00 40` + addrs6 + `33 00 010400000000 06 01 0000 00000001 00000002` + tcp,
			[]from{{0, Malformed}, {14 + 40 + 8 + 12 + 14, TCP}}},
		{"ipv6_later_fragment", ether6 + `60000000 001c 2c 40` + addrs6 + `06 00 0008 00000001` + tcp, []from{{0, Malformed}, {14 + 40 + 8, Fragment}}},
		{"ipv6_long_extension_icmp", ether6 + `60000000 0018 3c 40` + addrs6 + `3a 01 010c 000000000000 000000000000` + `8000 0000 0001 0001`,
			[]from{{0, Malformed}, {14 + 40 + 8, ICMP}}},
		{"ipv6_too_deep", ether6 + `60000000 0048 00 40` + addrs6 + `00 00 010400000000 00 00 010400000000 00 00 010400000000 00 00 010400000000
			00 00 010400000000 00 00 010400000000 00 00 010400000000 00 00 010400000000 06 00 010400000000`,
			[]from{{0, Malformed}, {14 + 40 + 64, TooDeep}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			frame := raw(c.frame)
			var whole Frame
			Decode(frame, &whole)
			for n := range len(frame) + 1 {
				want := c.classes[0].class
				for _, f := range c.classes {
					if n >= f.len {
						want = f.class
					}
				}
				var p Frame
				Decode(frame[:n:n], &p)
				if p.Class != want {
					t.Errorf("%d of %d bytes: class %d, want %d", n, len(frame), p.Class, want)
				}
				// What is left says the same as the whole, but for SCTP's ports.
				if p.Class == whole.Class && p != whole && p.HasPorts {
					t.Errorf("%d of %d bytes: %+v, whole %+v", n, len(frame), p, whole)
				}
			}
		})
	}
}

func TestDecodeDoesNotAllocate(t *testing.T) {
	frames := [][]byte{
		raw(ether4 + ip4tcp + tcp), raw(ether6 + ip6tcp + tcp), raw(macs + `88a8 0002 8100 0003 0800` + ip4udp + udp),
		raw(ether6 + `60000000 001c 2c 40` + addrs6 + `06 00 0008 00000001` + tcp), raw(macs + `0806`), nil,
	}
	var p Frame
	if n := testing.AllocsPerRun(100, func() {
		for _, f := range frames {
			Decode(f, &p)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
