package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
)

// Place is where in the topology a host stands.
type Place string

const (
	OnLink Place = "on-link" // a neighbour of scanner and gate
	Routed Place = "routed"  // behind the gate
	AtGate Place = "gate"    // the gate itself; one per lab

	// The scanner itself, which is its own neighbour; one per lab.
	AtScanner Place = "scanner"

	// On a link of its own with the scanner, beside the gate; see links.go.
	OwnLink   Place = "own-link"  // a cable
	VLAN      Place = "vlan"      // a tagged network
	Tunnel    Place = "tun"       // packets without Ethernet headers
	WireGuard Place = "wireguard" // encrypted ones
)

// HostConfig describes a host to add. The zero HostConfig is a neighbour all
// of whose ports are closed.
type HostConfig struct {
	Name   string // of the namespace; empty means host1, host2, ...
	Place  Place  // empty means OnLink
	Listen []Ports
	Rules  []Rule
}

// Host is a namespace that answers with a real kernel, on one IPv4 and one IPv6
// address.
type Host struct {
	Facts
	Namespace *Namespace
	Near      string           // the scanner's device on a link of its own, or empty
	Far       string           // and the host's
	MAC       net.HardwareAddr // of Far, if it is the end of a cable
}

// Neighbour is an IPv4 address on a host's own link, which nobody needs to have;
// the scanner has that with 1, the host itself that with 2.
func (h *Host) Neighbour(last byte) netip.Addr { return withLast(h.Addr4, last) }

// maxHosts keeps addresses within the last byte.
const maxHosts = 200

// AddHost adds a host, which lasts as long as the lab.
func (l *Lab) AddHost(cfg HostConfig) (*Host, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(l.hosts) + 1
	h := &Host{Facts: Facts{Name: cfg.Name, Listen: cfg.Listen, Rules: cfg.Rules}}
	if h.Name == "" {
		h.Name = fmt.Sprintf("host%d", n)
	}
	err := l.place(h, cfg.Place, byte(n))
	if err == nil {
		err = h.Namespace.firewall(cfg.Rules)
	}
	if err == nil {
		var close func() error
		close, err = h.Namespace.listen(cfg.Listen)
		l.onClose(close)
	}
	if err != nil {
		return nil, fmt.Errorf("add host %q: %w", h.Name, err)
	}
	l.hosts = append(l.hosts, h)
	return h, nil
}

// MustAddHost adds a host or fails the test.
func (l *Lab) MustAddHost(t TB, cfg HostConfig) *Host {
	t.Helper()
	h, err := l.AddHost(cfg)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return h
}

// Hosts returns the hosts in the order in which they were added.
func (l *Lab) Hosts() []*Host {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.hosts)
}

// place gives the n-th host its namespace, its cable and its addresses.
func (l *Lab) place(h *Host, place Place, n byte) (err error) {
	if n > maxHosts {
		return fmt.Errorf("no addresses for more than %d hosts", maxHosts)
	}
	if slices.ContainsFunc(l.hosts, func(o *Host) bool { return o.Name == h.Name }) {
		return errors.New("there is one already")
	}
	switch place {
	case AtGate, AtScanner:
		h.Namespace, h.Addr4, h.Addr6 = l.Gate, Gate4, Gate6
		if place == AtScanner {
			h.Namespace, h.Addr4, h.Addr6 = l.Scanner, Scanner4, Scanner6
		}
		if slices.ContainsFunc(l.hosts, func(o *Host) bool { return o.Namespace == h.Namespace }) {
			return fmt.Errorf("the %s is a host already", place)
		}
		return nil
	case OnLink, "":
		h.Addr4 = withLast(link4.Addr(), 10+n)
		h.Addr6 = withLast(link6.Addr(), 10+n)
	case Routed:
		h.Addr4 = netip.AddrFrom4([4]byte{192, 168, n, 2})
		a := behind6.Addr().As16()
		a[7], a[15] = n, 2
		h.Addr6 = netip.AddrFrom16(a)
	case OwnLink, VLAN, Tunnel, WireGuard:
		return l.link(h, place, n)
	default:
		return fmt.Errorf("place %q: unknown", string(place))
	}

	if h.Namespace, err = l.namespace(h.Name); err != nil {
		return err
	}
	if err := h.Namespace.sysctl(quiet...); err != nil {
		return err
	}
	port := fmt.Sprintf("h%d", n)
	if err := connect(end{h.Namespace, hostDevice, mac(1, n)}, end{l.Gate, port, mac(2, n)}, 1); err != nil {
		return err
	}
	if place != Routed {
		if err := l.plug(port); err != nil {
			return err
		}
	}
	addrs := []netip.Prefix{netip.PrefixFrom(h.Addr4, link4.Bits()), netip.PrefixFrom(h.Addr6, link6.Bits())}
	err = errors.Join(h.Namespace.up(hostDevice), l.Gate.up(port), h.Namespace.AddAddrs(hostDevice, addrs...))
	if err != nil || place != Routed {
		return err
	}
	near4, near6 := withLast(h.Addr4, 1), withLast(h.Addr6, 1)
	return errors.Join(
		l.Gate.AddAddrs(port, netip.PrefixFrom(near4, link4.Bits()), netip.PrefixFrom(near6, link6.Bits())),
		h.Namespace.AddRoute(link4, near4),
		h.Namespace.AddRoute(link6, near6),
	)
}

// withLast replaces the last byte of an address.
func withLast(a netip.Addr, last byte) netip.Addr {
	b := a.AsSlice()
	b[len(b)-1] = last
	a, _ = netip.AddrFromSlice(b)
	return a
}

// ExampleHosts are two hosts that have a bit of everything.
func ExampleHosts() []HostConfig {
	rules := []Rule{
		{[]Ports{{8000, 8009}}, Drop},
		{[]Ports{{8010, 8019}}, RejectReset},
		{[]Ports{{8020, 8029}}, RejectPort},
		{[]Ports{{8030, 8039}}, RejectAdmin},
	}
	return []HostConfig{
		{Place: OnLink, Listen: []Ports{Port(22), Port(80), Port(443)}, Rules: rules},
		{Place: Routed, Listen: []Ports{Port(25), Port(53), {1000, 1009}}, Rules: rules},
	}
}
