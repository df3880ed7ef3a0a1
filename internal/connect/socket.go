package connect

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// open returns a socket for many connections, one after the other.
func (o *Options) open(six bool) (fd int, err error) {
	domain := unix.AF_INET
	if six {
		domain = unix.AF_INET6
	}
	fd, err = unix.Socket(domain, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	switch {
	case shortage(errnoOf(err)):
		return -1, fmt.Errorf("open a socket: %w: %s", err, remedy(errnoOf(err)))
	case err != nil:
		return -1, fmt.Errorf("open a socket: %w", err)
	}
	if err := o.set(fd, six); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// set gives a socket its options.
func (o *Options) set(fd int, six bool) error {
	// Whoever rejects a connection by ICMP is told in the error queue.
	level, receiveErrors, hops := unix.IPPROTO_IP, unix.IP_RECVERR, unix.IP_TTL
	if six {
		level, receiveErrors, hops = unix.IPPROTO_IPV6, unix.IPV6_RECVERR, unix.IPV6_UNICAST_HOPS
		if err := unix.SetsockoptInt(fd, level, unix.IPV6_V6ONLY, 1); err != nil {
			return fmt.Errorf("set up a connection: %w", err)
		}
	}
	err := unix.SetsockoptInt(fd, level, receiveErrors, 1)
	if err == nil {
		// An open connection that is closed is reset and leaves no TIME_WAIT
		// (socket(7)).
		err = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	}
	if err == nil && o.TTL != 0 {
		err = unix.SetsockoptInt(fd, level, hops, int(o.TTL))
	}
	if err != nil {
		return fmt.Errorf("set up a connection: %w", err)
	}
	if o.Interface != "" {
		if err := unix.BindToDevice(fd, o.Interface); err != nil {
			return fmt.Errorf("connect by interface %s: %w", o.Interface, err)
		}
	}
	return o.bind(fd, six)
}

// bind gives a socket its own end, if one was asked for.
func (o *Options) bind(fd int, six bool) error {
	source, any4or6 := o.Source4, netip.IPv4Unspecified()
	if six {
		source, any4or6 = o.Source6, netip.IPv6Unspecified()
	}
	if !source.IsValid() && o.SourcePort == 0 {
		return nil
	}
	if !source.IsValid() {
		source = any4or6
	}
	// A port is shared by all connections, or else chosen at connect(2), when
	// it need not be free towards everybody (ip(7)).
	level, option := unix.SOL_SOCKET, unix.SO_REUSEADDR
	if o.SourcePort == 0 {
		level, option = unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT
	}
	from := netip.AddrPortFrom(source, o.SourcePort)
	err := unix.SetsockoptInt(fd, level, option, 1)
	if err == nil {
		err = unix.Bind(fd, sockaddr(from))
	}
	switch {
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return fmt.Errorf("connect from %v: it is no address of this machine: only raw methods can send from another's", source)
	case errors.Is(err, unix.EADDRINUSE):
		return fmt.Errorf("connect from port %d: another program uses it: choose another one", o.SourcePort)
	case errors.Is(err, unix.EACCES):
		return fmt.Errorf("connect from port %d: ports below 1024 need the capability CAP_NET_BIND_SERVICE: run it with sudo or choose another one", o.SourcePort)
	case err != nil:
		return fmt.Errorf("connect from %v: %w", from, err)
	}
	return nil
}

func sockaddr(ap netip.AddrPort) unix.Sockaddr {
	if ap.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(ap.Port()), Addr: ap.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(ap.Port()), Addr: ap.Addr().As16()}
}

// dialer calls connect(2) and getsockname(2) without allocating.
type dialer struct {
	four unix.RawSockaddrInet4
	six  unix.RawSockaddrInet6

	name    [unix.SizeofSockaddrInet6]byte
	nameLen uint32
}

// connect starts a connection, or tells how a started one went: 0 when it is
// open, EALREADY while it is on its way, or an error, and then the socket is
// disconnected (__inet_stream_connect, net/ipv4/af_inet.c). Go's scheduler is not
// told of the system call, which never waits: its monitor would take the sender's P
// for it (see sendmmsg in package tx).
func (d *dialer) connect(fd int, to netip.AddrPort) unix.Errno {
	if to.Addr().IsUnspecified() {
		return unix.ENETUNREACH // and not this machine, which is what connect(2) makes of it
	}
	port := to.Port()<<8 | to.Port()>>8 // in network byte order
	name, size := unsafe.Pointer(&d.four), uintptr(unix.SizeofSockaddrInet4)
	if to.Addr().Is4() {
		d.four = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: port, Addr: to.Addr().As4()}
	} else {
		d.six = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: port, Addr: to.Addr().As16()}
		name, size = unsafe.Pointer(&d.six), unix.SizeofSockaddrInet6
	}
	_, _, errno := unix.RawSyscall(unix.SYS_CONNECT, uintptr(fd), uintptr(name), size)
	return errno
}

func errnoOf(err error) unix.Errno {
	errno, _ := errors.AsType[unix.Errno](err)
	return errno
}

var unspecified = unix.RawSockaddr{Family: unix.AF_UNSPEC}

// disconnect makes a socket usable again, connect(2). An open connection is
// reset (tcp_disconnect, net/ipv4/tcp.c).
func disconnect(fd int) {
	unix.RawSyscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&unspecified)), unix.SizeofSockaddrInet4)
}

// withItself tells whether an open connection is with itself.
func (d *dialer) withItself(fd int, to netip.AddrPort) bool {
	d.nameLen = uint32(len(d.name))
	_, _, errno := unix.RawSyscall(unix.SYS_GETSOCKNAME, uintptr(fd), uintptr(unsafe.Pointer(&d.name)), uintptr(unsafe.Pointer(&d.nameLen)))
	if errno != 0 {
		return false
	}
	// struct sockaddr_in and sockaddr_in6: the port at 2, the address at 4 or 8.
	addr := netip.AddrFrom16([16]byte(d.name[8:]))
	if to.Addr().Is4() {
		addr = netip.AddrFrom4([4]byte(d.name[4:]))
	}
	return to == netip.AddrPortFrom(addr, binary.BigEndian.Uint16(d.name[2:]))
}

// queue reads error queues.
type queue struct {
	msg     unix.Msghdr
	control [controlLen]byte
}

// drain empties a socket's error queue, which disconnecting does not.
func (q *queue) drain(fd int) {
	for {
		if _, any := q.read(fd); !any {
			return
		}
	}
}

// read takes an ICMP error out of a socket's error queue.
func (q *queue) read(fd int) (rejection, bool) {
	for {
		q.msg = unix.Msghdr{Control: &q.control[0], Controllen: controlLen}
		_, _, errno := unix.RawSyscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&q.msg)), unix.MSG_ERRQUEUE)
		if errno != 0 {
			return rejection{}, false
		}
		if r, ok := parseRejection(q.control[:q.msg.Controllen]); ok {
			return r, true
		}
	}
}
