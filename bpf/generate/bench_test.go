package generate_test

import (
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"synoptic/bpf/generate"
	"synoptic/bpf/respond"
	"synoptic/internal/lab"
	"synoptic/internal/method"
	"synoptic/internal/plan"
	"synoptic/tx"
)

// kinds are plans by what the program has to do for a frame.
var kinds = []struct {
	name string
	scenario
}{
	{"one_port", scenario{targets: "10.0.0.0/8", ports: "443"}},
	{"ports", scenario{targets: "10.0.0.0/8", ports: "22,80,443,8000-8100"}},
	{"internet", scenario{targets: "0.0.0.0/0", exclude: manyRanges(10_000, false), ports: "443"}},
	{"ipv6", scenario{targets: "fd00::/96", ports: "443"}},
	{"mixed", scenario{targets: "10.0.0.0/8 fd00::/104", ports: "443"}},
}

// BenchmarkProgram is the time of the program alone, as the kernel measures it:
// from a position to a frame, sent nowhere.
func BenchmarkProgram(b *testing.B) {
	for _, k := range kinds {
		if k.name == "mixed" {
			continue // here a frame that was cut short stays so, and has no room for the next
		}
		b.Run("plan="+k.name, func(b *testing.B) {
			g := load(b, config(framer(b, k.plan(b, 1), method.ByName("syn"), 1), 1, 1))
			var total time.Duration
			n := 0
			for b.Loop() {
				const frames = 4096
				if err := g.Begin(&plan.Span{To: frames}, frames); err != nil {
					b.Fatal(err)
				}
				_, perRun, err := g.Program(0).Benchmark(make([]byte, 78), frames, nil)
				if err != nil {
					b.Fatal(err)
				}
				if built, err := g.Built(); err != nil || built != frames {
					b.Fatalf("%d frames built, %v", built, err)
				}
				total += perRun
				n++
			}
			b.ReportMetric(float64(total.Nanoseconds())/float64(n), "program-ns/frame")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkLive is the whole way: frames that cross a veth pair, whose far end drops
// them, all on one core. The program "bare" sends one constant frame, again and again,
// which is the most that there can be.
func BenchmarkLive(b *testing.B) {
	for _, size := range []int{128, 1024, 4096, 1 << 16} {
		far := func(b *testing.B) (int, func() (uint64, error)) {
			c := newCableTo(b, (*generate.Tally).Sink)
			return c.near.Attrs().Index, c.tally.Sunk
		}
		b.Run(fmt.Sprintf("program=bare/span=%d", size), func(b *testing.B) {
			inside(b, func() {
				index, arrived := far(b)
				f := framer(b, tallied.plan(b, 1), method.ByName("syn"), 1)
				prog, err := generate.Bare(index, f.Template(hop4, true))
				if err != nil {
					b.Fatalf("%+v", err)
				}
				live(b, size, arrived, bare(b, size, prog))
			})
		})
		for _, k := range kinds {
			b.Run(fmt.Sprintf("program=generate/plan=%s/span=%d", k.name, size), func(b *testing.B) {
				inside(b, func() {
					index, arrived := far(b)
					f := framer(b, k.plan(b, 1), method.ByName("syn"), 1)
					live(b, size, arrived, generated(b, index, size, f))
				})
			})
		}
	}
}

// BenchmarkSweep is the same in a lab, at whose far end the responder decides about
// each probe and answers one in 16; the answers, too, are in the time. "bare" sends one
// frame, to a silent port, so that nothing is answered and the responder's branches go
// the same way each time. "replay" sends the first 65536 probes of the plan, made
// before, with which the responder has as much to do as with those of "generate".
func BenchmarkSweep(b *testing.B) {
	for _, size := range []int{128, 1024, 4096} {
		for _, program := range []string{"bare", "replay", "generate"} {
			b.Run(fmt.Sprintf("program=%s/span=%d", program, size), func(b *testing.B) {
				l := lab.New(b, lab.Config{})
				arrived := func() (uint64, error) {
					c, err := l.Responder.Counters()
					return c.TCP[respond.SYN], err
				}
				hop4.MAC = [6]byte(lab.GateMAC)
				f := framerFrom(b, kinds[0].plan(b, 1), method.ByName("syn"), 1, lab.Scanner4, lab.Scanner6)
				if err := l.Scanner.Do(func() error {
					dev, err := net.InterfaceByName(lab.ScannerDevice)
					if err != nil {
						return err
					}
					var prog *ebpf.Program
					switch program {
					case "bare":
						prog, err = generate.Bare(dev.Index, silent(f))
					case "replay":
						prog, err = generate.Replay(dev.Index, first(f, generate.Replayed))
					case "generate":
						live(b, size, arrived, generated(b, dev.Index, size, f))
						return nil
					}
					if err != nil {
						return err
					}
					live(b, size, arrived, bare(b, size, prog))
					return nil
				}); err != nil {
					b.Fatal(err)
				}
			})
		}
	}
}

// silent returns a frame that the responder does not answer.
func silent(f *tx.Framer) []byte {
	truth, pos := respond.DefaultConfig().Truth(), uint64(0)
	for truth.State(f.Plan.At(pos)) != respond.Silent {
		pos++
	}
	frame := make([]byte, tx.FrameCap)
	n, _, _ := f.Build(frame, pos, 0)
	return frame[:n]
}

// first returns the frames of the first positions.
func first(f *tx.Framer, count int) (frames [][]byte) {
	for pos := range uint64(count) {
		frame := make([]byte, tx.FrameCap)
		n, _, _ := f.Build(frame, pos, 0)
		frames = append(frames, frame[:n])
	}
	return frames
}

// inside runs f in a network namespace of its own.
func inside(b *testing.B, f func()) {
	lab.NeedRoot(b)
	space, err := lab.NewNamespace("")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { space.Close() })
	if err := space.Do(func() error { f(); return nil }); err != nil {
		b.Fatal(err)
	}
}

// bare returns what runs a program that sends a frame each time, size times. It returns
// no number of frames, because a signal may have it send more.
func bare(b *testing.B, size int, prog *ebpf.Program) func() generate.Result {
	b.Cleanup(func() { prog.Close() })
	parked, err := generate.Park(prog)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { parked.Close() })
	o := ebpf.RunOptions{Data: make([]byte, 58), Repeat: uint32(size), Flags: 1 << 1, BatchSize: 64}
	return func() generate.Result {
		if _, err := prog.Run(&o); err != nil {
			b.Fatal(err)
		}
		return generate.Result{}
	}
}

// generated returns what sends the next size positions of a plan.
func generated(b *testing.B, device, size int, f *tx.Framer) func() generate.Result {
	g := load(b, config(f, device, 1))
	var span plan.Span
	return func() generate.Result {
		if span.From = span.To; span.From+uint64(size) > f.Plan.Len() {
			span.From = 0
		}
		span.To = span.From + uint64(size)
		r, err := g.Run(0, &span)
		if err != nil {
			b.Fatal(err)
		}
		return r
	}
}

// live times send, which sends size frames, and holds what it says it sent against
// what arrived. The median of the sends is what to compare where others use the
// machine, too: a send that is preempted counts as one.
func live(b *testing.B, size int, arrived func() (uint64, error), send func() generate.Result) {
	var sum generate.Result
	lost := 0
	var each []time.Duration
	for b.Loop() {
		start := time.Now()
		r := send()
		each = append(each, time.Since(start))
		sum.Built += r.Built
		sum.Sent += r.Sent
		lost += len(r.Lost)
	}
	elapsed := b.Elapsed()
	var n uint64
	for range 100 {
		var err error
		if n, err = arrived(); err != nil {
			b.Fatal(err)
		}
		if sum.Built > 0 && n == uint64(sum.Sent) {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if sum.Built > 0 && (n != uint64(sum.Sent) || sum.Built != sum.Sent+lost) {
		b.Errorf("%d frames arrived; %d built, %d sent, %d lost", n, sum.Built, sum.Sent, lost)
	}
	slices.Sort(each)
	b.ReportMetric(float64(each[len(each)/2].Nanoseconds())/float64(size), "median-ns/frame")
	b.ReportMetric(float64(elapsed.Nanoseconds())/float64(n), "ns/frame")
	b.ReportMetric(float64(n)/elapsed.Seconds(), "pps")
	b.ReportMetric(float64(lost)/float64(max(sum.Built, 1)), "lost")
	b.ReportMetric(0, "ns/op")
}
