package tx

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"

	"synoptic/internal/plan"
)

// Pacer shares one packet rate among all senders: a token bucket, asked once
// per span. It is safe for concurrent use.
//
// In any window of one second at most rate + burst tokens are given out, and of
// those given out before it each sender can still have one span to send. The
// burst is half a percent of the rate at most (or one packet), and the spans of as many
// senders as plan.Senders allows are together at most a tenth of a percent (or
// one packet), so the window stays within one percent, or two packets.
type Pacer struct {
	limiter *rate.Limiter
	burst   float64             // of a second's packets
	sleep   func(time.Duration) // for a short time, exactly; nil: as timers do
	mu      sync.Mutex
	changed chan struct{} // closed when the rate changes
}

// The part of a second's packets that a late sender may catch up on. It is what
// keeps the average rate when the scheduler is late; but what drops packets for
// being too many drops those that come at once.
const (
	burstShare = 0.005
	evenShare  = 0.0025 // half of what a policer of 5 ms lets pass
)

// NewPacer returns a pacer for a rate in packets per second; 0 or less means
// unlimited. Spans of plan.SpanLen(pps, senders, plan.MaxSpan) probes fit its burst; longer
// ones leave it in parts.
func NewPacer(pps float64) *Pacer { return newPacer(pps, burstShare) }

// NewEvenPacer returns one for a rate that listens to losses: a sender that was
// late by more than 2.5 ms stays behind, rather than making a burst that a path
// drops which would carry the rate. And spans leave at their time, not at the next
// millisecond: timers of the runtime sleep for whole ones, so that of spans a
// millisecond long every seventh would leave just behind another, and what drops
// packets for being too many would drop that one.
func NewEvenPacer(pps float64) *Pacer {
	p := newPacer(pps, evenShare)
	p.sleep = sleepInThread
	return p
}

func newPacer(pps, burst float64) *Pacer {
	p := &Pacer{burst: burst, changed: make(chan struct{})}
	p.limiter = rate.NewLimiter(p.limits(pps))
	return p
}

func (p *Pacer) limits(pps float64) (limit rate.Limit, burst int) {
	if pps <= 0 {
		return rate.Inf, 1
	}
	return rate.Limit(pps), max(int(pps*p.burst), plan.SpanLen(pps, 1, plan.MaxSpan))
}

// Wait blocks until n packets may leave, or ctx ends. More than the burst leave
// it in parts: spans that were made for a higher rate. A change of the rate holds
// for who waits already.
func (p *Pacer) Wait(ctx context.Context, n int) error {
	for n > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		p.mu.Lock()
		limit, burst, changed := p.limiter.Limit(), p.limiter.Burst(), p.changed
		p.mu.Unlock()
		if limit == rate.Inf {
			return nil
		}
		part := min(n, burst)
		turn := p.limiter.ReserveN(time.Now(), part)
		if !turn.OK() || !p.await(ctx, turn, changed) {
			continue // the rate changed, or ctx ended
		}
		n -= part
	}
	return nil
}

// longSleep is one that may be a millisecond longer, and ends early if it must.
const longSleep = 5 * time.Millisecond

// await waits for a turn, and reports whether it came.
func (p *Pacer) await(ctx context.Context, turn *rate.Reservation, changed <-chan struct{}) bool {
	delay := turn.Delay()
	if delay == 0 {
		return true
	}
	if p.sleep != nil && delay < longSleep {
		p.sleep(delay)
		return true
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-changed:
	case <-ctx.Done():
	}
	turn.Cancel()
	return false
}

// sleepInThread sleeps by the kernel's timer: 50 us longer, which is its slack.
func sleepInThread(d time.Duration) {
	left := unix.NsecToTimespec(int64(d))
	for unix.Nanosleep(&left, &left) == unix.EINTR {
	}
}

// Rate returns the rate in packets per second, 0 for unlimited.
func (p *Pacer) Rate() float64 {
	if limit := p.limiter.Limit(); limit != rate.Inf {
		return float64(limit)
	}
	return 0
}

// SetRate changes the rate from now on; 0 or less means unlimited.
func (p *Pacer) SetRate(pps float64) {
	limit, burst := p.limits(pps)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.limiter.SetBurst(burst)
	p.limiter.SetLimit(limit)
	close(p.changed)
	p.changed = make(chan struct{})
}
