package rx

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"synoptic/internal/wire"
)

// OpenNeighbours opens a socket for the answers to questions for link addresses
// on a device. When it returns, every answer that arrives from then on is seen.
func OpenNeighbours(ifindex int, name string) (*Socket, error) {
	s, err := openSocket(ifindex, name, neighbourFilter())
	if err != nil {
		return nil, fmt.Errorf("listen for neighbours on %s: %w", name, err)
	}
	// Without the privilege there is room for fewer, and questions are repeated.
	if unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, socketBuffer) != nil {
		_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, socketBuffer)
	}
	return s, nil
}

// Neighbours reads answers to questions for link addresses and hands on every
// one, until ctx ends, which returns nil, or the source fails.
func Neighbours(ctx context.Context, source Source, heard func(wire.Neighbour)) error {
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
