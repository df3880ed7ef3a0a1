package lab

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"synoptic/bpf/respond"
)

// summary writes records as "PORT STATE REASON", separated by commas.
func summary(t *testing.T, truth Truth, s Scan, host netip.Addr, ports ...uint16) string {
	t.Helper()
	records, err := truth.Expect(s, host, ports)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, r := range records {
		line := fmt.Sprintf("%d %s %s", r.Addr.Port(), r.State, r.Reason)
		if r.Suspect != 0 {
			line += " (" + r.Suspect.String() + ")"
		}
		if r.ReasonIP.IsValid() {
			line += " by " + r.ReasonIP.String()
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, ", ")
}

func TestExpectationsOfALinuxHost(t *testing.T) {
	host := netip.MustParseAddr("192.168.1.2")
	truth := Truth{Hosts: []Facts{{
		Addr4:  host,
		Listen: []Ports{Port(80)},
		Rules:  []Rule{{[]Ports{Port(22)}, Drop}, {[]Ports{Port(50)}, RejectPort}, {[]Ports{Port(60)}, RejectReset}, {[]Ports{Port(69)}, RejectAdmin}},
	}}}
	const rejected = "50 filtered port-unreach, 60 closed reset, 69 filtered admin-prohibited"
	const hidden = "80 open|filtered no-response, 81 closed reset, 22 open|filtered no-response, " + rejected
	for method, want := range map[string]string{
		"syn":     "80 open syn-ack, 81 closed reset, 22 filtered no-response, " + rejected,
		"connect": "80 open syn-ack, 81 closed conn-refused, 22 filtered no-response, 50 filtered port-unreach, 60 closed conn-refused, 69 filtered admin-prohibited",
		"null":    hidden,
		"fin":     hidden,
		"xmas":    hidden,
		"maimon":  "80 closed reset, 81 closed reset, 22 open|filtered no-response, " + rejected,
		"ack":     "80 unfiltered reset, 81 unfiltered reset, 22 filtered no-response, 50 filtered port-unreach, 60 unfiltered reset, 69 filtered admin-prohibited",
		"window":  "80 closed reset, 81 closed reset, 22 filtered no-response, " + rejected,
	} {
		if got := summary(t, truth, Scan{Method: method}, host, 80, 81, 22, 50, 60, 69); got != want {
			t.Errorf("%s: %s\nwant %s", method, got, want)
		}
	}
	// Silence alone is nothing, where an open port is silent too.
	if got := summary(t, truth, Scan{Method: "fin"}, host, 80, 22); got != "" {
		t.Errorf("fin to silent ports only: %s", got)
	}
}

func TestExpectationsOfPersonalities(t *testing.T) {
	host := netip.MustParseAddr("10.0.0.1")
	base := respond.DefaultConfig()
	base.Open, base.Closed, base.Rejected = respond.Fraction(1, 4), respond.Fraction(1, 4), respond.Fraction(1, 4)
	// The states depend on the key alone, so one port of each does for all.
	ports := map[respond.State]uint16{}
	for port := uint16(9999); port > 0; port-- {
		ports[base.Truth().State(netip.AddrPortFrom(host, port))] = port
	}
	for _, c := range []struct {
		personality respond.Personality
		method      string
		want        string
	}{
		{respond.Standard, "fin", "O open|filtered no-response, C closed reset, R filtered port-unreach, S open|filtered no-response"},
		{respond.Windows, "syn", "O open syn-ack, C closed reset, R filtered port-unreach, S filtered no-response"},
		{respond.Windows, "fin", "O closed reset, C closed reset, R filtered port-unreach, S open|filtered no-response"},
		{respond.BSD, "maimon", "O open|filtered no-response, C closed reset, R filtered port-unreach, S open|filtered no-response"},
		{respond.BSD, "window", "O open reset, C closed reset, R filtered port-unreach, S filtered no-response"},
		{respond.BSD, "ack", "O unfiltered reset, C unfiltered reset, R filtered port-unreach, S filtered no-response"},
		{respond.SynProxy, "syn", "O open syn-ack (syn-proxy), C open syn-ack (syn-proxy), R open syn-ack (syn-proxy), S open syn-ack (syn-proxy)"},
		{respond.SynProxy, "ack", "O unfiltered reset, C unfiltered reset, R filtered port-unreach, S filtered no-response"},
		{respond.Reject, "syn", "O open syn-ack, C filtered port-unreach, R filtered port-unreach, S filtered no-response"},
	} {
		cfg := base
		cfg.Personality = c.personality
		want := c.want
		for letter, s := range map[string]respond.State{"O ": respond.Open, "C ": respond.Closed, "R ": respond.Rejected, "S ": respond.Silent} {
			want = strings.ReplaceAll(want, letter, fmt.Sprintf("%d ", ports[s]))
		}
		got := summary(t, Truth{Simulated: cfg.Truth()}, Scan{Method: c.method}, host,
			ports[respond.Open], ports[respond.Closed], ports[respond.Rejected], ports[respond.Silent])
		if got != want {
			t.Errorf("%s, %s: %s\nwant %s", c.personality, c.method, got, want)
		}
	}

	lossy := base
	lossy.LoseShare, lossy.LoseTries, lossy.Router4 = respond.Whole, 2, Gate4
	truth := Truth{Simulated: lossy.Truth()}
	for tries, want := range []string{"filtered no-response", "filtered no-response", "filtered no-response", "filtered port-unreach by 172.16.0.2"} {
		want = fmt.Sprintf("%d %s", ports[respond.Rejected], want)
		if got := summary(t, truth, Scan{Method: "syn", Tries: tries}, host, ports[respond.Rejected]); got != want {
			t.Errorf("%d tries: %s, want %s", tries, got, want)
		}
	}
}
