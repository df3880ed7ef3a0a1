package tx

import (
	"context"

	"golang.org/x/time/rate"

	"synoptic/internal/plan"
)

// Pacer shares one packet rate among all senders: a token bucket, asked once
// per span. It is safe for concurrent use.
//
// In any window of one second at most rate + burst tokens are given out, and of
// those given out before it each sender can still have one span to send. The
// burst is half a percent of the rate (or one packet), and the spans of as many
// senders as plan.Senders allows are together at most a tenth of a percent (or
// one packet), so the window stays within one percent, or two packets.
type Pacer struct{ limiter *rate.Limiter }

// burstShare is the part of a second's packets that a late sender may catch up
// on; it is what keeps the average rate when the scheduler is late.
const burstShare = 0.005

// NewPacer returns a pacer for a rate in packets per second; 0 or less means
// unlimited. Spans of plan.SpanLen(pps, senders) probes fit its burst.
func NewPacer(pps float64) *Pacer {
	return &Pacer{rate.NewLimiter(limits(pps))}
}

func limits(pps float64) (limit rate.Limit, burst int) {
	if pps <= 0 {
		return rate.Inf, 1
	}
	return rate.Limit(pps), max(int(pps*burstShare), plan.SpanLen(pps, 1))
}

// Wait blocks until n packets may leave, or ctx ends. More than the burst leave
// it in parts: spans that were made for a higher rate.
func (p *Pacer) Wait(ctx context.Context, n int) error {
	for n > 0 {
		part := n
		if p.limiter.Limit() != rate.Inf {
			part = min(n, p.limiter.Burst())
		}
		if err := p.limiter.WaitN(ctx, part); err != nil {
			if ctx.Err() == nil && part > p.limiter.Burst() {
				continue // it shrank in between
			}
			return err
		}
		n -= part
	}
	return nil
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
	limit, burst := limits(pps)
	p.limiter.SetBurst(burst)
	p.limiter.SetLimit(limit)
}
