package connect

import (
	"testing"

	"synoptic/internal/scan"
)

// BenchmarkConnect scans all ports of loopback, nearly all of them closed.
func BenchmarkConnect(b *testing.B) {
	for name, host := range map[string]string{"family=ipv4": "127.0.0.1", "family=ipv6": "::1"} {
		b.Run(name, func(b *testing.B) {
			p := newPlan(b, "1-65535", host)
			b.ReportAllocs()
			probes := uint64(0)
			for b.Loop() {
				_, sum := run(b, scan.Config{Plan: p}, Options{})
				if sum.Open+sum.Answered != p.Len() {
					b.Fatalf("%+v", sum)
				}
				probes += sum.Sent
			}
			b.ReportMetric(float64(probes)/b.Elapsed().Seconds(), "probes/s")
		})
	}
}
