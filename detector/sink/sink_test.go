package sink

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"synoptic/detector"
)

// place is an output in memory that fails and blocks as it is told.
type place struct {
	mu     sync.Mutex
	err    error
	held   chan struct{} // closed to go on; nil: at once
	deaf   bool          // and ctx does not end it
	lines  []string
	tries  []time.Time
	opened int
	closed int
}

func (p *place) open() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.opened++
	return nil
}

func (p *place) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed++
}

func (p *place) write(ctx context.Context, record []byte) error {
	p.mu.Lock()
	held, deaf := p.held, p.deaf
	p.tries = append(p.tries, time.Now())
	p.mu.Unlock()
	if held != nil {
		end := ctx.Done()
		if deaf {
			end = nil
		}
		select {
		case <-held:
		case <-end:
			return errStopped
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		p.lines = append(p.lines, string(record))
	}
	return p.err
}

func (p *place) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = err
}

// now returns what it has done until now.
func (p *place) now() *place {
	p.mu.Lock()
	defer p.mu.Unlock()
	return &place{lines: slices.Clone(p.lines), tries: slices.Clone(p.tries), opened: p.opened, closed: p.closed}
}

// told collects events.
type told struct {
	mu     sync.Mutex
	events []Event
}

func (r *told) report(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

func (r *told) texts() (list []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		list = append(list, e.String())
	}
	return list
}

// numbered writes an alert's episode.
func numbered(b []byte, a *detector.Alert) []byte { return fmt.Appendf(b, "%d", a.Episode) }

func alert(n int) *detector.Alert { return &detector.Alert{Episode: uint64(n)} }

var errBroken = errors.New("broken")

func TestSinkWritesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p place
		s := begin("place", numbered, &p, Config{})
		for i := range 100 {
			s.Alert(alert(i))
			if i == 50 {
				s.Say("between")
			}
		}
		if err := s.Close(time.Second); err != nil {
			t.Fatal(err)
		}
		if len(p.now().lines) != 101 || p.now().lines[0] != "0" || p.now().lines[51] != "between" || p.now().lines[100] != "99" || p.now().closed != 1 {
			t.Errorf("%q, closed %d times", p.now().lines, p.now().closed)
		}
		if got, want := s.Stats(), (Stats{Name: "place", Written: 101}); got != want {
			t.Errorf("stats %+v, want %+v", got, want)
		}
	})
}

// A place that fails is said once, tried at growing intervals, and nothing is
// lost while the queue has room.
func TestFailureIsSaidOnceAndTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := place{err: errBroken}
		var r told
		s := begin("place", numbered, &p, Config{Report: r.report})
		start := time.Now()
		s.Alert(alert(1))
		s.Alert(alert(2))
		time.Sleep(5 * time.Minute)
		st := s.Stats()
		if !st.Failing || st.Err != "broken" || st.Written != 0 || st.Lost != 0 || st.Failures != uint64(len(p.now().tries)) {
			t.Errorf("while it fails: %+v after %d tries", st, len(p.now().tries))
		}
		var at []time.Duration
		for _, t := range p.now().tries {
			at = append(at, t.Sub(start))
		}
		want := []time.Duration{0, 1, 3, 7, 15, 31, 63, 123, 183, 243}
		for i := range want {
			want[i] *= time.Second
		}
		if len(at) < len(want) || !slices.Equal(at[:len(want)], want) {
			t.Errorf("tried after %v, want %v", at, want)
		}
		p.fail(nil)
		time.Sleep(time.Minute)
		if !slices.Equal(p.now().lines, []string{"1", "2"}) {
			t.Errorf("afterwards it has %q", p.now().lines)
		}
		if p.now().opened < 2 {
			t.Error("it was not opened anew")
		}
		if got, want := r.texts(), []string{"place: broken: trying again, detection goes on", "place: works again, nothing lost"}; !slices.Equal(got, want) {
			t.Errorf("said %q, want %q", got, want)
		}
		if st := s.Stats(); st.Failing || st.Written != 2 || st.Err != "broken" {
			t.Errorf("afterwards: %+v", st)
		}
		if err := s.Close(time.Second); err != nil {
			t.Error(err)
		}
	})
}

// A second failure is a new one, with pauses from the beginning.
func TestASecondFailureIsSaidAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p place
		var r told
		s := begin("place", numbered, &p, Config{Report: r.report})
		for i := range 2 {
			p.fail(errBroken)
			s.Alert(alert(i))
			time.Sleep(100 * time.Second)
			p.fail(nil)
			time.Sleep(100 * time.Second)
			before := len(p.now().tries)
			p.fail(errBroken)
			s.Alert(alert(i))
			time.Sleep(3500 * time.Millisecond)
			if n := len(p.now().tries) - before; n != 3 {
				t.Errorf("%d tries within 3.5 s, want 3", n)
			}
			p.fail(nil)
			time.Sleep(10 * time.Second)
		}
		if n := len(r.texts()); n != 8 {
			t.Errorf("%d events, want 8: %q", n, r.texts())
		}
		s.Close(time.Second)
	})
}

func TestWhatFindsNoRoomIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := place{err: errBroken}
		var r told
		s := begin("place", numbered, &p, Config{Report: r.report, Room: 4})
		s.Alert(alert(0))
		synctest.Wait() // it is being tried
		began := time.Now()
		for i := 1; i < 20; i++ {
			s.Alert(alert(i))
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("giving alerts took %v", took)
		}
		if st := s.Stats(); st.Lost != 15 {
			t.Errorf("%d lost, want 15", st.Lost)
		}
		p.fail(nil)
		time.Sleep(time.Minute)
		if want := []string{"0", "1", "2", "3", "4"}; !slices.Equal(p.now().lines, want) {
			t.Errorf("it has %q, want %q", p.now().lines, want)
		}
		if got, want := r.texts(), []string{"place: broken: trying again, detection goes on", "place: works again, 15 alerts lost meanwhile"}; !slices.Equal(got, want) {
			t.Errorf("said %q, want %q", got, want)
		}
		if err := s.Close(time.Second); err != nil {
			t.Errorf("what was lost long ago is an error at the end: %v", err)
		}
	})
}

// A reader that is only slow loses alerts without failing; that is said once,
// and its end too.
func TestASlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := place{held: make(chan struct{})}
		var r told
		s := begin("place", numbered, &p, Config{Report: r.report, Room: 4})
		s.Alert(alert(0))
		synctest.Wait()
		for i := 1; i < 8; i++ {
			s.Alert(alert(i))
		}
		if st := s.Stats(); st.Lost != 3 || st.Failing {
			t.Errorf("%+v, want 3 lost", st)
		}
		close(p.held)
		time.Sleep(calm - time.Second)
		s.Alert(alert(8))
		synctest.Wait()
		if n := len(r.texts()); n != 1 {
			t.Errorf("that all is well is said early: %q", r.texts())
		}
		time.Sleep(2 * time.Second)
		if got, want := r.texts(), []string{"place: its reader is too slow: alerts are being lost", "place: works again, 3 alerts lost meanwhile"}; !slices.Equal(got, want) {
			t.Errorf("said %q, want %q", got, want)
		}
		if len(p.now().lines) != 6 {
			t.Errorf("it has %q", p.now().lines)
		}
		if err := s.Close(time.Second); err != nil {
			t.Error(err)
		}
	})
}

// Losses again and again are one slowness.
func TestBurstsAreSaidOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p place
		var r told
		s := begin("place", numbered, &p, Config{Report: r.report, Room: 4})
		for range 10 {
			hold := make(chan struct{})
			p.mu.Lock()
			p.held = hold
			p.mu.Unlock()
			s.Alert(alert(0))
			synctest.Wait()
			for i := range 6 {
				s.Alert(alert(i))
			}
			time.Sleep(time.Second)
			close(hold)
			synctest.Wait()
		}
		time.Sleep(time.Minute)
		if got, want := r.texts(), []string{"place: its reader is too slow: alerts are being lost", "place: works again, 20 alerts lost meanwhile"}; !slices.Equal(got, want) {
			t.Errorf("said %q, want %q", got, want)
		}
		s.Close(time.Second)
	})
}

// A reader that is slow and then fails has one failure.
func TestASlowReaderThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := place{held: make(chan struct{})}
		var r told
		s := begin("place", numbered, &p, Config{Report: r.report, Room: 1})
		s.Alert(alert(0))
		synctest.Wait()
		s.Alert(alert(1))
		s.Alert(alert(2)) // lost
		p.fail(errBroken)
		close(p.held)
		synctest.Wait()
		p.fail(nil)
		time.Sleep(time.Minute)
		want := []string{"place: its reader is too slow: alerts are being lost", "place: broken: trying again, detection goes on", "place: works again, 1 alert lost meanwhile"}
		if got := r.texts(); !slices.Equal(got, want) {
			t.Errorf("said %q, want %q", got, want)
		}
		s.Close(time.Second)
	})
}

func TestReopenTriesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := place{err: errBroken}
		s := begin("place", numbered, &p, Config{})
		s.Alert(alert(1))
		time.Sleep(100 * time.Second) // it waits for a minute by now
		p.fail(nil)
		s.Reopen()
		synctest.Wait()
		if len(p.now().lines) != 1 {
			t.Error("it waits on")
		}
		opened := p.now().opened
		s.Reopen()
		synctest.Wait()
		if p.now().opened != opened+1 {
			t.Errorf("opened %d times", p.now().opened-opened)
		}
		s.Close(time.Second)
	})
}

