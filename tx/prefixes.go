package tx

import (
	"context"
	"math"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"synoptic/internal/plan"
)

// Prefixes bounds the packets a second to each network, a /24 of IPv4 or a /48
// of IPv6, whatever the rate of all: a token bucket for each. It is shared by
// all senders and safe for concurrent use. Without a bound it is nil, and nobody
// asks it.
//
// In any window of one second, ends included, at most rate + burst packets leave
// to a network, where the burst is one percent of the rate, or one packet. That
// holds for when they leave, not for when they were let go: a frame's token is
// held from Wait to Left, however long its sender then waits for the pacer or
// for a device, and the bucket pays for it at Left. Proof: of the packets that
// leave in [a, a+1], take those whose Wait returned last, at some s <= a+1. At s
// the bucket had a token for each frame that was held, these included. Every
// other packet of the window was held at s as well, or had been paid for since
// a; and a bucket that has at most burst tokens at a, and gets at most rate of
// them until s, cannot have paid for and still cover more than rate + burst.
//
// The order of the plan is kept, so who must wait for one network keeps waiting
// what comes behind it. With one dense network, which is the share s of the
// positions, the rate of all tends to rate/s. Of m networks that are equally
// dense, chance sends more than the burst to one while the others have had less,
// and that delays all: with a burst of one packet, they get not m but about
// sqrt(pi*m/2) times the rate together (how many draws repeat none, the problem
// of the birthdays), with a burst of twenty nearly m times.
//
// The memory is bounded, by some 40 MB: a full bucket is the same as none and is
// dropped when there are many, and when mostBuckets are not full, everybody
// waits until some are.
type Prefixes struct {
	limit rate.Limit
	burst int
	turn  chan struct{} // has room for one token: who has put it there claims
	left  chan struct{} // has room for one token, sent when a claim has ended

	mu      sync.Mutex
	buckets map[prefix]*bucket
	sweepAt int // number of buckets at which full ones are dropped
	most    int
}

const (
	// fewBuckets are not worth looking through.
	fewBuckets = 4096
	// mostBuckets are reached only by rates at which a second's packets go to
	// more networks: of one packet a second to each, more than 262,144 in all.
	mostBuckets = 1 << 18
)

// bucket is that of one network.
type bucket struct {
	*rate.Limiter
	held  int // frames that may leave and have not been paid for
	asked int // frames that who has the turn asks for
}

// Claim is what one sender may send, or asks for. The zero value is ready; it is
// used again and again.
type Claim struct {
	prefixes []prefix  // of each frame
	buckets  []*bucket // theirs, as far as they were found
}

// NewPrefixes returns a bound of so many packets a second to each network; 0 or
// less means none, and nil is returned.
func NewPrefixes(pps float64) *Prefixes {
	if pps <= 0 {
		return nil
	}
	return &Prefixes{
		limit: rate.Limit(pps), burst: prefixBurst(pps), turn: make(chan struct{}, 1), left: make(chan struct{}, 1),
		buckets: map[prefix]*bucket{}, sweepAt: fewBuckets, most: mostBuckets,
	}
}

// prefixBurstShare is the part of a second's packets that may leave to a network
// at once. It is all that the bound is exceeded by, so it is twice the pacer's,
// whose second is as much above its rate in all. With a single packet, what a
// timer is late by is lost: of 200 packets a second there were 170.
const prefixBurstShare = 0.01

// prefixBurst returns how many packets may leave to a network at once.
func prefixBurst(pps float64) int { return int(min(max(pps*prefixBurstShare, 1), math.MaxInt32)) }

// Add adds a frame to this target to what the next Wait asks for.
func (c *Claim) Add(target netip.Addr) { c.prefixes = append(c.prefixes, prefixOf(target)) }

// Wait blocks until a frame may leave to each target of the claim, or ctx ends;
// with its error, nothing is held and nothing may leave. After nil, Left must
// follow. Senders wait in turn.
//
// More frames to one network than the burst are not refused: they leave together
// once its bucket is full, which then owes the rest. A window can then hold as
// many more. A Cutter's spans have no such claims.
func (p *Prefixes) Wait(ctx context.Context, c *Claim) error {
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		c.reset()
		return ctx.Err()
	}
	for ctx.Err() == nil {
		delay := p.take(c)
		if delay == 0 {
			return nil
		}
		timer := time.NewTimer(delay)
		select {
		case <-timer.C:
		case <-p.left:
		case <-ctx.Done():
		}
		timer.Stop()
	}
	p.withdraw(c)
	return ctx.Err()
}

