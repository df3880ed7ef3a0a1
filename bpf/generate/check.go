package generate

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"

	"synoptic/internal/plan"
	"synoptic/internal/target"
	"synoptic/internal/wire"
)

// Check tells whether the generator can send by a device, by sending one frame that
// nobody takes. The error says what is missing: a newer kernel, a capability, or a
// device that takes frames of XDP (ErrDevice). The calling thread's network
// namespace is the one that counts.
func Check(device int) error {
	dev, err := net.InterfaceByIndex(device)
	if err != nil {
		return fmt.Errorf("find the device of index %d: %w", device, err)
	}
	if err := check(dev); err != nil {
		return fmt.Errorf("try to send by %q from within the kernel: %w", dev.Name, err)
	}
	return nil
}

func check(dev *net.Interface) error {
	if len(dev.HardwareAddr) != 6 {
		return Unsupported("a link other than Ethernet")
	}
	// A plan is needed for the tables, and has no probe sent.
	targets, _, err := target.Parse(context.Background(), target.Words("127.0.0.1"), nil, nil)
	if err != nil {
		return err
	}
	ports, err := target.ParsePorts("1")
	if err != nil {
		return err
	}
	p, err := plan.New(targets, ports, 0, plan.Whole)
	if err != nil {
		return err
	}
	template := make([]byte, wire.EthernetLen+wire.IPv4Len+wire.TCPLen)
	copy(template[6:], dev.HardwareAddr)
	binary.BigEndian.PutUint16(template[12:], wire.EtherIPv4)
	g, err := load(Config{Plan: p, Frame4: template, Device: dev.Index})
	if err != nil {
		return err
	}
	return errors.Join(g.check(), g.Close())
}

// Check sends one frame that nobody takes, the way that probes go, and returns
// ErrDevice if the device does not take it. Slot 0 may not be running.
func (g *Generator) Check() error {
	if err := g.check(); err != nil {
		return fmt.Errorf("try the device: %w", err)
	}
	return nil
}

func (g *Generator) check() error {
	template := g.config.Frame4
	if template == nil {
		template = g.config.Frame6
	}
	s := &g.slots[0]
	s.state = bpfSlot{End: 1, What: bpfWhatGIVEN}
	if err := g.objects.Slots.Put(uint32(0), &s.state); err != nil {
		return err
	}
	if err := g.run(0, nobodys([6]byte(template[6:12])), 1); err != nil {
		return err
	}
	if err := g.objects.Slots.Lookup(uint32(0), &s.state); err != nil {
		return err
	}
	if s.state.Sent != 1 {
		return ErrDevice
	}
	return nil
}

// nobodys returns a frame that a device sends to its own address: a switch has that
// on the side that the frame comes from and leaves it there, and for a host at the far
// end it is another's. Its EtherType means nothing outside of experiments (IEEE 802,
// section 9.2.4), and it is as long as the shortest frame.
func nobodys(device [6]byte) []byte {
	const experimental, shortest = 0x88b5, 60
	frame := make([]byte, shortest)
	copy(frame, device[:])
	copy(frame[6:], device[:])
	binary.BigEndian.PutUint16(frame[12:], experimental)
	return frame
}
