package scan

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"synoptic/bpf/respond"
	"synoptic/internal/lab"
	"synoptic/internal/method"
	"synoptic/internal/result"
)

// compare checks the records of a scan, host by host, with what the lab
// expects of it.
func compare(t *testing.T, l *lab.Lab, name string, tries int, hosts []netip.Addr, ports []uint16, got []result.Record) {
	t.Helper()
	byAddr := map[netip.AddrPort]result.Record{}
	for _, r := range got {
		if _, twice := byAddr[r.Addr]; twice {
			t.Errorf("%v is recorded twice", r.Addr)
		}
		byAddr[r.Addr] = r
	}
	truth, expected := l.MustTruth(t), 0
	for _, host := range hosts {
		want, err := truth.Expect(lab.Scan{Method: name, Tries: tries}, host, ports)
		if err != nil {
			t.Fatal(err)
		}
		expected += len(want)
		for _, w := range want {
			g := byAddr[w.Addr]
			if g.State != w.State || g.Reason != w.Reason || g.ReasonIP != w.ReasonIP || g.Suspect != w.Suspect {
				t.Errorf("%v is %v %v %v %q, want %v %v %v %q", w.Addr, g.State, g.Reason, g.ReasonIP, g.Suspect, w.State, w.Reason, w.ReasonIP, w.Suspect)
			}
		}
	}
	if len(got) != expected {
		t.Errorf("%d records, want %d", len(got), expected)
	}
}

func portList(from, to uint16) (list []uint16) {
	for p := from; p <= to; p++ {
		list = append(list, p)
	}
	return list
}

