package filter

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"synoptic/bpf/watch"
)

// Endpoint is a port of a host, of whatever protocol.
type Endpoint struct {
	Addr netip.Addr // the zero Addr or an unspecified one, 0.0.0.0 or ::, is any host
	Port uint16
}

// ParseEndpoint reads ADDRESS:PORT, with brackets around an IPv6 address; for
// any host the address is *.
func ParseEndpoint(s string) (Endpoint, error) {
	if port, anyHost := strings.CutPrefix(s, "*:"); anyHost {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return Endpoint{}, fmt.Errorf("parse %q: the port is a number from 0 to 65535", s)
		}
		return Endpoint{Port: uint16(n)}, nil
	}
	ap, err := netip.ParseAddrPort(s)
	if err != nil || ap.Addr().Zone() != "" {
		return Endpoint{}, fmt.Errorf("parse %q: write it like 10.0.0.1:53, [fd00::1]:53 or *:53", s)
	}
	return Endpoint{ap.Addr(), ap.Port()}, nil
}

// Exclude makes a table that rejects packets from these sources, of any kind,
// and packets to these endpoints, and passes all others. It needs a test for
// each source that no other contains and for each endpoint, and one for each
// address of the endpoints; it is an error if that is more than
// [watch.MaxNodes]. Invalid prefixes exclude nothing. The arguments are not
// changed.
func Exclude(sources []netip.Prefix, endpoints []Endpoint) (watch.Filter, error) {
	parts := append(excludedSources(sources), excludedEndpoints(endpoints)...)
	if len(parts) == 0 {
		return nil, nil
	}
	p, entry := assemble(negate(either(parts...)))
	return p.filter(entry)
}

// excludedSources returns a test for each source that is not within another.
func excludedSources(sources []netip.Prefix) []*tree {
	var sorted []netip.Prefix
	for _, s := range sources {
		if s.Addr().Is4In6() && s.Bits() >= 96 {
			s = netip.PrefixFrom(s.Addr().Unmap(), s.Bits()-96)
		}
		if s.IsValid() {
			sorted = append(sorted, s.Masked())
		}
	}
	// A network comes right before all that it contains.
	slices.SortFunc(sorted, netip.Prefix.Compare)
	var parts []*tree
	var last netip.Prefix
	for _, s := range sorted {
		if !last.Contains(s.Addr()) {
			last = s
			parts = append(parts, addresses(watch.TestSource, s))
		}
	}
	return parts
}

// excludedEndpoints returns a tree for each address, so that its ports are
// looked at only if the address is right.
func excludedEndpoints(endpoints []Endpoint) []*tree {
	sorted := slices.Clone(endpoints)
	for i, e := range sorted {
		if e.Addr = e.Addr.Unmap().WithZone(""); e.Addr.IsUnspecified() {
			e.Addr = netip.Addr{}
		}
		sorted[i] = e
	}
	slices.SortFunc(sorted, func(a, b Endpoint) int {
		if c := a.Addr.Compare(b.Addr); c != 0 {
			return c
		}
		return int(a.Port) - int(b.Port)
	})
	sorted = slices.Compact(sorted)
	var parts []*tree
	for len(sorted) > 0 {
		a := sorted[0].Addr
		var ports []*tree
		for len(sorted) > 0 && sorted[0].Addr == a {
			ports = append(ports, number(watch.TestDestinationPort, sorted[0].Port))
			sorted = sorted[1:]
		}
		t := either(ports...)
		if a.IsValid() {
			t = both(addresses(watch.TestDestination, netip.PrefixFrom(a, a.BitLen())), t)
		}
		parts = append(parts, t)
	}
	return parts
}
