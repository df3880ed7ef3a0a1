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

// source chooses what a probe to a segment's targets comes from: what the user
// names, else what the kernel would use, else an address of the interface. An
// answer to any other address of ours may find no way back.
func (r *router) source(seg *segment, all []segment, attrs *netlink.LinkAttrs) (source netip.Addr, err error) {
	is4 := seg.first.Is4()
	switch source = r.opt.source(seg.first); {
	case source.IsValid():
		return source, nil
	case seg.class == local:
		source = localSource(all, is4)
	default:
		source = seg.source
	}
	if !source.IsValid() {
		if source, err = sourceOn(r.handle, attrs, is4); err != nil {
			return source, err
		}
	}
	if !source.IsValid() || source.Is6() && source.IsLinkLocalUnicast() && !seg.first.IsLinkLocalUnicast() && seg.class != local {
		return source, noSource(attrs, seg.first)
	}
	return source, nil
}

// noSource is the error of an interface that cannot be answered.
func noSource(link *netlink.LinkAttrs, target netip.Addr) error {
	family := "IPv6 address beyond the link's own"
	if target.Is4() {
		family = "IPv4 address"
	}
	return fmt.Errorf("choose a source for %s: interface %s has no %s: give it one, or name a source with -S", target, link.Name, family)
}

// localSource returns the source which the kernel would use for most of this
// machine's own addresses among the targets. Any reaches any but for the
// loopback address and those of a link (see Loopback), which come last.
func localSource(all []segment, is4 bool) netip.Addr {
	votes := map[netip.Addr]uint64{}
	for i := range all {
		if seg := &all[i]; seg.class == local && seg.first.Is4() == is4 && seg.source.IsValid() {
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
