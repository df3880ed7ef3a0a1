package generate

import (
	"encoding/binary"
	"math"
	"testing"

	"github.com/cilium/ebpf"
	"lukechampine.com/uint128"

	"synoptic/internal/permute"
)

// shuffled is SHUFFLED of lab.bpf.c.
const shuffled = 64

// shuffler puts positions through bpf/include/permute.bpf.h.
type shuffler struct {
	t    testing.TB
	prog *ebpf.Program
	buf  []byte
}

func newShuffler(t testing.TB) *shuffler {
	needRoot(t)
	var o labObjects
	if err := loadLabObjects(&o, nil); err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(func() { o.Close() })
	return &shuffler{t, o.Shuffle, make([]byte, 0, 4096)}
}

// shuffle replaces positions by indexes.
func (s *shuffler) shuffle(p *permute.Permutation, index *[shuffled]uint64) {
	s.t.Helper()
	b := s.buf[:0]
	a, rows := p.Sides()
	for _, word := range []uint64{p.Len().Sub64(1).Lo, a, rows} {
		b = binary.LittleEndian.AppendUint64(b, word)
	}
	for _, word := range p.Keys() {
		b = binary.LittleEndian.AppendUint64(b, word)
	}
	head := len(b)
	for _, word := range index {
		b = binary.LittleEndian.AppendUint64(b, word)
	}
	o := ebpf.RunOptions{Data: b, DataOut: b}
	verdict, err := s.prog.Run(&o)
	if err != nil || verdict != xdpPass {
		s.t.Fatalf("shuffle: verdict %d, %v", verdict, err)
	}
	for i := range index {
		index[i] = binary.LittleEndian.Uint64(o.DataOut[head+8*i:])
	}
}

// check compares the two definitions.
func (s *shuffler) check(p *permute.Permutation, positions [shuffled]uint64) {
	s.t.Helper()
	got := positions
	s.shuffle(p, &got)
	for i, pos := range positions {
		if want := p.Shuffle(uint128.From64(pos)); want != uint128.From64(got[i]) {
			a, b := p.Sides()
			s.t.Fatalf("n=%v (%d columns, %d rows): position %d is index %d, want %v", p.Len(), a, b, pos, got[i], want)
		}
	}
}

// Small sizes whole, where the excess of the rectangle is largest.
func TestPermutationIsGoesForSmallSizes(t *testing.T) {
	s := newShuffler(t)
	rnd := random(t)
	sizes := []uint64{4095, 4096, 4097, 65535, 65536, 65537, 65521, 1000 * 1000}
	for n := uint64(1); n <= 300; n++ {
		sizes = append(sizes, n)
	}
	for _, n := range sizes {
		p := permute.New(uint128.From64(n), rnd.Uint64())
		var positions [shuffled]uint64
		for from := uint64(0); from < min(n, 20_000); from += shuffled {
			for i := range positions {
				positions[i] = (from + uint64(i)) % n
			}
			s.check(&p, positions)
		}
	}
}

// Sizes that cannot be walked, up to the largest: around powers of two, squares,
// where rectangles change, and primes; first and last positions and random ones.
func TestPermutationIsGoesForLargeSizes(t *testing.T) {
	s := newShuffler(t)
	rnd := random(t)
	one := uint128.From64(1)
	var sizes []uint128.Uint128
	for k := uint(1); k <= 64; k++ {
		full := one.Lsh(k)
		sizes = append(sizes, full.Sub(one), full)
		if k < 64 {
			sizes = append(sizes, full.Add(one), full.Add(full.Rsh(1)))
		}
	}
	for range 300 {
		root := rnd.Uint64()>>32>>rnd.UintN(31) + 2
		square := uint128.From64(root).Mul64(root)
		sizes = append(sizes, square, square.Sub64(1), square.Sub64(root), square.Sub64(root-1))
		if square.Add64(1).Hi == 0 {
			sizes = append(sizes, square.Add64(1))
		}
		sizes = append(sizes, uint128.From64(max(rnd.Uint64()>>rnd.UintN(63), 1)))
	}
	for _, prime := range []uint64{999_983, 4294967291, 4294967311, 1<<61 - 1, math.MaxUint64 - 58} {
		sizes = append(sizes, uint128.From64(prime))
	}
	for _, n := range sizes {
		p := permute.New(n, rnd.Uint64())
		last := n.Sub64(1).Lo
		a, _ := p.Sides()
		positions := [shuffled]uint64{0, last, last / 2, min(a-1, last), min(a, last)}
		for i := 5; i < shuffled; i++ {
			positions[i] = uint128.From64(rnd.Uint64()).Mod(n).Lo
		}
		s.check(&p, positions)
	}
}
