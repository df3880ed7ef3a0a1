package watch

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Mode is where in a device's receive path the program stands.
type Mode string

const (
	Auto    Mode = "auto"    // native; generic where the driver cannot; TCX beside another XDP program
	Native  Mode = "native"  // in the driver
	Generic Mode = "generic" // XDP after the kernel has made a packet of it
	TCX     Mode = "tcx"     // at ingress, after XDP
)

var (
	// ErrOccupied is returned by Attach when another XDP program holds the
	// device. It is left alone.
	ErrOccupied = errors.New("another XDP program is attached there and was left alone: use --xdp-mode tcx to stand behind it")
	// ErrNoEthernet is returned by Attach for a device without Ethernet
	// headers, as tunnels are.
	ErrNoEthernet = errors.New("it has no Ethernet headers, which the detector reads")
)

// Attachment is the program at work on a device. It ends with Close, with the
// process, however that dies, or with the device.
type Attachment struct {
	Device   string
	Index    int
	Mode     Mode
	Occupied bool // Auto chose TCX because another XDP program is attached
	link     link.Link
}

// Close detaches the program.
func (a *Attachment) Close() error {
	if err := a.link.Close(); err != nil {
		return fmt.Errorf("detach from %q: %w", a.Device, err)
	}
	return nil
}

// Gone says that the device is no more. The kernel does not tell; it has to be
// asked.
func (a *Attachment) Gone() bool {
	info, err := a.link.Info()
	if err != nil {
		return false
	}
	if x := info.XDP(); x != nil {
		return x.Ifindex == 0
	}
	t := info.TCX()
	return t != nil && t.Ifindex == 0
}

// Attach puts the program on a device of the calling thread's network
// namespace.
func (w *Watch) Attach(device string, mode Mode) (*Attachment, error) {
	a, err := w.attach(device, mode)
	if err != nil {
		return nil, fmt.Errorf("attach to %q: %w", device, err)
	}
	return a, nil
}

func (w *Watch) attach(device string, mode Mode) (*Attachment, error) {
	switch mode {
	case Auto, Native, Generic, TCX:
	default:
		return nil, fmt.Errorf("mode %q is none of auto, native, generic, tcx", string(mode))
	}
	dev, err := netlink.LinkByName(device)
	if err != nil {
		return nil, err
	}
	switch dev.Attrs().EncapType {
	case "ether", "loopback":
	default:
		return nil, ErrNoEthernet
	}
	a := &Attachment{Device: device, Index: dev.Attrs().Index, Mode: mode}
	occupied := dev.Attrs().Xdp != nil && dev.Attrs().Xdp.Attached
	switch {
	case occupied && mode == Auto:
		a.Mode, a.Occupied = TCX, true
	case occupied && mode != TCX:
		return nil, ErrOccupied
	case mode == Auto:
		a.Mode = Native
	}
	err = w.attachAs(a)
	if mode == Auto && a.Mode == Native && err != nil && !errors.Is(err, unix.EPERM) {
		a.Mode = Generic
		err = w.attachAs(a)
	}
	if err != nil {
		return nil, err
	}
	return a, nil
}

func (w *Watch) attachAs(a *Attachment) (err error) {
	switch a.Mode {
	case TCX:
		a.link, err = link.AttachTCX(link.TCXOptions{Interface: a.Index, Program: w.objects.WatchTc, Attach: ebpf.AttachTCXIngress})
		if errors.Is(err, link.ErrNotSupported) {
			return fmt.Errorf("mode tcx needs Linux 6.6 or newer: %w", err)
		}
	case Native, Generic:
		flags := link.XDPDriverMode
		if a.Mode == Generic {
			flags = link.XDPGenericMode
		}
		a.link, err = link.AttachXDP(link.XDPOptions{Interface: a.Index, Program: w.objects.Watch, Flags: flags})
		if a.Mode == Native && errors.Is(err, unix.EOPNOTSUPP) {
			return fmt.Errorf("its driver has no native mode: use --xdp-mode generic: %w", err)
		}
	}
	if err != nil {
		return fmt.Errorf("in %s mode: %w", a.Mode, err)
	}
	return nil
}

// errPrivileges is also of a process whose capabilities are those of a user
// namespace, as in a container: of them the kernel takes none for this.
var errPrivileges = fmt.Errorf("to load the program the capabilities CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON are needed: run it as root of the machine, not of a container: %w", unix.EPERM)

// Supported reports what of the kernel or of this process's privileges is
// missing for Load and Attach.
func Supported() error {
	err := features.HaveProgramType(ebpf.XDP)
	if err == nil {
		err = features.HaveMapType(ebpf.RingBuf)
	}
	if version, unknown := features.LinuxVersionCode(); err == nil && unknown == nil && version < minVersion {
		err = ebpf.ErrNotSupported
	}
	switch {
	case errors.Is(err, unix.EPERM):
		return errPrivileges
	case errors.Is(err, ebpf.ErrNotSupported):
		return fmt.Errorf("this kernel is too old: Linux %s or newer is needed: %w", MinKernel, err)
	}
	return err
}
