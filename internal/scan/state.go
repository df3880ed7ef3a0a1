package scan

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"synoptic/rx"
	"synoptic/tx"
)

// State is all that a scan has to know to go on where another with the same
// configuration was, whatever became of that one: how far it had come without
// what may have been in flight, what it has heard, and its books.
type State struct {
	Try     int     `json:"try"`     // the pass in hand
	Left    []Range `json:"left"`    // what it still has to send
	Visited uint64  `json:"visited"` // positions handed out in the first pass
	Missing uint64  `json:"missing"` // of them and not left, those without a link address
	Local   []Range `json:"local"`   // to be sent again, because the machine dropped something
	Path    []Range `json:"path"`    // or the path did
	Rate    float64 `json:"rate"`    // an adaptive scan's, packets per second
	Books   Books   `json:"books"`

	// The largest round trip seen, or 0: a run that hears nothing, as in the last pass,
	// knows from those before it what its snapshots may take for settled. How long it
	// waits for answers is its own to learn, for the network may be another.
	RTT time.Duration `json:"rtt_ns"`

	// The ledgers, as they encode themselves.
	Answers, Hosts []byte `json:"-"`
}

// Books are the counts of a scan. What a killed run has sent and heard after its
// last snapshot is not in them.
type Books struct {
	Sent       tx.Stats      `json:"sent"`
	Received   rx.Stats      `json:"received"`
	Lost       Lost          `json:"lost"`
	Duplicates uint64        `json:"duplicates"`
	Strays     uint64        `json:"strays"`
	Repeated   uint64        `json:"repeated"`
	FirstTry   uint64        `json:"first_try"`
	SecondTry  uint64        `json:"second_try"`
	Canaries   Canaries      `json:"canaries"`
	Elapsed    time.Duration `json:"elapsed_ns"`
	Sending    time.Duration `json:"sending_ns"`
}

// keep offers the Keeper a snapshot, at rest if everything that was sent has been
// waited for. It is called by the goroutine that keeps the books, or after it.
func (s *Scan) keep(rest bool) {
	if s.cfg.Keeper == nil {
		return
	}
	// Before what arrived until then is entered, nothing can be said; the next call
	// may be luckier.
	seen := s.receive.Seen()
	if !rest && len(s.receive.Replies()) > 0 {
		return
	}
	s.cfg.Keeper.Keep(func() *State {
		s.sampling.Lock()
		defer s.sampling.Unlock()
		return s.snapshot(rest, seen)
	})
}

// snapshot returns the state of the scan when everything is entered that arrived
// before a time.
func (s *Scan) snapshot(rest bool, seen time.Time) *State {
	p := s.pass.Load()
	if p == nil {
		return s.beginning()
	}
	here := p.reached()
	if !rest {
		// What was dropped until now is owed: the next run does not know of it. Where
		// the counters cannot be read, the watch says so.
		_, _ = s.look(p)
		here = s.losses.settled(p, seen, s.inFlight())
	}
	state := &State{
		Try: p.try, Left: p.want.within(here.low, p.end()), Visited: s.cursor.Load(), Missing: s.missing.Load(), Rate: s.Rate(), Books: s.books(), RTT: max(s.rtt.max(), s.rttBefore),
	}
	if p.try == 0 {
		state.Missing = here.missing
	}
	state.Local, state.Path = s.losses.owed()
	state.Answers, _ = s.answers.AppendBinary(nil)
	state.Hosts, _ = s.hosts.AppendBinary(nil)
	return state
}

// beginning returns the state of a run that has sent nothing.
func (s *Scan) beginning() *State {
	if s.cfg.Resume != nil {
		r := *s.cfg.Resume
		return &r
	}
	r := &State{Left: ranges{{0, s.limit}}, Rate: s.Rate()}
	r.Answers, _ = s.answers.AppendBinary(nil)
	r.Hosts, _ = s.hosts.AppendBinary(nil)
	return r
}

// restore makes a new scan go on at a state.
func (s *Scan) restore(r *State) error {
	if r == nil {
		return nil
	}
	beyond := func(p Range) bool { return p.From > p.To || p.To > s.limit }
	if r.Visited > s.limit || slices.ContainsFunc(slices.Concat(r.Left, r.Local, r.Path), beyond) {
		return errors.New("its positions are not those of this scan")
	}
	if err := s.answers.UnmarshalBinary(r.Answers); err != nil {
		return fmt.Errorf("read the ledger of answers: %w", err)
	}
	if err := s.hosts.UnmarshalBinary(r.Hosts); err != nil {
		return fmt.Errorf("read the ledger of hosts: %w", err)
	}
	s.before = r.Books
	s.rttBefore = min(r.RTT, s.cfg.Wait) // nothing is waited for longer
	s.cursor.Store(r.Visited)
	s.missing.Store(r.Missing)
	s.losses.local, s.losses.path = r.Local, r.Path
	switch {
	case r.Rate <= 0:
	case s.control != nil:
		s.control.rate = s.control.limited(r.Rate)
	case r.Try > s.cfg.Retries: // a repair is slower than the scan
		s.cfg.Rate = r.Rate
	}
	return nil
}

// books returns the counts up to now, those of the runs before included, and
// none of a packet that is half counted.
func (s *Scan) books() Books {
	b, sent, received := s.before, s.send.Stats(), s.receive.Stats()
	b.Sent.Sent += sent.Sent
	b.Sent.Refused += sent.Refused
	b.Sent.Unreachable += sent.Unreachable
	b.Sent.Generated = b.Sent.Sent + b.Sent.Refused
	b.Received.Valid += s.entered.Load() + received.Duplicate
	b.Received.BadCookie += received.BadCookie
	b.Received.OutOfPlan += received.OutOfPlan
	b.Received.Foreign += received.Foreign
	b.Received.Received = b.Received.Valid + b.Received.BadCookie + b.Received.OutOfPlan + b.Received.Foreign
	lost := s.losses.counters()
	b.Lost.Ring += lost.Ring
	b.Lost.Kernel += lost.Kernel
	b.Lost.Device += lost.Device
	b.Duplicates += s.duplicates.Load() + received.Duplicate
	b.Strays += s.strays.Load()
	b.Repeated += s.repeated.Load()
	b.FirstTry += s.firstTry.Load()
	b.SecondTry += s.secondTry.Load()
	settled, _ := s.canaries.count()
	b.Canaries.Answered += settled.Answered
	b.Canaries.Lost += settled.Lost
	if started := s.started.Load(); started != 0 {
		b.Elapsed += time.Since(time.Unix(0, started))
	}
	b.Sending += time.Duration(s.sending.Load())
	if since := s.since.Load(); since != 0 {
		b.Sending += time.Since(time.Unix(0, since))
	}
	return b
}
