package connect

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"time"

	"synoptic/internal/plan"
	"synoptic/tx"
)

// senders is the half that starts connections, one sender for each lane. It
// implements scan.Sender.
type senders struct {
	*Prober
	pacer    *tx.Pacer
	prefixes *tx.Prefixes // nil: none has a bound of its own
}

// Stats implements scan.Sender: an attempt that the system began counts as sent,
// one for which it lacked something as refused.
func (s *senders) Stats() tx.Stats {
	return tx.Stats{Generated: s.counts.generated.Load(), Sent: s.counts.sent.Load(), Refused: s.counts.refused.Load()}
}

// Run implements scan.Sender.
func (s *senders) Run(ctx context.Context, spans tx.Spans) error {
	if s.options.SourcePort != 0 {
		// Those of the last try hold the pairs of ports that this one needs.
		for _, l := range s.lanes {
			if err := l.giveUpAll(); err != nil {
				return err
			}
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var running sync.WaitGroup
	errs := make([]error, len(s.lanes))
	for i, l := range s.lanes {
		running.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			if errs[i] = s.run(ctx, l, spans); errs[i] != nil {
				cancel()
			}
		})
	}
	running.Wait()
	return errors.Join(errs...)
}

func (s *senders) run(ctx context.Context, l *lane, spans tx.Spans) error {
	var span plan.Span
	var claim tx.Claim
	for ctx.Err() == nil && spans.Next(&span) {
		if started, err := s.send(ctx, l, spans, &span, &claim); err != nil {
			spans.GiveBack(&span, span.Len()-started)
			if err == errEnded {
				return nil
			}
			return err
		}
	}
	return nil
}

// send starts the connections of a span when it may, and returns how many it has
// started if that fails. It returns errEnded when ctx or the lane ends.
func (s *senders) send(ctx context.Context, l *lane, spans tx.Spans, span *plan.Span, claim *tx.Claim) (started int, err error) {
	if s.prefixes != nil {
		for i := range span.Len() {
			claim.Add(s.plan.At(span.At(i)).Addr())
		}
		if s.prefixes.Wait(ctx, claim) != nil {
			return 0, errEnded
		}
		defer s.prefixes.Left(claim)
	}
	if s.pacer.Wait(ctx, span.Len()) != nil {
		return 0, errEnded
	}
	spans.Sending(span, time.Now())
	return l.send(ctx, span)
}
