package detector

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"synoptic/bpf/watch"
)

func TestValidateRuleset(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*Ruleset)
		says   string
	}{
		{"as_published", func(r *Ruleset) {}, ""},
		{"none", func(r *Ruleset) { r.Policies = nil }, "there is none"},
		{"twice", func(r *Ruleset) { r.Policies[1] = r.Policies[0] }, "sophos is there twice"},
		{"a_wrong_policy", func(r *Ruleset) { r.Policies[2].Low = 0 }, "check policy sophos-packet"},
		{"udp_mode", func(r *Ruleset) { r.UDP = watch.UDPOff + 1 }, "score, count or off"},
		{"no_prefix", func(r *Ruleset) { r.V6Bits = 0 }, "0 bits"},
		{"long_prefix", func(r *Ruleset) { r.V6Bits = 129 }, "129 bits"},
		{"whole_address", func(r *Ruleset) { r.V6Bits = 128 }, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := Ruleset{Policies: Policies(), Traps: DefaultTraps(), V6Bits: 64}
			tt.change(&r)
			_, err := r.Rules()
			if tt.says == "" && err != nil || tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)) {
				t.Errorf("Rules() = %v, want it to say %q", err, tt.says)
			}
			s, serr := NewScorer(ScorerConfig{Ruleset: r})
			if fmt.Sprint(serr) != fmt.Sprint(err) || (s == nil) != (err != nil) {
				t.Errorf("NewScorer says %v, Rules says %v", serr, err)
			}
		})
	}
}

// Which SYN+ACKs are probes is decided by the gap, with scanlogd or without.
func TestALineThatIsOffHasItsSpan(t *testing.T) {
	r := Ruleset{Policies: Policies()[:1], V6Bits: 64, UDP: watch.UDPCount, Traps: []uint16{7}}
	r.Policies[0].Span = time.Second
	rules, err := r.Rules()
	if err != nil {
		t.Fatal(err)
	}
	want := watch.Rules{
		Window:  watch.Line{On: true, Span: time.Second, Threshold: 21, High: 1, Low: 3, Trap: 10},
		Gap:     watch.Line{Span: 3 * time.Second, Threshold: 21, Reaches: true, High: 1, Low: 3},
		Packets: watch.Line{Span: 300 * time.Millisecond, Threshold: 21, High: 1, Low: 3, Trap: 10},
		Traps:   []uint16{7}, UDP: watch.UDPCount, V6Bits: 64,
	}
	if fmt.Sprint(rules) != fmt.Sprint(want) {
		t.Errorf("Rules() = %+v\nwant      %+v", rules, want)
	}
}
