package estimate

import (
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
)

// atLeast returns the probability of k or more of n, each with this share, as a
// sum of all its terms at 300 bits.
func atLeast(k, n uint64, share float64) float64 {
	const bits = 300
	number := func() *big.Float { return new(big.Float).SetPrec(bits) }
	p := number().SetFloat64(share)
	q := number().Sub(number().SetInt64(1), p)
	sum := number()
	for j := k; j <= n; j++ {
		term := number().SetInt(new(big.Int).Binomial(int64(n), int64(j)))
		for range j {
			term.Mul(term, p)
		}
		for range n - j {
			term.Mul(term, q)
		}
		sum.Add(sum, term)
	}
	f, _ := sum.Float64()
	return f
}

// The definition, for every k of n up to 60: at the bounds, the tails are 2.5 %.
func TestTailsAtTheBounds(t *testing.T) {
	for n := uint64(1); n <= 60; n++ {
		for k := uint64(0); k <= n; k++ {
			i := Binomial(k, n)
			if k > 0 {
				if p := atLeast(k, n, i.Low); math.Abs(p/tail-1) > 1e-9 {
					t.Errorf("%d of %d: with %v, k or more have %v", k, n, i.Low, p)
				}
			} else if i.Low != 0 {
				t.Errorf("0 of %d: from %v", n, i.Low)
			}
			if k < n {
				if p := 1 - atLeast(k+1, n, i.High); math.Abs(p/tail-1) > 1e-9 {
					t.Errorf("%d of %d: with %v, k or fewer have %v", k, n, i.High, p)
				}
			} else if i.High != 1 {
				t.Errorf("all of %d: up to %v", n, i.High)
			}
			if i.Estimate != float64(k)/float64(n) || i.Low > i.Estimate || i.Estimate > i.High {
				t.Errorf("%d of %d: %+v", k, n, i)
			}
		}
	}
}

// The examples of Newcombe, "Two-sided confidence intervals for the single
// proportion", Statistics in Medicine 17 (1998), table I, method 5.
func TestPublishedIntervals(t *testing.T) {
	for _, tt := range []struct {
		k, n      uint64
		low, high string
	}{{81, 263, "0.2527", "0.3676"}, {15, 148, "0.0578", "0.1617"}, {0, 20, "0.0000", "0.1684"}, {1, 29, "0.0009", "0.1776"}} {
		i := Binomial(tt.k, tt.n)
		if low, high := fmt.Sprintf("%.4f", i.Low), fmt.Sprintf("%.4f", i.High); low != tt.low || high != tt.high {
			t.Errorf("%d of %d: %s to %s, want %s to %s", tt.k, tt.n, low, high, tt.low, tt.high)
		}
	}
}

// As many trials as a large scan has, against roots of the tail sums that were
// found with 40 digits by another library (mpmath).
func TestLargeCounts(t *testing.T) {
	for _, tt := range []struct {
		k, n      uint64
		low, high float64
	}{
		{5, 1000000, 1.623488319241e-6, 1.166829317521e-5},
		{1000, 1000000, 0.0009390012079501, 0.001063918107315},
		{10, 100000000, 4.795388796946e-8, 1.839035527051e-7},
		{10000000, 100000000, 0.09994120765903, 0.100058815498},
		{1, 1000000000, 2.531780798397e-11, 5.571643378203e-9},
		{1000, 1000000000, 9.389730465896e-7, 1.063952101995e-6},
		{1000000, 1000000000, 0.0009980419606758, 0.00100196092882},
		{500000000, 1000000000, 0.4999690097484, 0.5000309902516},
		{999999990, 1000000000, 0.9999999816096, 0.9999999952046},
	} {
		i := Binomial(tt.k, tt.n)
		if math.Abs(i.Low/tt.low-1) > 1e-6 || math.Abs(i.High/tt.high-1) > 1e-6 {
			t.Errorf("%d of %d: %v to %v, want %v to %v", tt.k, tt.n, i.Low, i.High, tt.low, tt.high)
		}
	}
	for _, n := range []uint64{1e4, 1e6, 1e9} { // 1-0.025^(1/n), by the first terms of its series
		x := -math.Log(tail) / float64(n)
		want := x - x*x/2 + x*x*x/6
		if i := Binomial(0, n); i.Low != 0 || math.Abs(i.High/want-1) > 1e-10 {
			t.Errorf("0 of %d: %+v, want up to %v", n, i, want)
		}
		if i := Binomial(n, n); i.High != 1 || math.Abs((1-i.Low)/want-1) > 1e-7 {
			t.Errorf("all of %d: %+v, want from %v", n, i, 1-want)
		}
	}
}

// For counts of every size: the estimate is within, more hits never mean less,
// and the interval of the misses is the mirror image.
func TestBoundsAreInOrder(t *testing.T) {
	r := seeded(t)
	for range 5000 {
		n := 1 + uint64(math.Exp(r.Float64()*math.Log(1e9)))
		k := uint64(math.Pow(r.Float64(), 8) * float64(n))
		if r.IntN(2) == 0 {
			k = n - k
		}
		i := Binomial(k, n)
		if !(0 <= i.Low && i.Low <= i.Estimate && i.Estimate <= i.High && i.High <= 1) || i.High <= i.Low {
			t.Fatalf("%d of %d: %+v", k, n, i)
		}
		if k < n {
			if more := Binomial(k+1, n); more.Low < i.Low || more.High < i.High {
				t.Fatalf("%d of %d: %+v, one more: %+v", k, n, i, more)
			}
		}
		mirror := Binomial(n-k, n)
		if math.Abs(1-mirror.Low-i.High) > 2e-6*(i.High-i.Low) || math.Abs(1-mirror.High-i.Low) > 2e-6*(i.High-i.Low) {
			t.Fatalf("%d of %d: %+v, the others: %+v", k, n, i, mirror)
		}
		if twice := Binomial(2*k, 2*n); twice.High-twice.Low >= i.High-i.Low {
			t.Fatalf("%d of %d: %+v, of twice as many: %+v", k, n, i, twice)
		}
	}
}

