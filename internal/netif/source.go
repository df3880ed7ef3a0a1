package netif

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// chooseSources settles a link's source for each family of its targets.
func (r *router) chooseSources(routes *Routes, link *Link, all []segment, attrs *netlink.LinkAttrs) error {
	var mine survey
	for _, seg := range all {
		if seg.class != skipped && (seg.class == local) == (link.Kind == Loopback) && (seg.class == local || seg.link == link.Index) {
			mine = append(mine, seg)
		}
	}
	for i := range mine {
		seg := &mine[i]
		source, foreign := &link.Source6, r.foreign6
		if seg.first.Is4() {
			source, foreign = &link.Source4, r.foreign4
		}
		if source.IsValid() {
			continue
		}
		if chosen := r.opt.source(seg.first); chosen.IsValid() {
			*source = chosen
			routes.SourceForeign = routes.SourceForeign || foreign
			continue
		}
		var err error
		if *source = mine.source(seg.first.Is4()); !source.IsValid() {
			if *source, err = sourceOn(r.handle, attrs, seg.first.Is4()); err != nil {
				return err
			}
		}
		if wide := mine.beyondLink(seg.first.Is4()); !source.IsValid() || wide.IsValid() && source.Is6() && source.IsLinkLocalUnicast() {
			return noSource(attrs, seg.first)
		}
	}
	return nil
}

// survey is the segments of one link.
type survey []segment

// noSource is the error of an interface that cannot be answered.
func noSource(link *netlink.LinkAttrs, target netip.Addr) error {
	family := "IPv6 address beyond the link's own"
	if target.Is4() {
		family = "IPv4 address"
	}
	return fmt.Errorf("choose a source for %s: interface %s has no %s: give it one, or name a source with -S", target, link.Name, family)
}

// source returns the source which the kernel would use for most of the
// family's targets. Routes can prefer different ones, and a scan has one:
// answers come back to any. But not from afar to an address of the link, and
// not always to the loopback address (see Loopback), so these come last.
func (s survey) source(is4 bool) netip.Addr {
	votes := map[netip.Addr]uint64{}
	for i := range s {
		if seg := &s[i]; seg.first.Is4() == is4 && seg.source.IsValid() {
			votes[seg.source] = addSat(votes[seg.source], seg.targets)
		}
	}
	if len(votes) == 0 {
		return netip.Addr{}
	}
	reach := func(a netip.Addr) int {
		switch {
		case a.IsLoopback():
			return 0
		case a.Is6() && a.IsLinkLocalUnicast():
			return 1
		}
		return 2
	}
	return slices.MaxFunc(slices.Collect(maps.Keys(votes)), func(a, b netip.Addr) int {
		return cmp.Or(cmp.Compare(reach(a), reach(b)), cmp.Compare(votes[a], votes[b]), b.Compare(a))
	})
}

// beyondLink returns a remote target of the family that is no link-local
// address, or the zero Addr.
func (s survey) beyondLink(is4 bool) netip.Addr {
	for i := range s {
		seg := &s[i]
		if seg.first.Is4() == is4 && (seg.class == gateway || seg.class == direct) && !seg.last.IsLinkLocalUnicast() {
			return seg.first
		}
	}
	return netip.Addr{}
}

// sourceOn returns the address that a probe of the family from the interface
// carries if no route says so: the first one that is wider than the link and
// usable, or the zero Addr.
func sourceOn(handle *netlink.Handle, link *netlink.LinkAttrs, is4 bool) (netip.Addr, error) {
	return addressOn(handle, link, is4, func(a netip.Addr) bool { return is4 || !a.IsLinkLocalUnicast() })
}

// linkLocalOn returns an interface's usable link-local address, or the zero
// Addr.
func linkLocalOn(handle *netlink.Handle, link *netlink.LinkAttrs) (netip.Addr, error) {
	return addressOn(handle, link, false, netip.Addr.IsLinkLocalUnicast)
}

// addressOn returns an interface's first usable address that fits.
func addressOn(handle *netlink.Handle, link *netlink.LinkAttrs, is4 bool, fits func(netip.Addr) bool) (netip.Addr, error) {
	family := netlink.FAMILY_V6
	if is4 {
		family = netlink.FAMILY_V4
	}
	var addrs []netlink.Addr
	err := consistent(func() (err error) {
		addrs, err = handle.AddrList(&netlink.GenericLink{LinkAttrs: *link}, family)
		return err
	})
	if err != nil {
		return netip.Addr{}, fmt.Errorf("list the addresses of %s: %w", link.Name, err)
	}
	const unusable = unix.IFA_F_TENTATIVE | unix.IFA_F_DADFAILED | unix.IFA_F_DEPRECATED
	for _, a := range addrs {
		if ip := address(a.IP); a.Flags&unusable == 0 && fits(ip) {
			return ip, nil
		}
	}
	return netip.Addr{}, nil
}
