package respond

import (
	"fmt"
	"math"
	"net/netip"
	"testing"
	"time"
)

// BenchmarkProgram is the time of the program alone, without a driver, as the
// kernel measures it. A frame that is answered is changed by that, so it can
// only be run once at a time, and the measurement is part of what is measured;
// a silent port's is run a thousand times in a row.
func BenchmarkProgram(b *testing.B) {
	for _, state := range []State{Open, Closed, Rejected, Silent} {
		for family, first := range map[string]string{"ipv4": "10.0.0.1", "ipv6": "fd00:10::1"} {
			b.Run(fmt.Sprintf("state=%s/family=%s", state, family), func(b *testing.B) {
				cfg := balanced()
				r := load(b, cfg)
				at := netip.AddrPortFrom(netip.MustParseAddr(first), 1)
				for cfg.Truth().State(at) != state {
					at = netip.AddrPortFrom(at.Addr(), at.Port()+1)
				}
				frame := probe{to: at, flags: SYN, mss: true}.bytes(b)
				repeat := 1
				if state == Silent {
					repeat = 1000
				}
				var total time.Duration
				n := 0
				for b.Loop() {
					_, perRun, err := r.prog.Benchmark(frame, repeat, nil)
					if err != nil {
						b.Fatal(err)
					}
					total += perRun
					n++
				}
				b.ReportMetric(float64(total.Nanoseconds())/float64(n), "program-ns/frame")
			})
		}
	}
}

// BenchmarkPath is the time of the program for a probe without an answer, by
// what it does about the path.
func BenchmarkPath(b *testing.B) {
	for name, change := range map[string]func(*Config){
		"good":    func(*Config) {},
		"lossy":   func(c *Config) { c.Loss = Fraction(1, 100) },
		"policed": func(c *Config) { c.Police = 100_000 },
		"fast":    func(c *Config) { c.Police = math.MaxUint32 },
	} {
		b.Run("path="+name, func(b *testing.B) {
			cfg := nothingOpen()
			change(&cfg)
			r := load(b, cfg)
			frame := silentFrame(b, cfg, probe{to: target4})
			var total time.Duration
			n := 0
			for b.Loop() {
				_, perRun, err := r.prog.Benchmark(frame, 10_000, nil)
				if err != nil {
					b.Fatal(err)
				}
				total += perRun
				n++
			}
			b.ReportMetric(float64(total.Nanoseconds())/float64(n), "program-ns/frame")
		})
	}
}

func BenchmarkTruth(b *testing.B) {
	truth := DefaultConfig().Truth()
	for family, at := range map[string]netip.AddrPort{"ipv4": target4, "ipv6": target6} {
		b.Run("family="+family, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				truth.Answer(SYN, at)
			}
		})
	}
}

func TestTruthDoesNotAllocate(t *testing.T) {
	truth := balanced().Truth()
	if n := testing.AllocsPerRun(100, func() { truth.Answer(SYN, target4); truth.Losses(target6) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
