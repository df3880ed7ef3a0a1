package netif

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Interface is one of this machine's, as people are shown it.
type Interface struct {
	Name  string
	Index int
	Type  string // the kernel's word for its link layer: ether, loopback, none, sit
	State string // up, down, no-carrier
	MTU   int    // in bytes, without the link header
	MAC   string // "" where there is none
	Addrs []netip.Prefix
	// Raw tells whether raw probes can be sent there, of this Kind; connections
	// can everywhere.
	Raw  bool
	Kind Kind
}

// RouteEntry is one next hop of one route.
type RouteEntry struct {
	Dst       netip.Prefix
	Via       netip.Addr // invalid: on the link
	Interface string     // "" where nothing is sent, as with blackhole
	Source    netip.Addr // that the route prefers; invalid: none
	Metric    int
	Table     int    // 254 is the main one
	Type      string // "unicast", or why nothing is sent
}

// ListInterfaces returns the interfaces by index. It needs no privileges.
func ListInterfaces() ([]Interface, error) {
	handle, err := open(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	defer handle.Close()
	links, err := allLinks(handle)
	if err != nil {
		return nil, err
	}
	var addrs []netlink.Addr
	if err := consistent(func() (err error) { addrs, err = handle.AddrList(nil, netlink.FAMILY_ALL); return err }); err != nil {
		return nil, fmt.Errorf("list the addresses: %w", err)
	}
	var list []Interface
	for _, l := range links {
		a := l.Attrs()
		i := Interface{Name: a.Name, Index: a.Index, Type: a.EncapType, State: stateOf(a), MTU: a.MTU}
		i.Kind, i.Raw = kindOf(a)
		if a.EncapType == "ether" {
			i.MAC = a.HardwareAddr.String()
		}
		for _, addr := range addrs {
			if addr.LinkIndex == a.Index && addr.IPNet != nil {
				i.Addrs = append(i.Addrs, prefix(addr.IPNet))
			}
		}
		list = append(list, i)
	}
	slices.SortFunc(list, func(a, b Interface) int { return cmp.Compare(a.Index, b.Index) })
	return list, nil
}

// FindInterface returns the one of that name; the error of another name says which
// there are.
func FindInterface(name string) (Interface, error) {
	handle, err := open(unix.NETLINK_ROUTE)
	if err != nil {
		return Interface{}, err
	}
	defer handle.Close()
	link, err := linkByName(handle, name)
	if err != nil {
		return Interface{}, err
	}
	list, err := ListInterfaces()
	if err != nil {
		return Interface{}, err
	}
	for _, i := range list {
		if i.Index == link.Index {
			return i, nil
		}
	}
	return Interface{}, fmt.Errorf("find interface %q: it has just gone", name)
}

func stateOf(a *netlink.LinkAttrs) string {
	switch {
	case a.RawFlags&unix.IFF_UP == 0:
		return "down"
	case a.OperState == netlink.OperDown, a.OperState == netlink.OperLowerLayerDown, a.OperState == netlink.OperNotPresent:
		return "no-carrier"
	}
	return "up" // tun and lo say "unknown"
}

// ListRoutes returns the routes of every table in the order of the kernel,
// without those to own, broadcast and multicast addresses, which it adds itself.
func ListRoutes() ([]RouteEntry, error) {
	handle, err := open(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	defer handle.Close()
	links, err := allLinks(handle)
	if err != nil {
		return nil, err
	}
	nameOf := map[int]string{}
	for _, l := range links {
		nameOf[l.Attrs().Index] = l.Attrs().Name
	}
	var list []RouteEntry
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		begin := len(list)
		err := consistent(func() error {
			list = list[:begin]
			return handle.RouteListFilteredIter(family, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE,
				func(r netlink.Route) bool {
					list = append(list, entries(r, nameOf)...)
					return true
				})
		})
		if err != nil {
			return nil, fmt.Errorf("read the kernel's routes: %w", err)
		}
	}
	return list, nil
}

// entries returns a route's next hops, or nothing for a route that no user made.
func entries(r netlink.Route, nameOf map[int]string) []RouteEntry {
	words := map[int]string{
		unix.RTN_UNICAST: "unicast", unix.RTN_BLACKHOLE: "blackhole", unix.RTN_UNREACHABLE: "unreachable",
		unix.RTN_PROHIBIT: "prohibit", unix.RTN_THROW: "throw",
	}
	word, ok := words[r.Type]
	if !ok || r.Dst == nil || r.Flags&unix.RTM_F_CLONED != 0 {
		return nil
	}
	bits, _ := r.Dst.Mask.Size()
	e := RouteEntry{
		Dst:    netip.PrefixFrom(address(r.Dst.IP).Unmap(), bits), // the library's 0.0.0.0 has 16 bytes
		Metric: r.Priority, Table: r.Table, Type: word,
	}
	if len(r.Src) > 0 {
		e.Source = address(r.Src)
	}
	if r.Type != unix.RTN_UNICAST {
		return []RouteEntry{e}
	}
	hops := r.MultiPath
	if len(hops) == 0 {
		hops = []*netlink.NexthopInfo{{LinkIndex: r.LinkIndex, Gw: r.Gw, Via: r.Via}}
	}
	var list []RouteEntry
	for _, hop := range hops {
		e.Interface = nameOf[hop.LinkIndex]
		e.Via = netip.Addr{}
		if via, ok := hop.Via.(*netlink.Via); ok { // IPv4 behind an IPv6 gateway
			e.Via = address(via.Addr)
		} else if len(hop.Gw) > 0 {
			e.Via = address(hop.Gw)
		}
		list = append(list, e)
	}
	return list
}
