// Package scan is one run of the scanner, from a plan to closed books:
//
//	plan -> receiver ready -> spans out -> cooldown -> (retries) -> silence -> summary
//
// Three parties run at once and share nothing but plan, key and ledger: the
// senders (package tx) walk the plan, the receiver (package rx) turns packets
// into replies, and the bookkeeper here enters replies into the ledger and
// records into the sink. A run always ends: every wait has a bound.
package scan

import (
	"context"
	"errors"
	"iter"
	"math"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"synoptic/internal/cookie"
	"synoptic/internal/ledger"
	"synoptic/internal/method"
	"synoptic/internal/plan"
	"synoptic/internal/result"
	"synoptic/rx"
	"synoptic/tx"
)

// Config is what a scan is to do.
type Config struct {
	Plan   *plan.Plan
	Method *method.Method
	Seed   uint64 // the cookie key derives from it; the plan was made with it

	Rate     float64 // packets per second, 0: unlimited
	Adaptive bool    // Rate is a ceiling, and losses decide below it
	Retries  int     // further tries for what did not answer
	// Repairs is how many more there may be for what this machine may have lost.
	// Each try has a source port of its own, the canaries of a scan too.
	Repairs   int
	Wait      time.Duration // the longest wait for answers after the last probe
	MaxProbes uint64        // positions to visit at most, 0: all
	Silence   Silence       // of which silent endpoints to make records

	// RatePerPrefix bounds the packets per second to each /24 (IPv4) or /48
	// (IPv6), retries included, within Rate; 0: no bound.
	RatePerPrefix float64

	// OnePort says that all tries share a source port, so that an answer does
	// not tell which of them it answers.
	OnePort bool

	// A scan that would lose more of its answers on the way than a share ends, 0:
	// it goes on; and so does one of which this machine refused more frames.
	MaxLoss   float64
	MaxErrors uint64

	Keeper Keeper // takes snapshots; nil: there are none
	Resume *State // where a scan with this configuration goes on; nil: at the beginning
}

// Ports returns how many source ports a scan with so many retries and repairs has
// use for.
func Ports(retries, repairs int) int { return retries + repairs + 2 }

// Keeper takes snapshots of a scan, from the goroutine that the Sink's methods are
// called by: one before anything is sent, one at the end, and between them when
// they are due. What it is given agrees with what the Sink has recorded.
type Keeper interface {
	// Due reports whether it is time for one; it is asked often.
	Due() bool
	// Keep may take a snapshot, which is its own.
	Keep(take func() *State)
}

// visit returns how many positions the scan visits.
func (c *Config) visit() uint64 {
	if c.MaxProbes > 0 {
		return min(c.Plan.Len(), c.MaxProbes)
	}
	return c.Plan.Len()
}

// Prober is how a scan probes: by raw packets over a Network, or by the
// system's own connections (package connect).
type Prober interface {
	// Senders says how many senders share a rate, in packets per second, and how
	// many probes a span of theirs has at most.
	Senders(rate float64) (senders, maxSpan int)
	// Start makes the two halves of a run. The receiving half is run before
	// anything is sent.
	Start(Config, cookie.Key, *tx.Pacer) (Sender, Receiver)
	// Prepare finds out what must be known of the targets before the first
	// probe, as link addresses are; ctx ends it early.
	Prepare(context.Context, *tx.Pacer) error
	// Reaches tells whether probes can go to a target; valid after Prepare.
	Reaches(netip.Addr) bool
	// Paths says which way packets go.
	Paths() Paths
	// Neighbours says how finding link addresses went, or goes.
	Neighbours() Neighbours
	// Living yields the targets that have shown a sign of life by then.
	Living() iter.Seq[netip.Addr]
	// Dropped returns what this machine dropped since the start. It is called by
	// one goroutine at a time.
	Dropped() (Lost, error)
	// Late is how long after it a drop may be counted.
	Late() time.Duration
}

// Sender puts spans on the wire: a tx.Transmitter, for one.
type Sender interface {
	// Run sends spans until there are none left, ctx ends (which is no error),
	// or sending fails.
	Run(context.Context, tx.Spans) error
	Stats() tx.Stats // safe at any time
}

// Receiver yields the answers: an rx.Receiver, for one.
type Receiver interface {
	// Run receives until ctx ends, which returns nil, or receiving fails, and
	// then closes the channel of Replies.
	Run(context.Context) error
	// Replies yields batches; each goes back by Release.
	Replies() <-chan []rx.Reply
	Release([]rx.Reply)
	// Seen returns a time before which no answer arrived that is not in Replies, or
	// was; safe at any time.
	Seen() time.Time
	Stats() rx.Stats // safe at any time
}

