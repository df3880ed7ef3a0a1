package netif

import (
	"fmt"
	"math/bits"
	"os"

	"golang.org/x/sys/unix"
)

// localPortRange holds the ports which the kernel gives to connections that
// ask for none (ip-sysctl.rst); for IPv6 too. It belongs to the network
// namespace of the thread that opens it.
const localPortRange = "/proc/sys/net/ipv4/ip_local_port_range"

// SourcePorts returns the first of count consecutive TCP ports to send probes
// from. They are outside the range from which the kernel serves its own
// connections, above it if there is room and else below, from 1024 on; and no
// TCP socket of this machine uses them now, as far as the kernel tells
// (sock_diag(7)). So no answer to a probe meets a connection.
//
// One seed gives the same ports every time, on every machine with the same
// range, unless a socket is in the way: then the next ones that are free.
func SourcePorts(count int, seed uint64) (uint16, error) {
	text, err := os.ReadFile(localPortRange)
	if err != nil {
		return 0, fmt.Errorf("read the kernel's port range: %w", err)
	}
	var low, high int
	if _, err := fmt.Sscan(string(text), &low, &high); err != nil {
		return 0, fmt.Errorf("read the kernel's port range: parse %q: %w", text, err)
	}
	return choosePorts(count, seed, low, high, usedPorts())
}

// choosePorts picks from above the range [low, high], else from below, passing
// over ports in use.
func choosePorts(count int, seed uint64, low, high int, used func(port int) bool) (uint16, error) {
	if count < 1 || count > 1<<15 {
		return 0, fmt.Errorf("choose source ports: %d in a row are asked for, and a scan takes 1 to %d", count, 1<<15)
	}
	for _, room := range [2][2]int{{max(high+1, 1024), 65535}, {1024, low - 1}} {
		starts := room[1] - room[0] + 1 - count + 1
		if starts < 1 {
			continue
		}
		at := int(spread(seed, uint64(starts)))
		for i := range starts {
			first := room[0] + (at+i)%starts
			if !anyUsed(first, count, used) {
				return uint16(first), nil
			}
		}
	}
	return 0, fmt.Errorf("choose source ports: no %d in a row are free outside the kernel's own range %d-%d: narrow net.ipv4.ip_local_port_range, or name a port with -g", count, low, high)
}

func anyUsed(first, count int, used func(int) bool) bool {
	for p := first; p < first+count; p++ {
		if used(p) {
			return true
		}
	}
	return false
}

// spread maps seed onto [0, n) so that neighbouring seeds land apart: the
// mixing step of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom
// number generators, 2014), then Lemire's multiplication.
func spread(seed, n uint64) uint64 {
	seed += 0x9e3779b97f4a7c15
	seed = (seed ^ seed>>30) * 0xbf58476d1ce4e5b9
	seed = (seed ^ seed>>27) * 0x94d049bb133111eb
	hi, _ := bits.Mul64(seed^seed>>31, n)
	return hi
}

// usedPorts returns the ports of the TCP sockets in the namespace. A kernel
// built without sock_diag tells none, and the scan is only a little less safe.
func usedPorts() func(port int) bool {
	var used [1 << 16]bool
	if handle, err := open(unix.NETLINK_INET_DIAG); err == nil {
		defer handle.Close()
		for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
			sockets, _ := handle.SocketDiagTCP(family)
			for _, s := range sockets {
				used[s.ID.SourcePort] = true
			}
		}
	}
	return func(port int) bool { return used[port] }
}
