package capture

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"synoptic/bpf/watch"
)

// words are the packets of the tables below.
var words = map[string]uint8{
	"syn": flagSYN, "syn-ack": flagSYN | flagACK, "ack": flagACK, "psh": flagACK | 0x08, "fin": flagFIN | flagACK,
	"rst": flagRST, "rst-ack": flagRST | flagACK, "null": 0, "fin-alone": flagFIN, "xmas": flagFIN | 0x28, "syn-fin-ack": flagSYN | flagFIN | flagACK,
	"ecn-syn": flagSYN | 0xc0, "udp": 0,
}

// hosts of the tables.
var hosts = map[string]netip.Addr{
	"a": netip.MustParseAddr("192.0.2.1"), "b": netip.MustParseAddr("198.51.100.2"), "c": netip.MustParseAddr("10.0.0.3"),
	"A": netip.MustParseAddr("2001:db8::1"), "B": netip.MustParseAddr("2001:db8::2"),
	"mdns": netip.MustParseAddr("224.0.0.251"), "mdns6": netip.MustParseAddr("ff02::fb"), "all": netip.MustParseAddr("255.255.255.255"),
	"none": netip.MustParseAddr("0.0.0.0"), "subnet": netip.MustParseAddr("192.0.2.255"),
}

// endpointNamed is host:port, as in a:80.
func endpointNamed(t *testing.T, s string) netip.AddrPort {
	t.Helper()
	host, port, _ := strings.Cut(s, ":")
	var n uint16
	if _, err := fmt.Sscan(port, &n); err != nil || !hosts[host].IsValid() {
		t.Fatalf("what is %q?", s)
	}
	return netip.AddrPortFrom(hosts[host], n)
}

// say plays lines like "a:1000 syn b:80", each followed by " known",
// " handshake" or " unknown" if it is to be judged.
func say(t *testing.T, c *Conversations, lines ...string) {
	t.Helper()
	for i, line := range lines {
		fields := strings.Fields(line)
		flags, ok := words[fields[1]]
		if !ok {
			t.Fatalf("what is %q?", line)
		}
		protocol := uint8(protoTCP)
		if fields[1] == "udp" {
			protocol = protoUDP
		}
		context := c.See(endpointNamed(t, fields[0]), endpointNamed(t, fields[2]), protocol, flags)
		if len(fields) < 4 {
			continue
		}
		want := map[string]watch.Context{"known": watch.Known, "handshake": watch.Handshake, "unknown": watch.Unknown}[fields[3]]
		if context != want {
			t.Errorf("packet %d, %q, is judged %d", i+1, line, context)
		}
	}
}

