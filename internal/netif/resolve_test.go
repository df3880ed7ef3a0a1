package netif

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

var elsewhere = net.HardwareAddr{2, 0, 0, 0, 0, 0x77} // a link address nobody has

func TestHops(t *testing.T) {
	t.Run("on_link_target_is_its_own_next_hop", func(t *testing.T) {
		l := simple(t)
		r := l.mustResolve(Options{}, "10.9.0.2", "fd09::2")
		next(t, r, "10.9.0.2", "v0", "10.9.0.2")
		next(t, r, "fd09::2", "v0", "fd09::2")
		attrs := l.link(l.here, "v0").Attrs()
		got := r.Links[0]
		if len(r.Links) != 1 || got.Kind != Ethernet || got.Index != attrs.Index || got.MTU != attrs.MTU || got.MAC != [6]byte(attrs.HardwareAddr) {
			t.Errorf("links over %+v are %+v", attrs, r.Links)
		}
		if got.Source4.String() != "10.9.0.1" || got.Source6.String() != "fd09::1" || r.SourceForeign {
			t.Errorf("sources %s and %s", got.Source4, got.Source6)
		}
		if got.Asker4 != got.Source4 || got.Asker6 != got.Source6 || len(got.Gateways) > 0 || fmt.Sprint(got.Ask) != "[{10.9.0.2 10.9.0.2} {fd09::2 fd09::2}]" {
			t.Errorf("%v asks %v", got.Asker4, got.Ask)
		}
	})
	t.Run("routed_targets_share_the_gateway", func(t *testing.T) {
		l := simple(t)
		r := l.mustResolve(Options{}, "10.0.0.0/9", "192.0.2.7", "2001:db8::/32")
		next(t, r, "10.1.2.3", "v0", "10.9.0.2")
		next(t, r, "2001:db8::99", "v0", "fd09::2")
		if got := r.Links[0]; fmt.Sprint(got.Gateways) != "[10.9.0.2 fd09::2]" || fmt.Sprint(got.Ask) != "[{10.9.0.0 10.9.0.0} {10.9.0.2 10.9.0.254}]" {
			t.Errorf("asks for %v and %v", got.Gateways, got.Ask)
		}
	})
	t.Run("on_link_and_routed_targets_mix", func(t *testing.T) {
		l := newLab(t, "v0")
		l.addr(l.here, "v0", "10.9.0.1/24")
		l.route("0.0.0.0/0", "10.9.0.2", "v0")
		r := l.mustResolve(Options{}, "10.8.0.0-10.10.0.0")
		next(t, r, "10.8.255.255", "v0", "10.9.0.2")
		next(t, r, "10.9.0.3", "v0", "10.9.0.3")
		next(t, r, "10.9.0.2", "v0", "10.9.0.2")
		next(t, r, "10.10.0.0", "v0", "10.9.0.2")
	})
	t.Run("several_interfaces_and_this_machine_in_one_scan", func(t *testing.T) {
		l := newLab(t, "v0", "v1")
		l.addr(l.here, "v0", "10.9.0.1/24", "fd09::1/64")
		l.addr(l.here, "v1", "10.10.0.1/24")
		l.route("10.11.0.0/16", "10.10.0.2", "v1")
		r := l.mustResolve(Options{}, "10.9.0.0-10.9.0.2", "10.10.0.9", "10.11.0.0/16", "127.0.0.1", "fd09::1")
		next(t, r, "10.9.0.0", "v0", "10.9.0.0")
		next(t, r, "10.9.0.1", "lo", none)
		next(t, r, "10.9.0.2", "v0", "10.9.0.2")
		next(t, r, "10.10.0.9", "v1", "10.10.0.9")
		next(t, r, "10.11.3.4", "v1", "10.10.0.2")
		next(t, r, "127.0.0.1", "lo", none)
		next(t, r, "fd09::1", "lo", none)
		var got []string
		for _, l := range r.Links {
			got = append(got, fmt.Sprint(l.Name, " ", l.Kind, " ", l.Source4, " ", l.Source6))
		}
		want := "v0 ethernet 10.9.0.1 invalid IP, lo loopback 10.9.0.1 fd09::1, v1 ethernet 10.10.0.1 invalid IP"
		if strings.Join(got, ", ") != want {
			t.Errorf("links are %s, want %s", strings.Join(got, ", "), want)
		}
	})
	t.Run("broadcast_and_multicast_addresses_are_skipped", func(t *testing.T) {
		l := simple(t)
		r := l.mustResolve(Options{}, "10.9.0.0-10.9.0.3", "10.9.0.254-10.9.1.1", "224.0.0.0-224.0.0.9")
		nowhereTo(t, r, "10.9.0.255")
		nowhereTo(t, r, "224.0.0.5")
		next(t, r, "10.9.0.1", "lo", none)
		next(t, r, "10.9.0.2", "v0", "10.9.0.2")
		next(t, r, "10.9.1.0", "v0", "10.9.0.2")
		want := "10.9.0.255-10.9.0.255 1 broadcast address\n224.0.0.0-224.0.0.9 10 multicast address\n"
		if got := skips(r); got != want {
			t.Errorf("skipped:\n%swant:\n%s", got, want)
		}
	})
	t.Run("ipv4_through_an_ipv6_gateway", func(t *testing.T) {
		l := newLab(t, "v0")
		l.addr(l.here, "v0", "10.9.0.1/32")
		l.addr(l.here, "v0", "fd09::1/64")
		l.route("10.20.0.0/16", "fd09::2", "v0")
		r := l.mustResolve(Options{}, "10.20.0.0/16")
		next(t, r, "10.20.7.7", "v0", "fd09::2")
		if asker := r.Links[0].Asker6; !asker.IsLinkLocalUnicast() {
			t.Errorf("asks from %v", asker)
		}
	})
	t.Run("interface_without_arp_asks_nobody", func(t *testing.T) {
		l := simple(t)
		l.ok(l.here.LinkSetARPOff(l.link(l.here, "v0")))
		r := l.mustResolve(Options{}, "10.9.0.64/26")
		next(t, r, "10.9.0.77", "v0", l.link(l.here, "v0").Attrs().HardwareAddr.String())
		if len(r.Links[0].Ask) > 0 {
			t.Errorf("asks for %v", r.Links[0].Ask)
		}
	})
	t.Run("tunnel_has_no_link_addresses", func(t *testing.T) {
		l := newLab(t)
		tun := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: "t0"}, Mode: netlink.TUNTAP_MODE_TUN, Flags: netlink.TUNTAP_NO_PI, Queues: 1}
		l.ok(l.here.LinkAdd(tun)) // with its far end, an open file, up
		defer tun.Fds[0].Close()
		l.up(l.here, "t0")
		l.addr(l.here, "t0", "10.9.0.1/24", "fd09::1/64")
		l.route("10.20.0.0/16", "10.9.0.2", "t0")
		r := l.mustResolve(Options{}, "10.9.0.7", "10.20.0.0/16", "fd09::7")
		for _, a := range []string{"10.9.0.7", "10.20.7.7", "fd09::7"} {
			next(t, r, a, "t0", none)
		}
		if got := r.Links[0]; got.Kind != RawIP || got.MAC != [6]byte{} || len(got.Ask)+len(got.Gateways) > 0 {
			t.Errorf("%+v", got)
		}
	})
}

