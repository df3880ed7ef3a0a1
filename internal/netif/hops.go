package netif

import (
	"fmt"
	"math"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// maxOnLink bounds how many targets may be on the link itself: each costs the
// kernel a question and us a table entry. A /16 is the largest link seen.
const maxOnLink = 1 << 16

// chooseHops fills in where each target's frames go.
func (r *router) chooseHops(p *Path, s survey, targets Ranges, link *netlink.LinkAttrs) error {
	var router [6]byte
	forced := copy(router[:], r.opt.RouterMAC) > 0
	noARP := link.RawFlags&unix.IFF_NOARP != 0 // the kernel asks nobody there, and writes its own address
	var gateways map[netip.Addr][6]byte
	if p.Kind == Ethernet && !forced {
		var err error
		if gateways, err = r.gateways(s, link); err != nil {
			return err
		}
	}
	var onLinkTargets uint64
	for i := range s.segments {
		seg := &s.segments[i]
		h := hop{first: seg.first, kind: fixed}
		switch {
		case seg.class == skipped || seg.class == local && p.Kind == Ethernet:
			h.kind = nowhere
			p.skipped = append(p.skipped, skip(seg))
		case seg.class == local:
		case forced:
			h.mac = router
		case seg.class == gateway:
			h.mac = gateways[seg.via]
		case noARP:
			h.mac = p.MAC
		default:
			h.kind = onLink
			onLinkTargets = addSat(onLinkTargets, seg.targets)
		}
		if n := len(p.hops); n == 0 || p.hops[n-1].kind != h.kind || p.hops[n-1].mac != h.mac {
			p.hops = append(p.hops, h)
		}
	}
	if onLinkTargets > maxOnLink {
		amount := fmt.Sprint(onLinkTargets)
		if onLinkTargets == math.MaxUint64 {
			amount = "2^64 or more"
		}
		return fmt.Errorf("resolve the targets on %s: %s addresses are on the link itself, and the limit is %d: split the scan", link.Name, amount, maxOnLink)
	}
	if onLinkTargets == 0 {
		return nil
	}
	want := s.onLink(targets, int(onLinkTargets))
	var err error
	if p.neighbours, err = r.neighbours(link, want); err != nil {
		return err
	}
	for _, a := range want {
		if _, ok := p.neighbours[a]; !ok {
			p.unresolved = append(p.unresolved, a)
		}
	}
	return nil
}

// gateways returns the link addresses of all gateways.
func (r *router) gateways(s survey, link *netlink.LinkAttrs) (map[netip.Addr][6]byte, error) {
	var want []netip.Addr
	for i := range s.segments {
		if seg := &s.segments[i]; seg.class == gateway && !slices.Contains(want, seg.via) {
			want = append(want, seg.via)
		}
	}
	found, err := r.neighbours(link, want)
	if err != nil {
		return nil, err
	}
	for _, g := range want {
		if _, ok := found[g]; !ok {
			return nil, fmt.Errorf("resolve gateway %s on %s: it does not answer: check the route, or give its link address with --router-mac", g, link.Name)
		}
	}
	return found, nil
}

// skip words why the segment is left out.
func skip(seg *segment) Skip {
	s := Skip{First: seg.first, Last: seg.last, Targets: seg.targets, Why: seg.why}
	if seg.class == local {
		s.Why = "this machine's own address"
	}
	return s
}

// onLink lists the targets which are on the link.
func (s *survey) onLink(targets Ranges, n int) []netip.Addr {
	list := make([]netip.Addr, 0, n)
	i := 0
	for first, last := range targets.Ranges() {
		for i < len(s.segments) && s.segments[i].last.Less(first) {
			i++
		}
		for j := i; j < len(s.segments) && !last.Less(s.segments[j].first); j++ {
			seg := &s.segments[j]
			if seg.class != direct {
				continue
			}
			a, end := first, last
			if a.Less(seg.first) {
				a = seg.first
			}
			if seg.last.Less(end) {
				end = seg.last
			}
			for ; a.Compare(end) < 0; a = a.Next() {
				list = append(list, a)
			}
			list = append(list, end)
		}
	}
	return list
}
