package netif

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Resolve finds the path to the targets. It errs if there is none
// (ErrNoRoute), if the targets need several interfaces, and if a gateway does
// not answer; a target on the link that does not answer is no error, see
// Path.Unresolved. A silent gateway costs three to four seconds, and so do
// every 256 silent targets on the link; ctx ends the wait early.
func Resolve(ctx context.Context, targets Ranges, opt Options) (*Path, error) {
	handle, err := open(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	defer handle.Close()
	return (&router{ctx: ctx, handle: handle, opt: opt}).resolve(targets)
}

func (r *router) resolve(targets Ranges) (*Path, error) {
	if err := r.prepare(); err != nil {
		return nil, err
	}
	s, err := walk(targets, r.starts, r.ask)
	if err != nil {
		return nil, err
	}
	kind, index, err := r.join(s)
	if err != nil {
		return nil, err
	}
	link, err := r.link(kind, index)
	if err != nil {
		return nil, err
	}
	p := &Path{Kind: kind, Index: link.Index, Name: link.Name, MTU: link.MTU}
	copy(p.MAC[:], link.HardwareAddr) // zero for lo
	if err := r.chooseSources(p, s, link); err != nil {
		return nil, err
	}
	if err := r.chooseHops(p, s, targets, link); err != nil {
		return nil, err
	}
	return p, nil
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

// join returns what every segment has in common: the kind, and for Ethernet
// the interface's index.
func (r *router) join(s survey) (Kind, int, error) {
	var remote, own *segment
	for i := range s.segments {
		seg := &s.segments[i]
		switch seg.class {
		case local:
			if own == nil {
				own = seg
			}
		case gateway, direct:
			if remote == nil {
				remote = seg
			} else if remote.link != seg.link {
				return 0, 0, fmt.Errorf("choose an interface: %s is reached through %s, but %s through %s: choose one with -e, or scan them separately",
					remote.first, r.name(remote.link), seg.first, r.name(seg.link))
			}
		}
	}
	switch {
	case len(s.segments) == 0:
		return 0, 0, errors.New("find a path: there are no targets")
	case remote != nil && s.named.IsValid():
		return 0, 0, fmt.Errorf("choose an interface: %s is this machine's own address, but %s is reached through %s: scan them separately",
			s.named, remote.first, r.name(remote.link))
	case remote != nil:
		return Ethernet, remote.link, nil
	case own == nil:
		return 0, 0, fmt.Errorf("find a path: no target can be probed: %s is a %s", s.segments[0].first, s.segments[0].why)
	case r.oif != nil && r.oif.RawFlags&unix.IFF_LOOPBACK == 0:
		return 0, 0, fmt.Errorf("use interface %s: %s is this machine's own address and never leaves it: leave out -e", r.oif.Name, own.first)
	}
	return Loopback, 0, nil
}

// name returns the interface's name for an error.
func (r *router) name(index int) string {
	if link, err := r.handle.LinkByIndex(index); err == nil {
		return link.Attrs().Name
	}
	return fmt.Sprintf("interface %d", index)
}

// link returns the interface the probes leave by, ready for frames.
func (r *router) link(kind Kind, index int) (*netlink.LinkAttrs, error) {
	if kind == Loopback {
		index = 1 // LOOPBACK_IFINDEX, include/net/flow.h
	}
	link, err := r.handle.LinkByIndex(index)
	if err != nil {
		return nil, fmt.Errorf("find interface %d: %w", index, err)
	}
	attrs := link.Attrs()
	if kind == Ethernet && attrs.RawFlags&unix.IFF_LOOPBACK != 0 {
		return nil, fmt.Errorf("use interface %s: it reaches this machine only, and the targets are elsewhere", attrs.Name)
	}
	return attrs, ready(attrs)
}