func TestNothingTellsNothing(t *testing.T) {
	if i := Binomial(0, 0); i != (Interval{0, 0, 1}) {
		t.Errorf("no trials: %+v", i)
	}
	if i := Removal(0, 0); i != (Interval{0, 0, 1}) {
		t.Errorf("no finds: %+v", i)
	}
	defer func() {
		if recover() == nil {
			t.Error("2 of 1 is a share")
		}
	}()
	Binomial(2, 1)
}

func TestRemovalAtTheEnds(t *testing.T) {
	if i := Removal(1000, 0); i.Low != 0 || i.Estimate != 0 || i.High < 0.003 || i.High > 0.004 {
		t.Errorf("all in the first pass: %+v", i)
	}
	if i := Removal(1000, 10); i.Estimate != 0.01 || i.Low > 0.0055 || i.Low < 0.0045 || i.High > 0.019 || i.High < 0.017 {
		t.Errorf("a hundredth in the second pass: %+v", i)
	}
	for _, more := range []uint64{100, 101, 1000} {
		if i := Removal(100, more); i.Estimate != 1 || i.High != 1 || i.Low >= 1 && more < 101 {
			t.Errorf("%d after 100: %+v", more, i)
		}
	}
	if i := Removal(0, 1000); i != (Interval{1, 1, 1}) {
		t.Errorf("all in the second pass: %+v", i)
	}
	for second := uint64(0); second < 200; second++ {
		i, more := Removal(100, second), Removal(100, second+1)
		if more.Low < i.Low || more.Estimate < i.Estimate || more.High < i.High || i.Low > i.Estimate || i.Estimate > i.High {
			t.Errorf("%d after 100: %+v, one more: %+v", second, i, more)
		}
	}
}

func TestMissed(t *testing.T) {
	for _, tt := range []struct {
		found uint64
		loss  float64
		tries int
		want  float64
	}{
		{900, 0.1, 1, 100}, {990, 0.1, 2, 10}, {999, 0.1, 3, 1}, {1000, 0, 1, 0}, {0, 0.5, 2, 0}, {1, 0.5, 1, 1},
		{1e9, 1e-9, 2, 1e-9}, {5, 1, 3, math.Inf(1)}, {0, 1, 1, math.Inf(1)}, {5, 0.1, 0, math.Inf(1)}, {0, 0.1, 0, math.Inf(1)}, {5, 0.1, -1, math.Inf(1)},
	} {
		if got := Missed(tt.found, tt.loss, tt.tries); got != tt.want && math.Abs(got/tt.want-1) > 1e-12 && math.Abs(got-tt.want) > 1e-300 {
			t.Errorf("%d found, loss %v, %d tries: %v missed, want %v", tt.found, tt.loss, tt.tries, got, tt.want)
		}
	}
}

const runs = 1000

// covered fails if fewer than 95 % of the runs had the truth in their interval,
// by more than chance does once in a thousand (3.1 standard deviations).
func covered(t *testing.T, what string, within int) {
	t.Helper()
	share := float64(within) / runs
	t.Logf("%s: %.1f %% of the intervals have it", what, 100*share)
	if share < 0.95-3.1*math.Sqrt(0.95*0.05/runs) {
		t.Errorf("%s is in %.1f %% of the intervals, want 95", what, 100*share)
	}
}

func hits(r *rand.Rand, n uint64, share float64) (k uint64) {
	for range n {
		if r.Float64() < share {
			k++
		}
	}
	return k
}

// seeded returns the source of a simulation, always the same.
func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	const seed = 1934
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

func TestBinomialCoverage(t *testing.T) {
	r := seeded(t)
	for _, share := range []float64{0.001, 0.01, 0.1} {
		for _, n := range []uint64{500, 5000} {
			within := 0
			for range runs {
				if i := Binomial(hits(r, n, share), n); i.Low <= share && share <= i.High {
					within++
				}
			}
			covered(t, fmt.Sprintf("share %v of %d", share, n), within)
		}
	}
}

// Two passes over endpoints that all answer, but for a loss: its interval has the
// truth, and what both missed is told on average.
func TestRemovalCoverage(t *testing.T) {
	r := seeded(t)
	for _, loss := range []float64{0.001, 0.01, 0.1, 0.5} {
		for _, n := range []uint64{500, 5000} {
			within, missed, expected := 0, 0.0, 0.0
			for range runs {
				first := hits(r, n, 1-loss)
				second := hits(r, n-first, 1-loss)
				if i := Removal(first, second); i.Low <= loss && loss <= i.High {
					within++
				}
				missed += float64(n - first - second)
				expected += Missed(first+second, loss, 2)
			}
			covered(t, fmt.Sprintf("loss %v of %d", loss, n), within)
			// The sum of missed has about its own size as variance.
			if math.Abs(missed-expected) > 4*math.Sqrt(missed)+4 {
				t.Errorf("loss %v of %d: %v missed in all runs, %.1f expected", loss, n, missed, expected)
			}
		}
	}
}
