package sink

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"synoptic/detector"
)

// Config is what all sinks have. The zero Config is of use.
type Config struct {
	// Report is told when a sink begins to fail and when it works again. It is
	// called by any goroutine and must not wait for anything.
	Report func(Event)
	// Wait makes Alert wait for room in the queue until this channel is closed,
	// unless the sink is failing: for captures, where nobody loses packets by
	// waiting. Without it an alert that finds no room is lost.
	Wait <-chan struct{}
	// Room is how many alerts may be in the queue; 0: DefaultRoom.
	Room int
}

// DefaultRoom is the default of Config.Room: more sources than scan within the
// minute that a restart of a collector takes.
const DefaultRoom = 1024

// How long to wait before the next try.
const (
	firstPause = time.Second
	maxPause   = time.Minute
)

// calm is how long a slow reader must have kept up to be called so again: it is
// said once for bursts of losses.
const calm = 5 * time.Second

// ErrSlow is the error of a sink whose reader does not keep up.
var ErrSlow = errors.New("its reader is too slow: alerts are being lost")

// Event is the beginning or the end of a failure.
type Event struct {
	Sink string
	Err  error  // nil: it works again
	Lost uint64 // alerts, since the beginning of the failure; valid iff Err is nil
}

func (e Event) String() string {
	switch {
	case errors.Is(e.Err, ErrSlow):
		return fmt.Sprintf("%s: %v", e.Sink, e.Err)
	case e.Err != nil:
		return fmt.Sprintf("%s: %v: trying again, detection goes on", e.Sink, e.Err)
	case e.Lost > 0:
		return fmt.Sprintf("%s: works again, %s lost meanwhile", e.Sink, counted(e.Lost, "alert"))
	}
	return fmt.Sprintf("%s: works again, nothing lost", e.Sink)
}

// Stats count since New.
type Stats struct {
	Name     string // eve, syslog, scanlogd-line, or what NewText was told
	Written  uint64
	Lost     uint64 // that found no room, or could not be written before the end
	Failures uint64 // tries that failed
	Failing  bool
	Err      string // of the last failure
}

// Sink takes alerts to one place. Its methods may be called by any goroutine,
// but Alert and Say not after Close.
type Sink struct {
	name   string
	format format
	out    output
	c      Config

	records chan record
	again   chan struct{} // Reopen was called
	closing chan struct{}
	done    chan struct{}
	close   sync.Once
	ctx     context.Context // of writing; ends some time after closing
	cancel  context.CancelFunc

	written, lost, failures atomic.Uint64
	slow, failing           atomic.Bool
	lostBefore              atomic.Uint64 // lost when the failure began

	mu       sync.Mutex
	last     error
	lastLoss time.Time // valid iff slow
}

// record is an alert, or a line that is none.
type record struct {
	alert *detector.Alert
	line  string
}

// format appends what a sink writes of an alert, with the newline if the place
// has lines; nothing if the sink has no use for it.
type format func([]byte, *detector.Alert) []byte

// output is a place. One goroutine uses it.
type output interface {
	// open opens it; what is open already is closed before.
	open() error
	// write writes a whole record or returns an error; then the output is opened
	// anew before the record is written again. It returns soon after ctx has
	// ended.
	write(ctx context.Context, record []byte) error
	close()
}

// begin starts a sink on an output, which is open already or opened with the
// first record.
func begin(name string, f format, out output, c Config) *Sink {
	if c.Room <= 0 {
		c.Room = DefaultRoom
	}
	if c.Report == nil {
		c.Report = func(Event) {}
	}
	s := &Sink{name: name, format: f, out: out, c: c,
		records: make(chan record, c.Room), again: make(chan struct{}, 1),
		closing: make(chan struct{}), done: make(chan struct{})}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	go s.work()
	return s
}

// Alert takes an alert or a summary, which must not change any more. Without
// Config.Wait it never waits.
func (s *Sink) Alert(a *detector.Alert) { s.put(record{alert: a}) }

// Say takes a line of text, for a sink of lines for people; others write it as
// it is.
func (s *Sink) Say(line string) { s.put(record{line: line}) }

func (s *Sink) put(r record) {
	select {
	case s.records <- r:
		return
	default:
	}
	if s.c.Wait != nil && s.wait(r) {
		return
	}
	s.lost.Add(1)
	if s.failing.Load() {
		return
	}
	s.mu.Lock()
	s.lastLoss = time.Now()
	s.mu.Unlock()
	if s.slow.CompareAndSwap(false, true) {
		s.lostBefore.Store(s.lost.Load() - 1)
		s.c.Report(Event{Sink: s.name, Err: ErrSlow})
	}
}

// wait reports whether the record found room.
func (s *Sink) wait(r record) bool {
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	for !s.failing.Load() {
		select {
		case s.records <- r:
			return true
		case <-s.c.Wait:
			return false
		case <-s.closing:
			return false
		case <-look.C:
		}
	}
	return false
}

