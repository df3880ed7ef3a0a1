package twin

import (
	"strings"
	"testing"
	"time"

	"synoptic/bpf/watch"
)

func TestNewRefusesTablesItCannotNumber(t *testing.T) {
	for _, sets := range []int{0, -1, MaxSets + 1} {
		if _, err := New(Config{Sets: sets}); err == nil || !strings.Contains(err.Error(), "choose 1 to") {
			t.Errorf("%d sets: %v", sets, err)
		}
	}
}

// Until rules are set, frames are counted and nothing is told.
func TestWithoutRules(t *testing.T) {
	w, err := New(Config{Sets: 1})
	must(t, err)
	for port := range uint16(50) {
		w.Run(testPacket{port: port, from: "2001:db8::1"}.frame(), start, watch.Unknown)
	}
	w.Run(testPacket{port: 1, from: "2001:db8::2"}.frame(), start, watch.Unknown)
	if c, _ := w.Counters(); c.Frames() != 51 || c.Events != 0 || c.Sources != 2 {
		t.Errorf("%+v", c)
	}
	must(t, w.Close())
}

func TestRulesThatCannotBeFollowed(t *testing.T) {
	node := func(n watch.Node) watch.Filter { return watch.Filter{n, {Yes: watch.Pass, No: watch.Pass}} }
	long := make(watch.Filter, watch.MaxNodes)
	for i := range long {
		long[i] = watch.Node{Yes: watch.Pass, No: watch.Pass}
	}
	for _, c := range []struct {
		name   string
		change func(*watch.Rules)
		err    string // empty: none
	}{
		{"the_defaults", func(*watch.Rules) {}, ""},
		{"exceeds_what_22_ports_have", func(r *watch.Rules) { r.Window.Threshold = 22 }, "set rules: window: threshold 22: choose at most 21, what 22 ports of 1 points decide"},
		{"reaches_what_22_ports_have", func(r *watch.Rules) { r.Gap.Threshold = 22 }, ""},
		{"reaches_more", func(r *watch.Rules) { r.Gap.Threshold = 23 }, "gap: threshold 23: choose at most 22"},
		{"the_smallest_weight_is_low", func(r *watch.Rules) { r.Window.High, r.Window.Low, r.Window.Threshold = 9, 4, 88 }, "at most 87"},
		{"the_smallest_weight_is_a_trap's", func(r *watch.Rules) { r.Window.High, r.Window.Trap, r.Window.Threshold = 3, 2, 44 }, "at most 43"},
		{"no_trap_has_it", func(r *watch.Rules) { r.Window.High, r.Window.Trap, r.Window.Threshold, r.Traps = 3, 2, 44, nil }, ""},
		{"traps_without_points", func(r *watch.Rules) { r.Window.High, r.Window.Trap, r.Window.Threshold = 3, 0, 65 }, ""},
		{"a_port_without_points", func(r *watch.Rules) { r.Window.High = 0 }, "window: a port of 0 points: choose 1 to 255"},
		{"a_low_port_without_points", func(r *watch.Rules) { r.Gap.Low = 0 }, "gap: a port of 0 points"},
		{"of_a_line_that_is_off", func(r *watch.Rules) { r.Packets.High, r.Packets.Threshold = 0, 1000 }, ""},
		{"of_packets", func(r *watch.Rules) { r.Packets.On = true }, "packets: a port of 0 points"},
		{"a_negative_span", func(r *watch.Rules) { r.Window.Span = -1 }, "window: span -1ns"},
		{"a_negative_span_of_a_line_that_is_off", func(r *watch.Rules) { r.Gap.On, r.Gap.Span = false, -1 }, "gap: span -1ns"},
		{"a_span_of_0", func(r *watch.Rules) { r.Window.Span = 0 }, ""},
		{"no_bits", func(r *watch.Rules) { r.V6Bits = 0 }, "0 bits of an IPv6 address make a source: choose 1 to 128"},
		{"too_many_bits", func(r *watch.Rules) { r.V6Bits = 129 }, "choose 1 to 128"},
		{"an_unknown_udp_mode", func(r *watch.Rules) { r.UDP = 3 }, "unknown UDP mode 3"},
		{"as_many_tests_as_there_may_be", func(r *watch.Rules) { r.Count, r.Score = long[:100], long[:156] }, ""},
		{"more_tests", func(r *watch.Rules) { r.Count, r.Score = long[:100], long[:157] }, "the filters have 257 tests: shorten them to 256"},
		{"a_test_that_leads_back", func(r *watch.Rules) { r.Count = node(watch.Node{Yes: 0, No: 1}) }, "count filter: test 0 leads to 0"},
		{"a_test_that_leads_beyond", func(r *watch.Rules) { r.Score = node(watch.Node{Yes: 1, No: 2}) }, "score filter: test 0 leads to 2"},
		{"a_test_that_leads_on", func(r *watch.Rules) { r.Score = node(watch.Node{Yes: 1, No: watch.Reject}) }, ""},
		{"an_unknown_test", func(r *watch.Rules) { r.Score = node(watch.Node{Test: 6, Yes: 1, No: 1}) }, "score filter: test 0 is of unknown kind 6"},
		{"a_prefix_that_is_none", func(r *watch.Rules) { r.Count = node(watch.Node{Test: watch.TestDestination, Yes: 1, No: 1}) }, "count filter: test 0 has no valid prefix"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newTwin(t, Config{Sets: 1}, defaults())
			r := defaults()
			c.change(&r)
			switch err := w.SetRules(r); {
			case c.err == "" && err != nil:
				t.Error(err)
			case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
				t.Errorf("got %v, want %s", err, c.err)
			}
		})
	}
}

