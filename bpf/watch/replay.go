package watch

import (
	"errors"
	"fmt"
)

// Of a frame, Run looks at no more than MaxFrame bytes, and one that is
// shorter than MinFrame is malformed without a look.
const (
	MinFrame = 14
	MaxFrame = 3072 // less than what a page has room for beside the kernel's own
)

var errNotReplay = errors.New("run a frame: the program was not loaded for replay")

// Run puts an Ethernet frame through the program as if it had come at a time,
// in nanoseconds (0 counts as 1), and into a Context.
func (w *Watch) Run(frame []byte, now uint64, c Context) error {
	if !w.config.Replay {
		return errNotReplay
	}
	if len(frame) < MinFrame {
		w.short.Add(1)
		return nil
	}
	err := w.objects.ReplayNow.Set(max(now, 1))
	if err == nil {
		err = w.objects.ReplayContext.Set(uint32(c))
	}
	if err == nil {
		w.run.Data = frame[:min(len(frame), MaxFrame)]
		_, err = w.objects.Watch.Run(&w.run)
	}
	if err != nil {
		return fmt.Errorf("run a frame of %d bytes: %w", len(frame), err)
	}
	return nil
}
