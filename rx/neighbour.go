package rx

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"synoptic/internal/wire"
)

// neighbourSocket is a Reader of answers to questions for link addresses. It is
// no ring: the answers are few, and a ring takes the kernel two grace periods
// to set up and two to take down (packet_set_ring, net/packet/af_packet.c).
type neighbourSocket struct {
	fd   int
	name string // of the device, for errors
	buf  [snapLen]byte
}

// OpenNeighbours opens a socket for the answers to questions for link addresses
// on a device. When it returns, every answer that arrives from then on is seen.
func OpenNeighbours(ifindex int, name string) (Reader, error) {
	// With protocol 0 it receives nothing until it is bound, filter and all.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open packet socket: %w", err)
	}
	s := &neighbourSocket{fd: fd, name: name}
	if err := s.listen(ifindex); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("listen for neighbours on %s: %w", name, err)
	}
	return s, nil
}

func (s *neighbourSocket) listen(ifindex int) error {
	program, err := bpf.Assemble(append(incoming(), neighbourFilter()...))
	if err != nil {
		return err
	}
	filter := make([]unix.SockFilter, len(program))
	for i, in := range program {
		filter[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	if err := unix.SetsockoptSockFprog(s.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}); err != nil {
		return err
	}
	timeout := unix.NsecToTimeval(pollTimeout.Nanoseconds())
	if err := unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
		return err
	}
	// Room for some ten thousand answers; without the privilege, for fewer.
	_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20)
	const all = unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8
	return unix.Bind(s.fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: ifindex})
}

// Read implements Reader.
func (s *neighbourSocket) Read() ([]byte, time.Time, error) {
	n, err := unix.Read(s.fd, s.buf[:])
	switch err {
	case nil:
		return s.buf[:n], time.Now(), nil
	case unix.EAGAIN, unix.EINTR:
		return nil, time.Time{}, ErrIdle
	case unix.ENETDOWN:
		return nil, time.Time{}, fmt.Errorf("receive on %s: the interface went down or away", s.name)
	}
	return nil, time.Time{}, fmt.Errorf("receive on %s: %w", s.name, err)
}

// Close implements Reader.
func (s *neighbourSocket) Close() error { return unix.Close(s.fd) }

// Neighbours reads answers to questions for link addresses and hands on every
// one, until ctx ends, which returns nil, or the reader fails.
func Neighbours(ctx context.Context, source Reader, heard func(wire.Neighbour)) error {
	var n wire.Neighbour
	for ctx.Err() == nil {
		data, _, err := source.Read()
		switch {
		case err == nil:
			if n.Decode(data) {
				heard(n)
			}
		case !errors.Is(err, ErrIdle):
			return err
		}
	}
	return nil
}

// neighbourFilter passes ARP replies and neighbour advertisements on Ethernet;
// who told them to whom is checked by those who asked.
func neighbourFilter() []bpf.Instruction {
	const ip = wire.EthernetLen
	var a assembler
	a.load(12, 2)
	a.jumpIf(wire.EtherARP, "arp")
	a.jumpUnless(wire.EtherIPv6, "drop")
	a.load(ip+6, 1)
	a.jumpUnless(wire.ProtoICMP6, "drop")
	a.load(ip+wire.IPv6Len, 1)
	a.jumpIf(wire.Advertisement, "accept")
	a.jump("drop")
	a.label("arp")
	a.load(ip+6, 2)
	a.jumpIf(wire.ARPReply, "accept")
	a.label("drop")
	a.add(bpf.RetConstant{Val: 0})
	a.label("accept")
	a.add(bpf.RetConstant{Val: snapLen})
	return a.assemble()
}
