package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync"

	"github.com/vishvananda/netlink"

	"synoptic/bpf/respond"
)

// The scanner's device and the addresses on the wire, the same in every lab.
const (
	ScannerDevice = "scan0"
	GateDevice    = "gate0"
	bridgeDevice  = "br0"
	hostDevice    = "eth0"
	mtu           = 1500
)

var (
	Scanner4 = netip.MustParseAddr("172.16.0.1")
	Scanner6 = netip.MustParseAddr("fd00:172:16::1")
	// Gate4 and Gate6 are the next hop to everything that is not on the link.
	Gate4 = netip.MustParseAddr("172.16.0.2")
	Gate6 = netip.MustParseAddr("fd00:172:16::2")

	ScannerMAC = mac(0, 1)
	GateMAC    = mac(0, 2)

	link4   = netip.MustParsePrefix("172.16.0.0/24")
	link6   = netip.MustParsePrefix("fd00:172:16::/64")
	behind4 = netip.MustParsePrefix("192.168.0.0/16")
	behind6 = netip.MustParsePrefix("fd00:192:168::/48")

	// Links of the scanner's own, and the cables under those that need one.
	own4   = netip.MustParsePrefix("172.17.0.0/16")
	own6   = netip.MustParsePrefix("fd00:172:17::/48")
	under4 = netip.MustParsePrefix("172.18.0.0/16")
)

// Config describes a lab. The zero Config is a good one: the default simulated
// network, no real hosts but the gate.
type Config struct {
	// Name makes the namespaces visible as /run/netns/Name-scanner and so on;
	// empty means anonymous.
	Name string
	// Respond is the simulated network; nil means respond.DefaultConfig.
	Respond *respond.Config
	// Queues of the veth pair in each direction; 0 means 2.
	Queues int
	// Here makes the calling thread's namespace the scanner's, instead of a
	// new one. See InNamespace.
	Here bool
}

// Lab is a running network. Close it.
type Lab struct {
	// Scanner is where the scanner belongs, Gate the other end of its link.
	Scanner, Gate *Namespace
	// Responder plays the simulated hosts. It may be configured anew, but the
	// scanner's routes are for the ranges that it began with.
	Responder *respond.Responder

	name    string
	mu      sync.Mutex
	hosts   []*Host
	closers []func() error
}

// TB is the part of testing.TB that a lab needs.
type TB interface {
	Helper()
	Cleanup(func())
	Fatalf(format string, args ...any)
	Skipf(format string, args ...any)
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Name() string
}

// NeedRoot skips a test that is not run by root; under CI=true it fails.
func NeedRoot(t TB) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("a lab needs root, and CI=true forbids to skip it")
	}
	t.Skipf("a lab needs root")
}

// New builds a lab for the time of a test.
func New(t TB, cfg Config) *Lab {
	t.Helper()
	NeedRoot(t)
	l, err := Create(cfg)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("close lab: %v", err)
		}
	})
	return l
}

// Create builds a lab. What was built is taken down again on error.
func Create(cfg Config) (*Lab, error) {
	if cfg.Name != "" {
		if err := CheckName(cfg.Name); err != nil {
			return nil, err
		}
	}
	l := &Lab{name: cfg.Name}
	if err := l.build(cfg); err != nil {
		return nil, errors.Join(fmt.Errorf("create lab: %w", err), l.Close())
	}
	return l, nil
}

func (l *Lab) build(cfg Config) (err error) {
	simulated := respond.DefaultConfig()
	if cfg.Respond != nil {
		simulated = *cfg.Respond
	}
	for _, own := range []netip.Prefix{link4, link6, behind4, behind6, own4, own6, under4} {
		for _, p := range []netip.Prefix{simulated.Prefix4, simulated.Prefix6} {
			if p.Overlaps(own) {
				return fmt.Errorf("simulated range %s overlaps %s, which the lab's real hosts have", p, own)
			}
		}
	}
	if cfg.Here {
		if err := Guard(); err != nil {
			return err
		}
		l.Scanner, err = currentNamespace()
		if err == nil {
			l.onClose(l.Scanner.Close)
			err = l.Scanner.up("lo")
		}
	} else {
		l.Scanner, err = l.namespace("scanner")
	}
	if err != nil {
		return err
	}
	if l.Gate, err = l.namespace("gate"); err != nil {
		return err
	}
	if err := l.Scanner.sysctl(quiet...); err != nil {
		return err
	}
	if err := l.Gate.sysctl(slices.Concat(quiet, forwarding)...); err != nil {
		return err
	}
	queues := cfg.Queues
	if queues == 0 {
		queues = 2
	}
	if err := l.lay(queues); err != nil {
		return err
	}
	if err := l.route(simulated); err != nil {
		return err
	}
	return l.respond(simulated)
}

// namespace creates one that is closed with the lab.
func (l *Lab) namespace(role string) (*Namespace, error) {
	name := ""
	if l.name != "" {
		name = l.name + "-" + role
	}
	n, err := NewNamespace(name)
	if err != nil {
		return nil, err
	}
	l.onClose(func() error {
		err := n.Close()
		if name != "" {
			err = errors.Join(err, RemoveNamespace(name))
		}
		return err
	})
	return n, nil
}

