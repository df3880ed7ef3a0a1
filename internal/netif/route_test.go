package netif

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestRoutes(t *testing.T) {
	t.Run("no_route_names_the_first_such_address", func(t *testing.T) {
		l := newLab(t, "v0")
		l.addr(l.here, "v0", "10.9.0.1/24", "fd09::1/64")
		for _, s := range []string{"10.9.0.2-10.9.3.9", "fd09::2-fd09:0:0:1::7"} {
			first := map[bool]string{true: "10.9.1.0", false: "fd09:0:0:1::"}[s[0] == '1']
			if err := l.refuses(Options{}, []string{s}, "no route to "+first+" (network is unreachable)", "exclude it"); !errors.Is(err, ErrNoRoute) {
				t.Errorf("%v is not ErrNoRoute", err)
			}
		}
	})
	for kind, name := range map[int]string{unix.RTN_BLACKHOLE: "blackhole", unix.RTN_UNREACHABLE: "unreachable", unix.RTN_PROHIBIT: "prohibit"} {
		t.Run(name+"_route_is_no_route", func(t *testing.T) {
			l := simple(t)
			l.ok(l.here.RouteAdd(&netlink.Route{Dst: ipNet("192.0.2.64/26"), Type: kind}))
			l.ok(l.here.RouteAdd(&netlink.Route{Dst: ipNet("2001:db8::/64"), Type: kind}))
			for _, s := range []string{"192.0.2.0/24", "2001:db8::/64"} {
				if err := l.refuses(Options{}, []string{s}, name); !errors.Is(err, ErrNoRoute) {
					t.Errorf("%v is not ErrNoRoute", err)
				}
			}
			l.mustResolve(Options{}, "192.0.2.0-192.0.2.63", "192.0.2.128/25")
		})
	}
	t.Run("policy_rule_sends_a_part_elsewhere", func(t *testing.T) {
		l := newLab(t, "v0", "v1")
		l.addr(l.here, "v0", "10.9.0.1/24")
		l.addr(l.here, "v1", "10.10.0.1/24")
		l.addr(l.there, "v0", "10.9.0.2/24")
		l.addr(l.there, "v1", "10.10.0.2/24")
		l.route("0.0.0.0/0", "10.9.0.2", "v0")
		l.routeIn(100, "0.0.0.0/0", "10.10.0.2", "v1")
		rule := netlink.NewRule()
		rule.Dst, rule.Table, rule.Priority = ipNet("192.0.2.16/28"), 100, 50
		l.ok(l.here.RuleAdd(rule))
		r := l.mustResolve(Options{}, "192.0.2.0/24")
		next(t, r, "192.0.2.15", "v0", "10.9.0.2")
		next(t, r, "192.0.2.16", "v1", "10.10.0.2")
		next(t, r, "192.0.2.31", "v1", "10.10.0.2")
		next(t, r, "192.0.2.32", "v0", "10.9.0.2")
	})
	t.Run("source_rule_is_respected", func(t *testing.T) {
		l := newLab(t, "v0", "v1")
		l.addr(l.here, "v0", "10.9.0.1/24")
		l.addr(l.here, "v1", "10.10.0.1/24")
		l.addr(l.there, "v0", "10.9.0.2/24")
		l.addr(l.there, "v1", "10.10.0.2/24")
		l.route("0.0.0.0/0", "10.9.0.2", "v0")
		l.routeIn(100, "0.0.0.0/0", "10.10.0.2", "v1")
		rule := netlink.NewRule()
		rule.Src, rule.Table, rule.Priority = ipNet("10.10.0.1/32"), 100, 50
		l.ok(l.here.RuleAdd(rule))
		next(t, l.mustResolve(Options{Source4: addrOf("10.10.0.1")}, "192.0.2.0/24"), "192.0.2.1", "v1", "10.10.0.2")
	})
	t.Run("zero_address_says_nothing_of_its_network", func(t *testing.T) {
		l := simple(t)
		p := l.mustResolve(Options{}, "0.0.0.0/8") // the kernel takes 0.0.0.0 for this machine
		nowhereTo(t, p, "0.0.0.0")
		next(t, p, "0.0.0.1", "v0", "10.9.0.2")
	})
	t.Run("link_local_target_needs_an_interface", func(t *testing.T) {
		l := simple(t)
		l.addr(l.there, "v0", "fe80::77/64")
		l.refuses(Options{}, []string{"fe80::77"}, "fe80::77", "-e")
		p := l.mustResolve(Options{Interface: "v0"}, "fe80::77")
		next(t, p, "fe80::77", "v0", "fe80::77")
		if source := p.Links[0].Source6; !source.IsLinkLocalUnicast() {
			t.Errorf("source %s", source)
		}
		if p = l.mustResolve(Options{Interface: "v0"}, "2001:db8::1", "fe80::77"); p.Links[0].Source6.String() != "fd09::1" {
			t.Errorf("source %s for targets on and beyond the link", p.Links[0].Source6)
		}
	})
	t.Run("each_network_of_an_interface_has_its_source", func(t *testing.T) {
		l := simple(t)
		l.addr(l.here, "v0", "10.10.0.1/24", "2001:db8:9::1/64")
		r := l.mustResolve(Options{}, "10.9.0.7", "10.10.0.8/29", "192.0.2.0/24", "2001:db8:9::7", "fd09::7")
		for target, want := range map[string]string{
			"10.9.0.7": "10.9.0.1", "10.10.0.9": "10.10.0.1", "192.0.2.9": "10.9.0.1", "2001:db8:9::7": "2001:db8:9::1", "fd09::7": "fd09::1",
		} {
			to, ok := r.Hop(addrOf(target))
			if !ok {
				t.Fatalf("no way to %s", target)
			}
			got := r.Links[to.Link].Source6
			if addrOf(target).Is4() {
				got = r.Links[to.Link].Source4
			}
			if got.String() != want {
				t.Errorf("%s is probed from %s, want %s", target, got, want)
			}
		}
		if len(r.Links) != 2 || r.Links[0].Index != r.Links[1].Index {
			t.Errorf("links %+v", r.Links)
		}
	})
	t.Run("ten_thousand_targets_are_a_handful_of_questions", func(t *testing.T) {
		l := simple(t)
		l.route("10.128.0.0/9", "10.9.0.2", "v0")
		l.route("172.16.0.0/12", "10.9.0.2", "v0")
		var s set
		for i := range 10_000 {
			a := netip.AddrFrom4([4]byte{byte(100 + i>>14&3), byte(i >> 6), byte(i << 2), 1})
			s = append(s, [2]netip.Addr{a, a.Next()})
		}
		s[0] = targets("10.127.255.0-10.128.0.9")[0]
		r := &router{ctx: t.Context(), handle: l.here}
		p := must(r.resolve(s))(t)
		if r.asked > 6 {
			t.Errorf("asked %d times", r.asked)
		}
		if next(t, p, "100.0.0.1", "v0", "10.9.0.2"); len(p.hops) != 1 {
			t.Errorf("%d hops", len(p.hops))
		}
	})
}
