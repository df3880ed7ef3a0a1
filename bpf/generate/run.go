package generate

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"synoptic/internal/plan"
)

// ErrDevice is returned by Run when frames did not get as far as the device's
// queue: it is down, gone, or cannot send frames of XDP at all.
var ErrDevice = errors.New("the device takes no frames of XDP: is it up, and does its driver (of a veth: the other end) have XDP on?")

// Result is what became of a span. Built = Sent + the number of Lost, unless the
// error is ErrDevice.
type Result struct {
	// Built is how many of the span's positions have had a frame, from the first
	// on: all, unless there was an error.
	Built int
	// Sent is how many frames the device has taken.
	Sent int
	// Lost are the positions whose frames it has not, in the order of the span.
	// They are valid until the slot's next run. With ErrDevice it is not known
	// which they are, and Lost is all that may have been.
	Lost []uint64
}

// BPF_F_TEST_XDP_LIVE_FRAMES of <linux/bpf.h>, and how many frames are made before
// the device's queue is emptied: four times what a queue holds.
const (
	live      = 1 << 1
	batchSize = 64
)

// Run sends the probes of a span, in the order of their positions, and returns when
// the device has taken or refused the last of them. Signals do not disturb it. The
// calling thread's network namespace is the one that counts.
func (g *Generator) Run(slot int, span *plan.Span) (r Result, err error) {
	s := &g.slots[slot]
	s.lost = s.lost[:0]
	for n := span.Len(); r.Built < n && err == nil; {
		size := min(n-r.Built, runPositions)
		if err = g.begin(slot, span, r.Built, size); err != nil {
			break
		}
		err = g.run(slot, g.frame, size)
		err = errors.Join(err, g.end(slot, span, &r))
		if err == nil && s.state.Built != uint64(size) {
			err = fmt.Errorf("only %d of %d frames were built", s.state.Built, size)
		}
	}
	r.Lost = s.lost
	if err != nil {
		return r, fmt.Errorf("generate probes: %w", err)
	}
	return r, nil
}

// Build writes the frame of a position's try into dst and returns it. It is sent
// nowhere. Slot 0 may not be running.
func (g *Generator) Build(dst []byte, pos uint64, try int) ([]byte, error) {
	s := &g.slots[0]
	s.state = bpfSlot{Next: pos, End: pos + 1, SourcePort: g.sourcePort(try)}
	err := g.objects.Slots.Put(uint32(0), &s.state)
	if err != nil {
		return nil, fmt.Errorf("build a probe: %w", err)
	}
	o := ebpf.RunOptions{Data: g.frame, DataOut: dst[:cap(dst)]}
	verdict, err := s.prog.Run(&o)
	if err != nil {
		return nil, fmt.Errorf("build a probe: %w", err)
	}
	if verdict != xdpRedirect {
		return nil, fmt.Errorf("build a probe: position %d has no frame", pos)
	}
	return o.DataOut, nil
}

// xdpRedirect is XDP_REDIRECT of <linux/bpf.h>.
const xdpRedirect = 4

// begin tells the program what to do: size positions of a span from the i-th on.
func (g *Generator) begin(slot int, span *plan.Span, i, size int) error {
	if span.At(i+size-1) >= g.config.Plan.Len() {
		panic("generate: position outside the plan")
	}
	s := &g.slots[slot]
	s.state = bpfSlot{Next: span.From + uint64(i), SourcePort: g.sourcePort(span.Try)}
	if span.Listed {
		s.state.Next, s.state.What = 0, bpfWhatLISTED
		if _, err := g.objects.Pending.BatchUpdate(s.keys[:size], span.Pending[i:i+size], nil); err != nil {
			return fmt.Errorf("write positions: %w", err)
		}
	}
	s.state.End = s.state.Next + uint64(size)
	return g.objects.Slots.Put(uint32(slot), &s.state)
}

// run has the program make so many frames on pages that are as data at first. The
// library begins again when a signal ends a run, with as many frames as before;
// those that find no position left are dropped in so little time that not even a
// storm of signals keeps a run from its end.
func (g *Generator) run(slot int, data []byte, frames int) error {
	_, err := g.slots[slot].prog.Run(&ebpf.RunOptions{
		Data: data, Repeat: uint32(frames), Flags: live, BatchSize: uint32(min(frames, batchSize)),
	})
	return err
}

// end adds up what became of a run.
func (g *Generator) end(slot int, span *plan.Span, r *Result) error {
	s := &g.slots[slot]
	if err := g.objects.Slots.Lookup(uint32(slot), &s.state); err != nil {
		return err
	}
	first := r.Built
	r.Built += int(s.state.Built)
	r.Sent += int(s.state.Sent)
	known := s.state.Sent+s.state.Dropped == s.state.Built
	for i := range int(s.state.Built) {
		if s.state.Lost[i/64]&(1<<(i%64)) != 0 || !known {
			s.lost = append(s.lost, span.At(first+i))
		}
	}
	if !known {
		return ErrDevice
	}
	return nil
}

// sourcePort is that of a try, in network byte order.
func (g *Generator) sourcePort(try int) uint32 {
	return uint32(swap16(g.config.SourcePort + uint16(try)*g.config.PortStep))
}
