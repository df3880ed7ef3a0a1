package rx

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// ErrNoRoom tells that this process may not have a receive buffer of the size
// that a Socket needs (CAP_NET_ADMIN, socket(7)); a Ring needs none.
var ErrNoRoom = errors.New("no privilege for a large receive buffer")

// Socket is a Source over a plain packet socket, for few answers. It copies
// packets, and takes more time for each than a Ring. But a ring takes the
// kernel two grace periods, together some 25 ms, to set up and as long to take
// down (packet_set_ring, net/packet/af_packet.c): longer than many scans.
type Socket struct {
	fd    int
	name  string // of the device, for errors
	drops atomic.Uint64

	next, have int // packets of the batch
	hdr        [socketBatch]mmsghdr
	iov        [socketBatch]unix.Iovec
	buf        [socketBatch][snapLen]byte
	control    [socketBatch][stampLen]byte
	rest       rest
}

const (
	socketBatch = 64
	// stampLen is the size of a control message with a struct timespec.
	stampLen = unix.SizeofCmsghdr + 16
	// socketBuffer is what the kernel is asked for and doubles: with its own 768
	// bytes beside each small packet, room for 150,000.
	socketBuffer = 64 << 20
)

// mmsghdr is struct mmsghdr of <sys/socket.h>.
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
	_   [4]byte
}

// OpenSocket opens a socket on a device with the filter of a match. When it
// returns, every answer that arrives from then on is seen. The calling
// thread's network namespace is the one that counts.
func OpenSocket(ifindex int, name string, match Match) (*Socket, error) {
	s, err := openSocket(ifindex, name, match.Filter())
	if err != nil {
		return nil, fmt.Errorf("open receive socket on %s: %w", name, err)
	}
	if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, socketBuffer); err != nil {
		s.Close()
		return nil, ErrNoRoom
	}
	return s, nil
}

// openSocket opens a socket with a filter.
func openSocket(ifindex int, name string, filter []bpf.Instruction) (*Socket, error) {
	// With protocol 0 it receives nothing until it is bound, filter and all.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	s := &Socket{fd: fd, name: name, rest: rest{hurried: make(chan struct{})}}
	for i := range s.hdr {
		s.iov[i] = unix.Iovec{Base: &s.buf[i][0], Len: snapLen}
		s.hdr[i].hdr.Iov, s.hdr[i].hdr.Iovlen = &s.iov[i], 1
		s.hdr[i].hdr.Control, s.hdr[i].hdr.Controllen = &s.control[i][0], stampLen
	}
	if err := s.listen(ifindex, filter); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Socket) listen(ifindex int, filter []bpf.Instruction) error {
	program, err := bpf.Assemble(append(incoming(), filter...))
	if err != nil {
		return err
	}
	raw := make([]unix.SockFilter, len(program))
	for i, in := range program {
		raw[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	const all = unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8 // in network byte order
	for _, step := range []func() error{
		func() error {
			return unix.SetsockoptSockFprog(s.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(raw)), Filter: &raw[0]})
		},
		func() error { return unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1) },
		func() error { return unix.Bind(s.fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: ifindex}) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// Read implements Source.
func (s *Socket) Read() ([]byte, time.Time, error) {
	if s.next == s.have {
		if err := s.receive(); err != nil {
			return nil, time.Time{}, err
		}
	}
	i := s.next
	s.next++
	return s.buf[i][:s.hdr[i].len], s.arrival(i), nil
}

// receive takes the packets that are there. Where there are none it looks again
// after a while: to be woken for every packet would cost more than all the rest.
func (s *Socket) receive() error {
	err := s.take()
	if err == ErrIdle {
		s.rest.sleep()
		err = s.take()
	}
	if err == nil {
		s.rest.over()
	}
	return err
}

func (s *Socket) take() error {
	for i := range s.have {
		s.hdr[i].hdr.Controllen = stampLen // the kernel has written how much it used
	}
	s.next, s.have = 0, 0
	n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&s.hdr[0])), socketBatch, unix.MSG_DONTWAIT, 0, 0)
	runtime.KeepAlive(s)
	switch errno {
	case 0:
		s.have = int(n)
		return nil
	case unix.EAGAIN, unix.EINTR:
		return ErrIdle
	case unix.ENETDOWN:
		return fmt.Errorf("receive on %s: the interface went down or away", s.name)
	}
	return fmt.Errorf("receive on %s: %w", s.name, errno)
}

// arrival returns the kernel's time stamp of a packet.
func (s *Socket) arrival(i int) time.Time {
	control := s.control[i][:s.hdr[i].hdr.Controllen]
	if len(control) < stampLen || binary.NativeEndian.Uint32(control[12:]) != unix.SCM_TIMESTAMPNS {
		return time.Now()
	}
	stamp := control[unix.SizeofCmsghdr:]
	return time.Unix(int64(binary.NativeEndian.Uint64(stamp)), int64(binary.NativeEndian.Uint64(stamp[8:])))
}

// Hurry implements Hurried: what has arrived is there at once.
func (s *Socket) Hurry() { close(s.rest.hurried) }

// Drops implements Source.
func (s *Socket) Drops() (uint64, error) {
	stats, err := unix.GetsockoptTpacketStats(s.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return 0, fmt.Errorf("read the counters of the receive socket: %w", err)
	}
	return s.drops.Add(uint64(stats.Drops)), nil // the kernel's begin anew
}

// Close implements Source. Read must have returned.
func (s *Socket) Close() error { return unix.Close(s.fd) }
