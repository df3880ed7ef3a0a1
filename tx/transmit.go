// Package tx is the transmit side of a scan: from plan positions to frames on
// the wire.
//
//	1 a sender takes the next span from the scan
//	2 it builds the span's frames into its batch         (frame.go, batch.go)
//	3 it waits until the networks of its targets may have them, if there is such
//	  a bound, and the pacer lets them go           (prefixes.go, pacer.go)
//	4 it stamps the span with the time, for round trips
//	5 it hands the batch to its sockets, each in one system call (conn.go)
//	6 what the machine refused it offers again, until all of the span is sent
//
// Where a generator in the kernel builds the frames, it does 2 and 5, and nothing
// of the rest is different (kernel.go).
//
// Every sender is a locked thread with its own sockets and buffers; they share
// only pacer, bounds and the source of spans. A sender keeps its P, in system calls
// too, so a program needs a larger GOMAXPROCS than it has senders. Nothing allocates
// per packet, and nothing is remembered of a probe: the receive side recognises
// answers by plan and cookie alone.
package tx

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"synoptic/internal/plan"
)

// Spans hands out the parts of the plan that are to be sent. Its methods are
// called by all senders at once.
type Spans interface {
	// Next fills s, reusing its Pending, and reports false when there is none
	// left. A span that was handed out is sent, or given back.
	Next(s *plan.Span) bool
	// Sending is told just before a span's frames leave.
	Sending(s *plan.Span, at time.Time)
	// GiveBack takes a span back of which some probes were not sent, because
	// the run ended or the sender failed.
	GiveBack(s *plan.Span, unsent int)
}

// Stats counts frames. Generated = Sent + Refused once the senders have
// stopped; a frame that was refused and offered again was generated twice.
type Stats struct {
	Generated   uint64
	Sent        uint64 // taken by the device
	Refused     uint64 // refused by this machine
	Refusals    uint64 // how often it refused some, at once
	Unreachable uint64 // not generated: no way to the target
}

type counters struct{ generated, sent, refused, refusals, unreachable atomic.Uint64 }

func (c *counters) stats() Stats {
	return Stats{
		Generated: c.generated.Load(), Sent: c.sent.Load(),
		Refused: c.refused.Load(), Refusals: c.refusals.Load(), Unreachable: c.unreachable.Load(),
	}
}

// Transmitter sends spans through one Conn per sender.
type Transmitter struct {
	probe    Probe
	conns    []Conn
	pacer    *Pacer
	prefixes *Prefixes
	counts   counters
}

// New returns a transmitter of probes that shares a pacer among its senders,
// one per conn, and the bound of each network, if it is not nil. The conns stay
// the caller's to close.
func New(probe Probe, conns []Conn, pacer *Pacer, prefixes *Prefixes) *Transmitter {
	return &Transmitter{probe: probe, conns: conns, pacer: pacer, prefixes: prefixes}
}

// Stats returns the counts so far; safe at any time.
func (t *Transmitter) Stats() Stats { return t.counts.stats() }

// Run sends spans until there are none left, ctx ends, or a sender fails, and
// returns when every sender has stopped. A span once begun is completed, unless
// its sender failed or the machine refuses it. It returns nil when ctx ended.
func (t *Transmitter) Run(ctx context.Context, spans Spans) error {
	senders := make([]*sender, len(t.conns))
	for i, conn := range t.conns {
		framer := NewFramer(t.probe)
		senders[i] = &sender{framer: framer, conn: conn, pacer: t.pacer, prefixes: t.prefixes, counts: &t.counts}
	}
	return inThreads(ctx, len(senders), func(ctx context.Context, i int) error { return senders[i].run(ctx, spans) })
}

// inThreads runs so many senders, each in a locked thread, until all have stopped.
// One that fails ends the others.
func inThreads(ctx context.Context, n int, run func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var running sync.WaitGroup
	errs := make([]error, n)
	for i := range n {
		running.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			if errs[i] = run(ctx, i); errs[i] != nil {
				cancel()
			}
		})
	}
	running.Wait()
	return errors.Join(errs...)
}

type sender struct {
	framer   *Framer
	conn     Conn
	pacer    *Pacer
	prefixes *Prefixes
	counts   *counters
	batch    Batch
	span     plan.Span
	claim    Claim
}

func (s *sender) run(ctx context.Context, spans Spans) error {
	for ctx.Err() == nil && spans.Next(&s.span) {
		s.batch.fill(s.framer, &s.span)
		s.counts.unreachable.Add(uint64(s.span.Unreachable))
		if s.batch.n == 0 {
			continue
		}
		if sent, err := s.send(ctx, spans); sent < s.batch.n {
			spans.GiveBack(&s.span, s.batch.n-sent)
			return err
		}
	}
	return nil
}

// send sends the batch when it may, and returns how far it came: without error
// if ctx ended.
func (s *sender) send(ctx context.Context, spans Spans) (sent int, err error) {
	if s.prefixes != nil {
		for i := range s.batch.n {
			s.claim.Add(s.batch.frames[i].dst)
		}
		if s.prefixes.Wait(ctx, &s.claim) != nil {
			return 0, nil
		}
		defer s.prefixes.Left(&s.claim)
	}
	if s.pacer.Wait(ctx, s.batch.n) != nil {
		return 0, nil
	}
	spans.Sending(&s.span, time.Now())
	return s.flush(ctx)
}

// How long a sender keeps offering a frame that the machine refuses: the first
// times at once, because a device's queue empties within microseconds, then
// with pauses, until it must be taken for a dead device.
const (
	eagerOffers = 16
	offerPause  = 50 * time.Microsecond
	giveUpAfter = 5 * time.Second
)

// flush sends the batch to its end, or returns how far it came: without error if
// ctx ended while frames were refused.
func (s *sender) flush(ctx context.Context) (sent int, err error) {
	var since time.Time // of the first refusal in a row
	offers := 0
	s.counts.generated.Add(uint64(s.batch.n))
	for from := 0; from < s.batch.n; {
		taken, err := s.conn.Send(&s.batch, from, s.batch.n)
		s.counts.sent.Add(uint64(taken))
		from += taken
		if err == nil {
			continue
		}
		s.counts.refused.Add(1)
		s.counts.refusals.Add(1)
		if !errors.Is(err, ErrRefused) {
			// The frames behind the refused one were built for nothing.
			s.counts.refused.Add(uint64(s.batch.n - from - 1))
			return from, err
		}
		s.counts.generated.Add(1) // the refused frame, once more
		if taken > 0 {
			offers = 0
		}
		switch offers++; {
		case ctx.Err() != nil:
			s.counts.refused.Add(uint64(s.batch.n - from))
			return from, nil
		case offers == 1:
			since = time.Now()
		case offers < eagerOffers:
			runtime.Gosched()
		case time.Since(since) > giveUpAfter:
			s.counts.refused.Add(uint64(s.batch.n - from))
			return from, fmt.Errorf("send: no frame was taken for %v: %w: does the interface have a carrier?", giveUpAfter, err)
		default:
			time.Sleep(offerPause)
		}
	}
	return s.batch.n, nil
}
