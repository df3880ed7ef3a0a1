package ledger

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
)

// span is how many positions the benchmarks' plans have; window is how far
// answers are from plan order, in positions: at 100,000 probes a second, those
// of 40 ms.
const (
	span   = 1 << 24
	window = 4096
)

var shares = []float64{0.01, 0.5, 1}

// arrivals returns the positions of a share of the plan in the order in which
// their answers come: each waits for a while that differs from the others'.
func arrivals(share float64) []uint32 {
	rng := rand.New(rand.NewPCG(24, uint64(share*100)))
	order := make([]uint32, 0, int(share*span*1.01))
	late := make([]uint32, 0, int(share*window))
	for pos := range uint32(span) {
		if share < 1 && rng.Float64() >= share {
			continue
		}
		if len(late) < cap(late) {
			late = append(late, pos)
			continue
		}
		i := rng.IntN(len(late))
		order = append(order, late[i])
		late[i] = pos
	}
	return append(order, late...)
}

// eachShare runs a benchmark over the answers of each share.
func eachShare(b *testing.B, run func(b *testing.B, order []uint32)) {
	for _, share := range shares {
		order := arrivals(share)
		b.Run(fmt.Sprintf("answered=%v%%", share*100), func(b *testing.B) {
			b.ReportAllocs()
			run(b, order)
		})
	}
}

// filled is a ledger with these answers, which come in batches as from a receiver.
func filled(order []uint32) *Ledger {
	l := new(Ledger)
	var batch [256]Answer
	for some := range slices.Chunk(order, len(batch)) {
		for i, pos := range some {
			batch[i] = Answer{Pos: uint64(pos), Mark: Answered}
		}
		l.PutAll(batch[:len(some)])
	}
	return l
}

// per reports the time that each of n things took, which every turn of the
// benchmark did.
func per(b *testing.B, n int, thing string) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/"+thing)
	b.ReportMetric(0, "ns/op") // which says the same
}

// heap is how many bytes are in use.
func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func BenchmarkPut(b *testing.B) {
	eachShare(b, func(b *testing.B, order []uint32) {
		for b.Loop() {
			filled(order)
		}
		per(b, len(order), "answer")
		before := heap()
		l := filled(order)
		b.ReportMetric(float64(heap()-before)/span, "bytes/position")
		runtime.KeepAlive(l)
	})
}

func BenchmarkPending(b *testing.B) {
	eachShare(b, func(b *testing.B, order []uint32) {
		l := filled(order)
		dst := make([]uint64, 0, 256)
		for b.Loop() {
			for at := uint64(0); at < span; {
				_, at = l.Pending(at, span, dst)
			}
		}
		per(b, span, "position")
	})
}

func BenchmarkAppendBinary(b *testing.B) {
	eachShare(b, func(b *testing.B, order []uint32) {
		l := filled(order)
		var data []byte
		for b.Loop() {
			data, _ = l.AppendBinary(nil)
		}
		b.ReportMetric(float64(len(data))/span, "bytes/position")
	})
}

func BenchmarkUnmarshal(b *testing.B) {
	eachShare(b, func(b *testing.B, order []uint32) {
		data, _ := filled(order).AppendBinary(nil)
		for b.Loop() {
			if err := new(Ledger).UnmarshalBinary(data); err != nil {
				b.Fatal(err)
			}
		}
	})
}
