package netif

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestListInterfaces(t *testing.T) {
	l := newLab(t, "v0", "v1")
	l.addr(l.here, "v0", "10.9.0.1/24", "fd09::1/64")
	l.ok(l.here.LinkSetDown(l.link(l.here, "v1")))
	tun := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: "tun9"}, Mode: netlink.TUNTAP_MODE_TUN}
	l.ok(l.here.LinkAdd(tun))
	list := must(ListInterfaces())(t)
	find := func(name string) Interface {
		i := slices.IndexFunc(list, func(i Interface) bool { return i.Name == name })
		if i < 0 {
			t.Fatalf("%s is not listed", name)
		}
		return list[i]
	}
	v0 := find("v0")
	if a := l.link(l.here, "v0").Attrs(); v0.Index != a.Index || v0.MAC != a.HardwareAddr.String() || v0.MTU != a.MTU {
		t.Errorf("v0 is %+v", v0)
	}
	if v0.Type != "ether" || v0.State != "up" || v0.Kind != Ethernet || !v0.Raw || !slices.Contains(v0.Addrs, netip.MustParsePrefix("10.9.0.1/24")) ||
		!slices.Contains(v0.Addrs, netip.MustParsePrefix("fd09::1/64")) {
		t.Errorf("v0 is %+v", v0)
	}
	if v1 := find("v1"); v1.State != "down" {
		t.Errorf("v1 is %+v", v1)
	}
	if lo := find("lo"); lo.Type != "loopback" || lo.State != "up" || lo.Kind != Loopback || !lo.Raw || lo.MAC != "" {
		t.Errorf("lo is %+v", lo)
	}
	if tun := find("tun9"); tun.Type != "none" || tun.Kind != RawIP || !tun.Raw || tun.MAC != "" {
		t.Errorf("tun9 is %+v", tun)
	}
	if !slices.IsSortedFunc(list, func(a, b Interface) int { return a.Index - b.Index }) {
		t.Error("not in the order of the indexes")
	}
}

func TestListRoutes(t *testing.T) {
	l := simple(t)
	l.route("10.20.0.0/16", "fd09::2", "v0")
	l.routeIn(77, "10.30.0.0/16", "10.9.0.2", "v0")
	l.ok(l.here.RouteAdd(&netlink.Route{Dst: ipNet("10.40.0.0/16"), Type: unix.RTN_BLACKHOLE}))
	l.ok(l.here.RouteAdd(&netlink.Route{Dst: ipNet("10.50.0.0/16"), MultiPath: []*netlink.NexthopInfo{
		{LinkIndex: l.link(l.here, "v0").Attrs().Index, Gw: netip.MustParseAddr("10.9.0.2").AsSlice()},
		{LinkIndex: l.link(l.here, "v0").Attrs().Index, Gw: netip.MustParseAddr("10.9.0.3").AsSlice()},
	}}))
	list := must(ListRoutes())(t)
	for _, want := range []struct {
		dst, via, name string
		table          int
		kind           string
	}{
		{"0.0.0.0/0", "10.9.0.2", "v0", 254, "unicast"},
		{"10.9.0.0/24", "", "v0", 254, "unicast"},
		{"10.20.0.0/16", "fd09::2", "v0", 254, "unicast"},
		{"10.30.0.0/16", "10.9.0.2", "v0", 77, "unicast"},
		{"10.40.0.0/16", "", "", 254, "blackhole"},
		{"10.50.0.0/16", "10.9.0.2", "v0", 254, "unicast"},
		{"10.50.0.0/16", "10.9.0.3", "v0", 254, "unicast"},
		{"::/0", "fd09::2", "v0", 254, "unicast"},
		{"fd09::/64", "", "v0", 254, "unicast"},
	} {
		if !slices.ContainsFunc(list, func(e RouteEntry) bool {
			via := ""
			if e.Via.IsValid() {
				via = e.Via.String()
			}
			return e.Dst.String() == want.dst && via == want.via && e.Interface == want.name && e.Table == want.table && e.Type == want.kind
		}) {
			t.Errorf("no %v in %v", want, list)
		}
	}
	for _, e := range list {
		if e.Dst == netip.MustParsePrefix("10.9.0.1/32") || e.Dst.Addr().IsMulticast() {
			t.Errorf("%v is the kernel's own", e)
		}
	}
}
