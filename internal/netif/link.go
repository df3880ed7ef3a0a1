package netif

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// open opens a netlink socket in the network namespace of the calling thread.
func open(protocol int) (*netlink.Handle, error) {
	handle, err := netlink.NewHandle(protocol)
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket: %w", err)
	}
	return handle, nil
}

// names returns the interfaces that exist, in the kernel's order.
func names(handle *netlink.Handle) ([]string, error) {
	links, err := allLinks(handle)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(links, func(a, b netlink.Link) int { return cmp.Compare(a.Attrs().Index, b.Attrs().Index) })
	names := make([]string, len(links))
	for i, l := range links {
		names[i] = l.Attrs().Name
	}
	return names, nil
}

func allLinks(handle *netlink.Handle) (links []netlink.Link, err error) {
	err = consistent(func() (err error) {
		links, err = handle.LinkList()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list the interfaces: %w", err)
	}
	return links, nil
}

// linkByName finds the interface which the user named.
func linkByName(handle *netlink.Handle, name string) (*netlink.LinkAttrs, error) {
	link, err := handle.LinkByName(name)
	if err == nil {
		return link.Attrs(), nil
	}
	if _, missing := errors.AsType[netlink.LinkNotFoundError](err); !missing {
		return nil, fmt.Errorf("find interface %q: %w", name, err)
	}
	exist, err := names(handle)
	if err != nil {
		return nil, err
	}
	hint := ""
	if near := nearest(name, exist); near != "" {
		hint = fmt.Sprintf("did you mean %s? ", near)
	}
	return nil, fmt.Errorf("find interface %q: there is none of that name: %sthis machine has %s", name, hint, strings.Join(exist, ", "))
}

// ready returns an error unless frames can leave by the interface.
func ready(link *netlink.LinkAttrs) error {
	switch {
	case link.RawFlags&unix.IFF_UP == 0:
		return fmt.Errorf("use interface %s: it is down: bring it up with `ip link set %s up`", link.Name, link.Name)
	case link.OperState == netlink.OperDown || link.OperState == netlink.OperLowerLayerDown || link.OperState == netlink.OperNotPresent:
		return fmt.Errorf("use interface %s: it is %s, without a carrier: check the cable, the wireless network or the other end", link.Name, link.OperState)
	}
	if _, ok := kindOf(link); !ok {
		return fmt.Errorf("use interface %s: its link type is %s, and raw probes need Ethernet or a device without link header: choose another with -e, or scan with -sT", link.Name, link.EncapType)
	}
	return nil
}

// kindOf tells which probes an interface takes, if any.
func kindOf(link *netlink.LinkAttrs) (kind Kind, ok bool) {
	switch {
	case link.EncapType == "loopback":
		return Loopback, true
	case link.EncapType == "ether":
		return Ethernet, len(link.HardwareAddr) == 6
	}
	return RawIP, slices.Contains(withoutHeader, link.EncapType)
}

// withoutHeader are the link types whose frames are IP packets, by the library's
// names for ARPHRD_NONE (tun, wireguard), PPP, TUNNEL, TUNNEL6, SIT and RAWIP,
// <linux/if_arp.h>: a packet socket sees nothing of the header that these
// devices put in front on their own. GRE is not among them, because one without
// a fixed peer shows its outer header.
var withoutHeader = []string{"none", "ppp", "ipip", "tunnel6", "sit", "unknown519"}

// nearest returns the name that a slip of the finger could have turned into
// word, or "".
func nearest(word string, names []string) string {
	best, bestDistance := "", 3 // further away is another word
	for _, n := range names {
		if d := distance(word, n); d < bestDistance && d < len(word) {
			best, bestDistance = n, d
		}
	}
	return best
}

// distance is Levenshtein's: how many letters to insert, delete or replace.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}

// address and prefix cross the border from package net.
func address(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a
}

func prefix(n *net.IPNet) netip.Prefix {
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(address(n.IP), bits)
}
