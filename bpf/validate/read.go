package validate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// ErrIdle is returned by Read when there is nothing to read.
var ErrIdle = errors.New("no answer yet")

// Read returns the next answer as a record for Answer.Decode, and when it
// arrived. The bytes are valid until the next call. It never waits: that the
// program wakes nobody is what makes it fast.
func (v *Validator) Read() (record []byte, at time.Time, err error) {
	if v.answers.AvailableBytes() == 0 {
		v.clock.stale = true
		return nil, time.Time{}, ErrIdle
	}
	if err := v.answers.ReadInto(&v.record); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, time.Time{}, ErrIdle
		}
		return nil, time.Time{}, fmt.Errorf("read answers: %w", err)
	}
	record = v.record.RawSample
	if len(record) != recordLen && len(record) != recordFromLen {
		return nil, time.Time{}, fmt.Errorf("read answers: a record of %d bytes", len(record))
	}
	return record, v.clock.wall(binary.NativeEndian.Uint64(record[atTime:])), nil
}

// clock makes wall time of the time of records. That is CLOCK_MONOTONIC, because
// the wall's is nothing that a program may ask for, and TAI, from which it
// could be had, not before Linux 6.1. Like the stamps of a packet socket, which
// are wall time, it ends up beside the times at which probes were sent. The
// difference between the clocks changes when somebody sets the wall's, so it is
// taken anew when the ring had been empty, and at least for each clockLife
// answers.
type clock struct {
	offset int64 // wall time - monotonic time, ns
	left   int   // answers until it is taken anew
	stale  bool
}

const clockLife = 256

func (c *clock) wall(monotonic uint64) time.Time {
	if c.stale || c.left == 0 {
		c.offset, c.left, c.stale = wallOffset(), clockLife, false
	}
	c.left--
	return time.Unix(0, int64(monotonic)+c.offset)
}

// wallOffset takes the wall's time between two looks at the other clock, and once
// more if it was interrupted meanwhile.
func wallOffset() (offset int64) {
	const tries, good = 5, 5 * time.Microsecond
	best := time.Hour
	for range tries {
		before := monotonic()
		wall := time.Now().UnixNano()
		took := monotonic() - before
		if time.Duration(took) < best {
			best, offset = time.Duration(took), wall-before-took/2
		}
		if best <= good {
			break
		}
	}
	return offset
}

func monotonic() int64 {
	var now unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) // never fails
	return now.Nano()
}

// Lost returns how many valid answers there was no room for.
func (v *Validator) Lost() (uint64, error) {
	c, err := v.Counters()
	return c.Full, err
}
