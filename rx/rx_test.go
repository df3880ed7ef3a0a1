package rx

import (
	"context"
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"golang.org/x/net/bpf"

	"synoptic/internal/cookie"
	"synoptic/internal/method"
	"synoptic/internal/plan"
	"synoptic/internal/result"
	"synoptic/internal/target"
	"synoptic/internal/wire"
)

var (
	source4 = netip.MustParseAddr("172.16.0.1")
	source6 = netip.MustParseAddr("fd00:172:16::1")
	router4 = netip.MustParseAddr("172.16.0.2")
	key     = cookie.NewKey(1)
	match   = Match{Source4: source4, Source6: source6, Port: 61000, Ports: 2, Link: wire.Ethernet}
)

func classifier(t testing.TB, m *method.Method) *Classifier {
	t.Helper()
	set, _, err := target.Parse(context.Background(), target.Words("10.0.0.0/24", "fd00:10::/120"), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	ports, err := target.ParsePorts("80,443")
	if err != nil {
		t.Fatal(err)
	}
	p, err := plan.New(set, ports, 1, plan.Whole)
	if err != nil {
		t.Fatal(err)
	}
	return &Classifier{Plan: p, Method: m, Key: key, Match: match}
}

// segment is a TCP packet from one endpoint to another; change edits it.
func segment(from, to string, change func(*layers.TCP)) []byte {
	src, dst := netip.MustParseAddrPort(from), netip.MustParseAddrPort(to)
	tcp := &layers.TCP{SrcPort: layers.TCPPort(src.Port()), DstPort: layers.TCPPort(dst.Port()), Window: 29200}
	change(tcp)
	return packet(src.Addr(), dst.Addr(), layers.IPProtocolTCP, tcp)
}

func packet(src, dst netip.Addr, proto layers.IPProtocol, upper ...gopacket.SerializableLayer) []byte {
	eth := &layers.Ethernet{SrcMAC: []byte{2, 0, 0, 0, 0, 2}, DstMAC: []byte{2, 0, 0, 0, 0, 1}, EthernetType: layers.EthernetTypeIPv4}
	stack := []gopacket.SerializableLayer{eth}
	if src.Is4() {
		stack = append(stack, &layers.IPv4{Version: 4, TTL: 60, Protocol: proto, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()})
	} else {
		eth.EthernetType = layers.EthernetTypeIPv6
		stack = append(stack, &layers.IPv6{Version: 6, HopLimit: 60, NextHeader: proto, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()})
	}
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true}, append(stack, upper...)...); err != nil {
		panic(err)
	}
	return buf.Bytes()
}

// unreachable is an ICMP port-unreachable from a sender, that quotes a probe
// with a sequence number.
func unreachable(sender netip.Addr, source, target string, seq uint32) []byte {
	s, d := netip.MustParseAddrPort(source), netip.MustParseAddrPort(target)
	tcp := &layers.TCP{SrcPort: layers.TCPPort(s.Port()), DstPort: layers.TCPPort(d.Port()), Seq: seq, SYN: true}
	quote := gopacket.Payload(packet(s.Addr(), d.Addr(), layers.IPProtocolTCP, tcp)[wire.EthernetLen:])
	if s.Addr().Is4() {
		return packet(sender, s.Addr(), layers.IPProtocolICMPv4,
			&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 3)}, quote[:28])
	}
	return packet(sender, s.Addr(), layers.IPProtocolICMPv6,
		&layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(1, 4)}, gopacket.Payload([]byte{0, 0, 0, 0}), quote[:48])
}

func cookieOf(target, source string) uint32 {
	return key.Of(netip.MustParseAddrPort(target), netip.MustParseAddrPort(source))
}

const (
	our, our2 = "172.16.0.1:61000", "172.16.0.1:61001"
	our6      = "[fd00:172:16::1]:61000"
)

type sample struct {
	fact    string
	bytes   []byte
	outcome Outcome
	state   result.State
	try     int
	from    netip.Addr // reason IP
	filter  bool       // the kernel's filter lets it through
}