func skips(r *Routes) (text string) {
	for _, s := range r.Skipped() {
		text += fmt.Sprintf("%s-%s %d %s\n", s.First, s.Last, s.Targets, s.Why)
	}
	return text
}

func TestLoopback(t *testing.T) {
	t.Run("loopback_and_own_addresses_go_together", func(t *testing.T) {
		l := simple(t)
		r := l.mustResolve(Options{}, "10.9.0.1", "127.0.0.1-127.0.0.9", "::1", "fd09::1")
		got := r.Links[0]
		if len(r.Links) != 1 || got.Kind != Loopback || got.Name != "lo" || got.Index != 1 || got.MAC != [6]byte{} {
			t.Errorf("%+v", r.Links)
		}
		next(t, r, "127.0.0.5", "lo", none)
		// ::1 would not hear the resets of fd09::1: see the doc of Loopback.
		if got.Source4.String() != "10.9.0.1" || got.Source6.String() != "fd09::1" {
			t.Errorf("sources %s and %s", got.Source4, got.Source6)
		}
	})
	t.Run("loopback_alone_keeps_its_source", func(t *testing.T) {
		l := newLab(t)
		r := l.mustResolve(Options{}, "127.0.0.0/8", "::1")
		if got := r.Links[0]; got.Source4.String() != "127.0.0.1" || got.Source6.String() != "::1" || got.Kind != Loopback {
			t.Errorf("%+v", got)
		}
		nowhereTo(t, r, "127.255.255.255")
		next(t, r, "127.0.0.2", "lo", none)
	})
	t.Run("own_address_never_leaves_by_another_interface", func(t *testing.T) {
		l := simple(t)
		for _, a := range []string{"127.0.0.1", "10.9.0.1", "::1", "fd09::1"} {
			l.refuses(Options{Interface: "v0"}, []string{a}, a+" is this machine's own address", "leave out -e")
			next(t, l.mustResolve(Options{Interface: "lo"}, a), a, "lo", none)
		}
		r := l.mustResolve(Options{Interface: "v0"}, "10.9.0.1-10.9.0.3")
		nowhereTo(t, r, "10.9.0.1")
		next(t, r, "10.9.0.3", "v0", "10.9.0.3")
		if got := skips(r); got != "10.9.0.1-10.9.0.1 1 this machine's own address\n" {
			t.Errorf("skipped %s", got)
		}
	})
	t.Run("lo_reaches_nobody_else", func(t *testing.T) {
		l := simple(t)
		if err := l.refuses(Options{Interface: "lo"}, []string{"10.9.0.2"}, "through lo"); !errors.Is(err, ErrNoRoute) {
			t.Errorf("%v is not ErrNoRoute", err)
		}
		l.refuses(Options{Interface: "lo", RouterMAC: elsewhere}, []string{"10.9.0.2"}, "lo", "this machine only")
	})
}

