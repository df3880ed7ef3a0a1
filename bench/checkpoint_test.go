package bench

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"synoptic/internal/lab"
)

// BenchmarkCheckpointedSweep runs a sweep of 2^24 endpoints with a checkpoint that is
// written and without one, a pair an iteration. rate-ratio is the median of what the
// first sends a second by what the second does, cpu-ratio that of their time of the
// processor for a probe.
func BenchmarkCheckpointedSweep(b *testing.B) {
	area := area{"10.0.0.0/8", 1 << 24}
	for _, path := range []string{"packet", "kernel"} {
		b.Run("path="+path, func(b *testing.B) {
			l := lab.New(b, lab.Config{})
			plain, kept := synscan(path), synscan(path)
			kept.args = func(senders int, targets, results string) []string {
				return append(plain.args(senders, targets, results), "--checkpoint", filepath.Join(filepath.Dir(results), "checkpoint"))
			}
			var speed, cost []float64
			for b.Loop() {
				var with, without outcome
				var open, openToo int
				if len(speed)%2 == 0 { // take turns in going first
					with, open = sweep(b, l, kept, area)
					without, openToo = sweep(b, l, plain, area)
				} else {
					without, openToo = sweep(b, l, plain, area)
					with, open = sweep(b, l, kept, area)
				}
				if open != openToo || open == 0 {
					b.Fatalf("%d open with checkpoints, %d without", open, openToo)
				}
				speed, cost = append(speed, with.pps/without.pps), append(cost, with.cpu/without.cpu)
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(median(speed), "rate-ratio")
			b.ReportMetric(median(cost), "cpu-ratio")
		})
	}
}

// sweep runs a program with one sender and returns how many results it wrote, too.
func sweep(b *testing.B, l *lab.Lab, p program, a area) (o outcome, results int) {
	b.Helper()
	name := filepath.Join(b.TempDir(), "results")
	o = measure(b, l, p.hangs, p.name, p.args(1, a.targets, name)...)
	text, err := os.ReadFile(name)
	if err != nil {
		b.Fatal(err)
	}
	return o, bytes.Count(text, []byte("\n"))
}