func TestSegments(t *testing.T) {
	for fact, lines := range map[string][]string{
		"a_connection_is_known_from_its_syn_to_its_time_wait": {
			"a:1000 syn b:80", "b:80 syn-ack a:1000 known", "a:1000 ack b:80 handshake", "a:1000 psh b:80 known", "b:80 ack a:1000 known",
			"b:80 fin a:1000 known", "a:1000 fin b:80 known", "b:80 ack a:1000 known", "b:80 fin a:1000 known", "a:1000 ack b:80 known"},
		"ipv6_too": {"A:1000 syn B:80", "B:80 syn-ack A:1000 known", "A:1000 ack B:80 handshake", "A:1000 psh B:80 known"},
		"the_first_ack_may_carry_data_or_the_end": {
			"a:1000 syn b:80", "b:80 syn-ack a:1000 known", "a:1000 fin b:80 handshake", "a:1000 fin b:80 known"},
		"a_syn_with_ecn_opens_too": {"a:1000 ecn-syn b:80", "b:80 syn-ack a:1000 known", "a:1000 ack b:80 handshake"},
		"packets_seen_twice_are_one_handshake": {
			"a:1000 syn b:80", "a:1000 syn b:80", "b:80 syn-ack a:1000 known", "b:80 syn-ack a:1000 known", "a:1000 syn b:80",
			"a:1000 ack b:80 handshake", "a:1000 ack b:80 known", "b:80 syn-ack a:1000 known", "a:1000 ack b:80 known"},
		"the_ports_may_open_again": {
			"a:1000 syn b:80", "b:80 syn-ack a:1000 known", "a:1000 ack b:80 handshake", "a:1000 syn b:80", "b:80 syn-ack a:1000 known", "a:1000 ack b:80 handshake"},
		"who_answers_is_not_the_opener": {"a:1000 syn b:80", "b:80 syn-ack a:1000 known", "b:80 psh a:1000 known", "a:1000 ack b:80 handshake"},
		"both_may_open_at_once": {
			"a:1000 syn b:80", "b:80 syn a:1000", "a:1000 syn-ack b:80 known", "b:80 syn-ack a:1000 known", "b:80 ack a:1000 handshake", "a:1000 ack b:80 known"},
		"a_syn_ack_with_fin_answers_nothing": {"a:1000 syn b:80", "b:80 syn-fin-ack a:1000 known", "a:1000 ack b:80 known"},

		"an_ack_that_is_refused_is_a_probe_each_time": {
			"a:1000 ack b:80 unknown", "b:80 rst a:1000", "a:1000 ack b:80 unknown", "b:80 rst-ack a:1000", "a:1000 fin b:80 unknown"},
		"an_ack_scan_is_unknown_on_every_port": {"a:1000 ack b:80 unknown", "a:1000 ack b:81 unknown", "a:1000 ack b:82 unknown", "a:1001 ack b:80 unknown"},
		"a_maimon_scan_too":                    {"a:1000 fin b:80 unknown", "b:80 rst a:1000", "a:1000 fin b:81 unknown", "b:81 rst a:1000"},
		"probes_without_ack_make_none_of_them_known": {
			"a:1000 syn b:80", "a:1000 null b:80", "a:1000 xmas b:80", "a:1000 fin-alone b:80", "a:1000 ack b:80 unknown"},
		"an_open_port_that_was_asked_answers": {"a:1000 syn b:80", "b:80 syn-ack a:1000 known", "a:1000 rst b:80", "a:1000 ack b:80 unknown"},
		"a_closed_port_knows_nothing":         {"a:1000 syn b:80", "b:80 rst-ack a:1000", "a:1000 ack b:80 unknown"},
		"after_rst_either_side_is_unknown": {
			"a:1000 syn b:80", "b:80 syn-ack a:1000 known", "a:1000 ack b:80 handshake", "a:1000 rst b:80", "b:80 psh a:1000 unknown"},
		"a_handshake_does_not_survive_rst": {"a:1000 syn b:80", "b:80 syn-ack a:1000", "b:80 rst a:1000", "a:1000 ack b:80 unknown"},
		"other_ports_are_other_conversations": {
			"a:1000 syn b:80", "b:80 syn-ack a:1000 known", "a:1000 ack b:81 unknown", "a:1001 ack b:80 unknown", "c:1000 ack b:80 unknown", "a:80 ack b:1000 unknown"},
		"all_of_a_port_matters": {"a:1000 syn b:80", "b:80 syn-ack a:1000 known", "a:1000 ack b:336 unknown", "a:232 ack b:80 unknown"},
		"rst_elsewhere_ends_nothing_here": {
			"a:1000 syn b:80", "b:80 syn-ack a:1000 known", "b:81 rst a:1000", "b:80 rst a:1001", "c:80 rst a:1000", "a:1000 ack b:80 handshake"},

		"backscatter_is_unknown_however_often":          {"b:80 syn-ack a:1000 unknown", "b:80 syn-ack a:1000 unknown", "b:80 syn-fin-ack a:1000 unknown"},
		"backscatter_hides_no_ack_probe":                {"b:80 syn-ack a:1000 unknown", "b:80 ack a:1000 unknown"},
		"syn_ack_to_who_has_asked_elsewhere_is_unknown": {"a:1000 syn b:80", "b:81 syn-ack a:1000 unknown"},

		"in_the_midst_a_connection_costs_one_unknown": {
			"a:1000 psh b:80 unknown", "b:80 ack a:1000 known", "a:1000 psh b:80 known", "b:80 psh a:1000 known", "a:1000 fin b:80 known"},
		"in_the_midst_of_a_transfer_too":              {"b:80 psh a:1000 unknown", "b:80 psh a:1000 known", "b:80 psh a:1000 known", "a:1000 ack b:80 known", "b:80 fin a:1000 known"},
		"of_one_direction_too":                        {"a:1000 ack b:80 unknown", "a:1000 psh b:80 known", "a:1000 fin b:80 known"},
		"of_one_direction_with_its_syn_too":           {"a:1000 syn b:80", "a:1000 ack b:80 unknown", "a:1000 psh b:80 known", "a:1000 fin b:80 known"},
		"between_syn_and_answer_the_answer_costs_one": {"b:80 syn-ack a:1000 unknown", "a:1000 ack b:80 known", "b:80 psh a:1000 known"},
		"who_speaks_to_itself_is_nobody_else":         {"a:80 syn a:80", "a:80 syn-ack a:80 unknown", "a:80 ack a:80 unknown", "a:80 ack a:80 known"},
		"udp_is_another_world":                        {"b:80 udp a:1000", "a:1000 ack b:80 unknown", "b:81 syn a:1000", "a:1000 udp b:81 unknown"},
	} {
		t.Run(fact, func(t *testing.T) { say(t, NewConversations(0), lines...) })
	}
}

