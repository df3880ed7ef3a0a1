package ledger

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
)

// The ledger against a plain map, over positions that hit both forms of a page,
// page borders and the end of the 64-bit space.
func TestEqualsAPlainMap(t *testing.T) {
	for _, density := range []float64{0.001, 0.1, 0.13, 0.9} {
		t.Run(fmt.Sprintf("density=%v", density), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(4, uint64(density*1000)))
			var l Ledger
			naive := map[uint64]Mark{}
			bases := []uint64{0, pageLen, 7 * pageLen, math.MaxUint64 - pageLen + 1}
			for range int(density * pageLen * float64(len(bases)) * 1.3) {
				pos := bases[rng.IntN(len(bases))] + rng.Uint64N(pageLen)
				mark := Mark(1 + rng.IntN(3))
				want := Duplicate
				if old := naive[pos]; old == None {
					want = New
				} else if mark > old {
					want = Better
				}
				naive[pos] = max(naive[pos], mark)
				if got := l.Put(pos, mark); got != want {
					t.Fatalf("Put(%d, %d) = %d, want %d", pos, mark, got, want)
				}
			}
			var counts [4]uint64
			for _, base := range bases {
				for pos := base; ; pos++ {
					if l.Get(pos) != naive[pos] {
						t.Fatalf("Get(%d) = %d, want %d", pos, l.Get(pos), naive[pos])
					}
					counts[naive[pos]]++
					if pos == base+(pageLen-1) {
						break
					}
				}
			}
			for m := Rejected; m <= Open; m++ {
				if l.Count(m) != counts[m] {
					t.Errorf("Count(%d) = %d, want %d", m, l.Count(m), counts[m])
				}
			}
			if l.Len() != uint64(len(naive)) {
				t.Errorf("Len() = %d, want %d", l.Len(), len(naive))
			}
			previous, seen := uint64(0), 0
			for pos, mark := range l.All() {
				if mark != naive[pos] || seen > 0 && pos <= previous {
					t.Fatalf("All yields %d, %d after %d", pos, mark, previous)
				}
				previous = pos
				seen++
			}
			if seen != len(naive) {
				t.Errorf("All yields %d positions, want %d", seen, len(naive))
			}
		})
	}
}

func TestPendingIsTheComplement(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 9))
	for _, tt := range []struct{ from, to uint64 }{
		{0, 3 * pageLen}, {5, 6}, {pageLen - 3, pageLen + 3}, {100, 100},
		{math.MaxUint64 - 2*pageLen, math.MaxUint64},
	} {
		for _, answers := range []int{0, 50, 3 * pageLen / 2, 12 * pageLen} {
			var l Ledger
			for range answers {
				l.Put(tt.from&^(pageLen-1)+rng.Uint64N(3*pageLen), Open)
			}
			var want []uint64
			for pos := tt.from; pos < tt.to; pos++ {
				if l.Get(pos) == None {
					want = append(want, pos)
				}
			}
			var got []uint64
			for at := tt.from; at < tt.to; {
				part, next := l.Pending(at, tt.to, make([]uint64, 0, 1+rng.IntN(200)))
				if next <= at {
					t.Fatalf("[%d, %d): stuck at %d", tt.from, tt.to, at)
				}
				got, at = append(got, part...), next
			}
			if !slices.Equal(got, want) {
				t.Fatalf("[%d, %d) with %d answers: %d pending, want %d", tt.from, tt.to, answers, len(got), len(want))
			}
		}
	}
}

func TestMemoryGrowsWithAnswers(t *testing.T) {
	var l Ledger
	for pos := uint64(0); pos < 1<<30; pos += 1 << 20 {
		l.Put(pos, Open)
	}
	var bytes int
	for _, p := range l.pages {
		bytes += cap(p.sparse) * 2
		if p.dense != nil {
			bytes += denseLen
		}
	}
	if l.spare != nil {
		bytes += denseLen
	}
	if bytes > 1024*32 {
		t.Errorf("1024 answers among 2^30 positions take %d bytes", bytes)
	}
}

// With every position answered, a ledger takes 2 bits for each, and 5 percent for
// its books.
func TestMemoryOfAFullLedger(t *testing.T) {
	order := arrivals(1)
	before := heap()
	l := filled(order)
	took := float64(heap()) - float64(before)
	if l.Len() != span {
		t.Fatalf("%d answers, want %d", l.Len(), span)
	}
	if took > span/4*1.05 || took < span/4 {
		t.Errorf("%.0f bytes, of which the marks are %d", took, span/4)
	}
	runtime.KeepAlive(order)
}

// A page is a list again once it is put away, whatever came to it first.
func TestPagesPutAwayAreLists(t *testing.T) {
	var l Ledger
	for n := range uint64(3 * hand) {
		for offset := range n * n * 20 {
			l.Put(n*pageLen+offset, Answered)
		}
	}
	for number, p := range l.pages {
		if atHand := number >= 2*hand; !atHand && p.count <= sparseMost != (p.dense == nil) || (p.dense == nil) != (p.sparse != nil) {
			t.Errorf("page %d with %d answers: dense %v", number, p.count, p.dense != nil)
		}
	}
}

func TestNoneIsNoAnswer(t *testing.T) {
	var l Ledger
	l.Put(1, Open)
	if a, b := l.Put(1, None), l.Put(1<<30, None); a != Duplicate || b != Duplicate || l.Len() != 1 || l.Get(1) != Open || len(l.pages) != 1 {
		t.Errorf("%d and %d, then %d answers on %d pages", a, b, l.Len(), len(l.pages))
	}
}

// A page in either form, full: an answer, or its duplicate, costs no memory.
func TestNothingAllocates(t *testing.T) {
	var l Ledger
	for pos := range uint64(pageLen) {
		l.Put(pos, Rejected)
	}
	l.Put(pageLen*9, Open)
	var pos uint64
	if n := testing.AllocsPerRun(1000, func() { l.Put(pos%pageLen, Open); l.Get(pageLen * 9); pos++ }); n != 0 {
		t.Errorf("%v allocations per answer", n)
	}
}

// PutAll does what Put does one by one, also where answers of a batch are to one
// position.
func TestPutAllIsPutInTurn(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	var one, all Ledger
	for range 200 {
		batch := make([]Answer, rng.IntN(300))
		for i := range batch {
			batch[i] = Answer{Pos: rng.Uint64N(3 * pageLen), Mark: Mark(rng.IntN(4)), Outcome: New}
			if i > 0 && rng.IntN(4) == 0 {
				batch[i].Pos = batch[i-1].Pos
			}
		}
		all.PutAll(batch)
		for _, a := range batch {
			if want := one.Put(a.Pos, a.Mark); a.Outcome != want {
				t.Fatalf("PutAll(%d, %d) = %d, want %d", a.Pos, a.Mark, a.Outcome, want)
			}
		}
	}
	for m := Rejected; m <= Open; m++ {
		if all.Count(m) != one.Count(m) || all.Count(m) == 0 {
			t.Errorf("Count(%d) = %d, want %d", m, all.Count(m), one.Count(m))
		}
	}
}