func samples() []sample {
	synAck := func(target, source string, off uint32) []byte {
		return segment(target, source, func(t *layers.TCP) {
			t.SYN, t.ACK, t.Seq, t.Ack = true, true, 7, cookieOf(target, source)+1+off
			t.Options = []layers.TCPOption{{OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: []byte{5, 180}}}
		})
	}
	rst := func(target, source string, off uint32) []byte {
		return segment(target, source, func(t *layers.TCP) { t.RST, t.ACK, t.Ack = true, true, cookieOf(target, source)+1+off })
	}
	flags := func(change func(*layers.TCP)) []byte { return segment("10.0.0.1:80", our, change) }
	target6 := "[fd00:10::7]:443"
	astray := unreachable(router4, our, "10.0.0.1:80", cookieOf("10.0.0.1:80", our))
	astray[14+19]++ // the error's own destination
	return []sample{
		{"syn_ack", synAck("10.0.0.1:80", our, 0), Valid, result.Open, 0, netip.Addr{}, true},
		{"syn_ack_to_the_second_try", synAck("10.0.0.1:80", our2, 0), Valid, result.Open, 1, netip.Addr{}, true},
		{"reset", rst("10.0.0.255:443", our, 0), Valid, result.Closed, 0, netip.Addr{}, true},
		{"syn_ack_over_ipv6", synAck(target6, our6, 0), Valid, result.Open, 0, netip.Addr{}, true},
		{"reset_over_ipv6", rst(target6, our6, 0), Valid, result.Closed, 0, netip.Addr{}, true},
		{"syn_ack_with_wrong_number", synAck("10.0.0.1:80", our, 1), BadCookie, 0, 0, netip.Addr{}, true},
		{"reset_with_wrong_number", rst("10.0.0.1:80", our, 5), BadCookie, 0, 0, netip.Addr{}, true},
		{"syn_ack_of_a_stranger", synAck("10.0.1.1:80", our, 0), OutOfPlan, 0, 0, netip.Addr{}, true},
		{"syn_ack_of_a_port_not_probed", synAck("10.0.0.1:81", our, 0), OutOfPlan, 0, 0, netip.Addr{}, true},
		{"syn_ack_to_another_port", synAck("10.0.0.1:80", "172.16.0.1:61002", 0), Foreign, 0, 0, netip.Addr{}, false},
		{"syn_ack_to_the_port_below", synAck("10.0.0.1:80", "172.16.0.1:60999", 0), Foreign, 0, 0, netip.Addr{}, false},
		{"syn_ack_to_another_address", synAck("10.0.0.1:80", "172.16.0.9:61000", 0), Foreign, 0, 0, netip.Addr{}, false},
		{"syn", flags(func(t *layers.TCP) { t.SYN = true }), Foreign, 0, 0, netip.Addr{}, false},
		{"ack", flags(func(t *layers.TCP) { t.ACK = true }), Foreign, 0, 0, netip.Addr{}, false},
		{"fin_ack", flags(func(t *layers.TCP) { t.FIN, t.ACK = true, true }), Foreign, 0, 0, netip.Addr{}, false},
		{"port_unreachable_from_the_target", unreachable(netip.MustParseAddr("10.0.0.1"), our, "10.0.0.1:80", cookieOf("10.0.0.1:80", our)),
			Valid, result.Filtered, 0, netip.Addr{}, true},
		{"port_unreachable_from_a_router", unreachable(router4, our, "10.0.0.1:80", cookieOf("10.0.0.1:80", our)),
			Valid, result.Filtered, 0, router4, true},
		{"port_unreachable_over_ipv6", unreachable(netip.MustParseAddr("fd00:10::7"), our6, target6, cookieOf(target6, our6)),
			Valid, result.Filtered, 0, netip.Addr{}, true},
		{"error_sent_to_somebody_else", astray, Foreign, 0, 0, netip.Addr{}, false},
		{"forged_quote", unreachable(router4, our, "10.0.0.1:80", 12345), BadCookie, 0, 0, netip.Addr{}, true},
		{"quote_of_a_probe_that_is_not_ours", unreachable(router4, "172.16.0.1:5000", "10.0.0.1:80", 1), Foreign, 0, 0, netip.Addr{}, true},
		{"udp", packet(netip.MustParseAddr("10.0.0.1"), source4, layers.IPProtocolUDP, &layers.UDP{SrcPort: 80, DstPort: 61000}),
			Foreign, 0, 0, netip.Addr{}, false},
		{"echo_reply", packet(router4, source4, layers.IPProtocolICMPv4, &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(0, 0)}),
			Foreign, 0, 0, netip.Addr{}, false},
		{"nothing", nil, Foreign, 0, 0, netip.Addr{}, false},
	}
}

