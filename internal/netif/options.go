package netif

import (
	"context"
	"fmt"
	"iter"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Options are the user's overrides; the zero value leaves everything to the
// kernel's routing.
type Options struct {
	// Interface is the name every probe leaves by (-e).
	Interface string
	// Source4 and Source6 are the source addresses (-S). One that does not
	// belong to this machine is allowed: see Routes.SourceForeign.
	Source4, Source6 netip.Addr
	// RouterMAC is the Ethernet address every probe goes to (--router-mac). No
	// neighbour is asked for, and with Interface no route is needed either.
	RouterMAC net.HardwareAddr
}

// Ranges is a set of addresses as sorted, disjoint intervals, both ends
// included, no interval of two families. Resolve reads it twice.
type Ranges interface {
	Ranges() iter.Seq2[netip.Addr, netip.Addr]
}

func (o Options) check() error {
	if o.Source4.IsValid() && !o.Source4.Is4() {
		return fmt.Errorf("use %s as the IPv4 source: it is not an IPv4 address", o.Source4)
	}
	if o.Source6.IsValid() && (!o.Source6.Is6() || o.Source6.Is4In6()) {
		return fmt.Errorf("use %s as the IPv6 source: it is not an IPv6 address", o.Source6)
	}
	for _, source := range []netip.Addr{o.Source4, o.Source6} {
		if source.IsValid() && (source.IsUnspecified() || source.IsMulticast() || source == maxAddr(true)) {
			return fmt.Errorf("use %s as the source: nobody can send from it", source)
		}
	}
	if n := len(o.RouterMAC); n != 0 && n != 6 {
		return fmt.Errorf("use %s as the router's link address: an Ethernet address has 6 bytes, this has %d", o.RouterMAC, n)
	}
	return nil
}

// Own errs unless the sources are addresses of this machine: a bound socket takes
// a broadcast or multicast address without a word, and then sends from another
// (__inet_bind, net/ipv4/af_inet.c).
func (o Options) Own() error {
	if err := o.check(); err != nil {
		return err
	}
	handle, err := open(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer handle.Close()
	r := &router{ctx: context.Background(), handle: handle}
	for _, source := range []netip.Addr{o.Source4, o.Source6} {
		if !source.IsValid() {
			continue
		}
		if own, err := r.own(source); err != nil || own.class != local {
			return fmt.Errorf("connect from %v: it is no address of this machine: only raw methods can send from another's", source)
		}
	}
	return nil
}

// source returns the user's source for a's family, or the zero Addr.
func (o Options) source(a netip.Addr) netip.Addr {
	if a.Is4() {
		return o.Source4
	}
	return o.Source6
}
