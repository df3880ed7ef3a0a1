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

// known reads of which neighbours the kernel is sure: those that somebody
// entered for good, and those that answered a moment ago. Others, whose
// addresses may be out of date, are asked for anew.
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
		const sure = unix.NUD_REACHABLE | unix.NUD_PERMANENT | unix.NUD_NOARP
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
	if r.foreign6 || !link.Asker6.IsValid() { // IPv4 may lie behind an IPv6 gateway
		if link.Asker6, err = linkLocalOn(r.handle, attrs); err != nil {
			return err
		}
	}
	return nil
}
