package capture

import (
	"encoding/binary"
	"encoding/hex"
	"strings"
	"testing"
)

func bytesOf(t *testing.T, s string) string {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestLinkTypesBecomeEthernet(t *testing.T) {
	const zero = "000000000000 000000000000 "
	for _, c := range []struct {
		fact   string
		link   uint32
		packet string
		want   string // "" is the empty frame
	}{
		{"ethernet_stays_as_it_is", 1, "010203040506 0a0b0c0d0e0f 8100 0001 0800 45", "010203040506 0a0b0c0d0e0f 8100 0001 0800 45"},
		{"a_cut_ethernet_header_too", 1, "0102", "0102"},
		{"raw_ipv4", 101, "4500 0014", zero + "0800 4500 0014"},
		{"raw_ipv6", 101, "6000 0000", zero + "86dd 6000 0000"},
		{"raw_of_another_version_is_a_wrong_ipv4", 101, "7000", zero + "0800 7000"},
		{"raw_of_nothing", 101, "", ""},
		{"raw_as_12", 12, "60", zero + "86dd 60"},
		{"raw_as_14", 14, "45", zero + "0800 45"},
		{"ipv4", 228, "4500", zero + "0800 4500"},
		{"ipv4_that_is_not", 228, "6000", zero + "0800 6000"},
		{"ipv4_of_nothing", 228, "", ""},
		{"ipv6", 229, "6000", zero + "86dd 6000"},
		{"ipv6_that_is_not", 229, "4500", zero + "86dd 4500"},
		{"null_from_a_little_endian_machine", 0, "02000000 45", zero + "0800 45"},
		{"null_from_a_big_endian_machine", 0, "00000002 45", zero + "0800 45"},
		{"null_of_ipv6_on_linux", 0, "0a000000 60", zero + "86dd 60"},
		{"null_of_ipv6_on_windows", 0, "17000000 60", zero + "86dd 60"},
		{"null_of_ipv6_on_openbsd", 0, "00000018 60", zero + "86dd 60"},
		{"null_of_ipv6_on_freebsd", 0, "1c000000 60", zero + "86dd 60"},
		{"null_of_ipv6_on_macos", 0, "1e000000 60", zero + "86dd 60"},
		{"null_of_another_family", 0, "07000000 60", zero + "0000 60"},
		{"null_of_no_packet", 0, "02000000", zero + "0800"},
		{"null_cut", 0, "020000", ""},
		{"loop_is_in_network_order", 108, "00000002 45", zero + "0800 45"},
		{"loop_of_ipv6", 108, "0000001c 60", zero + "86dd 60"},
		{"cooked", 113, "0000 0001 0006 020000000001 0000 0800 45", zero + "0800 45"},
		{"cooked_keeps_its_vlan_tag", 113, "0000 0001 0006 020000000001 0000 8100 0005 0800 45", zero + "8100 0005 0800 45"},
		{"cooked_without_ethertype", 113, "0000 0001 0006 020000000001 0000 0004 42", zero + "0004 42"},
		{"cooked_cut", 113, "0000 0001 0006 020000000001 0000 08", ""},
		{"cooked_2", 276, "86dd 0000 00000003 0001 00 06 0200000000010000 60", zero + "86dd 60"},
		{"cooked_2_cut", 276, "86dd 0000 00000003 0001 00 06 02000000000100", ""},
		{"ppp_with_address_and_control", 9, "ff03 0021 45", zero + "0800 45"},
		{"ppp_without", 9, "0057 60", zero + "86dd 60"},
		{"ppp_with_a_short_protocol", 9, "ff03 21 45", zero + "0800 45"},
		{"ppp_with_nothing_but_a_short_protocol", 9, "57 60", zero + "86dd 60"},
		{"ppp_with_a_short_protocol_like_an_address", 9, "ff 21 45", zero + "0000 21 45"},
		{"ppp_of_its_own_control", 9, "ff03 c021 01", zero + "0000 01"},
		{"ppp_cut_in_the_protocol", 9, "ff03 00", ""},
		{"ppp_cut_before_the_protocol", 9, "ff03", ""},
		{"ppp_of_nothing", 9, "", ""},
		{"ppp_over_serial", 50, "ff03 0021 45", zero + "0800 45"},
		{"ppp_over_serial_with_cisco_framing", 50, "0f00 0800 45", zero + "0800 45"},
		{"ppp_over_serial_with_cisco_multicast", 50, "8f00 86dd 60", zero + "86dd 60"},
		{"pppoe", 51, "1100 0001 0003 0021 45", zero + "0800 45"},
		{"pppoe_cut", 51, "1100 0001 00", ""},
		{"pppoe_cut_in_the_protocol", 51, "1100 0001 0001 00", ""},
		{"cisco_hdlc", 104, "0f00 0800 45", zero + "0800 45"},
		{"cisco_hdlc_keepalive", 104, "8f00 8035 00", zero + "8035 00"},
		{"cisco_hdlc_cut", 104, "0f00 08", ""},
	} {
		t.Run(c.fact, func(t *testing.T) {
			p := newPcap(binary.LittleEndian, false, c.link)
			// What the buffer holds from packets before must not show.
			p.raw(1000, 40, strings.Repeat("\xaa", 40)).add(1000, bytesOf(t, c.packet)).add(1000, bytesOf(t, c.packet))
			all, _ := mustRead(t, p.file)
			if len(all) != 3 {
				t.Fatalf("read %d packets", len(all))
			}
			for _, g := range all[1:] {
				if g.frame != bytesOf(t, c.want) {
					t.Errorf("the frame is %x, want %x", g.frame, bytesOf(t, c.want))
				}
			}
		})
	}
}

// Each link header cut at each length: never a panic, and either nothing or a
// whole Ethernet header comes out.
func TestLinkHeadersCutAnywhere(t *testing.T) {
	seen := 0
	for link := range uint32(300) {
		if !known(link) {
			continue
		}
		seen++
		for size := range 40 {
			for fill := range 256 {
				buf := make([]byte, headroom+size)
				for i := range size {
					buf[headroom+i] = byte(fill)
				}
				frame := ethernet(buf, link)
				if link != linkEthernet && len(frame) != 0 && len(frame) < 14 || len(frame) > size+headroom {
					t.Fatalf("link type %d: a frame of %d bytes from %d of %#x", link, len(frame), size, fill)
				}
			}
		}
	}
	if seen != 14 {
		t.Errorf("%d link types are known, want 14", seen)
	}
}