// Sink takes the records of a scan, from one goroutine.
type Sink interface {
	// Record takes a record, which is reused after the call. An endpoint is
	// recorded again only with a better state (closed, then open).
	Record(*result.Record) error
	// Flush is called whenever there is a pause.
	Flush() error
}

// Scan is one run. Make it with New, then Run it once.
type Scan struct {
	cfg    Config
	prober Prober
	limit  uint64 // positions to visit

	pacer   *tx.Pacer
	send    Sender
	senders int
	maxSpan int
	receive Receiver
	answers ledger.Ledger
	hosts   ledger.Ledger // by host key: see silence.go
	times   *sendTimes
	rtt     histogram

	losses    losses
	canaries  *canaries
	control   *controller   // nil: the rate is the user's
	before    Books         // of the runs that this one continues
	rttBefore time.Duration // the largest round trip of those runs

	sampling sync.Mutex // one look at the counters at a time, and none while a pass follows another
	paced    [4]moment
	steered  time.Time // the last time
	// Packets that this machine has dropped since.
	undigested uint64

	progressed chan struct{} // has room for one token, sent when an answer came
	entered    atomic.Uint64 // replies that the bookkeeper took
	duplicates atomic.Uint64
	strays     atomic.Uint64 // valid answers to probes that this run has not sent
	repeated   atomic.Uint64 // answers of canaries
	firstTry   atomic.Uint64 // endpoints that answered for themselves, to the first try
	secondTry  atomic.Uint64 // and to the second
	cursor     atomic.Uint64 // positions handed out in the first pass
	returned   []plan.Span   // of those, given back by an interrupt
	withheld   atomic.Uint64 // and their number
	missing    atomic.Uint64 // positions of the first pass without link address
	pass       atomic.Pointer[pass]
	failed     atomic.Bool             // sink or receiver
	state      atomic.Value            // string: what the scan is doing
	reason     atomic.Value            // string: why the rate was changed last
	started    atomic.Int64            // ns since the epoch
	sending    atomic.Int64            // ns spent in passes that are over
	since      atomic.Int64            // ns since the epoch: when the pass began that is not; 0: there is none
	ceiling    atomic.Pointer[float64] // of an adaptive rate, as the user has changed it

	// Of the conclusion.
	lost         uint64 // endpoints that may have answered, had this machine dropped nothing
	openFiltered uint64 // silent ports of living hosts
	allReset     uint64 // hosts that reset every port
}

// New prepares a scan. The prober stays the caller's to close, after Run.
func New(cfg Config, prober Prober) (*Scan, error) {
	s := &Scan{cfg: cfg, prober: prober, progressed: make(chan struct{}, 1)}
	s.limit = cfg.visit()
	s.times = newSendTimes()
	s.canaries = newCanaries(cfg)
	if cfg.Adaptive {
		s.control = newController(cfg.Rate)
	}
	if err := s.restore(cfg.Resume); err != nil {
		return nil, err
	}
	if s.control != nil {
		s.pacer = tx.NewEvenPacer(s.control.rate)
	} else {
		s.pacer = tx.NewPacer(s.cfg.Rate)
	}
	s.senders, s.maxSpan = prober.Senders(cfg.Rate)
	s.send, s.receive = prober.Start(cfg, cookie.NewKey(cfg.Seed), s.pacer)
	s.state.Store("starting")
	s.reason.Store("")
	return s, nil
}

// SetRate changes the rate, in packets per second (0: unlimited), from now on.
// An adaptive scan takes it for the new ceiling.
func (s *Scan) SetRate(pps float64) {
	if s.control != nil {
		s.ceiling.Store(&pps)
		return
	}
	s.pacer.SetRate(pps)
}

// Rate returns the rate that is asked for now.
func (s *Scan) Rate() float64 { return s.pacer.Rate() }

// Run scans until all is answered, or silent for long enough, or ctx ends, and
// gives every record to the sink. Its error is what went wrong with this
// machine, the network or the sink; an end of ctx is none. The Summary is valid
// in every case.
func (s *Scan) Run(ctx context.Context, sink Sink) (Summary, error) {
	s.started.Store(time.Now().UnixNano())
	s.keep(true)
	sendCtx, stop := context.WithCancel(ctx)
	defer stop()
	// What ends the run early, besides ctx: a failed sink or receiver.
	abort := func() {
		s.failed.Store(true)
		stop()
	}
	receiveCtx, hangUp := context.WithCancel(context.Background())
	defer hangUp()

	var running sync.WaitGroup
	var receiveErr, sinkErr, watchErr error
	running.Go(func() {
		if receiveErr = s.receive.Run(receiveCtx); receiveErr != nil {
			abort()
		}
	})
	running.Go(func() { sinkErr = s.keepBooks(sink, abort) })
	running.Go(func() {
		if watchErr = s.watch(receiveCtx); watchErr != nil {
			abort()
		}
	})

	sendErr := s.passes(sendCtx)
	hangUp()
	running.Wait()

	err := errors.Join(sendErr, receiveErr, sinkErr, watchErr)
	if sinkErr == nil {
		s.keep(err == nil)
	}
	local, _ := s.losses.owed()
	if p := s.pass.Load(); p != nil {
		local = local.add(p.owed.within(p.reached().low, p.end())...) // and not sent again
	}
	s.lost = s.unanswered(local, math.MaxUint64)
	if err == nil {
		s.state.Store("concluding")
		err = unwritten(s.concludeSilence(sink))
	}
	if sinkErr == nil {
		err = errors.Join(err, unwritten(sink.Flush()))
	}
	s.state.Store("done")
	summary, booksErr := s.summary(ctx.Err() != nil)
	return summary, errors.Join(err, booksErr)
}

