package connect

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"synoptic/internal/plan"
	"synoptic/tx"
)

// senders is the half that starts connections. It implements scan.Sender.
type senders struct {
	prober *Prober
	pacer  *tx.Pacer
	count  int
}

// Stats implements scan.Sender: an attempt that the system began counts as sent,
// one for which it lacked something as refused.
func (s *senders) Stats() tx.Stats {
	c := &s.prober.counts
	return tx.Stats{Generated: c.generated.Load(), Sent: c.sent.Load(), Refused: c.refused.Load()}
}

// Run implements scan.Sender.
func (s *senders) Run(ctx context.Context, spans tx.Spans) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var running sync.WaitGroup
	errs := make([]error, s.count)
	for i := range errs {
		running.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			one := sender{Prober: s.prober, pause: newPause()}
			if errs[i] = one.run(ctx, s.pacer, spans); errs[i] != nil {
				cancel()
			}
		})
	}
	running.Wait()
	return errors.Join(errs...)
}

type sender struct {
	*Prober
	dialer
	span  plan.Span
	pause *time.Timer
}

func newPause() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}

// errEnded is how a sender's steps tell that ctx ended.
var errEnded = errors.New("ended")

func (s *sender) run(ctx context.Context, pacer *tx.Pacer, spans tx.Spans) error {
	for ctx.Err() == nil && spans.Next(&s.span) {
		if pacer.Wait(ctx, s.span.Len()) != nil {
			spans.GiveBack(&s.span, s.span.Len())
			return nil
		}
		spans.Sending(&s.span, time.Now())
		for i := range s.span.Len() {
			err := s.probe(ctx, s.span.At(i), s.span.Try)
			if err == nil {
				continue
			}
			spans.GiveBack(&s.span, s.span.Len()-i)
			if err == errEnded {
				return nil
			}
			return err
		}
	}
	return nil
}

// giveUpAfter bounds how long this machine may lack something.
const giveUpAfter = 5 * time.Second

// probe starts one connection. It waits for a slot, and for what this machine
// lacks at the moment.
func (s *sender) probe(ctx context.Context, pos uint64, try int) error {
	target := s.plan.At(pos)
	var lacking time.Duration // since when, or 0
	for {
		i, err := s.slot(ctx, !target.Addr().Is4())
		if err != nil {
			return err
		}
		s.counts.generated.Add(1)
		a := attempt{pos: pos, target: target, try: try, began: s.now()}
		slot := &s.table.slots[i]
		a.err = s.begin(slot, target)
		if !shortage(a.err) && !refused(a.err) {
			s.counts.sent.Add(1)
			return s.table.arm(i, s.epoll, a)
		}
		s.counts.refused.Add(1)
		if slot.fd < 0 {
			s.table.discard(i)
		} else {
			s.table.release(i)
		}
		if refused(a.err) {
			return fmt.Errorf("connect to %v: %w: a local firewall rule or route refuses it", target, a.err)
		}
		switch now := s.now(); {
		case lacking == 0:
			lacking = now
		case now-lacking > giveUpAfter:
			return fmt.Errorf("connect to %v: %w for %v: %s", target, a.err, giveUpAfter, remedy(a.err))
		}
		if err := s.sleep(ctx, time.Millisecond); err != nil {
			return err
		}
	}
}

// begin starts a connection and returns how that went, 0 if it is on its way.
func (s *sender) begin(slot *slot, target netip.AddrPort) unix.Errno {
	if six := !target.Addr().Is4(); slot.fd < 0 || slot.six != six {
		if slot.fd >= 0 {
			unix.Close(slot.fd)
		}
		var err error
		slot.six, slot.watched = six, false
		if slot.fd, err = s.options.open(six); err != nil {
			errno, _ := errors.AsType[unix.Errno](err)
			return errno
		}
	}
	if target.Addr().IsUnspecified() {
		return unix.ENETUNREACH // and not this machine, which is what connect(2) makes of it
	}
	errno := s.connect(slot.fd, target)
	if errno == unix.EINPROGRESS {
		return 0
	}
	return errno
}

// slot takes a slot, if need be the one of the oldest attempt once that is
// older than patience. It returns errEnded when ctx ends.
func (s *sender) slot(ctx context.Context, six bool) (int32, error) {
	for {
		now, patience := s.now(), s.patience()
		i, stale, oldest := s.table.take(six, now-patience)
		if i != nobody {
			if stale {
				disconnect(s.table.slots[i].fd)
			}
			return i, nil
		}
		if err := s.sleep(ctx, min(max(oldest+patience-now, time.Millisecond), 20*time.Millisecond)); err != nil {
			return nobody, err
		}
	}
}

// sleep waits for some time, or until a slot is free.
func (s *sender) sleep(ctx context.Context, d time.Duration) error {
	s.pause.Reset(d)
	defer s.pause.Stop()
	select {
	case <-ctx.Done():
		return errEnded
	case <-s.table.freed:
	case <-s.pause.C:
	}
	return nil
}
