package connect

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"synoptic/rx"
)

// Replies travel as those of package rx do.
const (
	batchLen  = 256
	batchTime = 4 * time.Millisecond
	seenLag   = 250 * time.Millisecond
	busyRest  = time.Millisecond // of a receiver, while its sender takes the answers
)

// receivers is the half that waits for answers, one receiver for each lane. It
// implements scan.Receiver.
type receivers struct{ *Prober }

// Replies implements scan.Receiver.
func (r receivers) Replies() <-chan []rx.Reply { return r.full }

// Release implements scan.Receiver.
func (r receivers) Release(batch []rx.Reply) { r.empty <- batch[:0] }

// Stats implements scan.Receiver: what the system tells of our connections is
// always valid.
func (r receivers) Stats() rx.Stats {
	n := r.counts.received.Load()
	return rx.Stats{Received: n, Valid: n}
}

// Seen implements scan.Receiver: a connection is waited for by the system, and by us
// not much longer than its batch.
func (r receivers) Seen() time.Time { return time.Now().Add(-seenLag) }

// Run implements scan.Receiver. When ctx ends, it still takes what is there, and
// closes all sockets.
func (r receivers) Run(ctx context.Context) error {
	defer close(r.full)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var running sync.WaitGroup
	errs := make([]error, len(r.lanes))
	for i, l := range r.lanes {
		running.Go(func() {
			defer l.end()
			if errs[i] = l.receive(ctx); errs[i] != nil {
				cancel()
			}
		})
	}
	running.Wait()
	return errors.Join(errs...)
}

// receive takes the answers that the sender does not see.
func (l *lane) receive(ctx context.Context) error {
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		unix.Write(l.wake, []byte{7: 1})
		close(woken)
	})
	defer func() {
		if !stop() {
			<-woken
		}
	}()
	var events [eventsLen]unix.EpollEvent
	pending := false // there is something in the batch
	for {
		// To be woken for what the sender is about to see costs more than it.
		for ctx.Err() == nil && l.busy() {
			time.Sleep(busyRest)
		}
		ended, wait := ctx.Err() != nil, -1
		switch {
		case ended:
			wait = 0
			var number [8]byte
			unix.Read(l.wake, number[:]) // here alone: a sender that looks takes no waking away
		case pending:
			wait = int(batchTime.Milliseconds())
		}
		n, err := unix.EpollWait(l.epoll, events[:], wait)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("watch connections: %w", err)
		}
		if pending, err = l.receiveEvents(events[:n]); err != nil {
			return err
		}
		if ended && n == 0 {
			return nil
		}
	}
}

// busy reports whether the sender is in the middle of a span, and so takes the
// answers itself.
func (l *lane) busy() bool {
	if !l.mu.TryLock() {
		return true
	}
	l.mu.Unlock()
	return false
}

func (l *lane) receiveEvents(events []unix.EpollEvent) (pending bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	err = l.take(events)
	if len(events) == 0 || len(l.batch) > 0 && time.Now().UnixNano()-l.batch[0].Time > int64(batchTime) {
		l.flush()
	}
	return len(l.batch) > 0, err
}