func TestNeighbours(t *testing.T) {
	t.Run("only_what_was_entered_by_hand_is_known", func(t *testing.T) {
		l := simple(t)
		index := l.link(l.here, "v0").Attrs().Index
		for last, state := range map[byte]int{3: netlink.NUD_PERMANENT, 4: netlink.NUD_REACHABLE, 5: netlink.NUD_STALE, 6: netlink.NUD_FAILED, 7: netlink.NUD_NOARP} {
			l.ok(l.here.NeighSet(&netlink.Neigh{LinkIndex: index, IP: net.IPv4(10, 9, 0, last), HardwareAddr: elsewhere, State: state}))
		}
		r := l.mustResolve(Options{}, "10.9.0.3-10.9.0.7")
		known := r.Links[0].Known
		maps.DeleteFunc(known, func(a netip.Addr, _ [6]byte) bool { return a.Is6() }) // the kernel's own multicast groups
		if got := fmt.Sprint(known); got != "map[10.9.0.3:[2 0 0 0 0 119] 10.9.0.7:[2 0 0 0 0 119]]" {
			t.Errorf("known are %v", got)
		}
	})
	t.Run("nobody_is_asked_by_resolve", func(t *testing.T) {
		l := simple(t)
		l.mustResolve(Options{}, "10.9.0.2-10.9.0.9", "192.0.2.0/24")
		for _, n := range must(l.here.NeighList(0, netlink.FAMILY_V4))(t) {
			t.Errorf("the kernel was asked for %s", n.IP)
		}
	})
	t.Run("foreign_source_does_not_ask", func(t *testing.T) {
		l := simple(t)
		r := l.mustResolve(Options{Source4: addrOf("198.51.100.1"), Source6: addrOf("2001:db8:f::1")}, "10.9.0.2", "fd09::2")
		if got := r.Links[0]; got.Asker4.String() != "10.9.0.1" || !got.Asker6.IsLinkLocalUnicast() {
			t.Errorf("asks from %v and %v", got.Asker4, got.Asker6)
		}
	})
	t.Run("without_a_link_local_address_another_asks", func(t *testing.T) {
		l := simple(t)
		for _, a := range must(l.here.AddrList(l.link(l.here, "v0"), netlink.FAMILY_V6))(t) {
			if a.IP.IsLinkLocalUnicast() {
				l.ok(l.here.AddrDel(l.link(l.here, "v0"), &a))
			}
		}
		r := l.mustResolve(Options{Source6: addrOf("2001:db8:f::1")}, "fd09::2")
		if got := r.Links[0].Asker6.String(); got != "fd09::1" {
			t.Errorf("asks from %s", got)
		}
		l.ok(l.here.AddrDel(l.link(l.here, "v0"), must(netlink.ParseAddr("fd09::1/64"))(t)))
		l.route("fd09::/64", "", "v0")
		l.refuses(Options{Source6: addrOf("2001:db8:f::1")}, []string{"fd09::2"}, "resolve fd09::2 on v0", "no IPv6 address to ask from")
	})
	t.Run("too_many_on_link_targets_are_refused", func(t *testing.T) {
		l := simple(t)
		l.refuses(Options{}, []string{"fd09::/64"}, "2^64 or more addresses are on the link", "limit is 4294967296")
		r := l.mustResolve(Options{}, "fd09::2-fd09::1:1")
		if got := r.Links[0].Ask; fmt.Sprint(got) != "[{fd09::2 fd09::1:1}]" {
			t.Errorf("asks %v", got)
		}
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
