package twin

import (
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"synoptic/bpf/watch"
)

const (
	gap    = 3 * time.Second
	window = 300 * time.Millisecond
)

// step is a packet at a time.
type step struct {
	at     time.Duration
	packet testPacket
}

func low(port uint16) testPacket { return testPacket{port: port} }

// Where the chain of new ports is after the steps, in which every port is below
// 1024, so that seven cross the line.
func TestChain(t *testing.T) {
	seven := func(at time.Duration, more ...step) (list []step) {
		for port := range uint16(7) {
			list = append(list, step{at, low(100 + port)})
		}
		return append(list, more...)
	}
	for _, c := range []struct {
		name  string
		steps []step
		chain time.Duration
		heat  uint8
		over  bool
	}{
		{"begins_with_the_first_probe", []step{{5, low(1)}}, 5, 1, false},
		{"goes_on_at_3_s", []step{{0, low(1)}, {gap, low(2)}}, 0, 2, false},
		{"ends_at_3_s_and_1_ns", []step{{0, low(1)}, {gap + 1, low(2)}}, gap + 1, 1, false},
		{"is_prolonged_by_a_new_port", []step{{0, low(1)}, {gap, low(2)}, {2 * gap, low(3)}}, 0, 3, false},
		{"is_not_prolonged_by_a_repeat", []step{{0, low(1)}, {2 * time.Second, low(1)}, {gap + 1, low(2)}}, gap + 1, 1, false},
		{"a_repeat_adds_nothing", []step{{0, low(1)}, {1, low(1)}, {2, low(1)}}, 0, 1, false},
		{"a_repeat_outside_the_window_adds_nothing", []step{{0, low(1)}, {time.Second, low(1)}}, 0, 1, false},
		{"a_repeat_beyond_the_gap_begins_another", []step{{0, low(1)}, {gap + 1, low(1)}}, gap + 1, 1, false},
		{"a_port_of_an_earlier_chain_is_new", []step{{0, low(1)}, {gap + 1, low(2)}, {gap + 2, low(1)}}, gap + 1, 2, false},
		{"and_prolongs", []step{{0, low(1)}, {gap + 1, low(2)}, {gap + 2, low(1)}, {2*gap + 2, low(3)}}, gap + 1, 3, false},
		{"another_protocol_is_another_port", []step{{0, low(1)}, {1, testPacket{port: 1, udp: true}}}, 0, 2, false},
		{"another_destination_is_the_same_port", []step{{0, low(1)}, {1, testPacket{port: 1, to: "198.51.100.2"}}}, 0, 1, false},
		{"six_low_ports_are_below_the_line", seven(0)[:6], 0, 6, false},
		{"seven_reach_it", seven(0), 0, 7, true},
		{"over_the_line_a_repeat_prolongs", seven(0, step{gap, low(100)}, step{2 * gap, low(200)}), 0, 8, true},
		{"over_the_line_each_repeat_prolongs", seven(0, step{gap, low(100)}, step{2 * gap, low(100)}, step{3 * gap, low(200)}), 0, 8, true},
		{"over_the_line_a_repeat_in_the_window_prolongs", seven(0, step{window, low(100)}, step{window + gap, low(200)}), 0, 8, true},
		{"over_the_line_it_ends_too", seven(0, step{gap + 1, low(100)}), gap + 1, 1, false},
		{"the_next_chain_is_not_over", seven(0, step{gap + 1, low(100)}, step{gap + 2, low(100)}, step{2*gap + 2, low(200)}), 2*gap + 2, 1, false},
		{"six_of_the_earlier_chain_do_not_count", append(seven(0)[:6], step{gap + 1, low(200)}), gap + 1, 1, false},
		{"a_synack_joins_and_prolongs", []step{{0, low(1)}, {gap, testPacket{port: 2, flags: SYN | ACK}}, {2 * gap, low(3)}}, 0, 3, false},
		{"a_synack_begins_none", []step{{0, low(1)}, {gap + 1, testPacket{port: 2, flags: SYN | ACK}}}, 0, 1, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStand(t, defaults())
			for _, p := range c.steps {
				s.run(p.at, p.packet)
			}
			e, _ := s.find(0, s.mapped("192.0.2.1"))
			if got := since0(e.chain); got != c.chain || e.heat != c.heat || e.over != c.over {
				t.Errorf("chain since %v of heat %d, over %v; want %v, %d, %v", got, e.heat, e.over, c.chain, c.heat, c.over)
			}
			if v := s.remembered("192.0.2.1"); v.Chain != e.chain {
				t.Errorf("the snapshot says %v", since0(v.Chain))
			}
		})
	}
}

