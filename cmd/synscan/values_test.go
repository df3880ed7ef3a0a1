package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"synoptic/internal/plan"
)

func TestParseRate(t *testing.T) {
	for text, want := range map[string]float64{
		"1": 1, "2500": 2500, "100k": 100e3, "100K": 100e3, "1.5M": 1.5e6, "2m": 2e6, "0.5": 0.5, "100000.00": 100e3, "max": 0,
	} {
		if got, err := parseRate(text); got != want || err != nil {
			t.Errorf("rate %s: %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "0", "0k", "-1", "k", "1e6", "0x10", "NaN", "Inf", "1_000", "1G", "maximum", "--"} {
		if got, err := parseRate(text); err == nil {
			t.Errorf("rate %q: %v", text, got)
		}
	}
}

func TestParseWait(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0": 0, "8": 8 * time.Second, "1.5": 1500 * time.Millisecond, "500ms": 500 * time.Millisecond, "2m": 2 * time.Minute, "1h": time.Hour,
	} {
		if got, err := parseWait(text); got != want || err != nil {
			t.Errorf("wait %s: %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "-1", "-1s", "3601", "61m", "99999999999999999999", "soon", "1e3", "NaN"} {
		if got, err := parseWait(text); err == nil {
			t.Errorf("wait %q: %v", text, got)
		}
	}
}

func TestParseSeed(t *testing.T) {
	first, err1 := parseSeed("")
	second, err2 := parseSeed("")
	if err1 != nil || err2 != nil || first == second {
		t.Errorf("two random seeds: %d, %v and %d, %v", first, err1, second, err2)
	}
	if got, err := parseSeed("18446744073709551615"); got != 1<<64-1 || err != nil {
		t.Errorf("the largest seed: %d, %v", got, err)
	}
}

func TestParseShard(t *testing.T) {
	if got, err := parseShard("2/3"); got != (plan.Shard{Index: 2, Count: 3}) || err != nil {
		t.Errorf("2/3: %v, %v", got, err)
	}
	for _, text := range []string{"", "/", "1", "1/", "/1", "0/1", "2/1", "1/0", "0/0", "-1/2", "1/2/3", "a/b"} {
		if got, err := parseShard(text); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestSplitExclusions(t *testing.T) {
	for _, tc := range []struct {
		text string
		want []string
	}{
		{"10.0.0.1", []string{"10.0.0.1"}},
		{"10.0.0.1,10.0.0.2", []string{"10.0.0.1", "10.0.0.2"}},
		{"10.0.0.0/8,::1,a.example", []string{"10.0.0.0/8", "::1", "a.example"}},
		{"10.0.0.1,5", []string{"10.0.0.1,5"}},
		{"10.0,1.0.1", []string{"10.0,1.0.1"}},
		{"10.0.0.1,", []string{"10.0.0.1,"}},
	} {
		if got := splitExclusions(tc.text); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %q, want %q", tc.text, got, tc.want)
		}
	}
}

func TestLongArgs(t *testing.T) {
	long := func(name string) bool { return name == "exclude" || name == "seed" }
	for _, tc := range []struct {
		name       string
		args, want string // want "" is an error
	}{
		{"two_letters", "-oD f -iL - -p80", "--oD f --iL - -p80"},
		{"with_equals", "-oD=f", "--oD=f"},
		{"methods_and_ports_stay", "-sS -Pn -p- -p -100 -", "-sS -Pn -p- -p -100 -"},
		{"nothing_after_two_hyphens", "-oD f -- -oD -exclude", "--oD f -- -oD -exclude"},
		{"long_stays", "--exclude x", "--exclude x"},
		{"long_with_one_hyphen", "-exclude x", ""},
		{"long_with_one_hyphen_and_value", "-seed=1", ""},
		{"unknown_output", "-oQ f", ""},
		{"unknown_input", "-iR 5", ""},
		{"half_a_line_of_completion_has_no_errors", "__complete -oD f -exclude", "__complete --oD f -exclude"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := longArgs(strings.Fields(tc.args), long)
			if strings.Join(got, " ") != tc.want || (err != nil) != (tc.want == "") {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

func TestNumbers(t *testing.T) {
	for n, want := range map[uint64]string{0: "0 ports", 1: "1 port", 999: "999 ports", 1000: "1,000 ports", 1<<64 - 1: "18,446,744,073,709,551,615 ports"} {
		if got := number(n, "port"); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
	if got := number(2, "address") + number(2, "retry"); got != "2 addresses2 retries" {
		t.Error(got)
	}
}
