package estimate

import "math"

// Removal estimates the loss per try, the share of tries at an answering endpoint
// that bring no answer, from two passes of which the second tries only what the
// first found silent. first and second are what each found.
//
// It is the removal method (Moran, "A mathematical theory of animal trapping",
// Biometrika 38, 1951; Zippin, "The removal method of population estimation",
// Journal of Wildlife Management 22, 1958; Seber, "The Estimation of Animal
// Abundance", 2nd edition 1982, chapter 7), which Lincoln's and Petersen's method
// becomes when what was caught is not caught again. Of N endpoints, with a loss
// of q, the passes find N(1-q) and Nq(1-q): so q is second/first. Of those that
// were found at all, each was found by the second with probability q/(1+q),
// whatever N is, and the exact interval of that share is that of the loss.
//
// It takes every try for as likely to be lost as any other. Where some endpoints
// lose more than others, or lose again what they lost a moment ago, the true loss
// is larger: those that both passes missed are not among the counted. More than
// all cannot be lost: where the second pass found as many as the first, or more,
// Estimate and High are 1. Without any find the result is {0, 0, 1}.
func Removal(first, second uint64) Interval {
	i := Binomial(second, first+second)
	return Interval{odds(i.Low), odds(i.Estimate), odds(i.High)}
}

// odds turns the share of the second pass, q/(1+q), into q.
func odds(share float64) float64 {
	if share >= 0.5 {
		return 1
	}
	return share / (1 - share)
}

// Missed returns how many answering endpoints to expect that none of so many
// tries found, beside those that were found: found * q^t / (1 - q^t), with a loss
// per try of q. With a loss of 1, or no try, that is anything: +Inf.
func Missed(found uint64, loss float64, tries int) float64 {
	switch {
	case loss >= 1 || tries <= 0:
		return math.Inf(1)
	case loss <= 0:
		return 0
	}
	return float64(found) / math.Expm1(-float64(tries)*math.Log(loss))
}
