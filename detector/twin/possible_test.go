package twin

import (
	"strings"
	"testing"

	"synoptic/bpf/watch"
)

// kindByName is the table of kinds by the letters of the flags, in the order of
// their bits; RST is nowhere in it.
var kindByName = map[string]watch.Kind{
	"": watch.NULL, "F": watch.FIN, "FPU": watch.XMAS,
	"S": watch.SYN, "SP": watch.SYN, "SU": watch.SYN, "SPU": watch.SYN,
	"P": watch.Odd, "U": watch.Odd, "PU": watch.Odd, "FP": watch.Odd, "FU": watch.Odd,
	"FS": watch.Odd, "FSP": watch.Odd, "FSU": watch.Odd, "FSPU": watch.Odd,

	"A": watch.ACK, "PA": watch.ACK, "AU": watch.ACK, "PAU": watch.ACK,
	"FA": watch.Maimon, "FPA": watch.Maimon, "FAU": watch.Maimon, "FPAU": watch.Maimon,
	"SA": watch.SYNACK, "SPA": watch.SYNACK, "SAU": watch.SYNACK, "SPAU": watch.SYNACK,
	"FSA": watch.Odd, "FSPA": watch.Odd, "FSAU": watch.Odd, "FSPAU": watch.Odd,
}

func flagName(flags uint8) (name string) {
	for i, letter := range "FSRPAU" {
		if flags>>i&1 != 0 {
			name += string(letter)
		}
	}
	return name
}

// Each of the 256 flag bytes, in each context, with short and long headers, at a
// server and at a gateway.
func TestFlagSets(t *testing.T) {
	probes := 0
	for b := range 256 * 3 * 2 * 2 {
		flags, context, header, gateway := uint8(b), watch.Context(b/256%3), 28+4*(b/768%2), b/1536 == 1
		name := flagName(flags & 63)
		kind, listed := kindByName[name]
		if kind == watch.SYN && header >= 32 {
			kind = watch.SystemSYN
		}
		ack, rst := strings.Contains(name, "A"), strings.Contains(name, "R")
		if listed == rst {
			t.Fatalf("flags %q: the table of this test is wrong", name)
		}
		asked := ack && !rst && !gateway
		var want watch.Counters
		want.TCP[flags&63] = 1
		switch {
		case rst || ack && gateway:
		case asked && context != watch.Unknown:
			want.Known = 1
			if context == watch.Handshake {
				want.Handshakes = 1
			}
		case kind == watch.SYNACK:
			want.Backscatter = 1
		default:
			want.Probes, want.Sources = 1, 1
			probes++
		}
		w := newTwin(t, Config{Sets: 1, Gateway: gateway}, defaults())
		w.Run(testPacket{flags: flags, noFlags: true, port: 80, header: header}.frame(), start, context)
		if got, _ := w.Counters(); got != want {
			t.Errorf("flags %q (%#x), context %d, header %d, gateway %v:\ngot  %+v\nwant %+v", name, flags, context, header, gateway, got, want)
		}
		if v, ok := w.Source(0); ok != (want.Probes == 1) || ok && v.Kinds[kind] != 1 {
			t.Errorf("flags %q (%#x), context %d, header %d, gateway %v: kinds %v, want %d", name, flags, context, header, gateway, v.Kinds, kind)
		}
	}
	// 16 of 64 whatever the context; 12 more if nobody knows the conversation.
	if want := (16*3*2 + 12) * 4 * 2; probes != want {
		t.Errorf("%d probes, want %d", probes, want)
	}
}

func TestSystemSYNFromThirtyTwoBytes(t *testing.T) {
	for header := 20; header <= 60; header += 4 {
		s := newStand(t, defaults())
		s.quiet(0, testPacket{port: 80, header: header})
		want := watch.SYN
		if header >= 32 {
			want = watch.SystemSYN
		}
		if v := s.remembered("192.0.2.1"); v.Kinds[want] != 1 || v.Probes[0].Kind != want {
			t.Errorf("header of %d: kinds %v, probes %v, want %d", header, v.Kinds, v.Probes, want)
		}
	}
}

