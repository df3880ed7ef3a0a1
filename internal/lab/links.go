package lab

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// vlanID is the tag of a VLAN, whichever: a link carries one.
const vlanID = 5

// link gives the n-th host a link of its own with the scanner, and both their
// addresses on it.
func (l *Lab) link(h *Host, place Place, n byte) (err error) {
	if h.Namespace, err = l.namespace(h.Name); err != nil {
		return err
	}
	if err := h.Namespace.sysctl(quiet...); err != nil {
		return err
	}
	h.Near, h.Far = fmt.Sprintf("%s%d", strings.ReplaceAll(string(place), "-", ""), n), hostDevice
	switch place {
	case OwnLink:
		h.MAC = mac(4, n)
		err = connect(end{l.Scanner, h.Near, mac(3, n)}, end{h.Namespace, h.Far, h.MAC}, 1)
	case VLAN:
		err = l.tag(h, n)
	case Tunnel:
		err = l.patch(h, unix.IFF_TUN)
	case WireGuard:
		err = l.encrypt(h, n)
	}
	if err != nil {
		return err
	}
	h.Addr4 = netip.AddrFrom4([4]byte{172, 17, n, 2})
	a := own6.Addr().As16()
	a[7], a[15] = n, 2
	h.Addr6 = netip.AddrFrom16(a)
	near := []netip.Prefix{netip.PrefixFrom(withLast(h.Addr4, 1), link4.Bits()), netip.PrefixFrom(withLast(h.Addr6, 1), link6.Bits())}
	far := []netip.Prefix{netip.PrefixFrom(h.Addr4, link4.Bits()), netip.PrefixFrom(h.Addr6, link6.Bits())}
	return errors.Join(
		l.Scanner.up(h.Near), h.Namespace.up(h.Far),
		l.Scanner.AddAddrs(h.Near, near...), h.Namespace.AddAddrs(h.Far, far...),
	)
}

// cable lays one under a link, with devices of the given names that are up.
func (l *Lab) cable(h *Host, name string, n byte) error {
	return errors.Join(
		connect(end{l.Scanner, name, mac(3, n)}, end{h.Namespace, name, mac(4, n)}, 1),
		l.Scanner.up(name), h.Namespace.up(name),
	)
}

// tag makes the two ends of a VLAN. On a kernel without IEEE 802.1Q they are
// two taps, which a scanner cannot tell from a VLAN's: Ethernet devices whose
// frames have no tag.
func (l *Lab) tag(h *Host, n byte) error {
	under := fmt.Sprintf("trunk%d", n)
	if err := l.cable(h, under, n); err != nil {
		return err
	}
	for _, e := range []end{{ns: l.Scanner, name: h.Near}, {ns: h.Namespace, name: h.Far}} {
		parent, err := e.ns.link.LinkByName(under)
		if err != nil {
			return fmt.Errorf("find %q: %w", under, err)
		}
		vlan := &netlink.Vlan{LinkAttrs: netlink.NewLinkAttrs(), VlanId: vlanID}
		vlan.Name, vlan.ParentIndex = e.name, parent.Attrs().Index
		switch err := e.ns.link.LinkAdd(vlan); {
		case errors.Is(err, unix.EOPNOTSUPP):
			return l.patch(h, unix.IFF_TAP|unix.IFF_NO_PI)
		case err != nil:
			return fmt.Errorf("create VLAN %q: %w", e.name, err)
		}
	}
	return nil
}

// tunnels counts those that this process has made.
var tunnels atomic.Int32

// encrypt makes the two ends of a WireGuard tunnel over a cable, by the kernel,
// or by wireguard-go(8) where it has no module for it.
func (l *Lab) encrypt(h *Host, n byte) error {
	under := fmt.Sprintf("wire%d", n)
	if err := l.cable(h, under, n); err != nil {
		return err
	}
	// The programs find a tunnel by a socket in the file system that all
	// namespaces share, so the names of both ends are unique on the machine.
	name := fmt.Sprintf("wg%d.%d", os.Getpid(), tunnels.Add(1))
	h.Near, h.Far = name+"n", name+"f"
	type side struct {
		ns     *Namespace
		device string
		addr   netip.Addr
		key    *ecdh.PrivateKey
	}
	sides := [2]side{
		{ns: l.Scanner, device: h.Near, addr: netip.AddrFrom4([4]byte{172, 18, n, 1})},
		{ns: h.Namespace, device: h.Far, addr: netip.AddrFrom4([4]byte{172, 18, n, 2})},
	}
	for i := range sides {
		s := &sides[i]
		var err error
		if s.key, err = ecdh.X25519().GenerateKey(rand.Reader); err != nil {
			return err
		}
		if err := s.ns.AddAddrs(under, netip.PrefixFrom(s.addr, link4.Bits())); err != nil {
			return err
		}
		if err := l.wireguard(s.ns, s.device); err != nil {
			return fmt.Errorf("create WireGuard device %q: %w", s.device, err)
		}
	}
	for i, s := range sides {
		peer := sides[1-i]
		set := s.ns.Command(context.Background(), "wg", "setconf", s.device, "/dev/stdin")
		set.Stdin = strings.NewReader(fmt.Sprintf("[Interface]\nPrivateKey=%s\nListenPort=51820\n[Peer]\nPublicKey=%s\nEndpoint=%s:51820\nAllowedIPs=0.0.0.0/0,::/0\n",
			base64.StdEncoding.EncodeToString(s.key.Bytes()), base64.StdEncoding.EncodeToString(peer.key.PublicKey().Bytes()), peer.addr))
		if out, err := set.CombinedOutput(); err != nil {
			return fmt.Errorf("configure WireGuard device %q: %w: %s", s.device, err, out)
		}
	}
	return nil
}

// wireguard creates a WireGuard device.
func (l *Lab) wireguard(n *Namespace, device string) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = device
	err := n.link.LinkAdd(&netlink.Wireguard{LinkAttrs: attrs})
	if !errors.Is(err, unix.EOPNOTSUPP) {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	daemon := n.Command(ctx, "wireguard-go", "-f", device)
	daemon.Env = append(os.Environ(), "WG_I_PREFER_BUGGY_USERSPACE_TO_POLISHED_KMOD=1") // it says so on kernels that have none, too
	// A killed one would leave its socket behind.
	daemon.Cancel = func() error { return daemon.Process.Signal(unix.SIGTERM) }
	if err := daemon.Start(); err != nil {
		cancel()
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- daemon.Wait() }()
	l.onClose(func() error {
		cancel()
		<-ended
		return nil
	})
	const enough = 10 * time.Second
	for start := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat("/var/run/wireguard/" + device + ".sock"); err == nil {
			return nil
		}
		select {
		case err := <-ended:
			ended <- err
			return fmt.Errorf("wireguard-go has ended: %v", err)
		default:
		}
		if time.Since(start) > enough {
			return errors.New("wireguard-go does not begin")
		}
	}
}
