// Package rx is the receive side of a scan: from frames on the wire to
// validated replies.
//
//	1 the kernel's filter lets possible answers into the ring (filter.go, ring.go),
//	  or into a plain socket where few are expected            (socket.go)
//	2 the receiver reads packet after packet, without copying
//	3 the classifier decodes it, finds its place in the plan, checks its cookie
//	  and asks the method's table what it means             (classify.go)
//	4 valid replies go on in batches; the rest is counted
//
// Or the kernel decodes the packet and checks its cookie, too, and the receiver
// reads records of those that are answers (kernel.go).
//
// The receiver is one goroutine for each source, and never waits for the
// transmit side.
// Nothing allocates per packet: batches are reused.
package rx

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// Source yields received packets.
type Source interface {
	// Read returns the next packet and when it arrived; the bytes are valid
	// until the next call. It returns ErrIdle when none came for some
	// milliseconds.
	Read() (data []byte, at time.Time, err error)
	// Drops returns how many packets that passed the filter were lost for want
	// of room since the source was opened; safe beside Read.
	Drops() (uint64, error)
	Close() error
}

// ErrIdle is returned by a Source when nothing arrived for a while.
var ErrIdle = errors.New("no packet yet")

// Replies travel together: at most so many, and none waits longer than so for
// its batch to fill.
const (
	batchLen  = 256
	batchTime = 4 * time.Millisecond
)

// drainTime bounds the reading of what arrived before the end, should the clock
// that packets are stamped with have been set back.
const drainTime = 5 * time.Second

// Stats counts received packets: Received is the sum of the others. Of a Judging
// source, what is foreign to the scan is not among them.
type Stats struct {
	Received, Valid, BadCookie, OutOfPlan, Foreign uint64
	Duplicate                                      uint64 // answers that a Judging source had just heard, and no others
}

// Input is a source and who judges its packets; those of a Judging source have
// only the last part of that before them.
type Input struct {
	Source Source
	Class  *Classifier
}

// Judging is a Source that has judged packets up to the plan: it yields only
// answers with the right cookie, as records for Classifier.Recorded.
type Judging interface {
	Source
	// Judged returns how many packets it did not yield since it was opened: those
	// with a bad cookie, and answers that it had yielded a moment ago. It is safe
	// beside Read.
	Judged() (badCookie, duplicate uint64, err error)
}

// Hurried is a Source whose Read need not wait to find what has arrived.
type Hurried interface {
	Source
	// Hurry ends the wait of Read, and all to come. It is called once, and is safe
	// beside Read.
	Hurry()
}

// Receiver reads sources and yields the replies in them.
type Receiver struct {
	inputs   []Input
	received atomic.Uint64
	counts   [outcomes]atomic.Uint64
	full     chan []Reply
	free     chan []Reply
	seen     []atomic.Int64 // by input: see Seen
}

// idleLag is how long a packet may have waited when its source says that there is
// none: the time that a block of the ring takes to be handed over, which kernels
// before 6.18 round up to a jiffy.
const idleLag = blockTimeout + 12*time.Millisecond

// New returns a receiver; the sources stay the caller's to close.
func New(inputs ...Input) *Receiver {
	batches := 8 * len(inputs)
	r := &Receiver{inputs: inputs, full: make(chan []Reply, batches), free: make(chan []Reply, batches), seen: make([]atomic.Int64, len(inputs))}
	for range batches {
		r.free <- make([]Reply, 0, batchLen)
	}
	return r
}

// Replies yields batches of replies until Run has returned. Each goes back to
// the receiver by Release.
func (r *Receiver) Replies() <-chan []Reply { return r.full }

// Release gives a batch back.
func (r *Receiver) Release(batch []Reply) { r.free <- batch[:0] }

// Stats returns the counts so far; safe as long as the sources are open.
func (r *Receiver) Stats() Stats {
	s := Stats{
		Received:  r.received.Load(),
		Valid:     r.counts[Valid].Load(),
		BadCookie: r.counts[BadCookie].Load(),
		OutOfPlan: r.counts[OutOfPlan].Load(),
		Foreign:   r.counts[Foreign].Load(),
	}
	for _, in := range r.inputs {
		if judging, ok := in.Source.(Judging); ok {
			badCookie, duplicate, err := judging.Judged()
			if err != nil {
				continue // it has been closed
			}
			s.BadCookie += badCookie
			s.Duplicate += duplicate
			s.Received += badCookie + duplicate
		}
	}
	return s
}

// Seen returns a time before which no answer arrived that is not in Replies, or
// was, however long this process was kept from running: the zero time at first.
func (r *Receiver) Seen() time.Time {
	seen := r.seen[0].Load()
	for i := range r.seen {
		seen = min(seen, r.seen[i].Load())
	}
	if seen == 0 {
		return time.Time{}
	}
	return time.Unix(0, seen)
}

// Run receives until ctx ends, which returns nil, or a source fails, and then
// closes the channel of Replies. When ctx ends, what has arrived by then is
// still read, and nothing that arrives later, so the end does not depend on
// what others send. A batch leaves when it is full, a few milliseconds old, or
// the source is idle.
func (r *Receiver) Run(ctx context.Context) error {
	defer close(r.full)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var running sync.WaitGroup
	errs := make([]error, len(r.inputs))
	for i, in := range r.inputs {
		running.Go(func() {
			if errs[i] = r.read(ctx, in, &r.seen[i]); errs[i] != nil {
				cancel()
			}
		})
	}
	running.Wait()
	return errors.Join(errs...)
}

// read receives from one source, and notes up to which time.
func (r *Receiver) read(ctx context.Context, in Input, seen *atomic.Int64) error {
	judge := in.Class.Classify
	if _, ok := in.Source.(Judging); ok {
		judge = in.Class.Recorded
	}
	if hurried, ok := in.Source.(Hurried); ok {
		defer context.AfterFunc(ctx, hurried.Hurry)()
	}
	batch := <-r.free
	ended := ctx.Done()
	var until time.Time // when ctx ended, or zero
	for {
		select {
		case <-ended:
			ended, until = nil, time.Now()
		default:
		}
		data, at, err := in.Source.Read()
		idle := errors.Is(err, ErrIdle)
		last := !until.IsZero() && (idle || at.After(until) || time.Since(until) > drainTime)
		if err == nil && !last {
			batch = r.take(judge, batch, data, at)
		}
		if len(batch) > 0 && (err != nil || last || len(batch) == batchLen || at.UnixNano()-batch[0].Time > int64(batchTime)) {
			r.full <- batch
			batch = <-r.free
			if err == nil && !last {
				seen.Store(at.UnixNano())
			}
		}
		if idle {
			seen.Store(time.Now().Add(-idleLag).UnixNano())
		}
		if last {
			return nil
		}
		if err != nil && !idle {
			return err
		}
	}
}

// take counts a packet and appends what it answers.
func (r *Receiver) take(judge func([]byte, *Reply) Outcome, batch []Reply, data []byte, at time.Time) []Reply {
	r.received.Add(1)
	batch = batch[:len(batch)+1]
	reply := &batch[len(batch)-1]
	outcome := judge(data, reply)
	r.counts[outcome].Add(1)
	if outcome != Valid {
		return batch[:len(batch)-1]
	}
	reply.Time = at.UnixNano()
	return batch
}
