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

// ErrNoRoute tells that the kernel has no way to a target. The error that wraps
// it names the target.
var ErrNoRoute = errors.New("no route")

// router asks the kernel where probes would go.
type router struct {
	ctx    context.Context
	handle *netlink.Handle
	opt    Options
	oif    *netlink.LinkAttrs // of opt.Interface, or nil
	// foreign4 and foreign6 tell that the user's source is not ours: the kernel
	// refuses to route from it, so questions leave it out.
	foreign4, foreign6 bool
	asked              int                        // questions so far
	links              map[int]*netlink.LinkAttrs // by index, those met
}

// kernelSpecial are ranges that the kernel treats apart before it looks into
// any table, so a table does not show where they begin (ip_route_output_key_hash_rcu,
// rt6_need_strict).
var kernelSpecial = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/32"),
	netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("224.0.0.0/4"),
	netip.MustParsePrefix("255.255.255.255/32"),
	netip.MustParsePrefix("::/128"),
	netip.MustParsePrefix("::1/128"),
	netip.MustParsePrefix("fe80::/10"),
	netip.MustParsePrefix("ff00::/8"),
}

// starts returns, sorted, where the kernel's decision can change in the family:
// the ends of every prefix in any of its tables (the local one too, which holds
// own and broadcast addresses) and in its policy rules.
func (r *router) starts(is4 bool) ([]netip.Addr, error) {
	family := netlink.FAMILY_V6
	if is4 {
		family = netlink.FAMILY_V4
	}
	starts := []netip.Addr{netip.IPv6Unspecified()}
	if is4 {
		starts[0] = netip.IPv4Unspecified()
	}
	add := func(p netip.Prefix) {
		if p.IsValid() && p.Addr().Is4() == is4 {
			starts = addStarts(starts, p)
		}
	}
	for _, p := range kernelSpecial {
		add(p)
	}
	begin := len(starts)
	err := consistent(func() error {
		starts = starts[:begin]
		// RT_TABLE_UNSPEC in the filter means every table.
		return r.handle.RouteListFilteredIter(family, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE,
			func(route netlink.Route) bool {
				if route.Dst != nil {
					add(prefix(route.Dst))
				}
				return true
			})
	})
	if err != nil {
		return nil, fmt.Errorf("read the kernel's routes: %w", err)
	}
	var rules []netlink.Rule
	err = consistent(func() (err error) {
		rules, err = r.handle.RuleList(family)
		return err
	})
	// A kernel built without policy routing has no rules to respect.
	if err != nil && !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EAFNOSUPPORT) {
		return nil, fmt.Errorf("read the kernel's routing rules: %w", err)
	}
	for _, rule := range rules {
		if rule.Dst != nil {
			add(prefix(rule.Dst))
		}
	}
	slices.SortFunc(starts, netip.Addr.Compare)
	return slices.Compact(starts), nil
}

