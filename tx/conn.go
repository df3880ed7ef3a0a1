package tx

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"

	"synoptic/internal/plan"
)

// Conn puts frames on a wire. Each sender has its own.
type Conn interface {
	// Send hands frames from, from+1, ... of a batch to the wire, in order, and
	// returns how many of them it took. If that is not all, the next one was
	// refused, and err says why: ErrRefused for a shortage that passes, any
	// other error for one that does not.
	Send(b *Batch, from int) (taken int, err error)
	Close() error
}

// ErrRefused is a shortage of this machine (a full queue, no buffers) that
// passes: the frame can be offered again.
var ErrRefused = errors.New("frame refused")

// socket is a Conn over a socket that takes whole batches by sendmmsg(2).
type socket struct {
	fd   int
	name string // of the device, for errors
	hdr  [plan.MaxSpan]mmsghdr
	iov  [plan.MaxSpan]unix.Iovec
	// Destinations; unused on a packet socket, which is bound to its device
	// and has the link address in the frame.
	addr4 [plan.MaxSpan]unix.RawSockaddrInet4
	addr6 [plan.MaxSpan]unix.RawSockaddrInet6
}

// mmsghdr is struct mmsghdr of <sys/socket.h>.
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
	_   [4]byte
}

// DialPacket returns a Conn that puts Ethernet frames on a device by a packet
// socket, past its queueing discipline (packet(7), PACKET_QDISC_BYPASS): a scan
// paces itself, and a full device then refuses a frame instead of dropping it.
// The calling thread's network namespace is the one that counts.
func DialPacket(ifindex int, name string) (Conn, error) {
	// Protocol 0: this socket receives nothing.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open packet socket: %w", err)
	}
	s := &socket{fd: fd, name: name}
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1); err != nil {
		s.Close()
		return nil, fmt.Errorf("bypass queueing discipline of %s: %w", name, err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: ifindex}); err != nil {
		s.Close()
		return nil, fmt.Errorf("bind packet socket to %s: %w", name, err)
	}
	if err := bigSendBuffer(fd); err != nil {
		s.Close()
		return nil, err
	}
	s.prepare()
	return s, nil
}

// DialLocal returns a Conn that hands IP packets to the local stack by raw
// sockets, for loopback and the machine's own addresses: a frame injected into
// lo by a packet socket carries no route, and the stack drops what then claims
// a local source (fib_validate_source, net/ipv4/fib_frontend.c).
func DialLocal(ipv4, ipv6 bool) (Conn, error) {
	l := &local{}
	for _, f := range []struct {
		want   bool
		domain int
		to     **socket
	}{{ipv4, unix.AF_INET, &l.v4}, {ipv6, unix.AF_INET6, &l.v6}} {
		if !f.want {
			continue
		}
		// IPPROTO_RAW: the header is ours, raw(7); it receives nothing.
		fd, err := unix.Socket(f.domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_RAW)
		if err != nil {
			l.Close()
			return nil, fmt.Errorf("open raw socket: %w", err)
		}
		*f.to = &socket{fd: fd, name: "lo"}
		if err := bigSendBuffer(fd); err != nil {
			l.Close()
			return nil, err
		}
		(*f.to).prepare()
	}
	return l, nil
}

// bigSendBuffer makes room for a few spans in flight; the kernel charges a
// packet of 64 bytes with about 800.
func bigSendBuffer(fd int) error {
	const size = 4 << 20
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, size) == nil {
		return nil
	}
	return os.NewSyscallError("setsockopt SO_SNDBUF", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, size))
}

// prepare points the message headers at the vectors and addresses, which stay
// where they are.
func (s *socket) prepare() {
	for i := range s.hdr {
		s.hdr[i].hdr.Iov = &s.iov[i]
		s.hdr[i].hdr.SetIovlen(1)
	}
}

// Send implements Conn.
func (s *socket) Send(b *Batch, from int) (int, error) {
	for i := from; i < b.n; i++ {
		s.iov[i].Base = unsafe.SliceData(b.frames[i])
		s.iov[i].SetLen(len(b.frames[i]))
	}
	return s.sendmmsg(from, b.n)
}

func (s *socket) sendmmsg(from, to int) (int, error) {
	n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(s.fd),
		uintptr(unsafe.Pointer(&s.hdr[from])), uintptr(to-from), unix.MSG_DONTWAIT, 0, 0)
	runtime.KeepAlive(s)
	switch errno {
	case 0:
		if int(n) < to-from {
			// The kernel keeps the reason to itself once a frame was taken.
			return int(n), ErrRefused
		}
		return int(n), nil
	case unix.ENOBUFS, unix.EAGAIN, unix.ENOMEM:
		return 0, ErrRefused
	case unix.EINTR:
		return 0, ErrRefused
	case unix.ENETDOWN, unix.ENXIO, unix.ENODEV:
		return 0, fmt.Errorf("send on %s: %w: the interface went down or away", s.name, errno)
	case unix.EPERM, unix.EACCES:
		return 0, fmt.Errorf("send on %s: %w: a local firewall rule refuses the probes", s.name, errno)
	}
	return 0, fmt.Errorf("send on %s: %w", s.name, errno)
}

// Close implements Conn.
func (s *socket) Close() error { return unix.Close(s.fd) }

// local is a Conn over one raw IP socket per family.
type local struct{ v4, v6 *socket }

// Send implements Conn. It takes the leading frames of one family at a time.
func (l *local) Send(b *Batch, from int) (int, error) {
	taken := 0
	for from+taken < b.n {
		start := from + taken
		is4 := b.dst[start].Is4()
		end := start
		for ; end < b.n && b.dst[end].Is4() == is4; end++ {
		}
		s := l.v6
		if is4 {
			s = l.v4
		}
		for i := start; i < end; i++ {
			s.iov[i].Base = unsafe.SliceData(b.frames[i])
			s.iov[i].SetLen(len(b.frames[i]))
			if is4 {
				s.addr4[i] = unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: b.dst[i].As4()}
				s.hdr[i].hdr.Name = (*byte)(unsafe.Pointer(&s.addr4[i]))
				s.hdr[i].hdr.Namelen = unix.SizeofSockaddrInet4
			} else {
				s.addr6[i] = unix.RawSockaddrInet6{Family: unix.AF_INET6, Addr: b.dst[i].As16()}
				s.hdr[i].hdr.Name = (*byte)(unsafe.Pointer(&s.addr6[i]))
				s.hdr[i].hdr.Namelen = unix.SizeofSockaddrInet6
			}
		}
		n, err := s.sendmmsg(start, end)
		taken += n
		if err != nil {
			return taken, err
		}
	}
	return taken, nil
}

// Close implements Conn.
func (l *local) Close() error {
	var errs []error
	for _, s := range []*socket{l.v4, l.v6} {
		if s != nil {
			errs = append(errs, s.Close())
		}
	}
	return errors.Join(errs...)
}
