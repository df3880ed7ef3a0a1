package tx

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"synoptic/bpf/generate"
	"synoptic/internal/plan"
)

// fullDevice is a Generator whose device takes only some frames of each run.
type fullDevice struct {
	mu    sync.Mutex
	room  func(run int) int // frames that run takes; nil: all
	fail  func(run int) error
	runs  int
	sent  map[uint64]int // by position
	times []time.Time
	lost  [2][]uint64 // by slot, and valid until its next run
}

func newFullDevice() *fullDevice { return &fullDevice{sent: map[uint64]int{}} }

func (d *fullDevice) Run(slot int, s *plan.Span) (r generate.Result, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.runs++
	d.times = append(d.times, time.Now())
	r.Built = s.Len()
	if r.Sent = r.Built; d.room != nil {
		r.Sent = min(r.Sent, d.room(d.runs))
	}
	if d.fail != nil {
		err = d.fail(d.runs)
	}
	lost := d.lost[slot][:0]
	for i := range r.Built {
		if i < r.Sent {
			d.sent[s.At(i)]++
		} else {
			lost = append(lost, s.At(i))
		}
	}
	d.lost[slot], r.Lost = lost, lost
	return r, err
}

// What the device does not take is sent again until it does, and everything once.
func TestKernelSendsAgainWhatTheDeviceDidNotTake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newFullDevice()
		d.room = func(run int) int { return []int{7, 0, 300, 1}[run%4] }
		k := NewKernel(d, 2, NewPacer(0))
		spans := &wholePlan{to: 3000, spanLen: 500}
		if err := k.Run(t.Context(), spans); err != nil {
			t.Fatal(err)
		}
		for pos := range uint64(3000) {
			if d.sent[pos] != 1 {
				t.Fatalf("position %d was sent %d times", pos, d.sent[pos])
			}
		}
		if s := k.Stats(); s.Sent != 3000 || s.Generated != s.Sent+s.Refused || s.Refused < 3000 {
			t.Errorf("%+v", s)
		}
		if spans.back != 0 || spans.stamped != 3000 {
			t.Errorf("%d given back, %d stamped", spans.back, spans.stamped)
		}
	})
}

// The pace follows the device: pauses double while it has no room, and go as it has.
func TestKernelAdaptsItsPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newFullDevice()
		d.room = func(run int) int {
			if run <= 12 {
				return 0
			}
			return 1000
		}
		if err := NewKernel(d, 1, NewPacer(0)).Run(t.Context(), &wholePlan{to: 2000, spanLen: 100}); err != nil {
			t.Fatal(err)
		}
		pause := func(run int) time.Duration { return d.times[run].Sub(d.times[run-1]) }
		for run, want := range map[int]time.Duration{
			1: leastPause, 2: 2 * leastPause, 6: 32 * leastPause, 7: 64 * leastPause, 8: mostPause, 12: mostPause,
			13: mostPause / 2, 14: mostPause / 4, 25: 0,
		} {
			if got := pause(run); got != want {
				t.Errorf("before run %d it waits %v, want %v", run+1, got, want)
			}
		}
	})
}

// A device that takes nothing is given up, and the span with it.
func TestKernelGivesADeadDeviceUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newFullDevice()
		d.room = func(run int) int { return 100 - 100*min(run/3, 1) }
		spans, begin := &wholePlan{to: 1000, spanLen: 150}, time.Now()
		err := NewKernel(d, 1, NewPacer(0)).Run(t.Context(), spans)
		if err == nil || spans.back == 0 {
			t.Fatalf("%v, %d given back", err, spans.back)
		}
		if waited := time.Since(begin); waited < giveUpAfter || waited > giveUpAfter+time.Second {
			t.Errorf("it was given up after %v", waited)
		}
	})
}

// An error ends the run, and what was not sent goes back; so does the end of ctx
// while a device refuses.
func TestKernelGivesBackWhatItDidNotSend(t *testing.T) {
	broken := errors.New("broken")
	for name, end := range map[string]func(*fullDevice, context.CancelFunc){
		"error": func(d *fullDevice, _ context.CancelFunc) {
			d.fail = func(run int) error {
				if run == 3 {
					return broken
				}
				return nil
			}
		},
		"context": func(d *fullDevice, cancel context.CancelFunc) {
			room := d.room
			d.room = func(run int) int {
				if run == 3 {
					cancel()
				}
				return room(run)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			d := newFullDevice()
			d.room = func(run int) int {
				if run == 3 {
					return 40
				}
				return 100
			}
			end(d, cancel)
			k, spans := NewKernel(d, 1, NewPacer(0)), &wholePlan{to: 1000, spanLen: 100}
			err := k.Run(ctx, spans)
			if name == "error" && !errors.Is(err, broken) || name == "context" && err != nil {
				t.Error(err)
			}
			if s := k.Stats(); spans.back != 60 || s.Sent != 240 || s.Generated != 300 || s.Refused != 60 {
				t.Errorf("%d given back, %+v", spans.back, s)
			}
		})
	}
}

// An error is one even if every frame was taken.
func TestKernelTellsEveryError(t *testing.T) {
	broken := errors.New("broken")
	d := newFullDevice()
	d.fail = func(int) error { return broken }
	spans := &wholePlan{to: 300, spanLen: 100}
	if err := NewKernel(d, 1, NewPacer(0)).Run(t.Context(), spans); !errors.Is(err, broken) || d.runs != 1 || spans.back != 0 {
		t.Errorf("%v after %d runs, %d given back", err, d.runs, spans.back)
	}
}