// consistent repeats a dump that a concurrent change has interrupted.
func consistent(dump func() error) error {
	var err error
	for range 5 {
		if err = dump(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return err
}

// ask returns the kernel's decision for a probe to a.
func (r *router) ask(a netip.Addr) (answer, error) {
	if err := context.Cause(r.ctx); err != nil {
		return answer{}, fmt.Errorf("find the route to %s: %w", a, err)
	}
	switch {
	case a.IsUnspecified():
		return answer{class: skipped, why: "unspecified address"}, nil
	case a.IsMulticast():
		return answer{class: skipped, why: "multicast address"}, nil
	case a == maxAddr(true):
		return answer{class: skipped, why: "broadcast address"}, nil
	case a.IsLinkLocalUnicast() && a.Is6() && r.oif == nil:
		if own, err := r.own(a); err == nil && own.class == local {
			return own, nil
		}
		return answer{}, fmt.Errorf("find the route to %s: a link-local address exists on every link: name the interface with -e", a)
	}
	// Given an interface, the kernel sends even 127.0.0.1 out of it. Ask first
	// without, whether the address is ours.
	if r.oif != nil {
		if own, err := r.own(a); err == nil && own.class == local {
			return own, nil
		}
	}
	source := r.opt.source(a)
	if r.foreign(a) {
		source = netip.Addr{}
	}
	ans, err := r.lookup(a, r.oif, source)
	if r.oif == nil || !errors.Is(err, ErrNoRoute) {
		return ans, err
	}
	if len(r.opt.RouterMAC) > 0 {
		// The user knows a way that the kernel does not.
		return answer{class: gateway, link: r.oif.Index}, nil
	}
	if !r.opt.source(a).IsValid() {
		// An interface without an address has no routes either; the address is
		// what the user has to see to.
		if source, addrErr := sourceOn(r.handle, r.oif, a.Is4()); addrErr == nil && !source.IsValid() {
			return answer{}, noSource(r.oif, a)
		}
	}
	return answer{}, err
}

// foreign reports whether the user's source for a's family is not ours.
func (r *router) foreign(a netip.Addr) bool {
	if a.Is4() {
		return r.foreign4
	}
	return r.foreign6
}

// own returns the kernel's decision for a, whatever the interface.
func (r *router) own(a netip.Addr) (answer, error) {
	return r.lookup(a, nil, netip.Addr{})
}

// lookup asks the kernel one question.
func (r *router) lookup(a netip.Addr, oif *netlink.LinkAttrs, source netip.Addr) (answer, error) {
	var opt netlink.RouteGetOptions
	if oif != nil {
		opt.OifIndex = oif.Index
	}
	if source.IsValid() {
		opt.SrcAddr = source.AsSlice()
	}
	r.asked++
	routes, err := r.handle.RouteGetWithOptions(a.AsSlice(), &opt)
	if err != nil {
		return answer{}, noRoute(a, oif, err)
	}
	if len(routes) != 1 {
		return answer{}, fmt.Errorf("find the route to %s: the kernel gave %d answers", a, len(routes))
	}
	return read(a, oif, routes[0])
}

// read turns the kernel's answer for a into ours.
func read(a netip.Addr, oif *netlink.LinkAttrs, route netlink.Route) (answer, error) {
	ans := answer{link: route.LinkIndex}
	if len(route.Src) > 0 {
		ans.source = address(route.Src)
	}
	switch route.Type {
	case unix.RTN_LOCAL, unix.RTN_ANYCAST:
		ans.class, ans.link = local, 0
		return ans, nil
	case unix.RTN_BROADCAST:
		return answer{class: skipped, why: "broadcast address"}, nil
	case unix.RTN_MULTICAST:
		return answer{class: skipped, why: "multicast address"}, nil
	case unix.RTN_UNICAST:
	default:
		return answer{}, noRoute(a, oif, fmt.Errorf("route of type %d", route.Type))
	}
	// Told an interface without any route, the IPv4 kernel assumes that the
	// whole world is on its link, and reports no table for the decision.
	if oif != nil && route.Table == unix.RT_TABLE_UNSPEC {
		return answer{}, noRoute(a, oif, unix.ENETUNREACH)
	}
	if route.Encap != nil {
		return answer{}, fmt.Errorf("reach %s: its route encapsulates (%s), which is not supported", a, route.Encap)
	}
	ans.class = direct
	switch via := route.Via.(type) {
	case nil:
		if len(route.Gw) > 0 {
			ans.class, ans.via = gateway, address(route.Gw)
		}
	case *netlink.Via: // IPv4 behind an IPv6 gateway
		ans.class, ans.via = gateway, address(via.Addr)
	default:
		return answer{}, fmt.Errorf("reach %s: its route has a gateway of an unknown kind (%s)", a, route.Via)
	}
	return ans, nil
}

// noRoute words the kernel's refusal.
func noRoute(a netip.Addr, oif *netlink.LinkAttrs, cause error) error {
	through, remedy := "", "exclude it, or add a route"
	if oif != nil {
		through = " through " + oif.Name
		remedy = "leave out -e, or give the router's link address with --router-mac"
	}
	switch {
	case errors.Is(cause, unix.EHOSTUNREACH):
		cause = fmt.Errorf("a route of type unreachable: %w", cause)
	case errors.Is(cause, unix.EACCES):
		cause = fmt.Errorf("a route of type prohibit: %w", cause)
	case errors.Is(cause, unix.EINVAL):
		cause = fmt.Errorf("a route of type blackhole, or a source not allowed there: %w", cause)
	case errors.Is(cause, unix.ENETUNREACH), errors.Is(cause, unix.ESRCH), errors.Is(cause, unix.ENODEV):
	default:
		if _, isErrno := errors.AsType[unix.Errno](cause); isErrno {
			return fmt.Errorf("find the route to %s%s: %w", a, through, cause)
		}
	}
	return fmt.Errorf("%w to %s%s (%w): %s", ErrNoRoute, a, through, cause, remedy)
}
