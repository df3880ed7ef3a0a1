package tx

import (
	"context"
	"fmt"
	"time"

	"synoptic/bpf/generate"
	"synoptic/internal/plan"
)

// Generator builds and sends the frames of whole spans, and says which of them
// the device has not taken: a generate.Generator.
type Generator interface {
	Run(slot int, span *plan.Span) (generate.Result, error)
}

// KernelSpan is the most probes in a span for a Generator: a tenth of a
// millisecond or two, beside which the few microseconds that it takes to begin one
// do not count.
const KernelSpan = 1024

// Kernel sends spans by a generator in the kernel, of which every sender runs a
// slot.
type Kernel struct {
	generator Generator
	slots     int
	pacer     *Pacer
	counts    counters
}

// NewKernel returns a transmitter by so many slots of a generator, which share a
// pacer. The generator stays the caller's to close.
func NewKernel(g Generator, slots int, pacer *Pacer) *Kernel {
	return &Kernel{generator: g, slots: slots, pacer: pacer}
}

// Stats returns the counts so far; safe at any time.
func (k *Kernel) Stats() Stats { return k.counts.stats() }

// Run sends spans as Transmitter.Run does.
func (k *Kernel) Run(ctx context.Context, spans Spans) error {
	return inThreads(ctx, k.slots, func(ctx context.Context, slot int) error {
		s := kernelSender{Kernel: k, slot: slot}
		return s.run(ctx, spans)
	})
}

type kernelSender struct {
	*Kernel
	slot  int
	span  plan.Span
	again plan.Span // what is left of it
	pause time.Duration
}

func (s *kernelSender) run(ctx context.Context, spans Spans) error {
	for ctx.Err() == nil && spans.Next(&s.span) {
		unsent, err := s.send(ctx, spans)
		if unsent > 0 {
			spans.GiveBack(&s.span, unsent)
		}
		if unsent > 0 || err != nil {
			return err
		}
	}
	return nil
}

// send sends the span when it may, and returns how much of it is left: without
// error if ctx ended.
func (s *kernelSender) send(ctx context.Context, spans Spans) (unsent int, err error) {
	if s.pacer.Wait(ctx, s.span.Len()) != nil {
		return s.span.Len(), nil
	}
	time.Sleep(s.pause)
	taken := time.Now() // the last frame, or none yet
	spans.Sending(&s.span, taken)
	for rest := &s.span; ; time.Sleep(s.pause) {
		r, err := s.generator.Run(s.slot, rest)
		s.counts.generated.Add(uint64(r.Built))
		s.counts.sent.Add(uint64(r.Sent))
		s.counts.refused.Add(uint64(r.Built - r.Sent))
		unsent = rest.Len() - r.Sent
		if unsent > 0 {
			s.counts.refusals.Add(1)
		}
		s.adapt(unsent > 0)
		switch {
		case err != nil || unsent == 0 || ctx.Err() != nil:
			return unsent, err
		case r.Sent > 0:
			taken = time.Now()
		case time.Since(taken) > giveUpAfter:
			return unsent, fmt.Errorf("send: no frame was taken for %v: does the interface have a carrier?", giveUpAfter)
		}
		s.again = plan.Span{Try: s.span.Try, Listed: true, Pending: append(s.again.Pending[:0], r.Lost...)}
		rest = &s.again
	}
}

// Bounds of the pause after which a device that had no room is offered more: it
// doubles as long as there is none, and is halved by each span that was taken
// whole.
const (
	leastPause = 10 * time.Microsecond
	mostPause  = time.Millisecond
)

func (s *kernelSender) adapt(lost bool) {
	if lost {
		s.pause = min(max(2*s.pause, leastPause), mostPause)
	} else if s.pause /= 2; s.pause < leastPause {
		s.pause = 0
	}
}
