package scan

import "math"

// capacity is what the canaries say of a path. The path is thought to lose a
// share b of whatever is sent, and of the rest what is above P packets a second:
//
//	loss(r) = 1 - (1-b) * min(1, P/r)
//
// One rate alone tells nothing of b and P, several rates do. So the log-likelihood
// of everything that was seen is kept for each pair of a grid (w, in nats, the
// best pair at 0); what it says of P is the best b for each P.
//
// Both may change at any time. A pair that explains what comes now is therefore
// never further behind than changeCost below another with the same b, or with the
// same P: the price of the change from that to this (it is Viterbi's algorithm).
// This is how the old is forgotten, and why a rise of the one is not taken for a
// fall of the other as long as something tells them apart: both cost the same.
type capacity struct {
	w      [baseLosses][carriedRates]float64
	gone   [baseLosses][carriedRates]float64 // log of the loss, by how many steps the rate is above P
	come   [baseLosses][carriedRates]float64 // log of the rest
	best   [carriedRates]float64             // over all b
	lo, hi int                               // the P that are believable
}

const (
	rateStep     = 0.015 // of the logarithm: about as well as P is to be known
	carriedRates = 800   // leastRate to 160,000 times that
	baseLosses   = len(baseLossGrid)
	changeCost   = 12  // nats; a change is seen in a day of looks without one at most a few times
	doubt        = 4.5 // nats: a deviation of 2.4 sigma
)

// baseLossGrid are the b.
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

// carriedAt returns the P of an index. Rates have the places between them, so that
// no P is ever just about the rate.
func carriedAt(j int) float64 { return leastRate * math.Exp(rateStep*(float64(j)+0.5)) }

// indexOf returns how many P are below a rate.
func indexOf(rate float64) int {
	return int(min(max(math.Round(math.Log(rate/leastRate)/rateStep), 0), carriedRates-1))
}

// learn enters how many canaries that were sent at a rate were answered and lost.
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

// settle allows for changes, and finds what is believable. (The comparisons are
// ifs because max minds NaN, which costs most of the time.)
func (c *capacity) settle() {
	for j := range c.best {
		c.best[j] = math.Inf(-1)
	}
	var row [baseLosses]float64
	top := math.Inf(-1)
	for k := range c.w {
		m := math.Inf(-1)
		for j, w := range &c.w[k] {
			if w > m {
				m = w
			}
			if w > c.best[j] {
				c.best[j] = w
			}
		}
		row[k], top = m, max(top, m)
	}
	for j := range c.best {
		c.best[j] = max(c.best[j]-top, -changeCost)
	}
	for k := range c.w {
		same, w := row[k]-top-changeCost, &c.w[k]
		for j, best := range &c.best {
			v, least := w[j]-top, best-changeCost
			if same > least {
				least = same
			}
			if v < least {
				v = least
			}
			w[j] = v
		}
	}
	c.lo, c.hi = carriedRates-1, 0
	for j, best := range &c.best {
		if best >= -doubt {
			c.lo, c.hi = min(c.lo, j), j
		}
	}
}

// doubtAbove forgets what was said against a P above a rate.
func (c *capacity) doubtAbove(rate float64) {
	i := indexOf(rate)
	for k := range c.w {
		for j := i + 1; j < carriedRates; j++ {
			c.w[k][j] = c.w[k][i]
		}
	}
	c.settle()
}

// bounds returns between what the path carries, high is infinite if nothing says
// that there is an end.
func (c *capacity) bounds() (low, high float64) {
	low, high = carriedAt(c.lo), carriedAt(c.hi)
	if c.hi == carriedRates-1 {
		high = math.Inf(1)
	}
	return low, high
}

// tells returns how well a canary at a rate tells the lowest from the highest
// believable P, in standard deviations squared.
func (c *capacity) tells(rate float64) float64 {
	i := indexOf(rate)
	a, b := math.Exp(c.come[c.baseAt(c.lo)][max(i-c.lo, 0)]), math.Exp(c.come[c.baseAt(c.hi)][max(i-c.hi, 0)])
	mean := (a + b) / 2
	return (a - b) * (a - b) / (mean * (1 - mean))
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

// acquits reports whether canaries sent at a rate above what the path is believed
// to carry say that it did carry that then, or all but a tenth of the time.
func (c *capacity) acquits(rate, answered, lost float64) bool {
	j := (c.lo + c.hi) / 2
	k, n := c.baseAt(j), answered+lost
	b, over := baseLossGrid[k], math.Exp(c.gone[k][max(indexOf(rate)-j, 0)])
	return lost-n*b+2*math.Sqrt(n*b)+1 < 0.1*n*(over-b)
}

// mean returns the P of the mean of the believable ones up to a bound, by likelihood.
func (c *capacity) mean(most float64) float64 {
	sum, all := 0.0, 0.0
	for j := c.lo; j <= min(c.hi, indexOf(most)); j++ {
		w := math.Exp(c.best[j])
		sum, all = sum+w*float64(j), all+w
	}
	if all == 0 {
		return most
	}
	return leastRate * math.Exp(rateStep*(sum/all+0.5))
}