// Left says that the frames of a claim have left, or never will.
func (p *Prefixes) Left(c *Claim) {
	p.mu.Lock()
	now := time.Now()
	for _, b := range c.buckets {
		b.held--
		b.ReserveN(now, 1) // one by one: more than the burst would be refused
	}
	p.mu.Unlock()
	c.reset()
	select {
	case p.left <- struct{}{}:
	default:
	}
}

// take holds the tokens of a claim, or returns how long to wait before trying
// again, or until something has left.
func (p *Prefixes) take(c *Claim) (delay time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	for _, key := range c.prefixes[len(c.buckets):] {
		b := p.bucket(key, now)
		if b == nil {
			return p.after(float64(p.burst) / 8) // some will be full by then
		}
		b.asked++
		c.buckets = append(c.buckets, b)
	}
	missing := 0.0 // tokens, of the bucket that has the fewest
	for _, b := range c.buckets {
		need := b.held + b.asked
		switch {
		case need <= p.burst:
		case b.held > 0:
			return math.MaxInt64 // not before something has left
		default:
			need = p.burst
		}
		missing = max(missing, float64(need)-b.TokensAt(now))
	}
	if missing > 0 {
		return p.after(missing)
	}
	for _, b := range c.buckets {
		b.held, b.asked = b.held+1, b.asked-1
	}
	return 0
}

// withdraw takes back what take has asked for.
func (p *Prefixes) withdraw(c *Claim) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range c.buckets {
		b.asked--
	}
	c.reset()
}

func (c *Claim) reset() {
	clear(c.buckets) // or dropped ones would stay
	c.prefixes, c.buckets = c.prefixes[:0], c.buckets[:0]
}

// after returns the time in which a bucket gets so many tokens, at least a
// nanosecond. Rates so low that it does not fit are looked at once an hour.
func (p *Prefixes) after(tokens float64) time.Duration {
	return time.Duration(min(math.Ceil(tokens/float64(p.limit)*float64(time.Second)), float64(time.Hour)))
}

// bucket returns that of a network, or nil when there is no room for it now.
func (p *Prefixes) bucket(key prefix, now time.Time) *bucket {
	if b := p.buckets[key]; b != nil {
		return b
	}
	if len(p.buckets) >= p.sweepAt {
		for k, b := range p.buckets {
			if b.held+b.asked == 0 && b.TokensAt(now) >= float64(p.burst) {
				delete(p.buckets, k)
			}
		}
		if len(p.buckets) >= p.most {
			return nil
		}
		// Looking through them costs a few steps for each new one.
		p.sweepAt = min(max(p.sweepAt, 2*len(p.buckets)), p.most)
	}
	b := &bucket{Limiter: rate.NewLimiter(p.limit, p.burst)}
	p.buckets[key] = b
	return b
}

// prefix is a network: the first 48 bits of an IPv6 address, or the first 24 of
// an IPv4 address with a bit above those.
type prefix uint64

func prefixOf(a netip.Addr) prefix {
	if a.Is4() {
		b := a.As4()
		return 1<<48 | prefix(b[0])<<16 | prefix(b[1])<<8 | prefix(b[2])
	}
	b := a.As16()
	return prefix(b[0])<<40 | prefix(b[1])<<32 | prefix(b[2])<<24 | prefix(b[3])<<16 | prefix(b[4])<<8 | prefix(b[5])
}

// Cutter makes spans so short that Prefixes lets each go as a whole and keeps
// its promise. It is not safe for concurrent use. A nil *Cutter cuts nothing.
type Cutter struct {
	plan   *plan.Plan
	burst  int
	counts map[prefix]int
}

// NewCutter returns a cutter for the spans of a plan, with so many packets a
// second to each network; 0 or less means no bound, and nil is returned.
func NewCutter(p *plan.Plan, pps float64) *Cutter {
	if pps <= 0 {
		return nil
	}
	return &Cutter{plan: p, burst: prefixBurst(pps), counts: map[prefix]int{}}
}

// Fit returns how many of a span's first probes go to no network more often than
// the burst: at least one, if there is one.
func (c *Cutter) Fit(s *plan.Span) int {
	if c == nil {
		return s.Len()
	}
	clear(c.counts)
	for i := range s.Len() {
		key := prefixOf(c.plan.At(s.At(i)).Addr())
		if c.counts[key] == c.burst {
			return i
		}
		c.counts[key]++
	}
	return s.Len()
}