func TestDatagrams(t *testing.T) {
	for fact, lines := range map[string][]string{
		"an_answer_is_known":                       {"a:1000 udp b:53 unknown", "b:53 udp a:1000 known"},
		"answers_to_many_ephemeral_ports_are":      {"a:1000 udp b:53", "a:1001 udp b:53", "a:1002 udp b:53", "b:53 udp a:1002 known", "b:53 udp a:1000 known", "b:53 udp a:1001 known"},
		"who_has_answered_is_known_to_everybody":   {"a:1000 udp b:53 unknown", "b:53 udp a:1000 known", "c:7 udp b:53 known"},
		"an_answer_from_another_port_is_known":     {"a:1000 udp b:69 unknown", "b:2000 udp a:1000 known", "a:1000 udp b:2000 known"},
		"a_port_that_never_spoke_is_unknown":       {"a:1000 udp b:53 unknown", "b:53 udp a:1000 known", "a:1000 udp b:54 unknown", "b:53 udp a:1001 unknown"},
		"a_scan_is_unknown_again_and_again":        {"a:1000 udp b:1 unknown", "a:1000 udp b:2 unknown", "a:1000 udp b:1 unknown", "a:1000 udp b:2 unknown"},
		"ipv6_too":                                 {"A:1000 udp B:53 unknown", "B:53 udp A:1000 known"},
		"multicast_probes_no_host":                 {"a:5353 udp mdns:5353 known", "a:1 udp mdns:1 known", "A:1 udp mdns6:5353 known"},
		"broadcast_probes_no_host":                 {"none:68 udp all:67 known"},
		"who_speaks_to_multicast_is_bound":         {"a:5353 udp mdns:5353 known", "b:1 udp a:5353 known"},
		"the_broadcast_of_a_subnet_is_like_a_host": {"a:138 udp subnet:138 unknown"},
		"an_endpoint_may_speak_to_itself":          {"a:1 udp a:1 unknown", "a:1 udp a:1 known"},
	} {
		t.Run(fact, func(t *testing.T) { say(t, NewConversations(0), lines...) })
	}
}

