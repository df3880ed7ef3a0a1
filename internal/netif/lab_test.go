package netif

import (
	"iter"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// lab is two network namespaces without a way out, joined by veth pairs whose
// ends have the same name in both. The test's thread is in the first one, here;
// the other, there, is the rest of the world.
type lab struct {
	t           *testing.T
	here, there *netlink.Handle
	thereNS     netns.NsHandle
}

// newLab makes the namespaces and the named pairs, up. It goes away with the
// test, which must not change its goroutine.
func newLab(t *testing.T, pairs ...string) *lab {
	t.Helper()
	if os.Getuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("this test makes network namespaces and needs root")
		}
		t.Skip("makes network namespaces: needs root")
	}
	runtime.LockOSThread()
	home := must(netns.Get())(t)
	there := must(netns.New())(t)
	noDAD(t)
	thereHandle := must(netlink.NewHandle(unix.NETLINK_ROUTE))(t)
	here := must(netns.New())(t)
	noDAD(t)
	hereHandle := must(netlink.NewHandle(unix.NETLINK_ROUTE))(t)
	t.Cleanup(func() {
		hereHandle.Close()
		thereHandle.Close()
		here.Close()
		there.Close()
		if err := netns.Set(home); err != nil {
			t.Errorf("leave the namespace: %v", err) // the locked thread ends with the goroutine
			return
		}
		home.Close()
		runtime.UnlockOSThread()
	})
	l := &lab{t: t, here: hereHandle, there: thereHandle, thereNS: there}
	l.up(l.here, "lo")
	l.up(l.there, "lo")
	for _, name := range pairs {
		veth := &netlink.Veth{LinkAttrs: netlink.NewLinkAttrs(), PeerName: name, PeerNamespace: netlink.NsFd(there)}
		veth.Name = name
		l.ok(l.here.LinkAdd(veth))
		l.up(l.here, name)
		l.up(l.there, name)
		l.eventually("carrier on "+name, func() bool {
			return l.link(l.here, name).Attrs().OperState == netlink.OperUp && l.link(l.there, name).Attrs().OperState == netlink.OperUp
		})
	}
	return l
}