func TestClassify(t *testing.T) {
	c := classifier(t, method.ByName("syn"))
	for _, tt := range samples() {
		t.Run(tt.fact, func(t *testing.T) {
			var r Reply
			if got := c.Classify(tt.bytes, &r); got != tt.outcome {
				t.Fatalf("outcome %d, want %d", got, tt.outcome)
			}
			if tt.outcome != Valid {
				return
			}
			if r.State != tt.state || r.Try != tt.try || r.ReasonIP != tt.from || r.TTL != 60 {
				t.Errorf("%+v", r)
			}
			if pos, ok := c.Plan.Position(r.Target); !ok || pos != r.Pos {
				t.Errorf("%v at %d, the plan says %d", r.Target, r.Pos, pos)
			}
		})
	}
}

func vm(t testing.TB, m Match) *bpf.VM {
	t.Helper()
	program, err := bpf.NewVM(m.Filter())
	if err != nil {
		t.Fatal(err)
	}
	return program
}

func passes(t testing.TB, program *bpf.VM, b []byte) bool {
	t.Helper()
	n, err := program.Run(b)
	if err != nil {
		t.Fatal(err)
	}
	return n > 0
}

func TestFilterLetsOnlyPossibleAnswersThrough(t *testing.T) {
	for _, link := range []wire.Link{wire.Ethernet, wire.Raw} {
		m := match
		m.Link = link
		program := vm(t, m)
		for _, tt := range samples() {
			b := tt.bytes
			if link == wire.Raw && len(b) > 0 {
				b = b[wire.EthernetLen:]
			}
			if got := passes(t, program, b); got != tt.filter {
				t.Errorf("link %d: %s passes: %v, want %v", link, tt.fact, got, tt.filter)
			}
		}
	}
}

// Every ICMP error that a method can judge, and answers behind every extension
// header, pass the filter and are valid to the classifier.
func TestFilterRefusesNoAnswer(t *testing.T) {
	program, c := vm(t, match), classifier(t, method.ByName("syn"))
	check := func(fact string, b []byte) {
		t.Helper()
		var r Reply
		if outcome := c.Classify(b, &r); outcome != Valid || !passes(t, program, b) {
			t.Errorf("%s: outcome %d, passes the filter: %v", fact, outcome, passes(t, program, b))
		}
	}
	target6 := "[fd00:10::7]:443"
	judged := 0
	for kind := range 256 {
		for code := range 16 {
			for _, ipv6 := range []bool{false, true} {
				if _, ok := method.ICMP(ipv6, uint8(kind), uint8(code)); !ok {
					continue
				}
				judged++
				b := unreachable(router4, our, "10.0.0.1:80", cookieOf("10.0.0.1:80", our))
				at := wire.EthernetLen + wire.IPv4Len
				if ipv6 {
					b = unreachable(netip.MustParseAddr("fd00:10::7"), our6, target6, cookieOf(target6, our6))
					at = wire.EthernetLen + wire.IPv6Len
				}
				b[at], b[at+1] = byte(kind), byte(code)
				check(fmt.Sprintf("ICMP ipv6=%v type %d code %d", ipv6, kind, code), b)
			}
		}
	}
	if judged < 20 {
		t.Errorf("only %d errors were tried", judged)
	}
	for _, extension := range []byte{0, 43, 44, 51, 60} {
		plain := segment(target6, our6, func(t *layers.TCP) { t.RST, t.ACK, t.Ack = true, true, cookieOf(target6, our6)+1 })
		b := append([]byte(nil), plain[:wire.EthernetLen+wire.IPv6Len]...)
		b = append(b, wire.ProtoTCP, 0, 0, 0, 0, 0, 0, 0) // a header of 8 bytes, in all five formats
		b = append(b, plain[len(b)-8:]...)
		b[wire.EthernetLen+6] = extension
		b[wire.EthernetLen+5] += 8 // payload length
		check(fmt.Sprintf("behind extension header %d", extension), b)
	}
}