func TestOtherProtocolsAreNotKnown(t *testing.T) {
	c := NewConversations(0)
	from, to := netip.AddrPortFrom(hosts["a"], 1), netip.AddrPortFrom(hosts["b"], 2)
	for range 2 {
		for _, p := range []uint8{0, 1, 58, 132, 255} {
			if context := c.See(from, to, p, flagACK); context != watch.Unknown {
				t.Errorf("protocol %d is judged %d", p, context)
			}
			if context := c.See(to, from, p, flagACK); context != watch.Unknown {
				t.Errorf("protocol %d is judged %d", p, context)
			}
		}
	}
	if n := c.young.size() + c.old.size(); n != 0 {
		t.Errorf("%d conversations are remembered", n)
	}
}

// What See tells of a packet without ACK, or with RST, means nothing: but it is
// always the same.
func TestWhatIsNotAskedIsUnknown(t *testing.T) {
	c := NewConversations(0)
	say(t, c, "a:1000 syn b:80 unknown", "b:80 syn-ack a:1000 known", "a:1000 syn b:80 unknown", "a:1000 null b:80 unknown",
		"a:1000 xmas b:80 unknown", "b:80 rst-ack a:1000 unknown", "a:1000 rst b:80 unknown")
}

// number is the n-th of many clients.
func number(n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}), 1000)
}

func TestMemoryIsBounded(t *testing.T) {
	const limit = 100
	server := netip.AddrPortFrom(hosts["b"], 80)
	for _, protocol := range []uint8{protoTCP, protoUDP} {
		t.Run(fmt.Sprintf("protocol_%d", protocol), func(t *testing.T) {
			c := NewConversations(limit)
			for n := range 1050 {
				c.See(number(n), server, protocol, flagSYN)
				if c.young.size() > limit || c.old.size() > limit {
					t.Fatalf("%d and %d conversations are remembered, want at most %d", c.young.size(), c.old.size(), limit)
				}
			}
			if left := c.young.size() + c.old.size(); c.Forgotten()+uint64(left) != 1050 || left != 150 {
				t.Errorf("%d are forgotten and %d left, of 1050", c.Forgotten(), left)
			}
		})
	}
	t.Run("both_protocols_share_it", func(t *testing.T) {
		c := NewConversations(limit)
		for n := range 1000 {
			c.See(number(n), server, protoTCP, flagSYN)
			c.See(number(n), server, protoUDP, 0)
			if c.young.size() > limit || c.old.size() > limit {
				t.Fatalf("%d and %d conversations are remembered, want at most %d", c.young.size(), c.old.size(), limit)
			}
		}
	})
	t.Run("the_default_is_half_a_million", func(t *testing.T) {
		for _, n := range []int{0, -5} {
			if c := NewConversations(n); c.limit != 1<<19 {
				t.Errorf("NewConversations(%d) remembers %d", n, c.limit)
			}
		}
	})
}

