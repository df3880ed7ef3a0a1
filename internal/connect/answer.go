package connect

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"synoptic/internal/method"
	"synoptic/internal/result"
)

// shortage tells that this machine lacks something, which says nothing of the
// target: descriptors, source ports (EAGAIN: of old kernels), memory.
func shortage(e unix.Errno) bool {
	switch e {
	case unix.EMFILE, unix.ENFILE, unix.EADDRNOTAVAIL, unix.EAGAIN, unix.ENOBUFS, unix.ENOMEM:
		return true
	}
	return false
}

// remedy says what helps against a shortage that lasts.
func remedy(e unix.Errno) string {
	switch e {
	case unix.EMFILE, unix.ENFILE:
		return "raise the limit of open files (ulimit -n)"
	case unix.EADDRNOTAVAIL, unix.EAGAIN:
		return "no source address or port is left, see the sysctl net.ipv4.ip_local_port_range"
	}
	return "this machine has no memory for connections, scan again with a lower --rate"
}

// refused tells that a connection failed in a way that no target has a part in:
// a policy route or a security module (EACCES, EPERM), a blackhole route, or a
// link-local address without an interface (EINVAL).
func refused(e unix.Errno) bool {
	return e == unix.EPERM || e == unix.EACCES || e == unix.EINVAL
}

// verdict says what a connection's end means. It reports false for one that
// tells nothing of the target.
func verdict(m *method.Method, e unix.Errno) (method.Verdict, bool) {
	switch e {
	case 0, unix.ECONNRESET, unix.EPIPE: // the latter: open, and reset since
		return method.Verdict{State: result.Open, Reason: result.SynAck}, true
	case unix.ECONNREFUSED:
		return method.Verdict{State: m.Reset, Reason: result.ConnRefused}, true
	case unix.EHOSTUNREACH:
		return method.Verdict{State: result.Filtered, Reason: result.HostUnreach}, true
	case unix.ENETUNREACH:
		return method.Verdict{State: result.Filtered, Reason: result.NetUnreach}, true
	}
	return method.Verdict{}, false
}

// rejection is an ICMP error from a socket's error queue.
type rejection struct {
	ipv6       bool
	kind, code uint8
	from       netip.Addr
}

// Control messages and struct sock_extended_err (linux/errqueue.h) with the
// address that follows it, SO_EE_OFFENDER.
const (
	eeOrigin   = 4
	eeType     = 5
	eeCode     = 6
	eeLen      = 16
	offender4  = eeLen + 4 // in struct sockaddr_in
	offender6  = eeLen + 8 // in struct sockaddr_in6
	controlLen = 256
)

// parseRejection reads the control messages of one entry of an error queue. It
// reports false if there is no ICMP error in it.
func parseRejection(control []byte) (r rejection, ok bool) {
	for len(control) >= unix.SizeofCmsghdr {
		size := int(binary.NativeEndian.Uint64(control))
		level := int32(binary.NativeEndian.Uint32(control[8:]))
		kind := int32(binary.NativeEndian.Uint32(control[12:]))
		if size < unix.SizeofCmsghdr || size > len(control) {
			return r, false
		}
		data := control[unix.SizeofCmsghdr:size]
		switch {
		case level == unix.IPPROTO_IP && kind == unix.IP_RECVERR && len(data) >= offender4+4 && data[eeOrigin] == unix.SO_EE_ORIGIN_ICMP:
			return rejection{false, data[eeType], data[eeCode], netip.AddrFrom4([4]byte(data[offender4:]))}, true
		case level == unix.IPPROTO_IPV6 && kind == unix.IPV6_RECVERR && len(data) >= offender6+16 && data[eeOrigin] == unix.SO_EE_ORIGIN_ICMP6:
			return rejection{true, data[eeType], data[eeCode], netip.AddrFrom16([16]byte(data[offender6:]))}, true
		}
		control = control[min(unix.CmsgSpace(size-unix.SizeofCmsghdr), len(control)):]
	}
	return r, false
}

// localhost stands for this machine as the one that rejects a connection.
func localhost(target netip.Addr) netip.Addr {
	if target.Is4() {
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	return netip.IPv6Loopback()
}

// refusal words an error that ends the run.
func refusal(target netip.AddrPort, err error) error {
	switch e := errnoOf(err); {
	case e == unix.EINVAL && target.Addr().IsLinkLocalUnicast():
		return fmt.Errorf("connect to %v: a link-local address needs an interface: name it with -e", target)
	case e == unix.EINVAL:
		return fmt.Errorf("connect to %v: %w: this machine has no way there from that source address, or a blackhole route", target, err)
	case refused(e):
		return fmt.Errorf("connect to %v: %w: a local firewall rule or route refuses it", target, err)
	}
	return fmt.Errorf("connect to %v: %w", target, err)
}
