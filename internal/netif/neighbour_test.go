package netif

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestNeighbours(t *testing.T) {
	t.Run("silent_target_is_unresolved", func(t *testing.T) {
		l := simple(t)
		p := l.mustResolve(Options{}, "10.9.0.2-10.9.0.3", "fd09::2-fd09::3")
		nowhereTo(t, p, "10.9.0.3")
		nowhereTo(t, p, "fd09::3")
		next(t, p, "10.9.0.2", l.mac("v0"))
		next(t, p, "fd09::2", l.mac("v0"))
		if got := fmt.Sprint(p.Unresolved()); got != "[10.9.0.3 fd09::3]" {
			t.Errorf("unresolved %s", got)
		}
	})
	t.Run("silent_gateway_is_an_error", func(t *testing.T) {
		l := newLab(t, "v0")
		l.addr(l.here, "v0", "10.9.0.1/24")
		l.route("0.0.0.0/0", "10.9.0.254", "v0")
		l.refuses(Options{}, []string{"192.0.2.1"}, "resolve gateway 10.9.0.254 on v0", "--router-mac")
	})
	t.Run("failed_neighbour_is_asked_again", func(t *testing.T) {
		l := simple(t)
		if p := l.mustResolve(Options{}, "10.9.0.9"); len(p.Unresolved()) != 1 {
			t.Fatal("10.9.0.9 answers")
		}
		l.addr(l.there, "v0", "10.9.0.9/24")
		p := l.mustResolve(Options{}, "10.9.0.9")
		next(t, p, "10.9.0.9", l.mac("v0"))
	})
	t.Run("neighbour_about_to_fail_is_asked_again", func(t *testing.T) {
		l := simple(t)
		use := &netlink.Neigh{LinkIndex: l.link(l.here, "v0").Attrs().Index, IP: net.IPv4(10, 9, 0, 9), Flags: netlink.NTF_USE}
		l.ok(l.here.NeighSet(use)) // somebody else, in vain: the last question goes out after 200 ms
		time.Sleep(250 * time.Millisecond)
		l.addr(l.there, "v0", "10.9.0.9/24")
		p := l.mustResolve(Options{}, "10.9.0.9")
		next(t, p, "10.9.0.9", l.mac("v0"))
	})
	t.Run("wait_is_bounded_when_the_kernel_tries_for_longer", func(t *testing.T) {
		l := simple(t)
		l.neighbourTiming("v0", 60, time.Second)
		begin := time.Now()
		if p := l.mustResolve(Options{}, "10.9.0.9"); len(p.Unresolved()) != 1 {
			t.Error("10.9.0.9 answers")
		}
		if d := time.Since(begin); d < 3*time.Second || d > 6*time.Second {
			t.Errorf("took %v", d)
		}
	})
	t.Run("without_the_capability_only_known_neighbours_resolve", func(t *testing.T) {
		l := simple(t)
		l.mustResolve(Options{}, "10.9.0.2")
		withoutNetAdmin(t, func() {
			p := l.mustResolve(Options{}, "10.9.0.2", "192.0.2.0/24")
			next(t, p, "10.9.0.2", l.mac("v0"))
			l.refuses(Options{}, []string{"10.9.0.3"}, "resolve 10.9.0.3 on v0", "CAP_NET_ADMIN", "--router-mac")
		})
	})
	t.Run("context_ends_the_wait", func(t *testing.T) {
		simple(t)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		begin := time.Now()
		_, err := Resolve(ctx, targets("10.9.0.9"), Options{})
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) > time.Second {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
	})
	// More neighbours than the kernel's table has room for (gc_thresh3), all
	// of them alive: the batches must leave room behind them.
	t.Run("slash_21_of_live_hosts_resolves", func(t *testing.T) {
		l := newLab(t, "v0")
		l.addr(l.here, "v0", "10.8.0.1/15")
		l.addr(l.there, "v0", "10.8.0.2/15")
		local := &netlink.Route{Dst: ipNet("10.9.0.0/16"), Type: unix.RTN_LOCAL, Table: unix.RT_TABLE_LOCAL, Scope: netlink.SCOPE_HOST,
			LinkIndex: l.link(l.there, "lo").Attrs().Index}
		l.ok(l.there.RouteAdd(local)) // the far end is every address at once
		p := l.mustResolve(Options{}, "10.9.16.0/21")
		if n := len(p.Unresolved()); n > 0 {
			t.Errorf("%d of 2048 unresolved", n)
		}
		next(t, p, "10.9.16.0", l.mac("v0"))
		next(t, p, "10.9.23.255", l.mac("v0"))
		if left := must(l.here.NeighList(0, netlink.FAMILY_V4))(t); len(left) > neighbourBatch {
			t.Errorf("%d entries left in the kernel's table", len(left))
		}
	})
	t.Run("too_many_on_link_targets_are_refused", func(t *testing.T) {
		l := simple(t)
		l.refuses(Options{}, []string{"fd09::/64"}, "2^64 or more addresses are on the link", "limit is 65536")
		l.refuses(Options{}, []string{"fd09::-fd09::1:1"}, "65537 addresses", "limit is 65536") // and our own, fd09::1
	})
}

// withoutNetAdmin calls f with CAP_NET_ADMIN laid down on this thread.
func withoutNetAdmin(t *testing.T, f func()) {
	t.Helper()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3} // pid 0: this thread
	var all [2]unix.CapUserData
	if err := unix.Capget(&header, &all[0]); err != nil {
		t.Fatal(err)
	}
	less := all
	less[0].Effective &^= 1 << unix.CAP_NET_ADMIN
	if err := unix.Capset(&header, &less[0]); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Capset(&header, &all[0]); err != nil {
			t.Fatal(err)
		}
	}()
	f()
}