// Real kernels with open, closed, dropped, reset and ICMP-rejected ports, on
// the link, behind a router and in this machine itself.
func TestRealHosts(t *testing.T) {
	lab.NeedRoot(t)
	if !lab.InNamespace(t) {
		return
	}
	l := lab.New(t, lab.Config{Here: true})
	cfg := lab.HostConfig{
		Listen: []lab.Ports{lab.Port(22), lab.Port(80), {First: 50, Last: 59}},
		Rules: []lab.Rule{
			{Ports: []lab.Ports{{First: 10, Last: 12}, {First: 50, Last: 51}}, Verdict: lab.Drop},
			{Ports: []lab.Ports{{First: 20, Last: 21}, {First: 52, Last: 53}}, Verdict: lab.RejectReset},
			// Few, because a kernel limits the errors that it sends.
			{Ports: []lab.Ports{lab.Port(30)}, Verdict: lab.RejectPort},
			{Ports: []lab.Ports{lab.Port(40)}, Verdict: lab.RejectAdmin},
		},
	}
	var hosts []*lab.Host
	for _, place := range []lab.Place{lab.OnLink, lab.Routed} {
		cfg.Place = place
		hosts = append(hosts, l.MustAddHost(t, cfg))
	}
	for _, m := range method.Table {
		for _, h := range hosts {
			for _, addr := range []netip.Addr{h.Addr4, h.Addr6} {
				t.Run(fmt.Sprintf("%s/%v", m.Name, addr), func(t *testing.T) {
					for _, probes := range []uint64{200, 0} { // few, and perhaps many
						got, sum := overSocketsOf(t, newPlan(t, "1-100", addr.String()), m.Name, 1, probes)
						compare(t, l, m.Name, 2, []netip.Addr{addr}, portList(1, 100), got)
						if sum.BadCookie+sum.OutOfPlan+sum.Dropped > 0 || sum.RTTMedian <= 0 || sum.RTT99 > 100*time.Millisecond {
							t.Errorf("%+v", sum)
						}
					}
				})
			}
		}
	}
	t.Run("on_link_and_routed_in_one_scan", func(t *testing.T) {
		got, _ := overSockets(t, newPlan(t, "1-100", hosts[0].Addr4.String(), hosts[1].Addr4.String(), hosts[1].Addr6.String()), "syn", 1)
		compare(t, l, "syn", 2, []netip.Addr{hosts[0].Addr4, hosts[1].Addr4, hosts[1].Addr6}, portList(1, 100), got)
	})
	t.Run("two_networks_of_one_interface", func(t *testing.T) {
		second := l.MustAddHost(t, lab.HostConfig{Listen: []lab.Ports{lab.Port(22)}})
		if err := errors.Join(
			l.Scanner.AddAddrs(lab.ScannerDevice, netip.MustParsePrefix("172.31.0.1/24"), netip.MustParsePrefix("fd00:31::1/64")),
			moved(second, netip.MustParsePrefix("172.31.0.2/24"), netip.MustParsePrefix("fd00:31::2/64")),
		); err != nil {
			t.Fatal(err)
		}
		far := []string{"172.31.0.2", "fd00:31::2"}
		got, sum := overSockets(t, newPlan(t, "20-24", append(far, hosts[0].Addr4.String(), hosts[0].Addr6.String())...), "syn", 1)
		if sum.Open != 4 || sum.Answered+sum.Rejected != 16 {
			t.Errorf("%d records, %+v", len(got), sum)
		}
	})
	t.Run("an_answer_to_arp_is_a_sign_of_life", func(t *testing.T) {
		for _, ports := range []string{"22", "22,80"} { // open, and so silent
			got, sum := overSockets(t, newPlan(t, ports, hosts[0].Addr4.String(), hosts[0].Addr6.String()), "fin", 0)
			if want := 2 * len(strings.Split(ports, ",")); len(got) != want || sum.OpenFiltered != uint64(want) || sum.HostsAlive != 2 {
				t.Errorf("%d records of %s, %+v", len(got), ports, sum)
			}
			for _, r := range got {
				if r.State != result.OpenFiltered {
					t.Errorf("%+v", r)
				}
			}
		}
	})
	t.Run("neighbours_that_do_not_exist_are_not_probed", func(t *testing.T) {
		ghost := netip.MustParseAddr("172.16.0.77")
		got, sum := overSockets(t, newPlan(t, "1-100", hosts[0].Addr4.String(), ghost.String()), "syn", 1)
		compare(t, l, "syn", 2, []netip.Addr{hosts[0].Addr4}, portList(1, 100), got)
		if sum.Unreachable != 100 || sum.Probed != 100 {
			t.Errorf("%+v", sum)
		}
	})
	linkLocal := netip.MustParseAddr("fe80::ff:fe00:1") // of lab.ScannerMAC, RFC 4291 appendix A
	for _, own := range []netip.Addr{lab.Scanner4, lab.Scanner6, linkLocal} {
		for _, m := range method.Table {
			t.Run(fmt.Sprintf("%s/own_address/%v", m.Name, own), func(t *testing.T) {
				got, sum := overSockets(t, newPlan(t, "1-100", own.String()), m.Name, 1)
				if sum.Answered != 100 || len(got) != 100 || got[0].State != m.Reset {
					t.Errorf("%d records, %+v", len(got), sum)
				}
			})
		}
	}
}

