package generate

import (
	"errors"
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

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
	err = g.atHome(s)
	short := 0 // runs in a row for which there was no memory
	for n := span.Len(); r.Built < n && err == nil; {
		size := min(n-r.Built, runPositions)
		if err = g.begin(slot, span, r.Built, size); err != nil {
			break
		}
		runErr := g.run(slot, g.frame, size)
		if err = g.end(slot, span, &r); err != nil {
			break
		}
		switch {
		case errors.Is(runErr, unix.ENOMEM) && short < mostShort:
			// It got as far as there were pages, and begins again from there.
			short++
			time.Sleep(shortPause)
		case runErr == nil && s.state.Built != uint64(size):
			err = fmt.Errorf("only %d of %d frames were built", s.state.Built, size)
		default:
			short, err = 0, runErr
		}
	}
	r.Lost = s.lost
	if err != nil {
		return r, fmt.Errorf("generate probes: %w", err)
	}
	return r, nil
}

// A machine without memory for some frames has five seconds to find it.
const (
	mostShort  = 500
	shortPause = 10 * time.Millisecond
)

// atHome is an error if the slot's thread is in another network namespace than the one
// that the device is of: the same index is another device there.
func (g *Generator) atHome(s *slot) error {
	thread := unix.Gettid()
	if thread == s.thread {
		return nil
	}
	space, err := networkSpace()
	if err != nil {
		return err
	}
	if space != g.space {
		return errors.New("the thread is in another network namespace than the device")
	}
	s.thread = thread
	return nil
}

// networkSpace identifies the calling thread's network namespace.
func networkSpace() (uint64, error) {
	var stat unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &stat); err != nil {
		return 0, fmt.Errorf("find the network namespace: %w", err)
	}
	return stat.Ino, nil
}

// begin tells the program what to do: size positions of a span from the i-th on.
func (g *Generator) begin(slot int, span *plan.Span, i, size int) error {
	if span.At(i+size-1) >= g.config.Plan.Len() {
		panic("generate: position outside the plan")
	}
	s := &g.slots[slot]
	s.state = bpfSlot{Size: uint64(size), SourcePort: g.sourcePort(span.Try)}
	if !span.Listed {
		s.state.At.Row, s.state.At.Col = g.cell(span.At(i))
	} else {
		s.state.What = bpfWhatLISTED
		if _, err := g.objects.Pending.BatchUpdate(s.keys[:size], span.Pending[i:i+size], nil); err != nil {
			return fmt.Errorf("write positions: %w", err)
		}
	}
	return g.write(slot)
}

// write and read copy a slot's state to the program's memory and back.
func (g *Generator) write(slot int) error {
	_, err := g.shared.WriteAt(g.slots[slot].bytes(), int64(slot)*slotSize)
	return err
}

func (g *Generator) read(slot int) error {
	_, err := g.shared.ReadAt(g.slots[slot].bytes(), int64(slot)*slotSize)
	return err
}

const slotSize = int64(unsafe.Sizeof(bpfSlot{})) // a multiple of 8, as it is in the map

// bytes is the state as it lies in memory.
func (s *slot) bytes() []byte {
	return (*[slotSize]byte)(unsafe.Pointer(&s.state))[:]
}

// cell is where a position is on the rectangle of the scan's order.
func (g *Generator) cell(pos uint64) (row, col uint64) {
	shard, order := g.config.Plan.Shard(), g.config.Plan.Order()
	columns, _ := order.Sides()
	i := pos*shard.Count + shard.Index - 1
	return i / columns, i % columns
}

// run has the program make so many frames on pages that are as data at first. When a
// signal ends a run it begins again, with as many frames as before;
// those that find no position left are dropped in so little time that not even a
// storm of signals keeps a run from its end.
//
// Go's scheduler is not told of the system call, for the reason that tx gives for sendmmsg.
func (g *Generator) run(slot int, data []byte, frames int) error {
	attr := &g.slots[slot].attr
	*attr = progRun{
		prog: uint32(g.slots[slot].prog.FD()), size: uint32(len(data)), data: unsafe.SliceData(data),
		repeat: uint32(frames), flags: live, batch: uint32(min(frames, batchSize)),
	}
	for {
		_, _, errno := unix.RawSyscall(unix.SYS_BPF, unix.BPF_PROG_RUN, uintptr(unsafe.Pointer(attr)), unsafe.Sizeof(*attr))
		switch {
		case errno == 0 || errno == unix.EINTR && frames == 1: // and it has been made
			return nil
		case errno != unix.EINTR:
			return errno
		}
	}
}

// progRun is what BPF_PROG_RUN takes: struct test of union bpf_attr, <linux/bpf.h>.
type progRun struct {
	prog, _, size, _   uint32
	data               *byte
	_                  uint64
	repeat, _, _, _    uint32
	_, _               uint64
	flags, _, batch, _ uint32
}

// end adds up what became of a run.
func (g *Generator) end(slot int, span *plan.Span, r *Result) error {
	s := &g.slots[slot]
	if err := g.read(slot); err != nil {
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
