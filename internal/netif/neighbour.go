package netif

import (
	"errors"
	"fmt"
	"math"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// maxAsk bounds how many targets of a link are asked for their link address:
// all of IPv4. More take longer than anybody waits.
const maxAsk = 1 << 32

// questions fills in what has to be asked on each link, and by whom.
func (r *router) questions(routes *Routes, segments []segment, targets Ranges) error {
	total := make([]uint64, len(routes.Links))
	for seg, s := range cut(segments, targets) {
		if to, ok := routes.Hop(seg.first); ok && seg.class == direct && to.Next.IsValid() {
			routes.Links[to.Link].Ask = append(routes.Links[to.Link].Ask, s)
			total[to.Link] = addSat(total[to.Link], count(s.First, s.Last))
		}
	}
	for i := range routes.Links {
		link := &routes.Links[i]
		if total[i] > maxAsk {
			amount := fmt.Sprint(total[i])
			if total[i] == math.MaxUint64 {
				amount = "2^64 or more"
			}
			return fmt.Errorf("resolve the targets on %s: %s addresses are on the link itself, and the limit is %d: split the scan", link.Name, amount, uint64(maxAsk))
		}
		if len(link.Ask)+len(link.Gateways) == 0 {
			continue
		}
		if err := r.known(link); err != nil {
			return err
		}
		if err := r.askers(link); err != nil {
			return err
		}
	}
	return nil
}

// known reads which neighbours somebody has entered for good. All others are
// asked, those too that the kernel has heard of: an answer is a sign of life.
func (r *router) known(link *Link) error {
	var list []netlink.Neigh
	err := consistent(func() (err error) {
		list, err = r.handle.NeighList(link.Index, netlink.FAMILY_ALL)
		return err
	})
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) { // what a busy table hides is asked for
		return fmt.Errorf("read the kernel's neighbours on %s: %w", link.Name, err)
	}
	link.Known = make(map[netip.Addr][6]byte, len(list))
	for _, n := range list {
		const sure = unix.NUD_PERMANENT | unix.NUD_NOARP
		if n.State&sure != 0 && len(n.HardwareAddr) == 6 {
			link.Known[address(n.IP)] = [6]byte(n.HardwareAddr)
		}
	}
	return nil
}

// askers chooses the own addresses that questions come from. A foreign source
// is not ours to claim: neighbours would believe us (RFC 826, packet reception).
func (r *router) askers(link *Link) (err error) {
	attrs := &netlink.LinkAttrs{Index: link.Index, Name: link.Name}
	link.Asker4, link.Asker6 = link.Source4, link.Source6
	if r.foreign4 {
		if link.Asker4, err = sourceOn(r.handle, attrs, true); err != nil {
			return err
		}
	}
	if !r.foreign6 && link.Asker6.IsValid() {
		return nil
	}
	// IPv4 may lie behind an IPv6 gateway.
	for _, find := range []func() (netip.Addr, error){
		func() (netip.Addr, error) { return linkLocalOn(r.handle, attrs) },
		func() (netip.Addr, error) { return sourceOn(r.handle, attrs, false) },
	} {
		if link.Asker6, err = find(); err != nil || link.Asker6.IsValid() {
			return err
		}
	}
	if six := link.asksIPv6(); six.IsValid() {
		return fmt.Errorf("resolve %s on %s: the interface has no IPv6 address to ask from: give it one, or name the router's link address with --router-mac", six, link.Name)
	}
	return nil
}

// asksIPv6 returns an IPv6 address that is to be asked for on the link.
func (l *Link) asksIPv6() netip.Addr {
	for _, g := range l.Gateways {
		if g.Is6() {
			return g
		}
	}
	for _, s := range l.Ask {
		if s.First.Is6() {
			return s.First
		}
	}
	return netip.Addr{}
}