// The chain is kept though its line is off, for the heat and the backscatter;
// but then nothing is over it.
func TestChainWithoutItsLine(t *testing.T) {
	r := defaults()
	r.Gap.On = false
	s := newStand(t, r)
	for port := range uint16(7) {
		s.run(0, low(100+port))
	}
	s.quiet(gap, low(100))
	s.quiet(gap+1, testPacket{port: 1, flags: SYN | ACK})
	s.quiet(gap+1, low(200))
	e, _ := s.find(0, s.mapped("192.0.2.1"))
	if since0(e.chain) != gap+1 || e.heat != 1 || e.over {
		t.Errorf("chain since %v, heat %d, over %v", since0(e.chain), e.heat, e.over)
	}
	s.counts(watch.Counters{Sources: 1, Probes: 9, Backscatter: 1})
}

func TestHeatStopsAt127(t *testing.T) {
	s := newStand(t, defaults())
	for port := range uint16(300) {
		s.run(time.Duration(port), low(port))
		e, _ := s.find(0, s.mapped("192.0.2.1"))
		if want := min(int(port)+1, 127); int(e.heat) != want {
			t.Fatalf("%d ports: heat %d", port+1, e.heat)
		}
	}
}

func TestBackscatterOfARememberedSource(t *testing.T) {
	answer := testPacket{port: 2, flags: SYN | ACK, ttl: 1, to: "198.51.100.9"}
	s := newStand(t, defaults())
	s.quiet(0, low(1))
	before := s.remembered("192.0.2.1")
	s.quiet(gap+1, answer)
	same(t, before, s.remembered("192.0.2.1"))
	s.counts(watch.Counters{Sources: 1, Probes: 1, Backscatter: 1})

	s = newStand(t, defaults())
	s.quiet(0, low(1))
	s.quiet(gap, answer)
	v := s.remembered("192.0.2.1")
	if v.Kinds[watch.SYNACK] != 1 || since0(v.Last) != gap || v.MinTTL != 1 || len(v.Probes) != 2 || v.Probes[1].Kind != watch.SYNACK {
		t.Errorf("%+v", v)
	}
	s.counts(watch.Counters{Sources: 1, Probes: 2})
}

// Of the probes, those to a port that is new for neither line.
func TestRepeats(t *testing.T) {
	off := defaults()
	off.Window.On = false
	for _, c := range []struct {
		name    string
		rules   watch.Rules
		second  step
		repeats uint64
	}{
		{"at_once", defaults(), step{0, low(1)}, 1},
		{"at_300_ms", defaults(), step{window, low(1)}, 1},
		{"at_300_ms_and_1_ns", defaults(), step{window + 1, low(1)}, 0},
		{"the_window_counts_though_it_is_off", off, step{window, low(1)}, 1},
		{"the_window_counts_though_it_is_off_beyond_it", off, step{window + 1, low(1)}, 0},
		{"another_port", defaults(), step{0, low(2)}, 0},
		{"another_protocol", defaults(), step{0, testPacket{port: 1, udp: true}}, 0},
		{"another_kind", defaults(), step{0, testPacket{port: 1, flags: FIN}}, 1},
		{"another_chain", defaults(), step{gap + 1, low(1)}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStand(t, c.rules)
			s.quiet(0, low(1))
			s.quiet(c.second.at, c.second.packet)
			s.counts(watch.Counters{Sources: 1, Probes: 2, Repeats: c.repeats})
		})
	}
	// With a window longer than the gap, another chain alone makes it new.
	r := defaults()
	r.Window.Span = time.Minute
	s := newStand(t, r)
	s.quiet(0, low(1))
	s.quiet(gap+1, low(1))
	s.quiet(gap+1, low(1))
	s.counts(watch.Counters{Sources: 1, Probes: 3, Repeats: 1})
}

// Twenty-two ports are remembered; another takes the place of that which was
// probed longest ago, the first of equals.
func TestSlots(t *testing.T) {
	s := newStand(t, defaults())
	for port := range uint16(22) {
		s.run(time.Duration(10+port), low(100+port))
	}
	ports := func() []uint16 { p, _ := times(s.remembered("192.0.2.1").Probes); return p }
	want := func(list ...uint16) {
		t.Helper()
		if got := ports(); !slices.Equal(got, list) {
			t.Errorf("got  %v\nwant %v", got, list)
		}
	}
	var first22 []uint16
	for port := range uint16(22) {
		first22 = append(first22, 100+port)
	}
	want(first22...)
	s.run(40, low(100)) // known: keeps its place, and is now the latest
	want(append(slices.Clone(first22[1:]), 100)...)
	s.run(41, low(200))
	want(append(slices.Clone(first22[2:]), 100, 200)...)
	s.run(42, low(101)) // was forgotten
	want(append(slices.Clone(first22[3:]), 100, 200, 101)...)

	// Among equals the first place: ports 1 to 22 at one time. Equals are told in
	// the order of their places.
	s = newStand(t, defaults())
	for port := range uint16(22) {
		s.run(0, low(1+port))
	}
	s.run(1, low(50))
	s.run(1, low(51))
	var list []uint16
	for port := range uint16(20) {
		list = append(list, 3+port)
	}
	want(append(list, 50, 51)...)
}

