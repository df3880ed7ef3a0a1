package connect

import (
	"context"
	"errors"
	"testing"
	"time"
)

// A receiver ends however often its sender looks meanwhile, which sees the waking too.
func TestASenderTakesNoWakingAway(t *testing.T) {
	for range 200 {
		l, err := newLane(&Prober{}, 2)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- l.receive(ctx) }()
		time.Sleep(2 * busyRest) // by then it waits
		go cancel()
		for waiting, late := true, time.Now().Add(10*time.Second); waiting; {
			l.mu.Lock()
			err := l.look()
			l.mu.Unlock()
			select {
			case failed := <-ended:
				err, waiting = errors.Join(err, failed), false
			default:
			}
			if err != nil {
				t.Fatal(err)
			}
			if time.Now().After(late) {
				t.Fatal("the receiver waits for ever")
			}
		}
		if err := l.close(); err != nil {
			t.Fatal(err)
		}
	}
}
