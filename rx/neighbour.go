package rx

import (
	"context"
	"errors"

	"golang.org/x/net/bpf"

	"synoptic/internal/wire"
)

// Neighbours reads a source of OpenNeighbours and hands on every answer, until
// ctx ends, which returns nil, or the source fails.
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
