package respond

import (
	"fmt"
	"math/big"
	"strconv"
)

// Share is a part of a whole in units of 2^-32, from 0 to [Whole].
type Share uint64

// Whole is the share of everything.
const Whole Share = 1 << 32

// Fraction returns n/d, rounded down. It panics unless 0 <= n <= d and d > 0.
func Fraction(n, d int64) Share {
	if n < 0 || n > d || d <= 0 {
		panic(fmt.Sprintf("respond: %d/%d is not a share", n, d))
	}
	q := new(big.Int).Lsh(big.NewInt(n), 32)
	return Share(q.Div(q, big.NewInt(d)).Uint64())
}

// ParseShare reads "1/64", "0.25" or "1".
func ParseShare(s string) (Share, error) {
	r, ok := new(big.Rat).SetString(s)
	if !ok || r.Sign() < 0 || r.Cmp(big.NewRat(1, 1)) > 0 {
		return 0, fmt.Errorf("share %q: want a number from 0 to 1, such as 1/64 or 0.25", s)
	}
	q := new(big.Int).Lsh(r.Num(), 32)
	return Share(q.Div(q, r.Denom()).Uint64()), nil
}

// String returns the share as a fraction if its denominator is a small power
// of two, otherwise as a decimal number.
func (s Share) String() string {
	r := big.NewRat(int64(s), int64(Whole))
	if r.Denom().BitLen() <= 17 {
		return r.RatString()
	}
	f, _ := r.Float64()
	return strconv.FormatFloat(f, 'g', 6, 64)
}

// Set makes Share a flag value.
func (s *Share) Set(text string) error {
	v, err := ParseShare(text)
	if err == nil {
		*s = v
	}
	return err
}

// Type names the flag's argument in help texts.
func (s *Share) Type() string { return "share" }