// Reopen opens the place anew, as after a rotation of logs, and tries a failing
// one at once.
func (s *Sink) Reopen() {
	select {
	case s.again <- struct{}{}:
	default: // it will be done anyway
	}
}

// Stats returns the counts until now.
func (s *Sink) Stats() Stats {
	st := Stats{Name: s.name, Written: s.written.Load(), Lost: s.lost.Load(), Failures: s.failures.Load(), Failing: s.failing.Load()}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last != nil {
		st.Err = s.last.Error()
	}
	return st
}

// abandoned is how long Close waits for a write that cannot be ended, as one to
// a file system that has gone away.
const abandoned = time.Second

// Close writes what is in the queue and ends the sink. It takes at most the
// time given and a second more; what is not written then is lost. A failing
// place is tried once more. The error says that alerts were lost, and why, since
// the last success or on the way out.
func (s *Sink) Close(within time.Duration) error {
	before := s.lost.Load()
	if s.failing.Load() {
		before = s.lostBefore.Load()
	}
	s.close.Do(func() { close(s.closing) })
	late := time.NewTimer(within)
	defer late.Stop()
	select {
	case <-s.done:
	case <-late.C:
		s.cancel()
		select {
		case <-s.done:
		case <-time.After(abandoned):
			s.lost.Add(uint64(len(s.records)) + 1)
			s.fault(context.DeadlineExceeded)
		}
	}
	s.cancel()
	if n := s.lost.Load() - before; n > 0 {
		s.mu.Lock()
		defer s.mu.Unlock()
		return fmt.Errorf("%s: %s lost: %w", s.name, counted(n, "alert"), s.last)
	}
	return nil
}

// work is the goroutine that owns the output.
func (s *Sink) work() {
	defer close(s.done)
	defer s.out.close()
	for {
		select {
		case r := <-s.records:
			s.deliver(r)
		case <-s.again:
			s.reopen()
		case <-s.keptUp():
		case <-s.closing:
			for {
				select {
				case r := <-s.records:
					s.deliver(r)
				default:
					return
				}
			}
		}
	}
}

func (s *Sink) reopen() {
	if err := s.out.open(); err != nil {
		s.failed(err)
	}
}

// deliver writes a record, or loses it at the end.
func (s *Sink) deliver(r record) {
	text := []byte(r.line)
	if r.alert != nil {
		text = s.format(nil, r.alert)
	}
	if len(text) == 0 {
		return
	}
	for pause := firstPause; ; pause = min(2*pause, maxPause) {
		err := s.try(text)
		if err == nil {
			s.written.Add(1)
			s.worked()
			return
		}
		s.failed(err)
		if !s.rest(pause) {
			// The first that fails at the end stands for all that are left.
			s.lost.Add(1 + uint64(len(s.records)))
			for range len(s.records) {
				<-s.records
			}
			return
		}
	}
}

// try writes to the output; a failing one is opened first.
func (s *Sink) try(text []byte) error {
	if s.failing.Load() {
		if err := s.out.open(); err != nil {
			return err
		}
	}
	return s.out.write(s.ctx, text)
}

// rest waits before the next try. It reports false if there is to be none.
func (s *Sink) rest(pause time.Duration) bool {
	select {
	case <-s.closing:
		return false
	default:
	}
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.again:
	case <-s.closing: // once more
		return s.ctx.Err() == nil
	}
	return true
}

func (s *Sink) fault(err error) {
	s.mu.Lock()
	s.last = err
	s.mu.Unlock()
}

// failed notes a try that failed, and says the first one.
func (s *Sink) failed(err error) {
	s.failures.Add(1)
	s.fault(err)
	if s.failing.Load() {
		return
	}
	if !s.slow.Swap(false) { // else it began earlier
		s.lostBefore.Store(s.lost.Load())
	}
	s.failing.Store(true)
	s.c.Report(Event{Sink: s.name, Err: err})
}

// worked notes a success, and says the end of a failure.
func (s *Sink) worked() {
	if s.failing.Swap(false) {
		s.c.Report(Event{Sink: s.name, Lost: s.lost.Load() - s.lostBefore.Load()})
	}
}

// keptUp says the end of slowness when it is some time ago that an alert found
// no room. If it is not yet, it returns when to look again.
func (s *Sink) keptUp() <-chan time.Time {
	if !s.slow.Load() {
		return nil
	}
	s.mu.Lock()
	left := calm - time.Since(s.lastLoss)
	s.mu.Unlock()
	if left > 0 {
		return time.After(left)
	}
	s.slow.Store(false)
	s.c.Report(Event{Sink: s.name, Lost: s.lost.Load() - s.lostBefore.Load()})
	return nil
}
