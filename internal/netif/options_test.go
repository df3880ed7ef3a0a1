package netif

import (
	"errors"
	"net"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestOverrides(t *testing.T) {
	t.Run("missing_interface_suggests_the_nearest", func(t *testing.T) {
		l := newLab(t, "wan0", "dmz0")
		l.refuses(Options{Interface: "wam0"}, []string{"192.0.2.1"}, `find interface "wam0"`, "did you mean wan0?", "lo, wan0, dmz0")
	})
	t.Run("down_interface_says_so", func(t *testing.T) {
		l := simple(t)
		l.ok(l.here.LinkSetDown(l.link(l.here, "v0")))
		l.refuses(Options{Interface: "v0"}, []string{"10.9.0.2"}, "v0", "is down", "ip link set v0 up")
	})
	t.Run("interface_without_carrier_says_so", func(t *testing.T) {
		l := simple(t)
		l.ok(l.there.LinkSetDown(l.link(l.there, "v0")))
		l.refuses(Options{Interface: "v0"}, []string{"10.9.0.2"}, "v0", "carrier")
		l.refuses(Options{}, []string{"10.9.0.2"}, "v0", "carrier")
	})
	t.Run("interface_without_address_says_so", func(t *testing.T) {
		l := newLab(t, "v0", "v1")
		l.addr(l.here, "v0", "10.9.0.1/24", "fd09::1/64")
		l.refuses(Options{Interface: "v1"}, []string{"10.9.0.2"}, "v1 has no IPv4 address", "-S")
		l.refuses(Options{Interface: "v1"}, []string{"fd09::2"}, "v1 has no IPv6 address", "-S")
		l.refuses(Options{Interface: "v1", RouterMAC: elsewhere}, []string{"10.9.0.2"}, "v1 has no IPv4 address", "-S")
	})
	t.Run("interface_without_route_says_so", func(t *testing.T) {
		l := newLab(t, "v0", "v1")
		l.addr(l.here, "v0", "10.9.0.1/24", "fd09::1/64")
		l.addr(l.here, "v1", "10.10.0.1/24", "fd10::1/64")
		for _, a := range []string{"192.0.2.1", "2001:db8::1"} {
			if err := l.refuses(Options{Interface: "v1"}, []string{a}, "no route to "+a+" through v1", "--router-mac"); !errors.Is(err, ErrNoRoute) {
				t.Errorf("%v is not ErrNoRoute", err)
			}
		}
	})
	t.Run("interface_chooses_among_routes", func(t *testing.T) {
		l := newLab(t, "v0", "v1")
		l.addr(l.here, "v0", "10.9.0.1/24")
		l.addr(l.here, "v1", "10.10.0.1/24")
		l.addr(l.there, "v0", "10.9.0.2/24")
		l.addr(l.there, "v1", "10.10.0.2/24")
		l.route("0.0.0.0/0", "10.9.0.2", "v0")
		l.ok(l.here.RouteAdd(&netlink.Route{Dst: ipNet("0.0.0.0/0"), Gw: net.IPv4(10, 10, 0, 2), Priority: 500}))
		p := l.mustResolve(Options{Interface: "v1"}, "192.0.2.0/24")
		if p.Links[0].Source4.String() != "10.10.0.1" {
			t.Errorf("from %s", p.Links[0].Source4)
		}
		next(t, p, "192.0.2.9", "v1", "10.10.0.2")
	})
	t.Run("router_mac_takes_everything_and_asks_nobody", func(t *testing.T) {
		l := newLab(t, "v0")
		l.addr(l.here, "v0", "10.9.0.1/24", "fd09::1/64")
		l.route("192.0.2.0/24", "10.9.0.254", "v0") // which is silent
		p := l.mustResolve(Options{RouterMAC: elsewhere}, "10.9.0.8/29", "192.0.2.0/24", "fd09::/65")
		for _, a := range []string{"10.9.0.9", "192.0.2.1", "fd09::7"} {
			next(t, p, a, "v0", elsewhere.String())
		}
		if got := p.Links[0]; len(got.Ask)+len(got.Gateways) > 0 {
			t.Errorf("asks %v and %v", got.Ask, got.Gateways)
		}
	})
	t.Run("router_mac_and_interface_need_no_route", func(t *testing.T) {
		l := newLab(t, "v0")
		l.addr(l.here, "v0", "10.9.0.1/24", "fd09::1/64")
		p := l.mustResolve(Options{Interface: "v0", RouterMAC: elsewhere}, "192.0.2.0/24", "2001:db8::/32").Links[0]
		if p.Source4.String() != "10.9.0.1" || p.Source6.String() != "fd09::1" {
			t.Errorf("sources %s and %s", p.Source4, p.Source6)
		}
	})
	t.Run("one_router_for_two_links_is_refused", func(t *testing.T) {
		l := newLab(t, "v0", "v1")
		l.addr(l.here, "v0", "10.9.0.1/24")
		l.addr(l.here, "v1", "10.10.0.1/24")
		l.refuses(Options{RouterMAC: elsewhere}, []string{"10.9.0.2", "10.10.0.2"}, "10.9.0.2 is reached through v0, but 10.10.0.2 through v1", "-e")
	})
	t.Run("own_source_is_used", func(t *testing.T) {
		l := simple(t)
		l.addr(l.here, "v0", "10.9.0.5/24")
		p := l.mustResolve(Options{Source4: addrOf("10.9.0.5")}, "192.0.2.0/24", "2001:db8::1")
		if got := p.Links[0]; got.Source4.String() != "10.9.0.5" || got.Source6.String() != "fd09::1" || p.SourceForeign {
			t.Errorf("sources %s and %s, foreign %t", got.Source4, got.Source6, p.SourceForeign)
		}
	})
	t.Run("foreign_source_is_allowed_and_told", func(t *testing.T) {
		l := simple(t)
		p := l.mustResolve(Options{Source4: addrOf("198.51.100.1"), Source6: addrOf("2001:db8:f::1")}, "192.0.2.0/24", "2001:db8::1")
		if got := p.Links[0]; got.Source4.String() != "198.51.100.1" || got.Source6.String() != "2001:db8:f::1" || !p.SourceForeign {
			t.Errorf("sources %s and %s, foreign %t", got.Source4, got.Source6, p.SourceForeign)
		}
		p = l.mustResolve(Options{Source6: addrOf("2001:db8:f::1")}, "192.0.2.0/24")
		if p.SourceForeign || p.Links[0].Source6.IsValid() {
			t.Error("a source for a family that is not scanned counts")
		}
	})
	t.Run("interface_of_a_strange_kind_says_so", func(t *testing.T) {
		err := ready(&netlink.LinkAttrs{Name: "ib0", RawFlags: unix.IFF_UP, EncapType: "infiniband"})
		if err == nil || err.Error() != "use interface ib0: its link type is infiniband, and raw probes need Ethernet or a device without link header: choose another with -e, or scan with -sT" {
			t.Errorf("%v", err)
		}
	})
	t.Run("nonsense_is_refused", func(t *testing.T) {
		l := simple(t)
		l.refuses(Options{Source4: addrOf("::1")}, []string{"10.9.0.2"}, "not an IPv4 address")
		l.refuses(Options{Source6: addrOf("10.9.0.1")}, []string{"10.9.0.2"}, "not an IPv6 address")
		for _, source := range []string{"0.0.0.0", "224.0.0.1", "255.255.255.255"} {
			l.refuses(Options{Source4: addrOf(source)}, []string{"10.9.0.2"}, "use "+source+" as the source")
		}
		for _, source := range []string{"::", "ff02::1"} {
			l.refuses(Options{Source6: addrOf(source)}, []string{"fd09::2"}, "use "+source+" as the source")
		}
		for _, target := range []string{"127.0.0.1", "10.9.0.1"} {
			l.refuses(Options{RouterMAC: elsewhere}, []string{target}, "no target is reached over Ethernet", "--router-mac")
		}
		l.refuses(Options{RouterMAC: net.HardwareAddr{1, 2}}, []string{"10.9.0.2"}, "has 6 bytes")
		l.refuses(Options{}, nil, "no targets")
		l.refuses(Options{}, []string{"224.0.0.1"}, "224.0.0.1 is a multicast address")
		l.refuses(Options{}, []string{"10.9.0.255"}, "10.9.0.255 is a broadcast address")
	})
}

func TestOwnSources(t *testing.T) {
	simple(t)
	for source, own := range map[string]bool{
		"10.9.0.1": true, "127.0.0.1": true, "127.9.9.9": true, "10.9.0.2": false, "10.9.0.255": false, "127.255.255.255": false,
		"198.51.100.1": false, "0.0.0.0": false, "224.0.0.1": false, "255.255.255.255": false,
		"fd09::1": true, "::1": true, "fd09::2": false, "::": false, "ff02::1": false,
	} {
		o := Options{Source4: addrOf(source)}
		if addrOf(source).Is6() {
			o = Options{Source6: addrOf(source)}
		}
		if err := o.Own(); (err == nil) != own {
			t.Errorf("%s: %v", source, err)
		}
	}
	if err := (Options{}).Own(); err != nil {
		t.Error(err)
	}
}

func addrOf(text string) netip.Addr { return netip.MustParseAddr(text) }
