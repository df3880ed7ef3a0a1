package netif

import (
	"errors"
	"fmt"
	"net"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

var elsewhere = [6]byte{2, 0, 0, 0, 0, 0x77} // a link address nobody has

func TestNextHop(t *testing.T) {
	t.Run("on_link_target_is_its_own_next_hop", func(t *testing.T) {
		l := simple(t)
		p := l.mustResolve(Options{}, "10.9.0.2", "fd09::2")
		next(t, p, "10.9.0.2", l.mac("v0"))
		next(t, p, "fd09::2", l.mac("v0"))
		link := l.link(l.here, "v0").Attrs()
		if p.Kind != Ethernet || p.Name != "v0" || p.Index != link.Index || p.MTU != link.MTU || p.MAC != [6]byte(link.HardwareAddr) {
			t.Errorf("path over %+v is %+v", link, p)
		}
		if p.Source4.String() != "10.9.0.1" || p.Source6.String() != "fd09::1" || p.SourceForeign {
			t.Errorf("sources %s and %s", p.Source4, p.Source6)
		}
		if _, ok := p.Uniform(); ok {
			t.Error("targets on the link have one next hop each")
		}
	})
	t.Run("routed_targets_share_the_gateway", func(t *testing.T) {
		l := simple(t)
		p := l.mustResolve(Options{}, "10.0.0.0/9", "192.0.2.7", "2001:db8::/32")
		next(t, p, "10.1.2.3", l.mac("v0"))
		next(t, p, "2001:db8::99", l.mac("v0"))
		if mac, ok := p.Uniform(); ok {
			t.Errorf("Uniform() = %x although 10.9.0.0/24 is on the link", mac)
		}
		p = l.mustResolve(Options{}, "192.0.2.0/24", "2001:db8::/32")
		if mac, ok := p.Uniform(); !ok || mac != l.mac("v0") {
			t.Errorf("Uniform() = %x, %t", mac, ok)
		}
	})
	t.Run("on_link_and_routed_targets_mix", func(t *testing.T) {
		l := newLab(t, "v0")
		l.addr(l.here, "v0", "10.9.0.1/24")
		l.addr(l.there, "v0", "10.9.0.3/24", "10.9.0.4/24")
		l.ok(l.here.NeighSet(&netlink.Neigh{LinkIndex: l.link(l.here, "v0").Attrs().Index,
			IP: net.IPv4(10, 9, 0, 2), HardwareAddr: elsewhere[:], State: netlink.NUD_PERMANENT}))
		l.route("0.0.0.0/0", "10.9.0.2", "v0")
		p := l.mustResolve(Options{}, "10.8.0.0-10.10.0.0")
		next(t, p, "10.8.255.255", elsewhere)
		next(t, p, "10.9.0.3", l.mac("v0"))
		next(t, p, "10.9.0.4", l.mac("v0"))
		next(t, p, "10.9.0.2", elsewhere)
		next(t, p, "10.10.0.0", elsewhere)
		nowhereTo(t, p, "10.9.0.77")
		if n := len(p.Unresolved()); n != 256-5 { // .1 is ours, .2-.4 answer, .255 is the broadcast address
			t.Errorf("%d addresses unresolved, want 251", n)
		}
	})
	t.Run("own_and_broadcast_address_amid_their_network_are_skipped", func(t *testing.T) {
		l := simple(t)
		p := l.mustResolve(Options{}, "10.9.0.0-10.9.0.3", "10.9.0.254-10.9.1.1", "224.0.0.0-224.0.0.9")
		nowhereTo(t, p, "10.9.0.1")
		nowhereTo(t, p, "10.9.0.255")
		nowhereTo(t, p, "224.0.0.5")
		next(t, p, "10.9.0.2", l.mac("v0"))
		next(t, p, "10.9.1.0", l.mac("v0"))
		var got string
		for _, s := range p.Skipped() {
			got += fmt.Sprintf("%s-%s %d %s\n", s.First, s.Last, s.Targets, s.Why)
		}
		want := "10.9.0.1-10.9.0.1 1 this machine's own address\n10.9.0.255-10.9.0.255 1 broadcast address\n224.0.0.0-224.0.0.9 10 multicast address\n"
		if got != want {
			t.Errorf("skipped:\n%swant:\n%s", got, want)
		}
		if _, ok := p.Uniform(); ok {
			t.Error("a path that skips targets is not uniform")
		}
	})
	t.Run("ipv4_through_an_ipv6_gateway", func(t *testing.T) {
		l := newLab(t, "v0")
		l.addr(l.here, "v0", "10.9.0.1/32")
		l.addr(l.here, "v0", "fd09::1/64")
		l.addr(l.there, "v0", "fd09::2/64")
		l.route("10.20.0.0/16", "fd09::2", "v0")
		p := l.mustResolve(Options{}, "10.20.0.0/16")
		if mac, ok := p.Uniform(); !ok || mac != l.mac("v0") {
			t.Errorf("Uniform() = %x, %t", mac, ok)
		}
	})
	t.Run("interface_without_arp_needs_no_answers", func(t *testing.T) {
		l := simple(t)
		l.ok(l.here.LinkSetARPOff(l.link(l.here, "v0")))
		p := l.mustResolve(Options{}, "10.9.0.64/26")
		next(t, p, "10.9.0.77", p.MAC)
	})
}

func TestLoopback(t *testing.T) {
	t.Run("loopback_and_own_addresses_go_together", func(t *testing.T) {
		l := simple(t)
		p := l.mustResolve(Options{}, "10.9.0.1", "127.0.0.1-127.0.0.9", "::1", "fd09::1")
		if p.Kind != Loopback || p.Name != "lo" || p.Index != 1 || p.MAC != [6]byte{} {
			t.Errorf("path %+v", p)
		}
		if mac, ok := p.Uniform(); !ok || mac != [6]byte{} {
			t.Errorf("Uniform() = %x, %t", mac, ok)
		}
		next(t, p, "127.0.0.5", [6]byte{})
		// ::1 would not hear the resets of fd09::1: see the doc of Loopback.
		if p.Source4.String() != "10.9.0.1" || p.Source6.String() != "fd09::1" {
			t.Errorf("sources %s and %s", p.Source4, p.Source6)
		}
	})
	t.Run("loopback_alone_keeps_its_source", func(t *testing.T) {
		l := newLab(t)
		p := l.mustResolve(Options{}, "127.0.0.0/8", "::1")
		if p.Source4.String() != "127.0.0.1" || p.Source6.String() != "::1" || p.Kind != Loopback {
			t.Errorf("%s from %s and %s", p.Kind, p.Source4, p.Source6)
		}
		nowhereTo(t, p, "127.255.255.255")
		next(t, p, "127.0.0.2", [6]byte{})
	})
	t.Run("named_own_and_remote_addresses_are_refused", func(t *testing.T) {
		l := simple(t)
		l.refuses(Options{}, []string{"10.9.0.2", "127.0.0.1"}, "127.0.0.1 is this machine's own address", "10.9.0.2 is reached through v0", "separately")
	})
	t.Run("own_address_never_leaves_by_another_interface", func(t *testing.T) {
		l := simple(t)
		for _, a := range []string{"127.0.0.1", "10.9.0.1", "::1", "fd09::1"} {
			l.refuses(Options{Interface: "v0"}, []string{a}, a+" is this machine's own address", "leave out -e")
			if p := l.mustResolve(Options{Interface: "lo"}, a); p.Kind != Loopback {
				t.Errorf("%s by lo is %s", a, p.Kind)
			}
		}
	})
	t.Run("lo_reaches_nobody_else", func(t *testing.T) {
		l := simple(t)
		if err := l.refuses(Options{Interface: "lo"}, []string{"10.9.0.2"}, "through lo"); !errors.Is(err, ErrNoRoute) {
			t.Errorf("%v is not ErrNoRoute", err)
		}
		l.refuses(Options{Interface: "lo", RouterMAC: elsewhere[:]}, []string{"10.9.0.2"}, "lo", "this machine only")
	})
}

func TestResolveSeesTheThreadsNamespaceOnly(t *testing.T) {
	newLab(t, "only0")
	handle := must(open(unix.NETLINK_ROUTE))(t)
	defer handle.Close()
	got := must(names(handle))(t)
	if fmt.Sprint(got) != "[lo only0]" {
		t.Errorf("names are %v", got)
	}
}
