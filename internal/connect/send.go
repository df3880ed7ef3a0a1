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
	pacer *tx.Pacer
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
	for ctx.Err() == nil && spans.Next(&span) {
		if s.pacer.Wait(ctx, span.Len()) != nil {
			spans.GiveBack(&span, span.Len())
			return nil
		}
		spans.Sending(&span, time.Now())
		if started, err := l.send(ctx, &span); err != nil {
			spans.GiveBack(&span, span.Len()-started)
			if err == errEnded {
				return nil
			}
			return err
		}
	}
	return nil
}
