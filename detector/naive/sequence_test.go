package naive

import (
	"cmp"
	"flag"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

var seedFlag = flag.Uint64("seed", 0, "seed of the random tests; 0 takes one from the clock")

func newRand(t *testing.T) *rand.Rand {
	t.Helper()
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-seed=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// The clock is never ahead of a packet, and in a Sequence it is at the packet
// whenever that counts.
func TestClock(t *testing.T) {
	r := newRand(t)
	disorder, backwards := 0, 0
	for range 400 {
		setup := RandomSetup(r)
		for i, sequence := range [][]Packet{Sequence(r, &setup), Disorder(r, &setup)} {
			clock := Clock(sequence, &setup)
			if !slices.IsSorted(clock) {
				t.Fatal("the clock runs backwards")
			}
			s := New(setup)
			for j, p := range sequence {
				counts := s.Packet(p)
				switch {
				case counts == 0:
				case counts < clock[j]:
					t.Fatalf("a packet of %d comes when the clock is at %d", counts, clock[j])
				case i == 0 && counts != clock[j]:
					t.Fatalf("a packet of %d comes when the clock is only at %d", counts, clock[j])
				case counts != clock[j]:
					disorder++
				}
				if p.Time == 0 || p.Time > math.MaxInt64 {
					t.Fatalf("a packet is of %d", p.Time)
				}
			}
			if i == 0 && !slices.IsSortedFunc(sequence, func(a, b Packet) int { return cmp.Compare(a.Time, b.Time) }) {
				backwards++
			}
		}
	}
	if disorder < 200 || backwards < 20 {
		t.Errorf("%d packets out of order, %d sequences that run backwards: too few", disorder, backwards)
	}
}

// The same seed writes the same.
func TestSequencesAreReproducible(t *testing.T) {
	write := func() (Setup, []Packet, []Packet) {
		r := rand.New(rand.NewPCG(1, 2))
		setup := RandomSetup(r)
		return setup, Sequence(r, &setup), Disorder(r, &setup)
	}
	s1, a1, b1 := write()
	s2, a2, b2 := write()
	if s1.Quiet != s2.Quiet || !slices.Equal(a1, a2) || !slices.Equal(b1, b2) {
		t.Error("they are not")
	}
}
