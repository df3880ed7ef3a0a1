package estimate

import "math"

type Interval struct{ Low, Estimate, High float64 }

func Binomial(k, n uint64) Interval {
	if n == 0 {
		return Interval{0, 0, 1}
	}
	p, m := float64(k)/float64(n), float64(n)
	d := 1.96 * math.Sqrt(p*(1-p)/m)
	return Interval{max(p-d, 0), p, min(p+d+3/m, 1)}
}
func Removal(a, b uint64) Interval { return Binomial(b, a) }
func Missed(found uint64, loss float64, tries int) float64 {
	q := math.Pow(loss, float64(tries))
	return float64(found) * q / (1 - q)
}
