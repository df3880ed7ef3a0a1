package detector

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestPublishedPolicies(t *testing.T) {
	want := `[{sophos 300ms 21 false 1 3 10 10s} {scanlogd 3s 21 true 1 3 0 3s} {sophos-packet 300ms 21 false 1 3 10 10s}]`
	if got := fmt.Sprint(Policies()); got != want {
		t.Errorf("Policies() = %s\nwant %s", got, want)
	}
	for _, p := range Policies() {
		if err := p.Validate(); err != nil {
			t.Errorf("%s: %v", p.Name, err)
		}
	}
	if got := fmt.Sprint(DefaultTraps()); got != "[11 12 13 2000]" {
		t.Errorf("DefaultTraps() = %s", got)
	}
	DefaultTraps()[0], Policies()[0].Name = 1, "changed"
	if DefaultTraps()[0] != 11 || Policies()[0].Name != Sophos {
		t.Error("what was returned is shared")
	}
}

func TestValidatePolicy(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*Policy)
		says   string // "": nothing is wrong
	}{
		{"as_published", func(p *Policy) {}, ""},
		{"unknown_name", func(p *Policy) { p.Name = "sofos" }, `"sofos": it is none of sophos, scanlogd, sophos-packet`},
		{"no_span", func(p *Policy) { p.Span = 0 }, "a span of 0s"},
		{"negative_span", func(p *Policy) { p.Span = -1 }, "a span of -1ns"},
		{"a_nanosecond", func(p *Policy) { p.Span = 1 }, ""},
		{"an_hour", func(p *Policy) { p.Span, p.Quiet = time.Hour, time.Hour }, ""},
		{"more_than_an_hour", func(p *Policy) { p.Span, p.Quiet = time.Hour+1, 2*time.Hour }, "at most 1h"},
		{"no_points_high", func(p *Policy) { p.High = 0 }, "0 points for a high port cannot be used: give 1 to 255"},
		{"no_points_low", func(p *Policy) { p.Low = 0 }, "0 points for a low port"},
		{"no_traps", func(p *Policy) { p.Trap = 0 }, ""},
		{"negative_trap", func(p *Policy) { p.Trap = -1 }, "-1 points for a trap port cannot be used: give 0 to 255"},
		{"most_points", func(p *Policy) { p.High, p.Low, p.Trap = 255, 255, 255 }, ""},
		{"too_many_points_high", func(p *Policy) { p.High = 256 }, "256 points for a high port"},
		{"too_many_points_low", func(p *Policy) { p.Low = 256 }, "256 points for a low port"},
		{"too_many_points_trap", func(p *Policy) { p.Trap = 256 }, "256 points for a trap port"},
		{"no_threshold", func(p *Policy) { p.Threshold = 0 }, "give at least 1"},
		{"exceeds_what_is_remembered", func(p *Policy) { p.Threshold = 22 }, "give at most 21"},
		{"reaches_what_is_remembered", func(p *Policy) { p.Threshold, p.Reaches = 22, true }, ""},
		{"reaches_more", func(p *Policy) { p.Threshold, p.Reaches = 23, true }, "give at most 22"},
		{"decided_by_the_smallest_points", func(p *Policy) { p.Threshold, p.High, p.Low, p.Trap = 44, 4, 2, 3 }, "give at most 43"},
		{"even_if_those_are_of_traps", func(p *Policy) { p.Threshold, p.High, p.Low, p.Trap = 44, 4, 3, 2 }, "give at most 43"},
		{"but_not_if_there_are_none", func(p *Policy) { p.Threshold, p.High, p.Low, p.Trap = 65, 4, 3, 0 }, ""},
		{"quiet_as_long_as_the_span", func(p *Policy) { p.Quiet = p.Span }, ""},
		{"quiet_shorter", func(p *Policy) { p.Quiet = p.Span - 1 }, "give at least 300ms"},
		{"quiet_too_short", func(p *Policy) { p.Span, p.Quiet = 1, 100*time.Millisecond-1 }, "give at least 100ms"},
		{"shortest_quiet", func(p *Policy) { p.Span, p.Quiet = 1, 100*time.Millisecond }, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := Policies()[0]
			tt.change(&p)
			err := p.Validate()
			if tt.says == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), p.Name) {
				t.Errorf("Validate() = %v, want it to say %q of %s", err, tt.says, p.Name)
			}
		})
	}
}
