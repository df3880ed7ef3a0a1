// Package permute is a seeded bijection on [0, n) with an inverse, for any n up
// to 2^127. A scan visits its endpoints in this order, so that no network sees
// a burst, and finds an endpoint's place in the order again without a table.
//
// It is the generalised Feistel network of Black and Rogaway, "Ciphers with
// Arbitrary Finite Domains" (CT-RSA 2002): n is covered by a rectangle a*b with
// a = ceil(sqrt(n)) and b = ceil(n/a), an index is split into a column in Z_a
// and a row in Z_b, and each round adds a keyed hash of the one to the other.
// The rectangle exceeds n by less than a; an index that lands in the excess is
// sent through again ("cycle walking"), which is a bijection of [0, n) because
// the network is one of the rectangle. For n >= 4096 the chance of a further
// walk is below 1/64 each time; for smaller n the excess is below 64.
//
// bpf/include/permute.bpf.h is the same for n up to 2^64, and is compared with
// this one.
//
// It scatters, it does not encrypt: nothing in a scan rests on the order being
// secret. Values are immutable and safe for concurrent use; nothing allocates.
package permute

import (
	"math/big"
	"math/bits"

	"lukechampine.com/uint128"
)

// Rounds of the network. The first two only mix the columns and rows of
// neighbouring indexes, the last two scatter both.
const rounds = 4

// MaxBits bounds n at 2^MaxBits: there a and b, the sides of the rectangle,
// still fit 64 bits, and so does every product's half.
const MaxBits = 127

// Permutation is a bijection on [0, n). The zero value is not usable.
type Permutation struct {
	n    uint128.Uint128
	a, b uint64 // columns, rows: a*b >= n > a*b - a
	keys [rounds]uint64
}

// New returns the permutation of [0, n) that seed selects. It panics when n is
// 0 or above 2^127: the caller has counted its targets before.
func New(n uint128.Uint128, seed uint64) Permutation {
	if n.IsZero() || n.Cmp(uint128.From64(1).Lsh(MaxBits)) > 0 {
		panic("permute: n outside 1..2^127")
	}
	a := ceilSqrt(n)
	b, rest := n.QuoRem64(a)
	if rest != 0 {
		b = b.Add64(1)
	}
	p := Permutation{n: n, a: a, b: b.Lo}
	for i := range p.keys {
		// Weyl sequence through the finaliser: splitmix64.
		p.keys[i] = mix(seed + uint64(i+1)*0x9e3779b97f4a7c15)
	}
	return p
}

// Sides returns the columns and rows of the rectangle that covers [0, n). With
// Len and Keys they are all that bpf/include/permute.bpf.h has to know.
func (p *Permutation) Sides() (columns, rows uint64) { return p.a, p.b }

// Keys returns those of the rounds.
func (p *Permutation) Keys() [rounds]uint64 { return p.keys }

// Len returns n.
func (p *Permutation) Len() uint128.Uint128 { return p.n }

// Shuffle returns the index at position i. It panics when i >= n.
func (p *Permutation) Shuffle(i uint128.Uint128) uint128.Uint128 {
	p.check(i)
	for {
		col, row := p.split(i)
		col = add(col, p.offset(0, row, p.a), p.a)
		row = add(row, p.offset(1, col, p.b), p.b)
		col = add(col, p.offset(2, row, p.a), p.a)
		row = add(row, p.offset(3, col, p.b), p.b)
		if i = p.join(col, row); i.Cmp(p.n) < 0 {
			return i
		}
	}
}

// Unshuffle returns the position of index i: Unshuffle(Shuffle(i)) == i. It
// panics when i >= n.
func (p *Permutation) Unshuffle(i uint128.Uint128) uint128.Uint128 {
	p.check(i)
	for {
		col, row := p.split(i)
		row = sub(row, p.offset(3, col, p.b), p.b)
		col = sub(col, p.offset(2, row, p.a), p.a)
		row = sub(row, p.offset(1, col, p.b), p.b)
		col = sub(col, p.offset(0, row, p.a), p.a)
		if i = p.join(col, row); i.Cmp(p.n) < 0 {
			return i
		}
	}
}

func (p *Permutation) check(i uint128.Uint128) {
	if i.Cmp(p.n) >= 0 {
		panic("permute: index outside [0, n)")
	}
}

// split returns i's column and row. i < a*b, so i.Hi < a and the quotient
// fits 64 bits: what bits.Div64 requires.
func (p *Permutation) split(i uint128.Uint128) (col, row uint64) {
	if i.Hi == 0 {
		row = i.Lo / p.a
		return i.Lo - row*p.a, row
	}
	row, col = bits.Div64(i.Hi, i.Lo, p.a)
	return col, row
}

func (p *Permutation) join(col, row uint64) uint128.Uint128 {
	hi, lo := bits.Mul64(row, p.a)
	lo, carry := bits.Add64(lo, col, 0)
	return uint128.Uint128{Lo: lo, Hi: hi + carry}
}

// offset is the round function: a keyed hash of v, scaled to [0, m) by the high
// half of a product, which is unbiased to within m/2^64.
func (p *Permutation) offset(round int, v, m uint64) uint64 {
	hi, _ := bits.Mul64(mix(v^p.keys[round]), m)
	return hi
}

// mix is the 64-bit finaliser of MurmurHash3 with the constants of splitmix64
// (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014).
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// add returns x+y mod m for x, y < m without leaving 64 bits.
func add(x, y, m uint64) uint64 {
	if x >= m-y {
		return x - (m - y)
	}
	return x + y
}

// sub returns x-y mod m for x, y < m.
func sub(x, y, m uint64) uint64 {
	if x < y {
		return x + (m - y)
	}
	return x - y
}

func ceilSqrt(n uint128.Uint128) uint64 {
	big := new(big.Int).Sqrt(n.Big())
	root := big.Uint64()
	if hi, lo := bits.Mul64(root, root); (uint128.Uint128{Lo: lo, Hi: hi}).Cmp(n) < 0 {
		root++
	}
	return root
}
