package netif

import (
	"fmt"
	"net/netip"
	"testing"
)

// bigPath is a path as a scan of a private network has it: two gateways, and a
// /20 on the link around our own address.
func bigPath() *Path {
	p := &Path{neighbours: map[netip.Addr][6]byte{}}
	for a := netip.MustParseAddr("10.9.0.0"); a != netip.MustParseAddr("10.9.16.0"); a = a.Next() {
		b := a.As4()
		p.neighbours[a] = [6]byte{2, 0, b[0], b[1], b[2], b[3]}
	}
	for _, h := range []struct {
		first string
		kind  hopKind
		mac   byte
	}{
		{"10.0.0.0", fixed, 1}, {"10.9.0.0", onLink, 0}, {"10.9.0.1", nowhere, 0}, {"10.9.0.2", onLink, 0},
		{"10.9.16.0", fixed, 1}, {"172.16.0.0", fixed, 2}, {"fd00::", fixed, 3},
	} {
		p.hops = append(p.hops, hop{netip.MustParseAddr(h.first), h.kind, [6]byte{5: h.mac}})
	}
	return p
}

func TestNextHopFollowsTheHops(t *testing.T) {
	p := bigPath()
	for a, want := range map[string]string{
		"10.0.0.0": "000000000001", "10.8.255.255": "000000000001", "10.9.0.0": "02000a090000", "10.9.0.1": "none",
		"10.9.0.2": "02000a090002", "10.9.15.255": "02000a090fff", "10.9.16.0": "000000000001", "172.16.0.0": "000000000002",
		"172.31.255.255": "000000000002", "fd00::": "000000000003", "fdff::1": "000000000003",
	} {
		got := "none"
		if mac, ok := p.NextHop(netip.MustParseAddr(a)); ok {
			got = fmt.Sprintf("%x", mac)
		}
		if got != want {
			t.Errorf("NextHop(%s) = %s, want %s", a, got, want)
		}
	}
}

var nextHopCases = []struct{ name, addr string }{
	{"gateway", "172.16.5.5"}, {"onlink", "10.9.7.7"}, {"none", "10.9.0.1"}, {"gateway6", "fd00::7"},
}

func TestNextHopDoesNotAllocate(t *testing.T) {
	p := bigPath()
	for _, c := range nextHopCases {
		a := netip.MustParseAddr(c.addr)
		if n := testing.AllocsPerRun(100, func() { p.NextHop(a) }); n != 0 {
			t.Errorf("%s: %v allocations", c.name, n)
		}
	}
}

func BenchmarkNextHop(b *testing.B) {
	p := bigPath()
	for _, c := range nextHopCases {
		b.Run("target="+c.name, func(b *testing.B) {
			a := netip.MustParseAddr(c.addr)
			b.ReportAllocs()
			for b.Loop() {
				p.NextHop(a)
			}
		})
	}
}