// moved gives a host other addresses in place of its own: it then knows no way to
// the network that it was in.
func moved(h *lab.Host, addrs ...netip.Prefix) error {
	var device string
	err := h.Namespace.Do(func() error {
		old, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
		for _, a := range old {
			if ip, _ := netip.AddrFromSlice(a.IP); err == nil && (ip == h.Addr4 || ip == h.Addr6) {
				var link netlink.Link
				if link, err = netlink.LinkByIndex(a.LinkIndex); err == nil {
					device = link.Attrs().Name
					err = netlink.AddrDel(link, &a)
				}
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	return h.Namespace.AddAddrs(device, addrs...)
}

// Simulated hosts of every personality, for every method.
func TestPersonalities(t *testing.T) {
	lab.NeedRoot(t)
	if !lab.InNamespace(t) {
		return
	}
	l := lab.New(t, lab.Config{Here: true})
	standard, err := l.Responder.Config()
	if err != nil {
		t.Fatal(err)
	}
	standard.Open, standard.Closed, standard.Rejected = respond.Fraction(1, 4), respond.Fraction(1, 4), respond.Fraction(1, 4)
	targets := map[string][]netip.Addr{}
	for _, prefix := range []string{"10.1.2.0/29", "fd00:10::/125"} {
		p := netip.MustParsePrefix(prefix)
		for a := p.Addr(); p.Contains(a); a = a.Next() {
			targets[prefix] = append(targets[prefix], a)
		}
	}
	for _, who := range []respond.Personality{respond.Standard, respond.Windows, respond.BSD, respond.SynProxy, respond.Reject} {
		cfg := standard
		cfg.Personality = who
		if err := l.Responder.Configure(cfg); err != nil {
			t.Fatal(err)
		}
		for _, m := range method.Table {
			for prefix, hosts := range targets {
				t.Run(fmt.Sprintf("%s/%s/%s", who, m.Name, prefix), func(t *testing.T) {
					got, _ := overSockets(t, newPlan(t, "1-100", prefix), m.Name, 0)
					compare(t, l, m.Name, 1, hosts, portList(1, 100), got)
				})
			}
		}
	}
}

// Stacks that reset every port are noticed, so that "closed" is not believed.
func TestWindowsIsNoticed(t *testing.T) {
	lab.NeedRoot(t)
	if !lab.InNamespace(t) {
		return
	}
	cfg := respond.DefaultConfig()
	cfg.Open, cfg.Closed, cfg.Personality = respond.Fraction(1, 4), respond.Fraction(3, 4), respond.Windows
	lab.New(t, lab.Config{Here: true, Respond: &cfg})
	for name, want := range map[string]uint64{"syn": 0, "null": 8, "fin": 8, "xmas": 8} {
		if _, sum := overSockets(t, newPlan(t, "1-100", "10.1.2.0/29"), name, 0); sum.HostsAllReset != want || sum.HostsAlive != 8 {
			t.Errorf("%s: %d of %d hosts reset every port, want %d of 8", name, sum.HostsAllReset, sum.HostsAlive, want)
		}
	}
}

// A network that loses the first tries of a third of all endpoints.
func TestRetriesInTheLab(t *testing.T) {
	lab.NeedRoot(t)
	if !lab.InNamespace(t) {
		return
	}
	cfg := respond.DefaultConfig()
	cfg.Open, cfg.Closed = respond.Fraction(1, 2), respond.Fraction(1, 2)
	cfg.LoseShare, cfg.LoseTries = respond.Fraction(1, 3), 2
	l := lab.New(t, lab.Config{Here: true, Respond: &cfg})
	p := newPlan(t, "1-100", "10.0.0.0/26")
	var hosts []netip.Addr
	for a := netip.MustParseAddr("10.0.0.0"); len(hosts) < 64; a = a.Next() {
		hosts = append(hosts, a)
	}
	lossy := uint64(0)
	for pos := range p.Len() {
		if l.MustTruth(t).Simulated.Losses(p.At(pos)) > 0 {
			lossy++
		}
	}
	for retries, want := range []struct{ sent, answered uint64 }{
		{p.Len(), p.Len() - lossy}, {p.Len() + lossy, p.Len() - lossy}, {p.Len() + 2*lossy, p.Len()}, {p.Len() + 2*lossy, p.Len()},
	} {
		t.Run(fmt.Sprintf("retries=%d", retries), func(t *testing.T) {
			if err := l.Responder.Reset(); err != nil {
				t.Fatal(err)
			}
			got, sum := overSockets(t, p, "syn", retries)
			compare(t, l, "syn", retries+1, hosts, portList(1, 100), got)
			if sum.Sent != want.sent || sum.Open+sum.Answered != want.answered {
				t.Errorf("%+v, want %+v", sum, want)
			}
		})
	}
}
