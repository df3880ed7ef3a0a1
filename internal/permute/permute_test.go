package permute

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"lukechampine.com/uint128"
)

func u(v uint64) uint128.Uint128 { return uint128.From64(v) }

// Every index once, and back again, for every small n and around the powers of
// two and squares, where the rectangle's excess changes.
func TestEachIndexOnceExhaustively(t *testing.T) {
	var sizes []uint64
	for n := uint64(1); n <= 700; n++ {
		sizes = append(sizes, n)
	}
	for _, k := range []int{10, 12, 16, 18, 20} {
		sizes = append(sizes, 1<<k-1, 1<<k, 1<<k+1)
	}
	sizes = append(sizes, 65521, 999_983, 1000*1000, 1000*1000+1, 3*65535, 256*1000)
	for _, n := range sizes {
		for _, seed := range []uint64{0, 1, math.MaxUint64} {
			p := New(u(n), seed)
			seen := make([]bool, n)
			for i := range n {
				e := p.Shuffle(u(i))
				if e.Hi != 0 || e.Lo >= n {
					t.Fatalf("n=%d seed=%d: Shuffle(%d) = %v, outside", n, seed, i, e)
				}
				if seen[e.Lo] {
					t.Fatalf("n=%d seed=%d: index %d visited twice", n, seed, e.Lo)
				}
				seen[e.Lo] = true
				if back := p.Unshuffle(e); back != u(i) {
					t.Fatalf("n=%d seed=%d: Unshuffle(Shuffle(%d)) = %v", n, seed, i, back)
				}
			}
		}
	}
}

// For sizes that cannot be walked: in range and invertible in both directions
// on random and extreme indexes. A map with a two-sided inverse is a bijection.
func TestInverseOnLargeSizes(t *testing.T) {
	one := u(1)
	var sizes []uint128.Uint128
	for k := uint(20); k <= MaxBits; k++ {
		full := one.Lsh(k)
		sizes = append(sizes, full.Sub(one), full)
		if k < MaxBits {
			sizes = append(sizes, full.Add(one), full.Add(full.Rsh(1)))
		}
	}
	sizes = append(sizes,
		u(1<<32).Mul64(65535),         // IPv4, every port
		u(1<<42).Mul64(257),           // where a 64-bit product overflows
		u(math.MaxUint64), u(1<<63+1), // around the word
		uint128.New(math.MaxUint64, 1))
	rng := rand.New(rand.NewPCG(20261123, 7))
	for _, n := range sizes {
		p := New(n, rng.Uint64())
		last := n.Sub(one)
		indexes := []uint128.Uint128{u(0), last, last.Rsh(1), u(p.a - 1)}
		for range 200 {
			indexes = append(indexes, uint128.New(rng.Uint64(), rng.Uint64()).Mod(n))
		}
		for _, i := range indexes {
			e := p.Shuffle(i)
			if e.Cmp(n) >= 0 || p.Unshuffle(e) != i {
				t.Fatalf("n=%v: Shuffle(%v) = %v does not invert", n, i, e)
			}
			if d := p.Unshuffle(i); d.Cmp(n) >= 0 || p.Shuffle(d) != i {
				t.Fatalf("n=%v: Unshuffle(%v) = %v does not invert", n, i, d)
			}
		}
	}
}

// The rectangle covers n and exceeds it by less than one column's length, on
// which the bound of the cycle walk rests.
func TestRectangleIsTight(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		n := uint128.New(rng.Uint64(), rng.Uint64()).Rsh(1 + uint(rng.IntN(127)))
		if n.IsZero() {
			continue
		}
		p := New(n, 0)
		area := uint128.From64(p.a).Mul64(p.b)
		if area.Cmp(n) < 0 || area.Sub(n).Cmp(u(p.a)) >= 0 {
			t.Fatalf("n=%v: %d*%d does not fit", n, p.a, p.b)
		}
	}
}

// Neighbours in the order must not be neighbours in the network: of consecutive
// positions of a /8, about 1/256 share a /16, as for random draws, and each /16
// is met evenly along the way.
func TestConsecutivePositionsScatter(t *testing.T) {
	const n, draws = 1 << 24, 1 << 18
	for _, seed := range []uint64{0, 1, 2, 0xdeadbeef} {
		p := New(u(n), seed)
		var same, ascending int
		var hits [256]int
		previous := p.Shuffle(u(0)).Lo
		for i := uint64(1); i <= draws; i++ {
			e := p.Shuffle(u(i)).Lo
			if e>>16 == previous>>16 {
				same++
			}
			if e > previous {
				ascending++
			}
			hits[e>>16]++
			previous = e
		}
		// Five standard deviations of the binomial distribution.
		within(t, seed, "neighbours in one /16", same, draws, 1.0/256)
		within(t, seed, "ascending steps", ascending, draws, 0.5)
		for _, h := range hits {
			within(t, seed, "visits to one /16", h, draws, 1.0/256)
		}
	}
}

func within(t *testing.T, seed uint64, what string, got, draws int, share float64) {
	t.Helper()
	mean := float64(draws) * share
	if limit := 5 * math.Sqrt(mean*(1-share)); math.Abs(float64(got)-mean) > limit {
		t.Errorf("seed %d: %s: %d, want %.0f ± %.0f", seed, what, got, mean, limit)
	}
}

func TestSeedsGiveDifferentOrders(t *testing.T) {
	a, b := New(u(1<<20), 1), New(u(1<<20), 2)
	var equal int
	for i := range uint64(1 << 12) {
		if a.Shuffle(u(i)) == b.Shuffle(u(i)) {
			equal++
		}
	}
	if equal > 4 {
		t.Errorf("%d of 4096 positions equal under two seeds", equal)
	}
}

func TestNothingAllocates(t *testing.T) {
	p := New(u(1<<40), 3)
	var i uint64
	if n := testing.AllocsPerRun(1000, func() { p.Unshuffle(p.Shuffle(u(i))); i++ }); n != 0 {
		t.Errorf("%v allocations per call", n)
	}
}

func BenchmarkShuffle(b *testing.B) {
	for _, bits := range []uint{16, 24, 32, 48, 100} {
		b.Run(fmt.Sprintf("bits=%d", bits), func(b *testing.B) {
			b.ReportAllocs()
			p := New(u(1).Lsh(bits), 42)
			var i uint64
			for b.Loop() {
				p.Shuffle(u(i & 0xffff))
				i++
			}
		})
	}
}

func BenchmarkUnshuffle(b *testing.B) {
	b.ReportAllocs()
	p := New(u(1<<32), 42)
	var i uint64
	for b.Loop() {
		p.Unshuffle(u(i & 0xffffff))
		i++
	}
}