func TestASlotHasTheLatestKind(t *testing.T) {
	s := newStand(t, defaults())
	s.quiet(0, low(1))
	s.quiet(1, testPacket{port: 1, flags: FIN})
	s.quiet(2, testPacket{port: 1, udp: true})
	want := []watch.Probe{{Time: start + 1, Port: 1, Kind: watch.FIN}, {Time: start + 2, Port: 1, Kind: watch.UDP}}
	if got := s.remembered("192.0.2.1").Probes; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// All that a snapshot tells of a source, of four probes and one other packet.
func TestWhatIsCountedOfASource(t *testing.T) {
	s := newStand(t, defaults())
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	s.quiet(ms(1), testPacket{port: 1024, from: "2001:db8::1", to: "2001:db8:f::1", ttl: 64, header: 40})
	s.quiet(ms(2), testPacket{port: 1023, from: "2001:db8::2", to: "2001:db8:f::2", ttl: 60, flags: FIN | PSH | URG})
	s.run(ms(3), testPacket{port: 2000, from: "2001:db8::3", to: "2001:db8:f::3", ttl: 255, noFlags: true})
	s.quiet(ms(4), testPacket{port: 80, from: "2001:db8::4", to: "2001:db8:f::4", ttl: 1, flags: ACK}, watch.Handshake)
	v := s.told(ms(5), testPacket{port: 11, from: "2001:db8::5", to: "2001:db8:f::2", ttl: 63, udp: true, source: 777})
	at := func(n int) uint64 { return start + uint64(ms(n)) }
	want := watch.Snapshot{
		Ref: 0, Source: prefix("2001:db8::/64"), From: netip.MustParseAddr("2001:db8::5"), To: netip.MustParseAddr("2001:db8:f::2"),
		Time: at(5), Probed: true, Born: at(1), Last: at(5), Before: at(3), Chain: at(1),
		Probes: []watch.Probe{{Time: at(1), Port: 1024, Kind: watch.SystemSYN}, {Time: at(2), Port: 1023, Kind: watch.XMAS},
			{Time: at(3), Port: 2000, Kind: watch.NULL}, {Time: at(5), Port: 11, Kind: watch.UDP}},
		First: netip.MustParseAddr("2001:db8:f::1"), Latest: netip.MustParseAddr("2001:db8:f::2"), Hosts: 3,
		SourcePort: 777, MinTTL: 60, MaxTTL: 255, Handshakes: 1,
	}
	want.Classes = [watch.Classes]uint32{watch.High: 1, watch.Low: 1, watch.Trap: 1, watch.Datagram: 1}
	for _, k := range []watch.Kind{watch.SystemSYN, watch.XMAS, watch.NULL, watch.UDP} {
		want.Kinds[k] = 1
	}
	same(t, want, v)

	// The same, looked up: no packet belongs to it.
	want.From, want.To, want.SourcePort, want.Probed, want.Before = netip.Addr{}, netip.Addr{}, 0, false, 0
	same(t, want, s.remembered("2001:db8::"))
}

// A trap port is counted as one though no line gives it points of its own.
func TestTrapsAreCountedWithoutPoints(t *testing.T) {
	r := defaults()
	r.Window.Trap = 0
	s := newStand(t, r)
	for _, port := range []uint16{10, 11, 12, 13, 14, 1999, 2000, 2001, 0, 65535} {
		s.run(0, low(port))
	}
	want := [watch.Classes]uint32{watch.High: 3, watch.Low: 3, watch.Trap: 4}
	if v := s.remembered("192.0.2.1"); v.Classes != want {
		t.Errorf("got %v, want %v", v.Classes, want)
	}
}

// A port scores alike, whatever the kind of the probe.
func TestProbesOfEveryKindScore(t *testing.T) {
	for _, c := range []struct {
		kind   watch.Kind
		packet testPacket
	}{
		{watch.SYN, testPacket{}}, {watch.SystemSYN, testPacket{header: 40}}, {watch.NULL, testPacket{noFlags: true}}, {watch.FIN, testPacket{flags: FIN}},
		{watch.XMAS, testPacket{flags: FIN | PSH | URG}}, {watch.Odd, testPacket{flags: SYN | FIN}}, {watch.Maimon, testPacket{flags: FIN | ACK}},
		{watch.ACK, testPacket{flags: ACK}}, {watch.UDP, testPacket{udp: true}}, {watch.Tiny, testPacket{tiny: true}},
	} {
		s := newStand(t, defaults())
		for port := range uint16(7) {
			c.packet.port = 500 + port
			told := s.run(time.Duration(port), c.packet)
			if want := port >= 4; (len(told) == 1) != want { // 15 points are two thirds of 21
				t.Errorf("kind %d: port %d is told %d times", c.kind, port, len(told))
			}
		}
		if v := s.remembered("192.0.2.1"); v.Kinds[c.kind] != 7 || len(v.Probes) != 7 || v.Probes[6].Kind != c.kind {
			t.Errorf("kind %d: %+v", c.kind, v)
		}
	}
}
