// Package connect probes by the system's own connections: the method that needs
// no privileges. It implements scan.Prober, so that plan, ledger, retries and
// books are those of the raw methods.
//
//	1 a sender takes a slot, which is a socket that is used again and again,
//	  and starts a connection without waiting                  (slots.go, lane.go)
//	2 the socket's epoll set tells that something has happened; the sender looks
//	  now and then, a receiver waits for the rest              (send.go, receive.go)
//	3 whoever hears of it asks the socket how it went, and its error queue who
//	  said so (IP_RECVERR, ip(7))                              (socket.go)
//	4 what that means is a reply                               (answer.go)
//	5 the socket is disconnected, which resets an open connection and leaves
//	  nothing in TIME_WAIT, and the slot is free again
//
// A socket costs its set-up once and not once a probe: two connect(2) and one
// recvmsg(2) find a closed port. Nothing allocates per probe. A connection that
// is not answered is given up only when its slot is needed, so the system sends
// its SYN again after 1, 3 and 7 s, if the scan lasts that long.
//
// A sender is a locked thread and keeps its P, in connect(2) too, so a program
// needs a larger GOMAXPROCS than it has senders.
package connect

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"synoptic/internal/cookie"
	"synoptic/internal/method"
	"synoptic/internal/plan"
	"synoptic/internal/scan"
	"synoptic/rx"
	"synoptic/tx"
)

// Options say how sockets are made.
type Options struct {
	IPv4, IPv6       bool       // families of the targets
	Interface        string     // that every connection leaves by; empty: as routed
	Source4, Source6 netip.Addr // invalid: as routed
	SourcePort       uint16     // of every connection; 0: the system's choice
	TTL              uint8      // 0: the system's choice
	Senders          int        // threads that start connections, at least 1
	Rate             float64    // of the scan: as many senders are made as that has use for; 0: all
}

// maxSlots bounds the connections in flight: half of the system's usual range of
// source ports (ip_local_port_range, ip(7)), and about 50 MB of its memory.
const maxSlots = 14_000

// spareFiles are descriptors left to the rest of the program.
const spareFiles = 32

// Prober implements scan.Prober for one scan.
type Prober struct {
	options Options
	lanes   []*lane
	full    chan []rx.Reply
	empty   chan []rx.Reply

	plan     *plan.Plan
	method   *method.Method
	wait     time.Duration // scan.Config's
	began    time.Time     // the clock of slots
	largest  atomic.Int64  // ns, of the round trips
	unrouted atomic.Uint64
	counts   struct{ generated, sent, refused, received atomic.Uint64 }
}

// New prepares for connections; it fails where no socket can be made as the
// options want it.
func New(o Options) (*Prober, error) {
	o.Senders = plan.Senders(o.Rate, o.Senders) // all descriptors are shared among these
	p := &Prober{options: o, began: time.Now()}
	// The runtime has raised the soft limit to the hard one (package os, init).
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		return nil, fmt.Errorf("read the limit of open files: %w", err)
	}
	limit := min(maxSlots, int(min(files.Cur, 2*maxSlots))-spareFiles)
	for range o.Senders {
		l, err := newLane(p, max(2, limit/o.Senders))
		if err != nil {
			return nil, errors.Join(err, p.Close())
		}
		p.lanes = append(p.lanes, l)
	}
	return p, nil
}

// Close ends all connections. It is for after the scan.
func (p *Prober) Close() error {
	var errs []error
	for _, l := range p.lanes {
		errs = append(errs, l.close())
	}
	return errors.Join(errs...)
}

// Limit returns how many connections can be on their way at a time.
func (p *Prober) Limit() int {
	n := 0
	for _, l := range p.lanes {
		n += l.slots.limit
	}
	return n
}

// Unrouted returns how many attempts ended because this machine has no route to
// the target.
func (p *Prober) Unrouted() uint64 { return p.unrouted.Load() }

// Senders implements scan.Prober.
func (p *Prober) Senders(rate float64) (senders, maxSpan int) {
	return plan.Senders(rate, p.options.Senders), plan.MaxSpan
}

// Paths implements scan.Prober.
func (p *Prober) Paths() scan.Paths { return scan.Paths{Transmit: "connect", Receive: "connect"} }

// Start implements scan.Prober. The key has no use here: that an answer is ours
// is the system's business.
func (p *Prober) Start(cfg scan.Config, _ cookie.Key, pacer *tx.Pacer) (scan.Sender, scan.Receiver) {
	p.plan, p.method, p.wait = cfg.Plan, cfg.Method, cfg.Wait
	users, _ := p.Senders(cfg.Rate)
	for _, idle := range p.lanes[users:] {
		idle.close()
	}
	p.lanes = p.lanes[:users]
	batches := 4 + 4*users
	p.full, p.empty = make(chan []rx.Reply, batches), make(chan []rx.Reply, batches)
	for range batches {
		p.empty <- make([]rx.Reply, 0, batchLen)
	}
	for _, l := range p.lanes {
		l.batch = <-p.empty
	}
	return &senders{p, pacer, tx.NewPrefixes(cfg.RatePerPrefix)}, receivers{p}
}

// Prepare implements scan.Prober: the system resolves neighbours.
func (p *Prober) Prepare(context.Context, *tx.Pacer) error { return nil }

// Neighbours implements scan.Prober: nobody is asked.
func (p *Prober) Neighbours() scan.Neighbours { return scan.Neighbours{} }

// Living implements scan.Prober: nobody has been heard.
func (p *Prober) Living() iter.Seq[netip.Addr] { return func(func(netip.Addr) bool) {} }

// Reaches implements scan.Prober: whatever the system says is an answer.
func (p *Prober) Reaches(netip.Addr) bool { return true }

// Dropped implements scan.Prober: connections lose nothing that is counted.
func (p *Prober) Dropped() (scan.Lost, error) { return scan.Lost{}, nil }

// Late implements scan.Prober.
func (p *Prober) Late() time.Duration { return 0 }

// patience is how long a connection is waited for when its slot is needed.
func (p *Prober) patience() time.Duration {
	return scan.Patience(time.Duration(p.largest.Load()), p.wait)
}

// learn notes a round trip.
func (p *Prober) learn(rtt time.Duration) {
	for {
		largest := p.largest.Load()
		if int64(rtt) <= largest || p.largest.CompareAndSwap(largest, int64(rtt)) {
			return
		}
	}
}

// now is the time of slots.
func (p *Prober) now() time.Duration { return time.Since(p.began) }
