package watch

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// emptyProgram passes every packet: what any XDP program costs.
func emptyProgram(t testing.TB) *ebpf.Program {
	t.Helper()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type:         ebpf.XDP,
		Flags:        1 << 5, // BPF_F_XDP_HAS_FRAGS, as ours
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 2), asm.Return()},
		License:      "MIT",
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// connection opens a TCP connection over loopback and returns a frame of an
// ACK that one of its ends would receive.
func connection(t testing.TB) []byte {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); l.Close() })
	addr := func(a net.Addr) netip.AddrPort { return a.(*net.TCPAddr).AddrPort() }
	return segment{src: addr(c.LocalAddr()), dst: addr(c.RemoteAddr()), flags: ack}.bytes()
}

// BenchmarkWatch measures what a packet costs beyond an empty XDP program, by
// the kernel's run statistics: the frames go through both in turns, each by a
// system call of its own, so caches are as cold as between packets of others.
// Where one frame makes the case, hot-more-ns is the same when it is repeated
// at once (BPF_PROG_RUN with repeat).
func BenchmarkWatch(b *testing.B) {
	victim := netip.MustParseAddr("10.0.0.1")
	source := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{11, byte(i >> 16), byte(i >> 8), byte(i)}) }
	probe := func(src netip.Addr, port uint16) []byte {
		return segment{src: netip.AddrPortFrom(src, 4000), dst: netip.AddrPortFrom(victim, port), flags: syn}.bytes()
	}
	many := func(n int, f func(i int) []byte) [][]byte {
		frames := make([][]byte, n)
		for i := range frames {
			frames[i] = f(i)
		}
		return frames
	}
	for _, c := range []struct {
		name   string
		frames func() [][]byte
		is     func(before, after *Counters) bool
	}{
		{"ack", func() [][]byte { return [][]byte{connection(b)} },
			func(x, y *Counters) bool { return y.TCP[ack] > x.TCP[ack] && y.Probes == 0 && y.Cached > 100*y.Known }},
		{"repeated_port", func() [][]byte { return [][]byte{probe(source(1), 80)} },
			func(x, y *Counters) bool { return y.Repeats > x.Repeats && y.Repeats-x.Repeats == y.Probes-x.Probes }},
		{"novel_probe", func() [][]byte { return many(4096, func(i int) []byte { return probe(source(1), uint16(i+1024)) }) },
			func(x, y *Counters) bool { return y.Probes > x.Probes && y.Repeats == 0 && y.Sources == 1 }},
		{"new_source", func() [][]byte { return many(300_000, func(i int) []byte { return probe(source(i), 80) }) },
			func(x, y *Counters) bool {
				// A few sets get no more sources than they have places for.
				n := y.Sources - x.Sources
				return n > 0 && n >= (y.Probes-x.Probes)*95/100 && y.EvictedIdle+y.EvictedLive-x.EvictedIdle-x.EvictedLive == n
			}},
		{"rst", func() [][]byte {
			return [][]byte{segment{src: at("11.0.0.1", 1), dst: at("10.0.0.1", 2), flags: rst | ack}.bytes()}
		}, func(x, y *Counters) bool { return y.TCP[rst|ack] > x.TCP[rst|ack] && y.Known == 0 }},
	} {
		b.Run("case="+c.name, func(b *testing.B) {
			w := loadFor(b, Config{}, defaultRules())
			empty := emptyProgram(b)
			stats, err := EnableStats()
			if err != nil {
				b.Fatal(err)
			}
			defer stats.Close() // at the latest
			frames := c.frames()
			next := map[*ebpf.Program]int{} // frame; a turn goes on where the last one ended
			run := func(p *ebpf.Program, n int) time.Duration {
				before, _ := p.Stats()
				opts := ebpf.RunOptions{}
				first := next[p]
				next[p] += n
				for i := range n {
					opts.Data = frames[(first+i)%len(frames)]
					if _, err := p.Run(&opts); err != nil {
						b.Fatal(err)
					}
				}
				after, err := p.Stats()
				if err != nil || after.RunCount-before.RunCount != uint64(n) {
					b.Fatalf("%d runs instead of %d: %v", after.RunCount-before.RunCount, n, err)
				}
				return after.Runtime - before.Runtime
			}
			run(w.objects.Watch, 2*len(frames)) // warm, and in new_source full
			before, err := w.Counters()
			if err != nil {
				b.Fatal(err)
			}
			var ours, bare time.Duration
			runs := 0
			for b.Loop() {
				const turn = 2000
				ours += run(w.objects.Watch, turn)
				bare += run(empty, turn)
				runs += turn
				w.Read(func(*Snapshot) {})
			}
			stats.Close() // it costs by itself
			if len(frames) == 1 {
				const repeat = 1_000_000
				_, ours, err := w.objects.Watch.Benchmark(frames[0], repeat, nil)
				if err != nil {
					b.Fatal(err)
				}
				_, bare, err := empty.Benchmark(frames[0], repeat, nil)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(ours-bare), "hot-more-ns/packet")
			}
			n := float64(runs)
			after, err := w.Counters()
			if err != nil {
				b.Fatal(err)
			}
			if !c.is(&before, &after) {
				b.Fatalf("the frames were not what the case says: %+v, then %+v", before, after)
			}
			b.ReportMetric(float64(ours)/n, "ns/packet")
			b.ReportMetric(float64(bare)/n, "empty-ns/packet")
			b.ReportMetric(float64(ours-bare)/n, "more-ns/packet")
		})
	}
}
