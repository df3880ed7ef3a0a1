package validate

import (
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Mode is where in a device's receive path the program stands.
type Mode string

const (
	Auto    Mode = "auto"    // the first of the others that works; on veth not native
	Native  Mode = "native"  // XDP in the driver
	TCX     Mode = "tcx"     // at ingress, after XDP: Linux 6.6
	Generic Mode = "generic" // XDP after the kernel has made a packet of the frame, and one piece of that
)

var (
	// ErrOccupied is returned by Attach when another XDP program holds the
	// device and there is no tcx to stand behind it. It is left alone.
	ErrOccupied = errors.New("another XDP program is attached there and was left alone")
	// ErrNoEthernet is returned by Attach for a device without Ethernet
	// headers, as tunnels are.
	ErrNoEthernet = errors.New("it has no Ethernet headers, which the validator reads")
)

// Attach puts the program on a device of the calling thread's network namespace
// and returns the mode that it runs in. It is taken away by Close, or by the
// end of the process, however that comes. Many drivers stop for a moment to
// take a program in native mode: attach before the first probe is sent. A link
// that is lost by it has some seconds to come back.
//
// Auto begins with native mode, but for veth devices: there packets are made frames
// for it by copying, their other end may send no large segments meanwhile, and a
// reset reaches it only if it polls, as it does with GRO on or with an XDP program of
// its own (veth_xdp_xmit), and is lost otherwise, without a word. Native resets of a
// veth go out with XDP_REDIRECT, to the device that the SYN+ACK came from: one sent
// with XDP_TX would wait in the ring of a peer that has only GRO until something else
// wakes it (veth_xdp_flush, seen on Linux 6.18).
//
// TCX takes packets as they are, behind any XDP program and before other programs of
// its kind. Generic mode makes each one piece, and turns LRO and the card's GRO off,
// so it comes last.
func (v *Validator) Attach(ifindex int, mode Mode) (Mode, error) {
	dev, err := netlink.LinkByIndex(ifindex)
	if err != nil {
		return "", fmt.Errorf("attach the validator: device %d: %w", ifindex, err)
	}
	if mode, err = v.attach(dev, mode); err == nil {
		v.device = dev.Attrs().Name
		if v.fate, err = follow(ifindex); err != nil {
			err = errors.Join(err, v.link.Close())
			v.link = nil
		}
	}
	if mode == Native && dev.Type() != "veth" && dev.Attrs().OperState == netlink.OperUp {
		time.Sleep(linkSettles)
		awaitLink(ifindex, linkReturns)
	}
	if err != nil {
		return "", fmt.Errorf("attach the validator to %q: %w", dev.Attrs().Name, err)
	}
	return mode, nil
}

func (v *Validator) attach(dev netlink.Link, mode Mode) (Mode, error) {
	switch mode {
	case Auto, Native, TCX, Generic:
	default:
		return "", fmt.Errorf("mode %q is none of auto, native, tcx, generic", string(mode))
	}
	if v.link != nil {
		return "", errors.New("it is attached already")
	}
	switch dev.Attrs().EncapType {
	case "ether", "loopback":
	default:
		return "", ErrNoEthernet
	}
	if mode != Auto {
		return mode, v.attachAs(dev, mode)
	}
	modes := []Mode{Native, TCX, Generic}
	if dev.Type() == "veth" {
		modes = modes[1:]
	}
	var err error
	for _, mode = range modes {
		if err = v.attachAs(dev, mode); err == nil || errors.Is(err, unix.EPERM) {
			break
		}
	}
	return mode, err
}

func (v *Validator) attachAs(dev netlink.Link, mode Mode) (err error) {
	if mode == TCX {
		v.link, err = link.AttachTCX(link.TCXOptions{
			Interface: dev.Attrs().Index, Program: v.objects.ValidateTcx, Attach: ebpf.AttachTCXIngress, Anchor: link.Head(),
		})
	} else {
		if err := v.objects.Redirect.Set(mode == Native && dev.Type() == "veth"); err != nil {
			return err
		}
		flags := link.XDPDriverMode
		if mode == Generic {
			flags = link.XDPGenericMode
		}
		v.link, err = link.AttachXDP(link.XDPOptions{Interface: dev.Attrs().Index, Program: v.objects.Validate, Flags: flags})
	}
	if err == nil {
		return nil
	}
	v.link = nil // not a nil pointer in an interface
	switch {
	case mode == TCX && errors.Is(err, link.ErrNotSupported):
		return fmt.Errorf("mode tcx needs Linux 6.6 or newer: %w", err)
	case mode == Native && errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("its driver has no native mode: use mode tcx or generic: %w", err)
	case errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EEXIST):
		return ErrOccupied
	}
	return fmt.Errorf("in %s mode: %w", mode, err)
}

// linkReturns is for how long a network card may negotiate again.
const linkReturns = 5 * time.Second

// linkSettles is how late a device's state may be told (linkwatch_schedule_work).
const linkSettles = 100 * time.Millisecond

// awaitLink returns when a device's link is up, or after a time: then the scan says
// what it lacks.
func awaitLink(ifindex int, most time.Duration) {
	for end := time.Now().Add(most); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if dev, err := netlink.LinkByIndex(ifindex); err != nil || dev.Attrs().OperState == netlink.OperUp {
			return
		}
	}
}

// follow opens a socket that has an error once a device has gone down or away. The
// kernel tells packet sockets so (packet_notifier, net/packet/af_packet.c), and nobody
// who is attached there. The protocol is one that no frame is of, so that it costs
// those that arrive nothing: of IEEE 802's for local experiments.
func follow(ifindex int) (int, error) {
	const experimental = 0x88b5
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open a packet socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: experimental>>8 | experimental&0xff<<8, Ifindex: ifindex}); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("bind a packet socket: %w", err)
	}
	return fd, nil
}

// Alive returns an error, once, when the device has gone down or away since Attach, so
// that nothing arrives there any more.
func (v *Validator) Alive() error {
	if v.fate < 0 {
		return nil
	}
	errno, err := unix.GetsockoptInt(v.fate, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && errno == 0 {
		return nil
	}
	return fmt.Errorf("receive on %s: the interface went down or away", v.device)
}
