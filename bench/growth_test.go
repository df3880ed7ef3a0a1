package bench

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"synoptic/internal/lab"
	"synoptic/internal/method"
)

// BenchmarkGrowth sweeps one port of more and more addresses, all sizes in turn in an
// iteration. 2^n-ns is what a probe of the sweep of 2^n endpoints costs of the
// processor's time; in those of the small ones is the start of the program. flatness is
// the median of the iterations' ratios of the largest sweep's cost to that of the one
// of a sixteenth, where the start is forgotten: above 1, a probe costs more in more
// work. MiB is the most memory that the largest sweep has had, and growth-MiB how much
// more that is than in the one of a sixteenth; it found 16 times the open ports.
func BenchmarkGrowth(b *testing.B) {
	const largest, middle = 24, 20
	l, m := lab.New(b, lab.Config{Respond: answering(1)}), method.ByName("syn")
	type work struct {
		shape shape
		want  expected
	}
	works := map[int]*work{} // by the power of two
	for bits := 16; bits <= largest; bits += 2 {
		w := &work{shape: network("", fmt.Sprintf("10.0.0.0/%d", 32-bits), 1)}
		w.want = expect(b, l, &w.shape, m)
		works[bits] = w
	}
	for _, path := range []string{"packet", "kernel"} {
		b.Run("path="+path, func(b *testing.B) {
			cost := map[int][]float64{}
			var flatness, memory, more []float64
			for b.Loop() {
				var of [largest + 1]exact
				for _, bits := range slices.Sorted(maps.Keys(works)) {
					w := works[bits]
					of[bits] = runExact(b, l, atResponder(l, m.Flags), &w.shape, m, &w.want, "--path", path, "--senders", "1")
					cost[bits] = append(cost[bits], of[bits].cpu)
				}
				flatness = append(flatness, of[largest].cpu/of[middle].cpu)
				memory = append(memory, float64(of[largest].peak)/(1<<20))
				more = append(more, float64(of[largest].peak-of[middle].peak)/(1<<20))
			}
			b.ReportMetric(0, "ns/op")
			for bits, ns := range cost {
				b.ReportMetric(median(ns), fmt.Sprintf("2^%d-ns", bits))
			}
			b.ReportMetric(median(flatness), "flatness")
			b.ReportMetric(median(memory), "MiB")
			b.ReportMetric(median(more), "growth-MiB")
		})
	}
}
