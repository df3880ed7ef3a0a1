package capture

import (
	"math/big"
	"math/rand/v2"
	"testing"
)

// Every resolution against arithmetic without limits.
func TestNanosecondsAreExact(t *testing.T) {
	const seed = 7
	random := rand.New(rand.NewPCG(seed, 0))
	billion := big.NewInt(1e9)
	for resolution := range 256 {
		for range 200 {
			ticks := random.Uint64() >> random.UintN(64)
			offset := int64(random.Uint64()) >> random.UintN(64)
			base, exponent := int64(10), int64(resolution)
			if resolution >= 128 {
				base, exponent = 2, int64(resolution-128)
			}
			want := new(big.Int).Mul(new(big.Int).SetUint64(ticks), billion)
			want.Div(want, new(big.Int).Exp(big.NewInt(base), big.NewInt(exponent), nil))
			want.Add(want, new(big.Int).Mul(big.NewInt(offset), billion))
			if want.Cmp(big.NewInt(earliest)) < 0 {
				want.SetInt64(earliest)
			} else if want.Cmp(big.NewInt(latest)) > 0 {
				want.SetInt64(latest)
			}
			if got := nanoseconds(ticks, uint8(resolution), offset); got != want.Uint64() {
				t.Fatalf("nanoseconds(%d, %#x, %d) is %d, want %d (seed %d)", ticks, resolution, offset, got, want, seed)
			}
		}
	}
}
