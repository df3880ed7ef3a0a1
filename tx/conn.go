package tx

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"synoptic/internal/plan"
)

// Conn puts frames on a wire. Each sender has its own.
type Conn interface {
	// Send hands the frames [from, to) of a batch to the wire, in order, and
	// returns how many of them it took. If that is not all, the next one was
	// refused, and err says why: ErrRefused for a shortage that passes, any
	// other error for one that does not.
	Send(b *Batch, from, to int) (taken int, err error)
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

	// A packet socket is bound to its device and has the link address in the
	// frame; without link header, link says the family. A local socket needs
	// each packet's destination beside it.
	link  unix.RawSockaddrLinklayer
	local bool
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

// DialRawIP returns a Conn that puts IP packets of a family on a device without
// link header, by a packet socket.
func DialRawIP(ifindex int, name string, ipv4 bool) (Conn, error) {
	conn, err := DialPacket(ifindex, name)
	if err != nil {
		return nil, err
	}
	// The device cannot tell the family from a header, packet(7): each message
	// names it.
	s := conn.(*socket)
	protocol := uint16(unix.ETH_P_IPV6)
	if ipv4 {
		protocol = unix.ETH_P_IP
	}
	s.link = unix.RawSockaddrLinklayer{Family: unix.AF_PACKET, Protocol: protocol<<8 | protocol>>8, Ifindex: int32(ifindex)}
	s.prepare()
	return s, nil
}

// DialLocal returns a Conn that hands IP packets of a family to the local stack
// by a raw socket, for loopback and the machine's own addresses: a frame injected
// into lo by a packet socket carries no route, and the stack drops what then
// claims a local source (fib_validate_source, net/ipv4/fib_frontend.c).
func DialLocal(ipv4 bool) (Conn, error) {
	domain := unix.AF_INET6
	if ipv4 {
		domain = unix.AF_INET
	}
	// IPPROTO_RAW: the header is ours, raw(7); it receives nothing.
	fd, err := unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_RAW)
	if err != nil {
		return nil, fmt.Errorf("open raw socket: %w", err)
	}
	s := &socket{fd: fd, name: "lo", local: true}
	if err := bigSendBuffer(fd); err != nil {
		s.Close()
		return nil, err
	}
	s.prepare()
	return s, nil
}

// Share returns a Conn with buffers of its own over the same sockets, for another
// sender. Closing a packet socket takes the kernel some ten milliseconds, but only
// once for all who share it; while they send they are a little slower.
func (l Lines) Share() (Lines, error) {
	twins := make(Lines, len(l))
	for i, c := range l {
		if c == nil {
			continue
		}
		twin := *c.(*socket)
		var err error
		if twin.fd, err = unix.FcntlInt(uintptr(twin.fd), unix.F_DUPFD_CLOEXEC, 0); err != nil {
			return nil, errors.Join(fmt.Errorf("share a socket: %w", err), twins.Close())
		}
		twin.prepare()
		twins[i] = &twin
	}
	return twins, nil
}

// Link returns a Conn that puts frames on a link, whatever they carry.
func (l Lines) Link(link int) Conn { return cmp.Or(l[2*link], l[2*link+1]) }

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
		if s.link.Family != 0 {
			s.hdr[i].hdr.Name = (*byte)(unsafe.Pointer(&s.link))
			s.hdr[i].hdr.Namelen = unix.SizeofSockaddrLinklayer
		}
	}
}

// Send implements Conn.
func (s *socket) Send(b *Batch, from, to int) (int, error) {
	for i := from; i < to; i++ {
		f := &b.frames[i]
		s.iov[i].Base = unsafe.SliceData(f.bytes)
		s.iov[i].SetLen(len(f.bytes))
		if s.local {
			s.address(i, f.dst)
		}
	}
	return s.sendmmsg(from, to)
}

// address writes a destination beside the i-th message.
func (s *socket) address(i int, dst netip.Addr) {
	hdr := &s.hdr[i].hdr
	if dst.Is4() {
		s.addr4[i] = unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: dst.As4()}
		hdr.Name, hdr.Namelen = (*byte)(unsafe.Pointer(&s.addr4[i])), unix.SizeofSockaddrInet4
	} else {
		s.addr6[i] = unix.RawSockaddrInet6{Family: unix.AF_INET6, Addr: dst.As16()}
		hdr.Name, hdr.Namelen = (*byte)(unsafe.Pointer(&s.addr6[i])), unix.SizeofSockaddrInet6
	}
}

// sendmmsg does not tell Go's scheduler of the system call, which never waits: its monitor
// would take the sender's P for it, and look out for the next one thousands of times a
// second, which took an eighth of a sweep's processor time (sysmon, runtime/proc.go).
func (s *socket) sendmmsg(from, to int) (int, error) {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(s.fd),
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

// Lines is a Conn over one for each link and family: that of link l is at 2l for
// IPv4 and at 2l+1 for IPv6, nil where the plan has none.
type Lines []Conn

// Send implements Conn.
func (l Lines) Send(b *Batch, from, to int) (taken int, err error) {
	for from+taken < to {
		start := from + taken
		end := min(b.run(start), to)
		line := 2 * b.frames[start].link
		if b.frames[start].dst.Is6() {
			line++
		}
		n, err := l[line].Send(b, start, end)
		taken += n
		if err != nil {
			return taken, err
		}
	}
	return taken, nil
}

// Close implements Conn.
func (l Lines) Close() error {
	errs := make([]error, len(l))
	var closing sync.WaitGroup
	for i, c := range l {
		if c != nil {
			closing.Go(func() { errs[i] = c.Close() })
		}
	}
	closing.Wait()
	return errors.Join(errs...)
}
