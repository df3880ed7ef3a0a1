package netif

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// loIndex is LOOPBACK_IFINDEX, include/net/flow.h.
const loIndex = 1

// Resolve finds the ways to the targets. It errs if a target has none
// (ErrNoRoute) or leaves by an interface that cannot carry probes. It sends
// nothing.
func Resolve(ctx context.Context, targets Ranges, opt Options) (*Routes, error) {
	handle, err := open(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	defer handle.Close()
	return (&router{ctx: ctx, handle: handle, opt: opt}).resolve(targets)
}

func (r *router) resolve(targets Ranges) (*Routes, error) {
	if err := r.prepare(); err != nil {
		return nil, err
	}
	segments, err := walk(targets, r.starts, r.ask)
	if err != nil {
		return nil, err
	}
	if err := r.confine(segments); err != nil {
		return nil, err
	}
	routes := &Routes{}
	for i := range segments {
		if err := r.add(routes, &segments[i], segments); err != nil {
			return nil, err
		}
	}
	if err := r.checkRouterMAC(routes, segments); err != nil {
		return nil, err
	}
	return routes, r.questions(routes, segments, targets)
}

// prepare checks the user's overrides.
func (r *router) prepare() error {
	if err := r.opt.check(); err != nil {
		return err
	}
	foreign := func(source netip.Addr) bool {
		if !source.IsValid() {
			return false
		}
		own, err := r.own(source)
		return err != nil || own.class != local
	}
	r.foreign4, r.foreign6 = foreign(r.opt.Source4), foreign(r.opt.Source6)
	if r.opt.Interface == "" {
		return nil
	}
	link, err := linkByName(r.handle, r.opt.Interface)
	if err != nil {
		return err
	}
	r.oif = link
	return ready(link)
}

// confine turns segments that the named interface does not reach into skipped
// ones, and errs if no target is left.
func (r *router) confine(segments []segment) error {
	if len(segments) == 0 {
		return errors.New("find a path: there are no targets")
	}
	named := r.oif != nil && r.oif.RawFlags&unix.IFF_LOOPBACK == 0
	reached := false
	for i := range segments {
		seg := &segments[i]
		if seg.class == local && named {
			seg.answer = answer{class: skipped, why: "this machine's own address"}
		}
		reached = reached || seg.class != skipped
	}
	switch first := &segments[0]; {
	case reached:
		return nil
	case slices.ContainsFunc(segments, func(s segment) bool { return s.why == "this machine's own address" }):
		return fmt.Errorf("use interface %s: %s is this machine's own address and never leaves it: leave out -e", r.oif.Name, first.first)
	default:
		return fmt.Errorf("find a path: no target can be probed: %s is a %s", first.first, first.why)
	}
}

// add gives a segment its hop, and the routes its link if they lack it.
func (r *router) add(routes *Routes, seg *segment, all []segment) error {
	h := hop{first: seg.first, kind: nowhere}
	if seg.class == skipped {
		routes.skipped = append(routes.skipped, Skip{First: seg.first, Last: seg.last, Targets: seg.targets, Why: seg.why})
	} else {
		at, err := r.link(routes, seg, all)
		if err != nil {
			return err
		}
		h.kind, h.Link = fixed, at
		switch link := &routes.Links[at]; {
		case link.Kind != Ethernet:
		case len(r.opt.RouterMAC) > 0:
			h.MAC = [6]byte(r.opt.RouterMAC)
		case seg.class == gateway:
			h.Next = seg.via
			if !slices.Contains(link.Gateways, seg.via) {
				link.Gateways = append(link.Gateways, seg.via)
			}
		case link.noARP: // the kernel asks nobody there, and writes its own address
			h.MAC = link.MAC
		default:
			h.kind = onLink
		}
	}
	if n := len(routes.hops); n == 0 || routes.hops[n-1].kind != h.kind || routes.hops[n-1].Hop != h.Hop {
		routes.hops = append(routes.hops, h)
	}
	return nil
}

// link returns the index of a segment's link, which is added if need be. Targets
// of one interface that need different sources are on different links.
func (r *router) link(routes *Routes, seg *segment, all []segment) (int, error) {
	index := seg.link
	if seg.class == local {
		index = loIndex
	}
	attrs, err := r.interfaceOf(index)
	if err != nil {
		return 0, err
	}
	if seg.class != local && attrs.RawFlags&unix.IFF_LOOPBACK != 0 {
		return 0, fmt.Errorf("use interface %s: it reaches this machine only, and %s is elsewhere", attrs.Name, seg.first)
	}
	source, err := r.source(seg, all, attrs)
	if err != nil {
		return 0, err
	}
	routes.SourceForeign = routes.SourceForeign || r.foreign(seg.first)
	for i := range routes.Links {
		if l := &routes.Links[i]; l.Index == index && l.takes(source) {
			return i, nil
		}
	}
	kind, _ := kindOf(attrs)
	link := Link{Kind: kind, Index: index, Name: attrs.Name, MTU: attrs.MTU, noARP: attrs.RawFlags&unix.IFF_NOARP != 0}
	if link.Kind == Ethernet {
		copy(link.MAC[:], attrs.HardwareAddr)
	}
	link.takes(source)
	routes.Links = append(routes.Links, link)
	return len(routes.Links) - 1, nil
}

// interfaceOf returns an interface that is ready for probes.
func (r *router) interfaceOf(index int) (*netlink.LinkAttrs, error) {
	if attrs := r.links[index]; attrs != nil {
		return attrs, nil
	}
	found, err := r.handle.LinkByIndex(index)
	if err != nil {
		return nil, fmt.Errorf("find interface %d: %w", index, err)
	}
	if r.links == nil {
		r.links = map[int]*netlink.LinkAttrs{}
	}
	r.links[index] = found.Attrs()
	return found.Attrs(), ready(found.Attrs())
}

// checkRouterMAC refuses one router for several interfaces, or for none.
func (r *router) checkRouterMAC(routes *Routes, segments []segment) error {
	if len(r.opt.RouterMAC) == 0 {
		return nil
	}
	if !slices.ContainsFunc(routes.Links, func(l Link) bool { return l.Kind == Ethernet }) {
		return fmt.Errorf("use router %s: no target is reached over Ethernet: leave out --router-mac", r.opt.RouterMAC)
	}
	var first *segment
	for i := range segments {
		seg := &segments[i]
		if seg.class != gateway && seg.class != direct {
			continue
		}
		if first != nil && first.link != seg.link {
			return fmt.Errorf("use router %s: %s is reached through %s, but %s through %s: choose one with -e",
				r.opt.RouterMAC, first.first, r.name(first.link), seg.first, r.name(seg.link))
		}
		first = seg
	}
	return nil
}

// name returns the interface's name for an error.
func (r *router) name(index int) string {
	if link, err := r.handle.LinkByIndex(index); err == nil {
		return link.Attrs().Name
	}
	return fmt.Sprintf("interface %d", index)
}