// Rules that are refused leave those before in force; those that are not are
// the Twin's own.
func TestRulesAreCopied(t *testing.T) {
	r := defaults()
	r.Count = rejectFrom("192.0.2.1/32")
	s := newStand(t, r)
	r.Count[0].Yes = watch.Pass
	r.Traps[0] = 80
	bad := defaults()
	bad.V6Bits = 0
	if s.SetRules(bad) == nil {
		t.Error("bad rules are taken")
	}
	s.quiet(0, low(80))
	s.quiet(0, testPacket{port: 80, from: "192.0.2.2"})
	if s.counters.Filtered != 1 || s.remembered("192.0.2.2").Classes[watch.Trap] != 0 {
		t.Errorf("%+v", s.counters)
	}
}

// What is remembered stays, and is judged by the new rules from the next packet
// on.
func TestRulesChangeWithoutForgetting(t *testing.T) {
	s := newStand(t, windowOnly(21, false))
	for i := range uint16(5) {
		s.run(time.Duration(i), low(500+i))
	}
	s.quiet(5, testPacket{port: 90, from: "2001:db8::1"})
	s.quiet(5, testPacket{port: 90, from: "2001:db8:0:1::1"})
	r := windowOnly(21, false)
	r.Window.Span, r.Traps, r.V6Bits = 3, []uint16{500, 600}, 48
	must(t, s.SetRules(r))
	v := s.told(6, low(600)) // 6 by ports 503 and 504, and 10; port 500 is too long ago
	if len(v.Probes) != 6 || v.Classes[watch.Trap] != 1 || v.Classes[watch.Low] != 5 {
		t.Errorf("%+v", v)
	}
	// Another length of prefix tells others apart, and names what there was by itself.
	s.quiet(6, testPacket{port: 90, from: "2001:db8::1"})
	s.quiet(6, testPacket{port: 90, from: "2001:db8:0:1::1"})
	s.counts(watch.Counters{Sources: 3, Probes: 10, Repeats: 2})
	must(t, s.Sources(func(v *watch.Snapshot) {
		if a := v.Source.Addr(); a.Is6() && v.Source != prefix("2001:db8::/48") {
			t.Errorf("%v", v.Source)
		}
	}))
}

// A trap that is none any more, and a gap line that is lowered, raised, off.
func TestNewRulesJudgeTheNextPacket(t *testing.T) {
	s := newStand(t, gapOnly(21, true))
	over := func() bool { e, _ := s.find(0, s.mapped("192.0.2.1")); return e.over }
	for i := range uint16(6) {
		s.run(0, low(500+i))
	}
	must(t, s.SetRules(gapOnly(18, true)))
	if over() {
		t.Error("over before a packet has come")
	}
	s.run(0, low(600)) // 21
	if !over() {
		t.Error("not over")
	}
	must(t, s.SetRules(windowOnly(21, false)))
	s.run(0, low(601))
	if over() {
		t.Error("over a line that is off")
	}
	r := gapOnly(21, true)
	r.Traps = []uint16{2000}
	must(t, s.SetRules(r))
	s.run(0, low(12))
	s.run(0, low(2000))
	if v := s.remembered("192.0.2.1"); v.Classes != [watch.Classes]uint32{watch.Low: 9, watch.Trap: 1} {
		t.Errorf("%v", v.Classes)
	}
}
