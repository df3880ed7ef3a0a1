package scan

import (
	"fmt"
	"time"

	"synoptic/internal/estimate"
)

// Numbers of the controller.
const (
	firstRate = 2500 // packets per second, before anything is known
	leastRate = 100  // that it goes down to

	fewOutcomes  = 25                     // canaries that growth at the start goes by
	manyOutcomes = 100                    // and where the path has shown its limit
	quietGrowth  = time.Second            // without so many, this long without a loss will do
	rapid, slow  = 1.5, 1.02              // growth
	below        = 0.95                   // of what the path carries: where the rate is held
	roughLoss    = 0.1                    // with so much loss, how much it carries is known roughly only
	holdTime     = 10 * time.Second       // before more is tried
	localCut     = 0.7                    // when this machine drops
	localPause   = 250 * time.Millisecond // before it is cut for that again
	excessLoss   = 0.005                  // beyond what the path loses at any rate
)

// controller finds the highest rate at which the results stay complete. It
// begins low and grows. Loss on the way, told by canaries, says how much the path
// carries: rate x (1 - loss); from there the rate is held a little lower, and
// only from time to time more is tried. A loss that a lower rate does not mend is
// the path's own, and is put up with. What this machine drops cuts the rate at
// once. It is plain arithmetic over what it is told, and reads no clock.
type controller struct {
	ceiling float64 // 0: none
	rate    float64
	changed time.Time // canaries sent earlier say nothing about this rate
	carried float64   // what the path carries, 0: not known
	until   time.Time // the rate is held
	base    float64   // loss at any rate

	n, lost int // canaries since changed

	// Of the last cut for a loss on the way: what it was, until it is clear
	// whether it helped.
	trial     bool
	cutRate   float64
	cutLoss   float64
	lastLocal time.Time
}

func newController(ceiling float64) *controller {
	c := &controller{ceiling: ceiling}
	c.rate = c.limited(firstRate)
	return c
}

// limited keeps a rate within its bounds.
func (c *controller) limited(rate float64) float64 {
	rate = max(rate, leastRate)
	if c.ceiling > 0 {
		rate = min(rate, c.ceiling)
	}
	return rate
}

// observation is what the controller is told, every samplePause.
type observation struct {
	now      time.Time
	outcomes []outcome
	dropped  uint64  // packets, by this machine, since the last one
	sent     float64 // packets per second over the last moments: less than the rate if this machine can do no more
}

// observe returns why the rate was changed, or "", and whether the path lost
// probes for being too many since a time.
func (c *controller) observe(o observation) (why string, congested time.Time) {
	if c.changed.IsZero() {
		c.changed = o.now
	}
	for _, out := range o.outcomes {
		if out.at.After(c.changed) {
			c.n++
			if out.lost {
				c.lost++
			}
		}
	}
	if o.dropped > 0 {
		if o.now.Sub(c.lastLocal) < localPause {
			return "", time.Time{}
		}
		c.lastLocal = o.now
		if c.carried == 0 || c.rate < c.carried {
			c.carried = c.rate
		}
		c.until, c.trial = o.now.Add(holdTime), false
		c.set(c.rate*localCut, o.now)
		return "this machine dropped packets", time.Time{}
	}
	loss := estimate.Binomial(uint64(c.lost), uint64(c.n))
	switch {
	case c.trial && c.n >= fewOutcomes && loss.Low > c.base+excessLoss && loss.Estimate > c.cutLoss/2:
		// Less of it lost as much: the rate is not the cause.
		c.base, c.trial, c.carried = loss.Estimate, false, 0
		c.set(c.cutRate, o.now)
		return fmt.Sprintf("the path loses %.1f%% at any rate", 100*loss.Estimate), time.Time{}
	case loss.Low > c.base+excessLoss && (c.n >= fewOutcomes || loss.Low > 0.2):
		return c.cut(loss.Estimate, o.now)
	case c.n >= manyOutcomes && loss.High < c.base:
		c.base = loss.High
	}
	return c.grow(o), time.Time{}
}

// cut lowers the rate to what the path carries.
func (c *controller) cut(loss float64, now time.Time) (string, time.Time) {
	since := c.changed
	excess := (loss - c.base) / (1 - c.base)
	c.cutRate, c.cutLoss, c.trial = c.rate, loss, true
	c.carried = c.rate * (1 - excess)
	c.until = now
	if excess < roughLoss {
		c.until = now.Add(holdTime)
	}
	c.set(c.carried*below, now)
	return fmt.Sprintf("%.1f%% of the canaries were lost", 100*loss), since
}

// grow raises the rate if nothing speaks against it.
func (c *controller) grow(o observation) string {
	enough := fewOutcomes
	if c.carried > 0 {
		enough = manyOutcomes
	}
	switch {
	case c.ceiling > 0 && c.rate >= c.ceiling, o.now.Before(c.until):
		return ""
	case c.n < enough && (c.lost > 0 || o.now.Sub(c.changed) < quietGrowth):
		return ""
	case o.sent < c.rate*0.9: // it would mean nothing
		return ""
	}
	c.trial = false
	if c.carried > 0 {
		c.set(c.rate*slow, o.now)
		return "trying a little more"
	}
	c.set(c.rate*rapid, o.now)
	return "nothing is lost"
}

// set changes the rate.
func (c *controller) set(rate float64, now time.Time) {
	c.rate, c.changed, c.n, c.lost = c.limited(rate), now, 0, 0
}