func TestWhatIsForgotten(t *testing.T) {
	i := 0
	flood := func(c *Conversations, n int) {
		for range n {
			i++
			c.See(number(i), netip.AddrPortFrom(hosts["b"], 80), protoTCP, flagSYN)
		}
	}
	open := []string{"a:1000 syn b:80", "b:80 syn-ack a:1000 known", "a:1000 ack b:80 handshake"}
	t.Run("a_conversation_outlives_a_generation", func(t *testing.T) {
		c := NewConversations(100)
		say(t, c, open...)
		flood(c, 150)
		say(t, c, "b:80 psh a:1000 known", "a:1000 ack b:80 known")
		if c.Forgotten() != 0 {
			t.Errorf("%d are forgotten", c.Forgotten())
		}
	})
	t.Run("it_keeps_its_stage", func(t *testing.T) {
		c := NewConversations(100)
		say(t, c, open[:2]...)
		flood(c, 150)
		say(t, c, open[2])
	})
	t.Run("one_that_goes_on_outlives_all", func(t *testing.T) {
		c := NewConversations(100)
		say(t, c, open...)
		for range 20 {
			flood(c, 90)
			say(t, c, "b:80 psh a:1000 known", "a:1000 ack b:80 known")
		}
	})
	t.Run("a_silent_one_does_not_and_costs_one_unknown", func(t *testing.T) {
		c := NewConversations(100)
		say(t, c, open...)
		flood(c, 250)
		say(t, c, "b:80 psh a:1000 unknown", "a:1000 ack b:80 known", "b:80 psh a:1000 known")
		if c.Forgotten() == 0 {
			t.Error("nothing is forgotten")
		}
	})
	t.Run("rst_reaches_the_older_generation", func(t *testing.T) {
		c := NewConversations(100)
		say(t, c, open...)
		flood(c, 150)
		say(t, c, "b:80 rst a:1000", "a:1000 ack b:80 unknown")
	})
	t.Run("a_socket_that_goes_on_speaking_outlives_all", func(t *testing.T) {
		c := NewConversations(100)
		for range 20 {
			say(t, c, "b:53 udp a:1000")
			flood(c, 90)
			say(t, c, "c:1000 udp b:53 known")
		}
	})
	t.Run("a_socket_that_is_only_asked_does_not", func(t *testing.T) {
		c := NewConversations(100)
		say(t, c, "b:53 udp a:1000")
		for range 3 {
			say(t, c, "c:1000 udp b:53")
			flood(c, 90)
		}
		say(t, c, "c:1000 udp b:53 unknown")
	})
	t.Run("what_is_moved_is_not_counted_as_forgotten", func(t *testing.T) {
		server := netip.AddrPortFrom(hosts["b"], 80)
		for _, protocol := range []uint8{protoTCP, protoUDP} {
			c := NewConversations(2)
			for range 100 {
				for n := range 3 {
					c.See(number(n), server, protocol, flagSYN)
				}
			}
			if c.Forgotten() != 0 || c.young.size()+c.old.size() != 3 {
				t.Errorf("protocol %d: %d are forgotten and %d left, of 3", protocol, c.Forgotten(), c.young.size()+c.old.size())
			}
		}
	})
}

func TestKnownConversationsDoNotAllocate(t *testing.T) {
	c := NewConversations(100)
	client, server := netip.AddrPortFrom(hosts["A"], 1000), netip.AddrPortFrom(hosts["B"], 80)
	c.See(client, server, protoTCP, flagSYN)
	c.See(server, client, protoTCP, flagSYN|flagACK)
	c.See(client, server, protoUDP, 0)
	if n := testing.AllocsPerRun(1000, func() {
		c.See(client, server, protoTCP, flagACK)
		c.See(server, client, protoTCP, flagACK)
		c.See(client, server, protoUDP, 0)
	}); n != 0 {
		t.Errorf("%v allocations for known conversations", n)
	}
	// Nor new ones, when both generations have grown.
	i := 0
	next := func() { c.See(number(i), server, protoTCP, flagSYN); i++ }
	for range 1000 {
		next()
	}
	if n := testing.AllocsPerRun(1000, next); n != 0 {
		t.Errorf("%v allocations for new conversations", n)
	}
}

// seen is a packet of a real capture and what was said of it.
type seen struct {
	src, dst        netip.AddrPort
	protocol, flags uint8
	at              uint64
	context         watch.Context
}

// asked tells whether the context decides about the packet.
func (s *seen) asked() bool {
	return s.protocol == protoUDP || s.flags&(flagACK|flagRST) == flagACK
}

// play reads a capture through Conversations.
func play(t *testing.T, path string) (list []seen) {
	t.Helper()
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c := NewConversations(0)
	for {
		frame, at, _, err := r.Next()
		if err == io.EOF {
			return list
		} else if err != nil {
			t.Fatal(err)
		}
		if src, dst, protocol, flags, ok := ports(frame); ok {
			list = append(list, seen{src, dst, protocol, flags, at, c.See(src, dst, protocol, flags)})
		}
	}
}

