package lab

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Commands of <linux/ethtool.h>.
const (
	ethtoolSetTxChecksum = unix.ETHTOOL_STXCSUM
	ethtoolSetGRO        = unix.ETHTOOL_SGRO
)

// ethtool makes one SIOCETHTOOL call; arg begins with the command.
func (n *Namespace) ethtool(device string, arg unsafe.Pointer) error {
	return n.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		req := struct { // struct ifreq
			name [unix.IFNAMSIZ]byte
			data unsafe.Pointer
			_    [16]byte
		}{data: arg}
		copy(req.name[:unix.IFNAMSIZ-1], device)
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req)))
		runtime.KeepAlive(arg)
		if errno != 0 {
			return errno
		}
		return nil
	})
}

// setFeature turns an offload on or off.
func (n *Namespace) setFeature(device string, command uint32, on bool) error {
	value := struct{ command, data uint32 }{command: command} // struct ethtool_value
	if on {
		value.data = 1
	}
	if err := n.ethtool(device, unsafe.Pointer(&value)); err != nil {
		return fmt.Errorf("set offload %#x of %q to %t: %w", command, device, on, err)
	}
	return nil
}

// SetGRO turns GRO of a device on or off. Without it, and without an XDP program, a
// veth device takes no frames that its peer sends by XDP (veth_xdp_xmit).
func (n *Namespace) SetGRO(device string, on bool) error {
	return n.setFeature(device, ethtoolSetGRO, on)
}