// passes sends the first pass, the retries and the repairs, each followed by its
// cooldown.
func (s *Scan) passes(ctx context.Context) error {
	s.state.Store("resolving")
	if err := s.prober.Prepare(ctx, s.pacer); err != nil || ctx.Err() != nil {
		return err
	}
	for a := range s.prober.Living() {
		s.hosts.Put(s.hostKey(a), hostAlive)
	}
	for p := s.firstPass(); p != nil; p = s.nextPass(p) {
		s.state.Store("sending")
		begin := time.Now()
		s.since.Store(begin.UnixNano())
		err := s.send.Run(ctx, p)
		s.since.Store(0)
		p.took = time.Since(begin)
		s.sending.Add(int64(p.took))
		if p.try == 0 {
			s.missing.Store(p.unreached())
			p.unvisited()
		}
		if err != nil {
			return err
		}
		if done, err := s.wait(ctx, p); err != nil || done {
			return err
		}
	}
	return nil
}

// wait waits for the answers to a pass. It reports whether the scan is done: all is
// answered, or ctx has ended, or there is no pass to come.
func (s *Scan) wait(ctx context.Context, p *pass) (done bool, err error) {
	s.state.Store("waiting")
	end := time.Now()
	// A short wait if another pass comes, and all of it if then none does.
	for more := s.goesOn(p); ; more = false {
		done = s.cooldown(ctx, end, more) || ctx.Err() != nil
		if late := time.Until(end.Add(s.prober.Late())); !done && !more && late > 0 && end.Sub(time.Unix(0, s.started.Load())) > longEnough {
			time.Sleep(late) // for the device's counters
		}
		if s.failed.Load() {
			return true, nil // and who has failed says so
		}
		if err := s.sample(time.Now()); err != nil || done || !more || s.goesOn(p) && s.owes(p) {
			return done, err
		}
	}
}

// longEnough is a scan that may wait for the counters of a device that are late.
const longEnough = 10 * time.Second

// Bounds of the cooldown.
const (
	// No round trip is known: the initial retransmission time-out of RFC 6298
	// section 2.
	blindCooldown = time.Second
	// A little more than twice the largest round trip seen.
	leastCooldown = 250 * time.Millisecond
	// The same before a retry. What comes later still counts, and costs one
	// probe too many.
	retryCooldown = 20 * time.Millisecond
)

// Patience is how long an answer is waited for, if the largest round trip so far
// is known (or 0), and never longer than a bound.
func Patience(largest, most time.Duration) time.Duration {
	wait := blindCooldown
	if largest > 0 {
		wait = leastCooldown + 2*largest
	}
	return min(wait, most)
}

// cooldown waits for answers to what was sent until now, at the end or before one
// more try, and reports whether everything is answered. For an interrupted scan
// it is the end; one whose sink or receiver failed does not wait.
func (s *Scan) cooldown(ctx context.Context, since time.Time, more bool) bool {
	for {
		if _, open := s.canaries.count(); open == 0 && s.answered() {
			return true
		}
		wait := Patience(s.rtt.max(), s.cfg.Wait)
		if largest := s.rtt.max(); more && ctx.Err() == nil && largest > 0 {
			wait = min(wait, retryCooldown+2*largest)
		}
		left := time.Until(since.Add(wait))
		if left <= 0 || s.failed.Load() {
			return false
		}
		timer := time.NewTimer(min(left, 20*time.Millisecond))
		select {
		case <-s.progressed:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// probed returns how many positions were handed to a sender in the first pass
// and not given back.
func (s *Scan) probed() uint64 { return s.cursor.Load() - s.withheld.Load() }

// answered reports whether every position that was probed has an answer.
func (s *Scan) answered() bool { return s.answers.Len()+s.missing.Load() >= s.probed() }
