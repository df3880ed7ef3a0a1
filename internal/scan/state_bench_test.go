package scan

import (
	"path/filepath"
	"testing"
	"time"

	"synoptic/internal/checkpoint"
	"synoptic/internal/ledger"
)

// encoded is a Keeper that writes what it is given, as a program does.
type encoded struct {
	write func(*State) error
	err   error
}

func (e *encoded) Due() bool               { return true }
func (e *encoded) Keep(take func() *State) { e.err = e.write(take()) }

// A checkpoint of 2^24 positions: what the goroutine that keeps the books spends on
// it, and what it costs in all. One is written every five seconds at most, so a
// hundredth of the throughput is 50 ms of one processor.
func BenchmarkCheckpoint(b *testing.B) {
	for share, every := range map[string]uint64{"1%": 100, "50%": 2, "100%": 1} {
		b.Run("answered="+share, func(b *testing.B) {
			p := newPlan(b, "1", "10.0.0.0/8")
			file := filepath.Join(b.TempDir(), "checkpoint")
			k := &encoded{}
			cfg := config(p, "syn")
			cfg.Keeper = k
			s, err := New(cfg, newMemory(mixed).network(1))
			if err != nil {
				b.Fatal(err)
			}
			for pos := uint64(0); pos < p.Len(); pos += every {
				s.answers.Put(pos, ledger.Answered)
			}
			s.firstPass()
			var books time.Duration
			k.write = func(*State) error { return nil }
			for range 5 {
				began := time.Now()
				s.keep(false)
				books += time.Since(began)
			}
			k.write = func(state *State) error { return checkpoint.Write(file, state, state.Answers, state.Hosts) }
			b.ReportAllocs()
			for b.Loop() {
				if s.keep(false); k.err != nil {
					b.Fatal(k.err)
				}
			}
			b.ReportMetric(float64(books.Microseconds())/5, "µs-books/op")
			b.ReportMetric(100*b.Elapsed().Seconds()/float64(b.N)/5, "%-of-throughput")
		})
	}
}
