package bench

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"synoptic/internal/lab"
)

// scanTypes are the letters of -s, the same for nmap and for us.
var scanTypes = []struct {
	name   string
	letter byte
}{
	{"syn", 'S'}, {"connect", 'T'}, {"null", 'N'}, {"fin", 'F'}, {"xmas", 'X'}, {"maimon", 'M'}, {"ack", 'A'}, {"window", 'W'},
}

// everyKind is a host with ports of every kind: with and without a listener,
// and of either sort before every verdict.
var everyKind = lab.HostConfig{
	Listen: []lab.Ports{lab.Port(1), lab.Port(22), lab.Port(80), lab.Port(443), {First: 8000, Last: 8004}, lab.Port(8010), lab.Port(8020),
		lab.Port(8030), lab.Port(8040), {First: 9000, Last: 9009}, lab.Port(40000), lab.Port(65535)},
	Rules: []lab.Rule{
		{Ports: []lab.Ports{{First: 8000, Last: 8009}, lab.Port(50000)}, Verdict: lab.Drop},
		{Ports: []lab.Ports{{First: 8010, Last: 8019}}, Verdict: lab.RejectReset},
		{Ports: []lab.Ports{{First: 8020, Last: 8023}}, Verdict: lab.RejectPort},
		{Ports: []lab.Ports{{First: 8030, Last: 8033}}, Verdict: lab.RejectAdmin},
		{Ports: []lab.Ports{{First: 8040, Last: 8043}}, Verdict: lab.RejectHost},
	},
}

// All methods give the states that nmap gives, on each of 65,535 ports of real
// kernels: on the link, behind a router, and of this machine by loopback.
func TestStatesAgreeWithNmap(t *testing.T) {
	l := lab.New(t, lab.Config{})
	at := func(place lab.Place) *lab.Host {
		cfg := everyKind
		cfg.Place = place
		return l.MustAddHost(t, cfg)
	}
	at(lab.AtScanner)
	near, far := at(lab.OnLink), at(lab.Routed)
	for _, targets := range []struct {
		name  string
		addrs []netip.Addr // of one family, as nmap wants it
	}{
		{"loopback/ipv4", []netip.Addr{netip.MustParseAddr("127.0.0.1")}},
		{"loopback/ipv6", []netip.Addr{netip.IPv6Loopback()}},
		{"on_link_and_routed/ipv4", []netip.Addr{near.Addr4, far.Addr4}},
		{"on_link_and_routed/ipv6", []netip.Addr{near.Addr6, far.Addr6}},
	} {
		for _, m := range scanTypes {
			t.Run(targets.name+"/"+m.name, func(t *testing.T) {
				args := []string{"-p-"}
				for _, a := range targets.addrs {
					args = append(args, a.String())
				}
				theirs, theirTime := runNmap(t, l.Scanner, m.letter, args...)
				ours, ourTime := runSynscan(t, l.Scanner, "100k", m.letter, args...)
				t.Logf("nmap %.2f s, synscan %.2f s; %s", theirTime.Seconds(), ourTime.Seconds(), counts(ours))
				if len(theirs) != 65535*len(targets.addrs) {
					t.Fatalf("nmap reports %d ports", len(theirs))
				}
				if m.name == "connect" {
					for _, a := range targets.addrs {
						exceptRejected(t, a, ours, theirs)
					}
				}
				compare(t, ours, theirs, m.name != "connect")
			})
		}
	}
}

// exceptRejected makes the one exception: nmap's connect scan takes a firewall's
// port-unreachable for a reset, because connect(2) gives ECONNREFUSED for both.
// Our error queue tells them apart, as all other methods of nmap do, too. When
// the error comes before connect(2) has returned, only that of the second SYN,
// a second later, ends the connection (tcp_v4_err in net/ipv4/tcp_ipv4.c), and
// nmap may not wait so long.
func exceptRejected(t *testing.T, addr netip.Addr, ours, theirs findings) {
	t.Helper()
	for port := uint16(8020); port <= 8023; port++ {
		at := netip.AddrPortFrom(addr, port)
		o, n := ours[at], theirs[at]
		if o != (finding{"filtered", "port-unreach"}) || n != (finding{"closed", "conn-refused"}) && n != (finding{"filtered", "no-response"}) {
			t.Errorf("%v, which a firewall rejects: synscan says %v, nmap %v", at, o, n)
		}
		delete(ours, at)
		delete(theirs, at)
	}
}

// compare reports every endpoint of which the two do not say the same, of which
// reasons are a part if they are comparable: from an error of connect(2) alone
// nmap cannot know which rejection it was.
func compare(t testing.TB, ours, theirs findings, reasons bool) {
	t.Helper()
	const most = 30
	wrong := 0
	for _, at := range union(ours, theirs) {
		o, n := ours[at], theirs[at]
		if o == n || !reasons && o.state == n.state {
			continue
		}
		if wrong++; wrong <= most {
			t.Errorf("%v: synscan says %v, nmap %v", at, o, n)
		}
	}
	if wrong > most {
		t.Errorf("... and %d more", wrong-most)
	}
}

// counts sums findings up for the log.
func counts(f findings) string {
	var parts []string
	n := map[finding]int{}
	for _, found := range f {
		n[found]++
	}
	for found, count := range n {
		parts = append(parts, fmt.Sprintf("%d %s", count, found))
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}
