package estimate

import (
	"fmt"
	"math"

	"gonum.org/v1/gonum/mathext"
)

// Interval is an estimate with the bounds of its 95 % interval:
// 0 <= Low <= Estimate <= High <= 1.
type Interval struct{ Low, Estimate, High float64 }

// tail is what either side of an interval leaves out at most.
const tail = 0.025

// Binomial estimates a share from k of n independent trials, with the exact
// interval of Clopper and Pearson ("The use of confidence or fiducial limits
// illustrated in the case of the binomial", Biometrika 26, 1934): Low is the
// share with which k or more have a probability of 2.5 %, High that with which
// k or fewer have. Whatever the true share is, it lies within in at least 95 %
// of all cases; for few trials, or shares near 0 or 1, in more.
//
// Bounds are quantiles of the beta distribution, here right to a millionth of
// themselves for n up to 10^9. No trials tell nothing: of n = 0 the result is
// {0, 0, 1}. It panics if k > n.
func Binomial(k, n uint64) Interval {
	if k > n {
		panic(fmt.Sprintf("estimate: %d of %d trials", k, n))
	}
	if n == 0 {
		return Interval{High: 1}
	}
	// Where one side is no sum but one power, the other bound is at the end.
	i := Interval{Low: 0, Estimate: float64(k) / float64(n), High: 1}
	switch a, b := float64(k), float64(n-k); {
	case k == 0:
		i.High = -math.Expm1(math.Log(tail) / b)
	case k == n:
		i.Low = math.Exp(math.Log(tail) / a)
	default:
		i.Low = mathext.InvRegIncBeta(a, b+1, tail)
		i.High = mathext.InvRegIncBeta(a+1, b, 1-tail)
	}
	return i
}