// ports reads a frame as far as the tests need it: up to two VLAN tags, IPv4,
// and IPv6 without extension headers.
func ports(frame []byte) (src, dst netip.AddrPort, protocol, flags uint8, ok bool) {
	if len(frame) < 14 {
		return
	}
	etherType, b := binary.BigEndian.Uint16(frame[12:]), frame[14:]
	for range 2 {
		if (etherType == 0x8100 || etherType == 0x88a8) && len(b) >= 4 {
			etherType, b = binary.BigEndian.Uint16(b[2:]), b[4:]
		}
	}
	var from, to netip.Addr
	switch {
	case etherType == etherIPv4 && len(b) >= 20 && b[0]>>4 == 4 && int(b[0]&15)*4 <= len(b) && binary.BigEndian.Uint16(b[6:])&0x3fff == 0:
		protocol = b[9]
		from, to = netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:]))
		b = b[int(b[0]&15)*4:]
	case etherType == etherIPv6 && len(b) >= 40 && b[0]>>4 == 6:
		protocol = b[6]
		from, to = netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:]))
		b = b[40:]
	}
	switch {
	case protocol == protoTCP && len(b) >= 14:
		flags = b[13]
	case protocol == protoUDP && len(b) >= 8:
	default:
		return
	}
	return netip.AddrPortFrom(from, binary.BigEndian.Uint16(b)), netip.AddrPortFrom(to, binary.BigEndian.Uint16(b[2:])), protocol, flags, true
}

// Real traffic that is no scan. What the capture cannot know is little: for TCP
// the first packet of each connection that a capture begins within, those that
// were under way when the other side sent RST, and single packets out of
// connections; for UDP every question, and its repetitions until the answer.
func TestLittleOfRealTrafficIsUnknown(t *testing.T) {
	var asked, unknown, handshakes [256]int
	captures(t, "zeek", func(t *testing.T, path string) {
		doubted := map[[2]netip.AddrPort]bool{} // flows that have cost an unknown packet since the last RST
		for _, p := range play(t, path) {
			flow, back := [2]netip.AddrPort{p.src, p.dst}, [2]netip.AddrPort{p.dst, p.src}
			if p.protocol == protoTCP && p.flags&flagRST != 0 {
				delete(doubted, flow)
				delete(doubted, back)
			}
			if !p.asked() {
				continue
			}
			asked[p.protocol]++
			switch p.context {
			case watch.Handshake:
				handshakes[p.protocol]++
			case watch.Unknown:
				unknown[p.protocol]++
				if p.protocol == protoTCP && p.flags&flagSYN == 0 {
					if doubted[flow] || doubted[back] {
						t.Errorf("%s: %v to %v is unknown more than once", filepath.Base(path), p.src, p.dst)
					}
					doubted[flow] = true
				}
			}
		}
	})
	t.Logf("TCP: %d of %d unknown, %d handshakes; UDP: %d of %d unknown", unknown[protoTCP], asked[protoTCP], handshakes[protoTCP], unknown[protoUDP], asked[protoUDP])
	if asked[protoTCP] < 15000 || unknown[protoTCP]*100 > asked[protoTCP] { // measured: 0.7 %
		t.Errorf("%d of %d TCP packets are unknown", unknown[protoTCP], asked[protoTCP])
	}
	if asked[protoUDP] < 2000 || unknown[protoUDP]*4 > asked[protoUDP] { // measured: 22 %
		t.Errorf("%d of %d datagrams are unknown", unknown[protoUDP], asked[protoUDP])
	}
	if handshakes[protoTCP] < 500 || handshakes[protoUDP] != 0 {
		t.Errorf("%d and %d handshakes were seen", handshakes[protoTCP], handshakes[protoUDP])
	}
}
