package twin

import (
	"fmt"
	"testing"
	"time"

	"synoptic/bpf/watch"
)

// script sends steps and compares which of them are told.
func (s *stand) script(steps []step, told ...int) {
	s.t.Helper()
	var got []int
	for i, p := range steps {
		for _, v := range s.run(p.at, p.packet) {
			got = append(got, i)
			if v.Time != start+uint64(p.at) {
				s.t.Errorf("step %d: told of %v", i, since0(v.Time))
			}
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(told) {
		s.t.Errorf("told of %v, want %v", got, told)
	}
	if s.counters.Events != uint64(len(told)) || s.counters.LostEvents != 0 {
		s.t.Errorf("%d events, %d lost", s.counters.Events, s.counters.LostEvents)
	}
}

// ports are n SYNs to different ports from a port on, every apart.
func ports(from uint16, n int, at, every time.Duration) (list []step) {
	for i := range n {
		list = append(list, step{at + time.Duration(i)*every, low(from + uint16(i))})
	}
	return list
}

func join(lists ...[]step) (all []step) {
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

func only(change func(*watch.Rules)) watch.Rules {
	r := watch.Rules{V6Bits: 64, Traps: []uint16{11, 12, 13, 2000}}
	r.Window.Span, r.Gap.Span = window, gap
	change(&r)
	return r
}

func windowOnly(threshold uint32, reaches bool) watch.Rules {
	return only(func(r *watch.Rules) {
		r.Window = watch.Line{On: true, Span: window, Threshold: threshold, Reaches: reaches, High: 1, Low: 3, Trap: 10}
	})
}

func gapOnly(threshold uint32, reaches bool) watch.Rules {
	return only(func(r *watch.Rules) {
		r.Gap = watch.Line{On: true, Span: gap, Threshold: threshold, Reaches: reaches, High: 1, Low: 3}
	})
}

const ms = time.Millisecond

// A source is told of from two thirds of the threshold on, and then of each new
// port until the line is crossed.
func TestWhatIsTold(t *testing.T) {
	const us = time.Microsecond
	for _, c := range []struct {
		name  string
		rules watch.Rules
		steps []step
		told  []int
	}{
		{"14_of_21_points_by_high_ports", windowOnly(21, false), ports(5000, 14, 0, us), []int{13}},
		{"15_of_21_points_by_low_ports", windowOnly(21, false), ports(500, 5, 0, us), []int{4}},
		{"20_points_by_two_traps", windowOnly(21, false), ports(11, 2, 0, us), []int{1}},
		{"a_trap_is_one_by_udp_too", windowOnly(21, false), []step{{0, testPacket{port: 11, udp: true}}, {1, testPacket{port: 12, udp: true}}}, []int{1}},
		{"traps_without_points_are_low_or_high", gapOnly(21, true), join(ports(10, 4, 0, us), ports(2000, 2, 4*us, us)), []int{5}},
		{"13_of_20_points", windowOnly(20, false), ports(5000, 14, 0, us), []int{13}}, // 3*13 < 2*20 <= 3*14
		{"14_of_19_points", windowOnly(19, false), ports(5000, 13, 0, us), []int{12}}, // 3*12 < 2*19 <= 3*13
		{"a_threshold_of_0", windowOnly(0, false), ports(5000, 2, 0, 50*ms), []int{0, 1}},
		// With "exceeds" port 22 crosses; what follows at once is no news.
		{"exceeds", windowOnly(21, false), ports(5000, 30, 0, us), []int{13, 14, 15, 16, 17, 18, 19, 20, 21}},
		{"reaches", windowOnly(21, true), ports(5000, 30, 0, us), []int{13, 14, 15, 16, 17, 18, 19, 20}},
		{"reaches_by_the_gap", gapOnly(21, true), ports(5000, 30, 0, us), []int{13, 14, 15, 16, 17, 18, 19, 20}},
		{"exceeds_by_the_gap", gapOnly(21, false), ports(5000, 30, 0, us), []int{13, 14, 15, 16, 17, 18, 19, 20, 21}},
		// Both lines: each is told of when it is crossed.
		{"another_line", defaults(), ports(5000, 30, 0, us), []int{13, 14, 15, 16, 17, 18, 19, 20, 21}},
		{"repeats_are_not_told", windowOnly(21, false), join(ports(5000, 14, 0, us), ports(5000, 14, 0, us)), []int{13}},
		// No line is on.
		{"without_lines", only(func(*watch.Rules) {}), ports(1, 30, 0, us), nil},
		// The window's edge.
		{"at_300_ms", windowOnly(21, false), join(ports(500, 4, 0, 0), ports(600, 1, window, 0)), []int{4}},
		{"at_300_ms_and_1_ns", windowOnly(21, false), join(ports(500, 4, 0, 0), ports(600, 1, window+1, 0)), nil},
		{"a_port_probed_again_within", windowOnly(21, false), join(ports(500, 4, 0, 0), ports(500, 4, 1, 0), ports(600, 1, window+1, 0)), []int{8}},
		{"a_port_probed_again_beyond_is_new", windowOnly(21, false), join(ports(500, 5, 0, 0), ports(500, 5, window+1, 0)), []int{4, 9}},
		// The gap's edge.
		{"at_3_s", gapOnly(21, true), join(ports(500, 4, 0, 0), ports(600, 1, gap, 0)), []int{4}},
		{"at_3_s_and_1_ns", gapOnly(21, true), join(ports(500, 4, 0, 0), ports(600, 1, gap+1, 0)), nil},
		{"a_slow_chain", gapOnly(21, true), ports(500, 6, 0, gap), []int{4, 5}},
		{"a_port_of_the_earlier_chain_counts_again", gapOnly(21, true), join(ports(500, 4, 0, 0), ports(500, 5, gap+1, 0)), []int{8}},
		// A repeat beyond the window has sums, by the gap line too.
		{"new_in_the_window_alone", defaults(), join(ports(500, 5, 0, 0), ports(500, 1, window+1, 0)), []int{4, 5}},
		{"told_again_after_50_ms", windowOnly(21, false), join(ports(500, 8, 0, 0), ports(600, 1, 50*ms, 0)), []int{4, 5, 6, 7, 8}},
		{"not_before", windowOnly(21, false), join(ports(500, 8, 0, 0), ports(600, 1, 50*ms-1, 0), ports(700, 1, 50*ms, 0)), []int{4, 5, 6, 7, 9}},
		{"50_ms_since_it_was_told", windowOnly(21, false), join(ports(500, 8, 0, 0), ports(600, 1, 50*ms, 0), ports(700, 1, 100*ms-1, 0), ports(800, 1, 100*ms, 0)),
			[]int{4, 5, 6, 7, 8, 10}},
		// Below the line every new port is told of, though the line was crossed just before.
		{"no_longer_over", windowOnly(21, false), join(ports(500, 4, 0, 0), ports(600, 4, 260*ms, 0), ports(700, 3, 301*ms, 0)),
			[]int{4, 5, 6, 7, 8, 9, 10}},
	} {
		t.Run(c.name, func(t *testing.T) { newStand(t, c.rules).script(c.steps, c.told...) })
	}
}

// A line that was over when the source was last told of, and one that was not.
func TestAnotherLineIsNews(t *testing.T) {
	s := newStand(t, defaults())
	// Five low ports slowly, then fast: the gap is over at the seventh, the window later.
	steps := join(ports(500, 5, 0, time.Second), ports(600, 8, 4500*ms, ms))
	s.script(steps,
		4,  // 15 by the gap
		5,  // 18
		6,  // 21: over the gap line
		12, // the window has 24; 7 to 11 are within 50 ms
	)
	e, _ := s.find(0, s.mapped("192.0.2.1"))
	if e.toldOver != overGap|overWindow || since0(e.told) != steps[12].at {
		t.Errorf("told of %b at %v", e.toldOver, since0(e.told))
	}
	// The window is not over any more: the gap still is, which is no news yet.
	s.quiet(4507*ms+40*ms, low(700)) // both over
	told := s.told(4507*ms+window+1, low(701))
	if e.toldOver != overGap || !told.Probed {
		t.Errorf("told of %b", e.toldOver)
	}
	s.quiet(4507*ms+window+2, low(702))
}

// What is told is over which lines at that packet, not what was before.
func TestToldOverIsOfTheLastTelling(t *testing.T) {
	s := newStand(t, windowOnly(21, false))
	s.script(join(ports(500, 8, 0, 0), ports(600, 5, 301*ms, 0)), 4, 5, 6, 7, 12)
	e, _ := s.find(0, s.mapped("192.0.2.1"))
	if e.toldOver != 0 || since0(e.told) != 301*ms {
		t.Errorf("told of %b at %v", e.toldOver, since0(e.told))
	}
}

func TestASnapshotTellsOfThePacket(t *testing.T) {
	s := newStand(t, windowOnly(21, false))
	for i := range uint16(4) {
		s.quiet(time.Duration(i), low(500+i))
	}
	v := s.told(10, testPacket{port: 600, source: 4321, flags: FIN})
	if v.SourcePort != 4321 || v.From.String() != "192.0.2.1" || v.Source != prefix("192.0.2.1/32") || !v.Probed || v.Device != 0 ||
		since0(v.Time) != 10 || since0(v.Last) != 10 || since0(v.Before) != 3 || since0(v.Born) != 0 || v.LastPacket != 0 || v.BeforePacket != 0 || v.Packets != nil {
		t.Errorf("%+v", v)
	}
	if got, at := times(v.Probes); fmt.Sprint(got, at) != "[500 501 502 503 600] [0s 1ns 2ns 3ns 10ns]" {
		t.Errorf("%v at %v", got, at)
	}
}
