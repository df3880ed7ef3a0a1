package detector_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"synoptic/bpf/watch"
	"synoptic/detector/naive"
)

const (
	ms  = time.Millisecond
	sec = time.Second
)

// start is when the facts begin.
const start = 1000 * uint64(sec)

var scanner = netip.MustParseAddr("198.51.100.7")

// sends writes what a source sends: each packet is a SYN to the next port, until
// something else is said.
type sends struct {
	packets []naive.Packet
	now     time.Duration // since start
	kind    watch.Kind
	silent  bool // no probes
	from    netip.Addr
}

func (s *sends) to(step time.Duration, ports ...uint16) *sends {
	for _, port := range ports {
		s.now += step
		p := naive.Packet{Time: start + uint64(s.now), Source: s.from, Port: port, Probe: !s.silent, Kind: s.kind}
		if !p.Source.IsValid() {
			p.Source = scanner
		}
		s.packets = append(s.packets, p)
	}
	return s
}

// all sends to ports from first to last, all within a time, at even steps.
func (s *sends) all(within time.Duration, first, last uint16) *sends {
	s.to(0, first)
	begin := s.now
	for i := 1; i <= int(last-first); i++ {
		s.now = begin + within*time.Duration(i)/time.Duration(last-first)
		s.to(0, first+uint16(i))
	}
	return s
}

func (s *sends) after(d time.Duration) *sends { s.now += d; return s }
func (s *sends) as(kind watch.Kind) *sends    { s.kind, s.silent = kind, false; return s }
func (s *sends) others() *sends               { s.silent, s.kind = true, 0; return s }
func (s *sends) source(addr string) *sends    { s.from = netip.MustParseAddr(addr); return s }
func (s *sends) repeat(n int, f func(*sends)) *sends {
	for range n {
		f(s)
	}
	return s
}

