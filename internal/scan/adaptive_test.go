package scan

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// road is a path that carries so many packets a second and loses a share of the
// rest of them, with canaries at most for a number of networks.
type road struct {
	carries  float64
	loss     float64
	networks float64 // grows with what was sent
	hits     float64
	rnd      *rand.Rand
	flying   []outcome
}

// drive lets a controller send over the road for a time, and returns the mean
// rate over its last part.
func (r *road) drive(c *controller, start time.Time, d, last time.Duration) (mean float64, log []string) {
	var sum float64
	n := 0
	before := 0.0
	for t := time.Duration(0); t < d; t += samplePause {
		now := start.Add(t)
		step := samplePause.Seconds()
		r.networks = min(r.networks+c.rate*r.hits*step, canaryPool)
		canaries := min(c.rate*adaptiveShare, before) * step // those that have rested
		if t%time.Second == 0 {
			before = r.networks
		}
		over := max(1-r.carries/c.rate, 0)
		for k := 0.0; k < canaries; k++ {
			if canaries-k < 1 && r.rnd.Float64() > canaries-k {
				break
			}
			r.flying = append(r.flying, outcome{now, r.rnd.Float64() < over || r.rnd.Float64() < r.loss})
		}
		var seen []outcome
		for len(r.flying) > 0 && now.Sub(r.flying[0].at) > 150*time.Millisecond {
			seen = append(seen, r.flying[0])
			r.flying = r.flying[1:]
		}
		if why, _ := c.observe(observation{now: now, outcomes: seen, sent: c.rate}); why != "" {
			log = append(log, fmt.Sprintf("%v %.0f %s", t, c.rate, why))
		}
		if t >= d-last {
			sum += c.rate
			n++
		}
	}
	return sum / float64(n), log
}

// From below and from above, with and without a loss that no rate mends, the rate
// settles at 90 to 100 % of what the path carries.
func TestTheRateSettlesWhereThePathCarriesIt(t *testing.T) {
	for _, carries := range []float64{2000, 20_000, 150_000} {
		for _, loss := range []float64{0, 0.01, 0.1} {
			for seed := range uint64(20) {
				t.Run(fmt.Sprintf("carries=%v/loss=%v/seed=%d", carries, loss, seed), func(t *testing.T) {
					r := &road{carries: 4 * carries, loss: loss, hits: 1.0 / 16, rnd: rand.New(rand.NewPCG(seed, 1))}
					c := newController(16 * carries)
					start := time.Unix(1e9, 0)
					r.carries = carries
					if mean, log := r.drive(c, start, 15*time.Second, 5*time.Second); mean < 0.9*carries || mean > carries {
						t.Errorf("from below: %.0f of %.0f\n%q", mean, carries, log)
					}
					r.carries = carries / 4
					if mean, log := r.drive(c, start.Add(15*time.Second), 15*time.Second, 5*time.Second); mean < 0.9*carries/4 || mean > carries/4 {
						t.Errorf("from above: %.0f of %.0f\n%q", mean, carries/4, log)
					}
				})
			}
		}
	}
}

// A path that carries everything is used up to the ceiling, whatever it loses.
func TestTheCeilingIsReached(t *testing.T) {
	for _, loss := range []float64{0, 0.001, 0.02, 0.1, 0.3} {
		for seed := range uint64(10) {
			r := &road{carries: 1e9, loss: loss, hits: 1.0 / 16, rnd: rand.New(rand.NewPCG(seed, 2))}
			c := newController(50_000)
			if mean, log := r.drive(c, time.Unix(1e9, 0), 40*time.Second, 10*time.Second); mean < 0.9*50_000 {
				t.Errorf("loss %v, seed %d: %.0f\n%q", loss, seed, mean, log)
			}
		}
	}
}

// What this machine drops cuts the rate at the next look, and not twice for one
// trouble.
func TestLocalDropsCutAtOnce(t *testing.T) {
	c := newController(100_000)
	c.rate = 100_000
	now := time.Unix(1e9, 0)
	if why, _ := c.observe(observation{now: now, dropped: 5, sent: c.rate}); why == "" || c.rate != 100_000*localCut {
		t.Errorf("%v %q", c.rate, why)
	}
	if c.observe(observation{now: now.Add(samplePause), dropped: 5, sent: c.rate}); c.rate != 100_000*localCut {
		t.Errorf("%v", c.rate)
	}
	if c.observe(observation{now: now.Add(2 * localPause), dropped: 5, sent: c.rate}); c.rate != 100_000*localCut*localCut {
		t.Errorf("%v", c.rate)
	}
}

// Without a canary the rate still grows, slowly, and never beyond what this
// machine can send.
func TestGrowthWithoutCanaries(t *testing.T) {
	c := newController(0)
	now := time.Unix(1e9, 0)
	for range 100 * 20 {
		now = now.Add(samplePause)
		c.observe(observation{now: now, sent: min(c.rate, 40_000)})
	}
	if c.rate < 40_000 || c.rate > 40_000*rapid {
		t.Errorf("%v", c.rate)
	}
}
