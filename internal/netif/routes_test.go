package netif

import (
	"net/netip"
	"testing"
)

// bigRoutes are as a scan of a private network has them: two gateways on one
// link, a /20 on another, and an address of our own amid it.
func bigRoutes() *Routes {
	r := &Routes{Links: []Link{{Name: "wan0"}, {Name: "lan0"}, {Name: "lo"}}}
	gateway := func(a string) Hop { return Hop{Next: netip.MustParseAddr(a)} }
	for _, h := range []struct {
		first string
		kind  hopKind
		to    Hop
	}{
		{"10.0.0.0", fixed, gateway("192.168.0.1")}, {"10.9.0.0", onLink, Hop{Link: 1}}, {"10.9.0.1", fixed, Hop{Link: 2}},
		{"10.9.0.2", onLink, Hop{Link: 1}}, {"10.9.15.255", nowhere, Hop{}}, {"10.9.16.0", fixed, gateway("192.168.0.1")},
		{"172.16.0.0", fixed, Hop{MAC: [6]byte{5: 2}}}, {"fd00::", fixed, gateway("fe80::1")},
	} {
		r.hops = append(r.hops, hop{netip.MustParseAddr(h.first), h.kind, h.to})
	}
	return r
}

func TestHopFollowsTheHops(t *testing.T) {
	r := bigRoutes()
	for _, tt := range []struct{ target, link, want string }{
		{"10.0.0.0", "wan0", "192.168.0.1"}, {"10.8.255.255", "wan0", "192.168.0.1"}, {"10.9.0.0", "lan0", "10.9.0.0"},
		{"10.9.0.1", "lo", none}, {"10.9.0.2", "lan0", "10.9.0.2"}, {"10.9.15.254", "lan0", "10.9.15.254"},
		{"10.9.16.0", "wan0", "192.168.0.1"}, {"172.16.0.0", "wan0", "00:00:00:00:00:02"}, {"172.31.255.255", "wan0", "00:00:00:00:00:02"},
		{"fd00::", "wan0", "fe80::1"}, {"fdff::1", "wan0", "fe80::1"},
	} {
		next(t, r, tt.target, tt.link, tt.want)
	}
	nowhereTo(t, r, "10.9.15.255")
	if _, ok := new(Routes).Hop(netip.MustParseAddr("10.0.0.1")); ok {
		t.Error("no routes reach somebody")
	}
}

var hopCases = []struct{ name, addr string }{
	{"gateway", "172.16.5.5"}, {"onlink", "10.9.7.7"}, {"none", "10.9.15.255"}, {"gateway6", "fd00::7"},
}

func TestHopDoesNotAllocate(t *testing.T) {
	r := bigRoutes()
	for _, c := range hopCases {
		a := netip.MustParseAddr(c.addr)
		if n := testing.AllocsPerRun(100, func() { r.Hop(a) }); n != 0 {
			t.Errorf("%s: %v allocations", c.name, n)
		}
	}
}

func BenchmarkHop(b *testing.B) {
	r := bigRoutes()
	for _, c := range hopCases {
		b.Run("target="+c.name, func(b *testing.B) {
			a := netip.MustParseAddr(c.addr)
			b.ReportAllocs()
			for b.Loop() {
				r.Hop(a)
			}
		})
	}
}
