package validate_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"synoptic/bpf/validate"
	"synoptic/internal/method"
	"synoptic/internal/wire"
)

// BenchmarkValidate measures what a frame costs beyond an empty program of the kind, by
// the kernel's run statistics: the frames go through both in turns, each by a
// system call of its own, so caches are as cold as between packets of others. Of
// frames that are not answers, hot-more-ns is the same when one is repeated at
// once (BPF_PROG_RUN with repeat).
func BenchmarkValidate(b *testing.B) {
	const turn = 2000 // frames, all different
	many := func(f func(port uint16) []byte) [][]byte {
		frames := make([][]byte, turn)
		for i := range frames {
			frames[i] = f(uint16(1 + i))
		}
		return frames
	}
	for family, host := range map[string]netip.Addr{"ipv4": host4, "ipv6": host6} {
		router := router4
		if host.Is6() {
			router = router6
		}
		answer := func(edit func(*segment)) [][]byte {
			return many(func(p uint16) []byte {
				s := synAck(netip.AddrPortFrom(host, p), port)
				edit(&s)
				return s.bytes()
			})
		}
		foreign := func(c validate.Counters) uint64 { return c.Foreign }
		valid := func(c validate.Counters) uint64 { return c.Valid }
		for _, c := range []struct {
			name    string
			frames  [][]byte
			noReset bool
			is      func(validate.Counters) uint64
		}{
			{"to_others", answer(func(s *segment) { s.to = netip.AddrPortFrom(host, port) }), false, foreign},
			{"data_to_another_port", answer(func(s *segment) { s.to, s.flags = netip.AddrPortFrom(s.to.Addr(), 443), wire.ACK }), false, foreign},
			{"bad_cookie", answer(func(s *segment) { s.ack += 5 }), false, func(c validate.Counters) uint64 { return c.BadCookie }},
			{"syn_ack", answer(func(*segment) {}), false, valid},
			{"syn_ack_not_reset", answer(func(*segment) {}), true, valid},
			{"reset", answer(func(s *segment) { s.flags = wire.RST | wire.ACK }), false, valid},
			{"icmp_of_a_router", many(func(p uint16) []byte {
				at := netip.AddrPortFrom(host, p)
				ours := synAck(at, port).to
				e := icmp{from: router, to: ours.Addr(), source: ours, target: at, kind: 3, code: 3, seq: key.Of(at, ours), quote: 8}
				if host.Is6() {
					e.kind, e.code = 1, 4
				}
				return e.bytes()
			}), false, valid},
		} {
			for name, tcx := range programs {
				b.Run(fmt.Sprintf("program=%s/frame=%s/family=%s", name, c.name, family), func(b *testing.B) {
					cfg := config(method.ByName("syn"))
					cfg.NoReset = c.noReset
					v := load(b, cfg)
					empty, err := validate.Empty(tcx)
					if err != nil {
						b.Fatal(err)
					}
					defer empty.Close()
					stats, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
					if err != nil {
						b.Fatal(err)
					}
					defer stats.Close() // at the latest
					out := make([]byte, 4096)
					measure := func(p *ebpf.Program) time.Duration {
						before, _ := p.Stats()
						opts := ebpf.RunOptions{DataOut: out}
						for _, opts.Data = range c.frames {
							opts.DataOut = out
							if _, err := p.Run(&opts); err != nil {
								b.Fatal(err)
							}
						}
						after, err := p.Stats()
						if err != nil || after.RunCount-before.RunCount != turn {
							b.Fatalf("%d runs instead of %d: %v", after.RunCount-before.RunCount, turn, err)
						}
						return after.Runtime - before.Runtime
					}
					var ours, bare time.Duration
					runs := 0
					for b.Loop() {
						if err := v.Forget(); err != nil {
							b.Fatal(err)
						}
						ours += measure(v.Program(tcx))
						bare += measure(empty)
						runs += turn
						for read(b, v) != nil {
						}
					}
					stats.Close() // it costs by itself
					// Two answers of a turn may have one place in the memory, but
					// none has the other's mark.
					if all := counters(b, v); c.is(all) != all.Frames() || all.Frames() != uint64(runs) {
						b.Fatalf("the frames were not what the case says: %+v", all)
					}
					n := float64(runs)
					b.ReportMetric(float64(ours)/n, "ns/frame")
					b.ReportMetric(float64(bare)/n, "empty-ns/frame")
					b.ReportMetric(float64(ours-bare)/n, "more-ns/frame")
					if verdict, _ := runAs(b, v, tcx, c.frames[0], out); verdict == xdpPass {
						const repeat = 1_000_000
						_, ours, err := v.Program(tcx).Benchmark(c.frames[0], repeat, nil)
						if err != nil {
							b.Fatal(err)
						}
						_, bare, err := empty.Benchmark(c.frames[0], repeat, nil)
						if err != nil {
							b.Fatal(err)
						}
						b.ReportMetric(float64(ours-bare), "hot-more-ns/frame")
					}
				})
			}
		}
	}
}

// BenchmarkRead is what a record costs its reader.
func BenchmarkRead(b *testing.B) {
	v := load(b, config(method.ByName("syn")))
	out := make([]byte, 4096)
	frames := make([][]byte, 1000)
	for i := range frames {
		frames[i] = synAck(netip.AddrPortFrom(host4, uint16(1+i)), port).bytes()
	}
	b.ReportAllocs()
	var a validate.Answer
	left := 0
	for b.Loop() {
		if left == 0 {
			b.StopTimer()
			v.Forget()
			for _, f := range frames {
				run(b, v, f, out)
			}
			left = len(frames)
			b.StartTimer()
		}
		left--
		record, _, err := v.Read()
		if err != nil || !a.Decode(record) {
			b.Fatal(err)
		}
	}
}