func TestFilterOfOneFamilyRefusesTheOther(t *testing.T) {
	only4, only6 := match, match
	only4.Source6, only6.Source4 = netip.Addr{}, netip.Addr{}
	for _, tt := range samples() {
		if len(tt.bytes) == 0 {
			continue
		}
		is4 := tt.bytes[14]>>4 == 4
		if got := passes(t, vm(t, only4), tt.bytes); got != (tt.filter && is4) {
			t.Errorf("IPv4 only: %s passes: %v", tt.fact, got)
		}
		if got := passes(t, vm(t, only6), tt.bytes); got != (tt.filter && !is4) {
			t.Errorf("IPv6 only: %s passes: %v", tt.fact, got)
		}
	}
}

// The kernel takes at most BPF_MAXINSNS, and its own part in front.
func TestFilterAssembles(t *testing.T) {
	raw, err := bpf.Assemble(append(incoming(), match.Filter()...))
	if err != nil || len(raw) > 4096 {
		t.Errorf("%d instructions, %v", len(raw), err)
	}
}

// Whatever bytes come, the classifier agrees with gopacket on what it calls
// valid, and the filter never refuses an answer.
func FuzzClassify(f *testing.F) {
	for _, s := range samples() {
		f.Add(s.bytes)
	}
	c := classifier(f, method.ByName("syn"))
	program := vm(f, match)
	f.Fuzz(func(t *testing.T, data []byte) {
		var r Reply
		outcome := c.Classify(data, &r)
		if outcome == Foreign {
			return
		}
		if untagged(data) && !passes(t, program, data) {
			t.Fatalf("the filter refuses what the classifier counts as %d", outcome)
		}
		if outcome != Valid {
			return
		}
		p := gopacket.NewPacket(data, layers.LayerTypeEthernet, gopacket.DecodeOptions{NoCopy: true})
		network := p.NetworkLayer()
		if network == nil {
			t.Fatalf("valid, but gopacket sees no network layer: %+v", r)
		}
		tcp, ok := p.TransportLayer().(*layers.TCP)
		if !ok {
			// gopacket reads no first fragments, and stops at options that the
			// decoder never reads.
			fragment := p.Layer(gopacket.LayerTypeFragment) != nil
			if r.State != result.Filtered && p.ErrorLayer() == nil && !fragment {
				t.Fatalf("%+v without a TCP header", r)
			}
			return
		}
		src, _ := netip.AddrFromSlice(network.NetworkFlow().Src().Raw())
		if r.Target != netip.AddrPortFrom(src, uint16(tcp.SrcPort)) {
			t.Fatalf("%v, gopacket says %v:%d", r.Target, src, tcp.SrcPort)
		}
		if (r.State == result.Open) != (tcp.SYN && tcp.ACK && !tcp.RST) || (r.State == result.Closed) != tcp.RST {
			t.Fatalf("%v for %+v", r.State, tcp)
		}
		want := key.Of(r.Target, netip.AddrPortFrom(source4, uint16(tcp.DstPort)))
		if src.Is6() {
			want = key.Of(r.Target, netip.AddrPortFrom(source6, uint16(tcp.DstPort)))
		}
		if tcp.Ack-want > 1 {
			t.Fatalf("ack %08x passes for cookie %08x", tcp.Ack, want)
		}
	})
}

// untagged: on a packet socket the kernel has taken VLAN tags off, and the
// filter does not look behind them.
func untagged(data []byte) bool {
	return data[12] == 0x08 && data[13] == 0 || data[12] == 0x86 && data[13] == 0xdd
}

func TestNothingAllocates(t *testing.T) {
	c := classifier(t, method.ByName("syn"))
	for _, s := range samples() {
		var r Reply
		if n := testing.AllocsPerRun(200, func() { c.Classify(s.bytes, &r) }); n != 0 {
			t.Errorf("%s: %v allocations", s.fact, n)
		}
	}
}

func BenchmarkClassify(b *testing.B) {
	c := classifier(b, method.ByName("syn"))
	for _, s := range samples() {
		switch s.fact {
		case "syn_ack", "syn_ack_over_ipv6", "port_unreachable_from_a_router", "syn_ack_of_a_stranger":
			b.Run("packet="+s.fact, func(b *testing.B) {
				b.ReportAllocs()
				var r Reply
				for b.Loop() {
					c.Classify(s.bytes, &r)
				}
			})
		}
	}
}
