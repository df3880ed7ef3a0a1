package lab

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Commands and string set of <linux/ethtool.h>.
const (
	ethtoolSetTxChecksum = unix.ETHTOOL_STXCSUM
	ethtoolSetGRO        = unix.ETHTOOL_SGRO
	stringLength         = 32 // ETH_GSTRING_LEN
	stringSetStats       = 1  // ETH_SS_STATS
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

// deviceStats returns the driver's statistics, `ethtool -S`.
func (n *Namespace) deviceStats(device string) (map[string]uint64, error) {
	const most = 512
	var names struct { // struct ethtool_gstrings
		command, set, n uint32
		data            [most * stringLength]byte
	}
	var values struct { // struct ethtool_stats
		command, n uint32
		data       [most]uint64
	}
	var info struct { // struct ethtool_sset_info
		command, _ uint32
		mask       uint64
		n          uint32
	}
	info.command, info.mask = unix.ETHTOOL_GSSET_INFO, 1<<stringSetStats
	if err := n.ethtool(device, unsafe.Pointer(&info)); err != nil {
		return nil, fmt.Errorf("count statistics of %q: %w", device, err)
	}
	if info.n > most {
		return nil, fmt.Errorf("count statistics of %q: %d are too many", device, info.n)
	}
	names.command, names.set, names.n = unix.ETHTOOL_GSTRINGS, stringSetStats, info.n
	if err := n.ethtool(device, unsafe.Pointer(&names)); err != nil {
		return nil, fmt.Errorf("name statistics of %q: %w", device, err)
	}
	values.command, values.n = unix.ETHTOOL_GSTATS, info.n
	if err := n.ethtool(device, unsafe.Pointer(&values)); err != nil {
		return nil, fmt.Errorf("read statistics of %q: %w", device, err)
	}
	stats := make(map[string]uint64, info.n)
	for i := range min(names.n, values.n) {
		name := names.data[i*stringLength:][:stringLength]
		if z := bytes.IndexByte(name, 0); z >= 0 {
			name = name[:z]
		}
		stats[string(name)] = values.data[i]
	}
	return stats, nil
}

// sumStats adds up the statistics of all queues whose name ends so.
func sumStats(stats map[string]uint64, suffix string) (sum uint64) {
	for name, v := range stats {
		if strings.HasSuffix(name, suffix) {
			sum += v
		}
	}
	return sum
}