// lay connects scanner and gate, whose end is a port of a bridge.
func (l *Lab) lay(queues int) error {
	err := connect(end{l.Scanner, ScannerDevice, ScannerMAC}, end{l.Gate, GateDevice, mac(0, 3)}, queues)
	if err != nil {
		return err
	}
	snooping := false // no queries are sent here, so there is nothing to learn
	bridge := &netlink.Bridge{LinkAttrs: netlink.NewLinkAttrs(), MulticastSnooping: &snooping}
	bridge.Name, bridge.HardwareAddr, bridge.MTU = bridgeDevice, GateMAC, mtu
	if err := l.Gate.link.LinkAdd(bridge); err != nil {
		return fmt.Errorf("create bridge: %w", err)
	}
	// Rules of the gate's own firewall are not for its neighbours.
	if err := l.Gate.sysctl(setting{"bridge/bridge-nf-call-iptables", "0"}, setting{"bridge/bridge-nf-call-ip6tables", "0"}); err != nil {
		return err
	}
	if err := l.plug(GateDevice); err != nil {
		return err
	}
	// A veth takes frames that XDP sends only while it polls, and it polls
	// with XDP or GRO on (veth_xdp_xmit). The responder verifies checksums, so
	// the scanner's kernel has to fill them in.
	if err := l.Scanner.setFeature(ScannerDevice, ethtoolSetGRO, true); err != nil {
		return err
	}
	if err := l.Scanner.setFeature(ScannerDevice, ethtoolSetTxChecksum, false); err != nil {
		return err
	}
	return errors.Join(
		l.Scanner.up(ScannerDevice), l.Gate.up(GateDevice), l.Gate.up(bridgeDevice),
		l.Scanner.AddAddrs(ScannerDevice, netip.PrefixFrom(Scanner4, link4.Bits()), netip.PrefixFrom(Scanner6, link6.Bits())),
		l.Gate.AddAddrs(bridgeDevice, netip.PrefixFrom(Gate4, link4.Bits()), netip.PrefixFrom(Gate6, link6.Bits())),
	)
}

// plug makes a device of the gate a port of its bridge.
func (l *Lab) plug(device string) error {
	port, err := l.Gate.link.LinkByName(device)
	if err != nil {
		return fmt.Errorf("find %q: %w", device, err)
	}
	bridge, err := l.Gate.link.LinkByName(bridgeDevice)
	if err != nil {
		return fmt.Errorf("find %q: %w", bridgeDevice, err)
	}
	if err := l.Gate.link.LinkSetMaster(port, bridge); err != nil {
		return fmt.Errorf("plug %q into %q: %w", device, bridgeDevice, err)
	}
	return nil
}

// route gives the scanner its routes. There is no default route.
func (l *Lab) route(simulated respond.Config) error {
	for _, p := range []netip.Prefix{simulated.Prefix4, simulated.Prefix6, behind4, behind6} {
		if !p.IsValid() {
			continue
		}
		via := Gate6
		if p.Addr().Is4() {
			via = Gate4
		}
		if err := l.Scanner.AddRoute(p, via); err != nil {
			return err
		}
	}
	return nil
}

// respond puts the responder on the gate's end of the link.
func (l *Lab) respond(cfg respond.Config) (err error) {
	if l.Responder, err = respond.Load(cfg); err != nil {
		return err
	}
	l.onClose(l.Responder.Close)
	return l.Gate.Do(func() error {
		dev, err := netlink.LinkByName(GateDevice)
		if err != nil {
			return fmt.Errorf("find %q: %w", GateDevice, err)
		}
		return l.Responder.Attach(dev.Attrs().Index)
	})
}

// Overruns returns how many frames the link between scanner and gate has not
// taken because a ring was full: probes, of which the sender was told, and
// replies, of which nobody was. With no lost replies, an answer that is
// missing was lost by the scanner.
func (l *Lab) Overruns() (probes, replies uint64, err error) {
	if probes, err = refused(l.Scanner, ScannerDevice); err == nil {
		replies, err = refused(l.Gate, GateDevice)
	}
	return probes, replies, err
}

// refused counts what the far end of a veth had no room for. That counts as dropped
// on transmission, for packets and for frames of XDP (veth_get_stats64).
func refused(n *Namespace, device string) (uint64, error) {
	dev, err := n.link.LinkByName(device)
	if err != nil {
		return 0, fmt.Errorf("find %q: %w", device, err)
	}
	return dev.Attrs().Statistics.TxDropped, nil
}

// onClose notes what Close has to undo.
func (l *Lab) onClose(f func() error) { l.closers = append(l.closers, f) }

// Close takes the lab down, in the reverse order of its making.
func (l *Lab) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var err error
	for i := len(l.closers) - 1; i >= 0; i-- {
		err = errors.Join(err, l.closers[i]())
	}
	l.closers = nil
	return err
}