func TestTinyIsAlwaysAProbe(t *testing.T) {
	for _, gateway := range []bool{false, true} {
		for context := range watch.Handshake + 1 {
			w := newTwin(t, Config{Sets: 1, Gateway: gateway}, defaults())
			w.Run(testPacket{tiny: true, port: 80}.frame(), start, context)
			want := watch.Counters{Tiny: 1, Probes: 1, Sources: 1}
			if got, _ := w.Counters(); got != want {
				t.Errorf("gateway %v, context %d:\ngot  %+v\nwant %+v", gateway, context, got, want)
			}
			v, _ := w.Source(0)
			if v.Kinds[watch.Tiny] != 1 || v.Classes[watch.Low] != 1 || len(v.Probes) != 1 || v.Probes[0].Port != 80 {
				t.Errorf("gateway %v, context %d: %+v", gateway, context, v)
			}
		}
	}
}

func TestUDP(t *testing.T) {
	for _, c := range []struct {
		name    string
		mode    watch.UDPMode
		context watch.Context
		gateway bool
		want    watch.Counters
	}{
		{"score/unknown", watch.UDPScore, watch.Unknown, false, watch.Counters{Probes: 1, Sources: 1}},
		{"score/known", watch.UDPScore, watch.Known, false, watch.Counters{Known: 1}},
		{"score/handshake", watch.UDPScore, watch.Handshake, false, watch.Counters{Known: 1, Handshakes: 1}},
		{"score/gateway", watch.UDPScore, watch.Unknown, true, watch.Counters{}},
		{"count/unknown", watch.UDPCount, watch.Unknown, false, watch.Counters{}},
		{"count/known", watch.UDPCount, watch.Known, false, watch.Counters{Known: 1}},
		{"off/unknown", watch.UDPOff, watch.Unknown, false, watch.Counters{}},
		{"off/known", watch.UDPOff, watch.Known, false, watch.Counters{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := defaults()
			r.UDP = c.mode
			w := newTwin(t, Config{Sets: 1, Gateway: c.gateway}, r)
			w.Run(testPacket{udp: true, port: 53}.frame(), start, c.context)
			c.want.UDP = 1
			if got, _ := w.Counters(); got != c.want {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
		})
	}
}

// A datagram that is only counted changes two numbers of a source that is there.
func TestUDPCountOfARememberedSource(t *testing.T) {
	r := defaults()
	r.UDP = watch.UDPCount
	s := newStand(t, r)
	s.quiet(0, testPacket{port: 80})
	before := s.remembered("192.0.2.1")
	for i := range 30 {
		s.quiet(1, testPacket{port: uint16(i), udp: true, ttl: 3, to: "198.51.100.9"})
	}
	after := s.remembered("192.0.2.1")
	if after.Classes[watch.Datagram] != 30 || after.Kinds[watch.UDP] != 30 {
		t.Errorf("classes %v, kinds %v", after.Classes, after.Kinds)
	}
	after.Classes[watch.Datagram], after.Kinds[watch.UDP] = 0, 0
	same(t, before, after)
	s.counts(watch.Counters{Sources: 1, Probes: 1})
	if e, _ := s.find(0, s.mapped("192.0.2.1")); e.heat != 1 {
		t.Errorf("heat %d", e.heat)
	}
}

func TestHandshakesAreCountedOfARememberedSourceOnly(t *testing.T) {
	s := newStand(t, defaults())
	ack := testPacket{port: 80, flags: ACK, ttl: 3, to: "198.51.100.9"}
	s.quiet(0, ack, watch.Handshake)
	s.counts(watch.Counters{Known: 1, Handshakes: 1})
	s.quiet(1, testPacket{port: 80})
	before := s.remembered("192.0.2.1")
	s.quiet(2, ack, watch.Handshake)
	s.quiet(3, ack, watch.Known)
	after := s.remembered("192.0.2.1")
	if before.Handshakes != 0 || after.Handshakes != 1 {
		t.Errorf("%d handshakes, then %d", before.Handshakes, after.Handshakes)
	}
	after.Handshakes = 0
	same(t, before, after)
	s.counts(watch.Counters{Sources: 1, Probes: 1, Known: 3, Handshakes: 2})
}

// rejectFrom passes all but one source address.
func rejectFrom(s string) watch.Filter {
	return watch.Filter{{Test: watch.TestSource, Prefix: prefix(s), Yes: watch.Reject, No: watch.Pass}}
}

func TestCountRejects(t *testing.T) {
	r := withPackets()
	r.Count = rejectFrom("192.0.2.1/32")
	s := newStand(t, r)
	for _, p := range []testPacket{{port: 80}, {port: 80, flags: ACK}, {port: 53, udp: true}, {port: 80, tiny: true}, {port: 80, flags: RST}} {
		s.quiet(0, p, watch.Handshake)
	}
	s.Run(raw(ether4+`45 00 001c 0001 0000 40 01 0000 c0000201 c6336401 0800 0000 0001 0001`), start, watch.Unknown)
	s.Run(raw(ether4+`45 00 001c 0001 0001 40 01 0000 c0000201 c6336401 0800 0000 0001 0001`), start, watch.Unknown)
	// What has no addresses is not seen by the filter.
	s.Run(raw(macs+`0806`), start, watch.Unknown)
	s.Run(raw(macs), start, watch.Unknown)
	if got, want := s.counters, (watch.Counters{Filtered: 7, NotIP: 1, Malformed: 1}); got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	s.quiet(0, testPacket{port: 80, from: "192.0.2.2"})
	if s.counters.TCP[SYN] != 1 || s.counters.Filtered != 7 || s.counters.Probes != 1 {
		t.Errorf("another source: %+v", s.counters)
	}
}

func TestScoreRejects(t *testing.T) {
	for _, c := range []struct {
		name    string
		packet  testPacket
		context watch.Context
		want    watch.Counters
	}{
		{"syn", testPacket{port: 80}, watch.Unknown, watch.Counters{Ignored: 1}},
		{"tiny", testPacket{port: 80, tiny: true}, watch.Unknown, watch.Counters{Ignored: 1}},
		{"udp", testPacket{port: 53, udp: true}, watch.Unknown, watch.Counters{Ignored: 1}},
		{"synack_before_backscatter", testPacket{port: 80, flags: SYN | ACK}, watch.Unknown, watch.Counters{Ignored: 1}},
		{"known_ack_is_no_possible_probe", testPacket{port: 80, flags: ACK}, watch.Known, watch.Counters{Known: 1}},
		{"rst_is_no_possible_probe", testPacket{port: 80, flags: RST}, watch.Unknown, watch.Counters{}},
	} {
		for name, r := range map[string]watch.Rules{"": defaults(), "/packets": withPackets()} {
			t.Run(c.name+name, func(t *testing.T) {
				r.Score = rejectFrom("192.0.2.1/32")
				s := newStand(t, r)
				s.quiet(0, c.packet, c.context)
				s.counts(c.want)
				if s.counters.Frames() != 1 || s.counters.Filtered != 0 {
					t.Errorf("%+v", s.counters)
				}
			})
		}
	}
}

// What an earlier packet was remembered for is told of, though a later one is
// ignored: it does not even prolong.
func TestScoreRejectsForARememberedSource(t *testing.T) {
	r := withPackets()
	r.Score = watch.Filter{{Test: watch.TestDestinationPort, Lo: 443, Hi: 443, Yes: watch.Reject, No: watch.Pass}}
	s := newStand(t, r)
	s.quiet(0, testPacket{port: 80})
	before := s.remembered("192.0.2.1")
	s.quiet(5, testPacket{port: 443})
	same(t, before, s.remembered("192.0.2.1"))
	s.counts(watch.Counters{Sources: 1, Probes: 1, Ignored: 1})
}