// The definitions, case by case, for the scorer and for the naive one that the
// random tests hold it against. An event is written as its policy (g: scanlogd,
// s: sophos, p: sophos-packet), ! and the points or . for a summary, and the time
// since the start.
func TestFacts(t *testing.T) {
	for _, tt := range []struct {
		name  string
		write func(*sends)
		want  string
	}{
		{"seven_low_ports_at_once_are_21_points", func(s *sends) { s.all(300*ms, 1000, 1006) }, "g!21@300ms g.@300ms"},
		{"eight_are_more", func(s *sends) { s.all(300*ms, 1000, 1007) }, "g!21@257.142857ms g.@300ms s!24@300ms s.@300ms p!24@300ms p.@300ms"},
		{"a_nanosecond_too_slow", func(s *sends) { s.all(300*ms+1, 1000, 1007) }, "g!21@257.142858ms g.@300.000001ms"},
		{"21_high_ports", func(s *sends) { s.all(300*ms, 2001, 2021) }, "g!21@300ms g.@300ms"},
		{"22_high_ports", func(s *sends) { s.all(300*ms, 2001, 2022) }, "g!21@285.714285ms g.@300ms s!22@300ms s.@300ms p!22@300ms p.@300ms"},
		{"22_in_a_longer_time", func(s *sends) { s.all(300*ms+1, 2001, 2022) }, "g!21@285.714286ms g.@300.000001ms"},
		{"three_traps", func(s *sends) { s.to(0, 11, 12, 2000) }, "s!30@0s s.@0s p!30@0s p.@0s"},
		{"two_traps_and_a_port", func(s *sends) { s.to(100*ms, 11, 12, 5000) }, ""},
		{"two_traps_and_two_ports", func(s *sends) { s.to(100*ms, 11, 12, 5000, 5001) }, "s!22@400ms s.@400ms p!22@400ms p.@400ms"},
		{"1023_is_low_and_1024_is_not", func(s *sends) { s.all(0, 1017, 1024) }, "g!21@0s g.@0s s!22@0s s.@0s p!22@0s p.@0s"},
		{"repeats_are_no_ports", func(s *sends) { s.repeat(100, func(s *sends) { s.to(ms, 22, 80, 443) }) }, "p!24@8ms p.@300ms"},
		{"udp_and_tcp_are_two_ports", func(s *sends) {
			s.to(0, 1, 2, 3, 4).as(watch.UDP).to(0, 1, 2, 3, 4)
		}, "g!21@0s g.@0s s!24@0s s.@0s"},
		{"gaps_of_three_seconds", func(s *sends) { s.to(3*sec, 1, 2, 3, 4, 5, 6, 7) }, "g!21@21s g.@21s"},
		{"one_is_longer", func(s *sends) { s.to(3*sec, 1, 2, 3).after(1).to(3*sec, 4, 5, 6, 7, 8, 9) }, ""},
		{"seven_after_the_longer_one", func(s *sends) { s.to(3*sec, 1, 2, 3).after(1).to(3*sec, 4, 5, 6, 7, 8, 9, 10) }, "g!21@30.000000001s g.@30.000000001s"},
		{"repeats_do_not_fill_a_gap", func(s *sends) { s.to(sec, 1, 2, 3, 4, 5, 6, 6, 6, 6).to(sec, 7) }, ""},
		{"a_repeat_in_the_chain_is_no_port", func(s *sends) { s.to(sec, 1, 2, 3, 4, 5, 6, 5, 4, 7) }, "g!21@9s g.@9s"},
		{"quiet_ends_an_episode", func(s *sends) {
			s.all(0, 1, 8).after(10*sec+1).all(0, 1, 8)
		}, "g!21@0s g.@0s g!21@10.000000001s g.@10.000000001s s!24@0s s.@0s s!24@10.000000001s s.@10.000000001s p!24@0s p.@0s p!24@10.000000001s p.@10.000000001s"},
		{"a_shorter_quiet_does_not", func(s *sends) {
			s.all(0, 1, 8).after(10*sec).all(0, 1, 8)
		}, "g!21@0s g.@0s g!21@10s g.@10s s!24@0s s.@10s p!24@0s p.@10s"},
		{"repeats_keep_an_episode_alive", func(s *sends) {
			s.all(0, 1, 8).to(10*sec, 1, 1, 1).after(10*sec).all(0, 1, 8)
		}, "g!21@0s g.@0s g!21@40s g.@40s s!24@0s s.@40s p!24@0s p.@40s"},
		{"one_missing_repeat_does_not", func(s *sends) {
			s.all(0, 1, 8).to(10*sec, 1, 1).after(10*sec+1).to(0, 1).after(10*sec).all(0, 1, 8)
		}, "g!21@0s g.@0s g!21@40.000000001s g.@40.000000001s s!24@0s s.@20s s!24@40.000000001s s.@40.000000001s p!24@0s p.@20s p!24@40.000000001s p.@40.000000001s"},
		{"other_packets_keep_only_packets_alive", func(s *sends) {
			s.all(0, 1, 8).others().to(9*sec, 1, 1)
		}, "g!21@0s g.@0s s!24@0s s.@0s p!24@0s p.@18s"},
		{"only_packets_counts_other_packets", func(s *sends) { s.others().repeat(30, func(s *sends) { s.to(ms, 50000) }) }, "p!22@22ms p.@30ms"},
		{"answers_from_nowhere_are_no_probes", func(s *sends) { s.as(watch.SYNACK).all(0, 1, 8) }, "p!24@0s p.@0s"},
		{"answers_that_join_a_chain_are", func(s *sends) { s.to(0, 1).as(watch.SYNACK).after(3*sec).all(0, 2, 9) }, "g!21@3s g.@3s s!24@3s s.@3s p!24@3s p.@3s"},
		{"answers_too_late_for_it_are_not", func(s *sends) { s.to(0, 1).as(watch.SYNACK).after(3*sec+1).all(0, 2, 9) }, "p!24@3.000000001s p.@3.000000001s"},
		{"the_past_counts_as_of_now", func(s *sends) {
			s.to(0, 1, 2, 3, 4).after(-5*sec).all(0, 5, 8)
		}, "g!21@0s g.@0s s!24@0s s.@0s p!24@0s p.@0s"},
		{"sources_are_apart", func(s *sends) {
			s.to(0, 1, 2, 3, 4).source("198.51.100.8").to(0, 5, 6, 7, 8)
		}, ""},
		{"a_prefix_is_one_source", func(s *sends) {
			s.source("2001:db8::1").to(0, 1, 2, 3, 4).source("2001:db8::2").to(0, 5, 6, 7, 8)
		}, "g!21@0s g.@0s s!24@0s s.@0s p!24@0s p.@0s"},
		{"two_prefixes_are_two", func(s *sends) {
			s.source("2001:db8::1").to(0, 1, 2, 3, 4).source("2001:db8:0:1::1").to(0, 5, 6, 7, 8)
		}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var s sends
			tt.write(&s)
			setup := naive.Published()
			r := newRun(t, setup, false)
			for i, now := range naive.Clock(s.packets, &setup) {
				r.advance(now)
				r.packet(s.packets[i])
			}
			r.close()
			if got := brief(r.events); got != tt.want {
				t.Errorf("the scorer says %s\nwant            %s", got, tt.want)
			}
			if got := brief(r.naive.Events); got != tt.want {
				t.Errorf("the naive one says %s\nwant               %s", got, tt.want)
			}
		})
	}
}

func brief(events []naive.Event) string {
	letter := map[string]string{"sophos": "s", "scanlogd": "g", "sophos-packet": "p"}
	var said []string
	for _, e := range bySource(events) {
		what := fmt.Sprint("!", e.Points)
		if e.Summary {
			what = "."
		}
		said = append(said, fmt.Sprint(letter[e.Policy], what, "@", time.Duration(e.Time-start)))
	}
	return strings.Join(said, " ")
}
