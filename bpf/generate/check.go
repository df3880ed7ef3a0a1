package generate

import (
	"encoding/binary"
	"fmt"
)

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
	s.state = bpfSlot{Size: 1, What: bpfWhatGIVEN}
	if err := g.write(0); err != nil {
		return err
	}
	if err := g.run(0, nobodys([6]byte(template[6:12])), 1); err != nil {
		return err
	}
	if err := g.read(0); err != nil {
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