// noDAD spares new interfaces the seconds of duplicate address detection.
func noDAD(t *testing.T) {
	t.Helper()
	for _, knob := range []string{"accept_dad", "dad_transmits"} {
		if err := os.WriteFile("/proc/sys/net/ipv6/conf/default/"+knob, []byte("0"), 0); err != nil {
			t.Fatal(err)
		}
	}
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func (l *lab) ok(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

func (l *lab) link(h *netlink.Handle, name string) netlink.Link {
	l.t.Helper()
	return must(h.LinkByName(name))(l.t)
}

func (l *lab) up(h *netlink.Handle, name string) {
	l.t.Helper()
	l.ok(h.LinkSetUp(l.link(h, name)))
}

// addr gives the interface addresses with prefix length.
func (l *lab) addr(h *netlink.Handle, name string, addrs ...string) {
	l.t.Helper()
	for _, s := range addrs {
		a := must(netlink.ParseAddr(s))(l.t)
		if a.IP.To4() == nil {
			a.Flags = unix.IFA_F_NODAD
		}
		l.ok(h.AddrAdd(l.link(h, name), a))
		// The kernel installs an IPv6 address from a work queue (addrconf_dad_work).
		l.eventually(s+" is local", func() bool {
			r, err := h.RouteGet(a.IP)
			return err == nil && r[0].Type == unix.RTN_LOCAL
		})
	}
}

// eventually waits for the kernel to bring about what was asked of it.
func (l *lab) eventually(what string, done func() bool) {
	l.t.Helper()
	for end := time.Now().Add(5 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			l.t.Fatalf("waited too long: %s", what)
		}
	}
}

// route adds a route here; via may be "" (on the link).
func (l *lab) route(dst, via, name string) {
	l.t.Helper()
	l.routeIn(0, dst, via, name)
}

func (l *lab) routeIn(table int, dst, via, name string) {
	l.t.Helper()
	r := &netlink.Route{Table: table, Dst: ipNet(dst), LinkIndex: l.link(l.here, name).Attrs().Index}
	if via != "" {
		gw := netip.MustParseAddr(via)
		if gw.Is6() && r.Dst.IP.To4() != nil {
			r.Via = &netlink.Via{AddrFamily: unix.AF_INET6, Addr: gw.AsSlice()}
		} else {
			r.Gw = gw.AsSlice()
		}
	}
	l.ok(l.here.RouteAdd(r))
}

func ipNet(prefix string) *net.IPNet {
	_, n, err := net.ParseCIDR(prefix)
	if err != nil {
		panic(err)
	}
	return n
}

// simple is the usual case: 10.9.0.1/24 and fd09::1/64 on v0, the far end .2
// and ::2, default routes through it.
func simple(t *testing.T) *lab {
	l := newLab(t, "v0")
	l.addr(l.here, "v0", "10.9.0.1/24", "fd09::1/64")
	l.addr(l.there, "v0", "10.9.0.2/24", "fd09::2/64")
	l.route("0.0.0.0/0", "10.9.0.2", "v0")
	l.route("::/0", "fd09::2", "v0")
	return l
}

func (l *lab) resolve(opt Options, set ...string) (*Routes, error) {
	l.t.Helper()
	return Resolve(l.t.Context(), targets(set...), opt)
}

func (l *lab) mustResolve(opt Options, set ...string) *Routes {
	l.t.Helper()
	return must(l.resolve(opt, set...))(l.t)
}

// refuses resolves and returns the error, which must contain every part.
func (l *lab) refuses(opt Options, set []string, parts ...string) error {
	l.t.Helper()
	_, err := l.resolve(opt, set...)
	if err == nil {
		l.t.Fatalf("Resolve(%v) succeeded", set)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			l.t.Errorf("error %q does not contain %q", err, p)
		}
	}
	return err
}

// next checks by which link a target is reached, and whose link address that
// needs: a neighbour's, or the one given.
func next(t *testing.T, r *Routes, target, link, want string) {
	t.Helper()
	to, ok := r.Hop(netip.MustParseAddr(target))
	if !ok {
		t.Errorf("no way to %s, want %s by %s", target, want, link)
		return
	}
	got := to.Next.String()
	if !to.Next.IsValid() {
		got = net.HardwareAddr(to.MAC[:]).String()
	}
	if got != want || r.Links[to.Link].Name != link {
		t.Errorf("the way to %s is %s by %s, want %s by %s", target, got, r.Links[to.Link].Name, want, link)
	}
}

// none is the link address where there is none to give.
const none = "00:00:00:00:00:00"

func nowhereTo(t *testing.T, r *Routes, target string) {
	t.Helper()
	if to, ok := r.Hop(netip.MustParseAddr(target)); ok {
		t.Errorf("the way to %s is %+v, want none", target, to)
	}
}

// set is a Ranges.
type set [][2]netip.Addr

func (s set) Ranges() iter.Seq2[netip.Addr, netip.Addr] {
	return func(yield func(first, last netip.Addr) bool) {
		for _, r := range s {
			if !yield(r[0], r[1]) {
				return
			}
		}
	}
}

// targets parses addresses, prefixes and "first-last", which must be sorted.
func targets(words ...string) set {
	var s set
	for _, w := range words {
		if first, last, ok := strings.Cut(w, "-"); ok {
			s = append(s, [2]netip.Addr{netip.MustParseAddr(first), netip.MustParseAddr(last)})
		} else if strings.Contains(w, "/") {
			p := netip.MustParsePrefix(w)
			s = append(s, [2]netip.Addr{p.Addr(), lastOf(p)})
		} else {
			s = append(s, [2]netip.Addr{netip.MustParseAddr(w), netip.MustParseAddr(w)})
		}
	}
	return s
}
