package scan

import "math"

// capacity is what the canaries have told of a path. The path is thought to lose a
// share b of whatever is sent, and of the rest what is above P packets a second:
//
//	loss(r) = 1 - (1-b) * min(1, P/r)
//
// One rate tells nothing of b and P apart, several do. So the log-likelihood of all
// that was seen is kept for each pair of a grid (w, in nats; the best pair has 0);
// for a P, that of its best b counts. P is infinite where it is above all rates
// that were tried.
//
// Both may change at any time. A pair is therefore never further than changeCost
// behind the best one with the same b, nor the best one with the same P: so
// unlikely is a change from that to this (which makes it Viterbi's algorithm). This
// is how the past is forgotten, and no sooner than the present speaks against it.
// A rate lower than before tells a fall of P from a rise of b.
type capacity struct {
	w      [baseLosses][carriedRates]float64
	come   [baseLosses][carriedRates]float64 // log of the share that comes back, by how many steps the rate is above P
	gone   [baseLosses][carriedRates]float64 // log of the rest
	best   [carriedRates]float64             // over all b
	lo, hi int                               // the P that are believable
}

const (
	rateStep     = 0.015 // of the logarithm: about as well as P is to be known
	carriedRates = 800   // leastRate to 160,000 times that
	baseLosses   = len(baseLossGrid)
	changeCost   = 12 // nats: noise looks like a change a few times a day
	doubt        = 6  // nats, 3.5 sigma: it is looked at again and again until something is found
)

// baseLossGrid are the b, closer than can be told apart in a few seconds.
var baseLossGrid = [...]float64{0.0005, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.055, 0.07, 0.085, 0.1, 0.115,
	0.13, 0.15, 0.17, 0.2, 0.23, 0.26, 0.3, 0.35, 0.4, 0.5, 0.65, 0.85}

func newCapacity() *capacity {
	c := &capacity{hi: carriedRates - 1}
	for k, b := range baseLossGrid {
		for d := range carriedRates {
			pass := (1 - b) * math.Exp(-rateStep*max(float64(d)-0.5, 0))
			c.come[k][d], c.gone[k][d] = math.Log(pass), math.Log(1-pass)
		}
	}
	return c
}

// carriedAt returns the P of an index. Rates are rounded to places between them, so
// that no P is about the rate.
func carriedAt(j float64) float64 { return leastRate * math.Exp(rateStep*(j+0.5)) }

// indexOf returns how many P are below a rate.
func indexOf(rate float64) int {
	return int(min(max(math.Round(math.Log(rate/leastRate)/rateStep), 0), carriedRates-1))
}

// learn enters how many canaries that were sent at a rate were answered and lost.
// It is for settle to draw the conclusions.
func (c *capacity) learn(rate, answered, lost float64) {
	i := indexOf(rate)
	for k := range c.w {
		w, come, gone := &c.w[k], &c.come[k], &c.gone[k]
		for j := range i {
			w[j] += answered*come[i-j] + lost*gone[i-j]
		}
		same := answered*come[0] + lost*gone[0]
		for j := i; j < carriedRates; j++ {
			w[j] += same
		}
	}
}

// settle allows for changes, and finds what is believable. (Comparisons, for max
// minds NaN, which takes most of the time.)
func (c *capacity) settle() {
	for j := range c.best {
		c.best[j] = math.Inf(-1)
	}
	var row [baseLosses]float64
	top := math.Inf(-1)
	for k := range c.w {
		row[k] = math.Inf(-1)
		for j, w := range &c.w[k] {
			if w > row[k] {
				row[k] = w
			}
			if w > c.best[j] {
				c.best[j] = w
			}
		}
		top = max(top, row[k])
	}
	c.lo, c.hi = carriedRates-1, 0
	for j := range c.best {
		c.best[j] = max(c.best[j]-top, -changeCost)
		if c.best[j] >= -doubt {
			c.lo, c.hi = min(c.lo, j), j
		}
	}
	for k := range c.w {
		w, least := &c.w[k], row[k]-top-changeCost
		for j, best := range &c.best {
			v := w[j] - top
			if v < least {
				v = least
			}
			if v < best-changeCost {
				v = best - changeCost
			}
			w[j] = v
		}
	}
}

// doubtAbove forgets what was said against each P above the believable ones.
func (c *capacity) doubtAbove() {
	middle := (c.lo + c.hi) / 2
	for k := range c.w {
		for j := c.hi + 1; j < carriedRates; j++ {
			c.w[k][j] = c.w[k][middle]
		}
	}
	c.settle()
}

// bounds returns between what P is; high is infinite if nothing says that there is
// an end.
func (c *capacity) bounds() (low, high float64) {
	low, high = carriedAt(float64(c.lo)), carriedAt(float64(c.hi))
	if c.hi == carriedRates-1 {
		high = math.Inf(1)
	}
	return low, high
}

// mean returns the mean of the believable P up to one, weighed by how likely they
// make what was seen; or that one, if they are all above it.
func (c *capacity) mean(most float64) float64 {
	sum, all := 0.0, 0.0
	for j := c.lo; j <= min(c.hi, indexOf(most)); j++ {
		w := math.Exp(c.best[j])
		sum, all = sum+w*float64(j), all+w
	}
	if all == 0 {
		return most
	}
	return carriedAt(sum / all)
}

// tells returns how well a canary at a rate tells the lowest from the highest
// believable P, in standard deviations squared.
func (c *capacity) tells(rate float64) float64 {
	i := indexOf(rate)
	a := math.Exp(c.come[c.baseAt(c.lo)][max(i-c.lo, 0)])
	b := math.Exp(c.come[c.baseAt(c.hi)][max(i-c.hi, 0)])
	mean := (a + b) / 2
	return (a - b) * (a - b) / (mean * (1 - mean))
}

// acquits reports whether n canaries sent at a rate above what the path carries now
// say that it did carry that then, or all but a tenth of the time.
func (c *capacity) acquits(carries, rate, n, lost float64) bool {
	j := indexOf(carries)
	k := c.baseAt(j)
	b, over := baseLossGrid[k], math.Exp(c.gone[k][max(indexOf(rate)-j, 0)])
	return lost-n*b+2*math.Sqrt(n*b)+1 < 0.1*n*(over-b)
}

// baseAt returns the index of the best b for a P.
func (c *capacity) baseAt(j int) int {
	best := 0
	for k := range c.w {
		if c.w[k][j] > c.w[best][j] {
			best = k
		}
	}
	return best
}
