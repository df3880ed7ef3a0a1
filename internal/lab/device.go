package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// up sets a device up.
func (n *Namespace) up(device string) error {
	l, err := n.link.LinkByName(device)
	if err == nil {
		err = n.link.LinkSetUp(l)
	}
	if err != nil {
		return fmt.Errorf("set %q up: %w", device, err)
	}
	return nil
}

// AddAddrs puts addresses on a device, which is up, and returns when they can be used.
func (n *Namespace) AddAddrs(device string, addrs ...netip.Prefix) error {
	l, err := n.link.LinkByName(device)
	if err != nil {
		return fmt.Errorf("find %q: %w", device, err)
	}
	for _, a := range addrs {
		addr := &netlink.Addr{IPNet: ipNet(a)}
		if a.Addr().Is6() {
			addr.Flags = unix.IFA_F_NODAD
		}
		if err := n.link.AddrAdd(l, addr); err != nil {
			return fmt.Errorf("add %s to %q: %w", a, device, err)
		}
		if err := n.usable(addr.IP); err != nil {
			return fmt.Errorf("add %s to %q: %w", a, device, err)
		}
	}
	return nil
}

// usable waits until the kernel takes an address for its own. It installs those of
// IPv6 from a work queue (addrconf_dad_work); until then a scan of the network
// would come from another source.
func (n *Namespace) usable(ip net.IP) error {
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		r, err := n.link.RouteGet(ip)
		if err == nil && r[0].Type == unix.RTN_LOCAL {
			return nil
		}
		if time.Now().After(deadline) {
			return errors.Join(errors.New("the kernel does not use the address"), err)
		}
	}
}

// AddRoute adds a route through a gateway, which need not exist.
func (n *Namespace) AddRoute(to netip.Prefix, via netip.Addr) error {
	if err := n.link.RouteAdd(&netlink.Route{Dst: ipNet(to.Masked()), Gw: via.AsSlice()}); err != nil {
		return fmt.Errorf("add route to %s via %s: %w", to, via, err)
	}
	return nil
}

// setting is a path below /proc/sys/net and what to write there.
type setting struct{ path, value string }

// quiet are the settings of every namespace: addresses usable at once, no
// traffic but what a test causes, and ICMP errors not rationed, so that what a
// host answers does not depend on how fast it is asked.
var quiet = []setting{
	{"ipv6/conf/all/disable_ipv6", "0"},
	{"ipv6/conf/default/disable_ipv6", "0"},
	{"ipv6/conf/default/accept_dad", "0"},
	{"ipv6/conf/default/accept_ra", "0"},
	{"ipv6/conf/default/autoconf", "0"},
	{"ipv6/conf/default/router_solicitations", "0"},
	{"ipv6/icmp/ratelimit", "0"},
	{"ipv4/conf/all/rp_filter", "0"},
	{"ipv4/conf/default/rp_filter", "0"},
	{"ipv4/icmp_ratelimit", "0"},
	{"ipv4/icmp_ratemask", "0"},
	{"ipv6/icmp/ratemask", ""},
	{"ipv4/icmp_msgs_per_sec", "1000000"}, // per namespace since 6.12, the machine's before
	{"ipv4/icmp_msgs_burst", "1000000"},
}

var forwarding = []setting{
	{"ipv4/ip_forward", "1"},
	{"ipv6/conf/all/forwarding", "1"},
}

// sysctl writes settings. Those that this kernel does not have are left out:
// a kernel without bridge netfilter needs no setting to turn it off.
func (n *Namespace) sysctl(settings ...setting) error {
	return n.Do(func() error {
		for _, s := range settings {
			// Net settings are looked up through the thread's namespace.
			err := os.WriteFile(filepath.Join("/proc/sys/net", s.path), []byte(s.value), 0)
			if err != nil && !os.IsNotExist(err) && !os.IsPermission(err) {
				return fmt.Errorf("set %s: %w", s.path, err)
			}
		}
		return nil
	})
}

// end is one end of a veth pair.
type end struct {
	ns   *Namespace
	name string
	mac  net.HardwareAddr
}

// connect lays a cable: a veth pair, not yet up.
func connect(a, b end, queues int) error {
	v := netlink.NewVeth(netlink.LinkAttrs{
		Name:         a.name,
		HardwareAddr: a.mac,
		MTU:          mtu,
		NumTxQueues:  queues,
		NumRxQueues:  queues,
	})
	v.PeerName = b.name
	v.PeerHardwareAddr = b.mac
	v.PeerNamespace = netlink.NsFd(b.ns.handle)
	v.PeerMTU = mtu
	v.PeerNumTxQueues = uint32(queues)
	v.PeerNumRxQueues = uint32(queues)
	if err := a.ns.link.LinkAdd(v); err != nil {
		return fmt.Errorf("connect %q with %q: %w", a.name, b.name, err)
	}
	return nil
}

// mac returns a locally administered address that is the same in every lab.
func mac(kind, n byte) net.HardwareAddr { return net.HardwareAddr{2, 0, 0, 0, kind, n} }

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