func TestCloseIsBounded(t *testing.T) {
	for _, tc := range []struct {
		name  string
		place *place
		takes time.Duration
		err   string
	}{
		{"nothing_is_wrong", &place{}, 0, ""},
		{"it_fails", &place{err: errBroken}, 0, "place: 3 alerts lost: broken"},
		{"it_is_blocked", &place{held: make(chan struct{})}, 5 * time.Second, "place: 3 alerts lost: its reader took too long at the end"},
		{"it_cannot_be_ended", &place{held: make(chan struct{}), deaf: true}, 6 * time.Second, "place: 3 alerts lost: context deadline exceeded"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := tc.place
				if p.held != nil {
					p.held = make(chan struct{}) // of this bubble
				}
				s := begin("place", numbered, p, Config{})
				for i := range 3 {
					s.Alert(alert(i))
				}
				synctest.Wait()
				began := time.Now()
				err := s.Close(5 * time.Second)
				if took := time.Since(began); took != tc.takes {
					t.Errorf("it took %v, want %v", took, tc.takes)
				}
				if (err == nil) != (tc.err == "") || err != nil && err.Error() != tc.err {
					t.Errorf("error %v, want %q", err, tc.err)
				}
				if p.deaf {
					close(p.held)
				}
			})
		})
	}
}

// What is in the queue when the program ends is written, though it was in a
// pause.
func TestCloseTriesOnceMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := place{err: errBroken}
		s := begin("place", numbered, &p, Config{})
		s.Alert(alert(1))
		s.Alert(alert(2))
		time.Sleep(100 * time.Second)
		p.fail(nil)
		began := time.Now()
		if err := s.Close(5 * time.Second); err != nil || time.Since(began) != 0 {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		if !slices.Equal(p.now().lines, []string{"1", "2"}) {
			t.Errorf("it has %q", p.now().lines)
		}
	})
}

// With a capture nobody loses by waiting.
func TestWaitingForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := place{held: make(chan struct{})}
		s := begin("place", numbered, &p, Config{Wait: make(chan struct{}), Room: 2})
		go func() {
			time.Sleep(time.Hour)
			close(p.held)
		}()
		for i := range 10 {
			s.Alert(alert(i))
		}
		if err := s.Close(time.Second); err != nil {
			t.Error(err)
		}
		if len(p.now().lines) != 10 {
			t.Errorf("it has %q", p.now().lines)
		}
	})
}

func TestWaitingEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := place{held: make(chan struct{})}
		stop := make(chan struct{})
		s := begin("place", numbered, &p, Config{Wait: stop, Room: 2})
		time.AfterFunc(time.Hour, func() { close(stop) })
		for i := range 10 {
			s.Alert(alert(i))
		}
		if st := s.Stats(); st.Lost != 7 {
			t.Errorf("%d are lost, want 7", st.Lost)
		}
		close(p.held)
		s.Close(time.Second)
	})
}

// Nobody waits for a place that fails, even with a capture.
func TestNobodyWaitsForAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := place{err: errBroken}
		s := begin("place", numbered, &p, Config{Wait: make(chan struct{}), Room: 2})
		began := time.Now()
		for i := range 100 {
			s.Alert(alert(i))
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("giving alerts took %v", took)
		}
		if err := s.Close(time.Second); err == nil || !strings.Contains(err.Error(), "100 alerts lost: broken") {
			t.Errorf("error %v", err)
		}
	})
}

func TestSinksGiveToAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var good place
		bad := place{err: errBroken}
		all := Sinks{begin("bad", numbered, &bad, Config{}), begin("good", numbered, &good, Config{})}
		for i := range 3 {
			all.Alert(alert(i))
		}
		all.Reopen()
		synctest.Wait()
		if !slices.Equal(good.now().lines, []string{"0", "1", "2"}) || good.now().opened != 1 {
			t.Errorf("the good one has %q and was opened %d times", good.now().lines, good.now().opened)
		}
		if st := all.Stats(); len(st) != 2 || !st[0].Failing || st[0].Name != "bad" || st[1].Written != 3 {
			t.Errorf("%+v", st)
		}
		if err := all.Close(time.Second); err == nil || err.Error() != "bad: 3 alerts lost: broken" {
			t.Errorf("error %v", err)
		}
	})
}

// An alert of which a format has nothing to say is not written.
func TestNothingToSay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p place
		s := begin("place", func(b []byte, _ *detector.Alert) []byte { return b }, &p, Config{})
		s.Alert(alert(1))
		s.Close(time.Second)
		if len(p.now().tries) != 0 || s.Stats().Written != 0 {
			t.Error("nothing is written")
		}
	})
}
