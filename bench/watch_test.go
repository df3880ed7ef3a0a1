package bench

import (
	"encoding/binary"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink"

	"synoptic/bpf/respond"
	"synoptic/bpf/watch"
	"synoptic/internal/lab"
)

// watchRules are the policies that are on by default.
var watchRules = watch.Rules{
	Window: watch.Line{On: true, Span: 300 * time.Millisecond, Threshold: 21, High: 1, Low: 3, Trap: 10},
	Gap:    watch.Line{On: true, Span: 3 * time.Second, Threshold: 21, Reaches: true, High: 1, Low: 3},
	Traps:  []uint16{11, 12, 13, 2000},
	V6Bits: 64,
}

// traffic is what a server may be sent, by what the detector has to do for a packet.
type traffic struct {
	name  string
	frame func(n uint64, buf *[1514]byte) int
	// is tells whether the detector, which has seen no other, took these packets
	// for what they are.
	is func(c *watch.Counters) bool
}

// allTraffic goes to a host. Its sources but the first have no route back, so that the
// host's answers, which every program pays for, end early.
func allTraffic(b *testing.B, l *lab.Lab, h *lab.Host) []traffic {
	known, probe := ackOf(b, l, h), probeTo(b, h)
	sources, rng := uint32(0), rand.New(rand.NewPCG(1, 1))
	syns := func(c *watch.Counters) uint64 { return c.TCP[respond.SYN] }
	return []traffic{
		{"plain_ack", func(_ uint64, buf *[1514]byte) int { return copy(buf[:], known) },
			// The first asks a socket; then the cache knows for a while.
			func(c *watch.Counters) bool {
				return c.Probes == 0 && c.Cached >= c.TCP[respond.ACK]*99/100 && c.Cached > 0
			}},
		{"repeated_port", func(_ uint64, buf *[1514]byte) int { return probe(buf, 0x0b000001, 80) },
			func(c *watch.Counters) bool { return c.Probes == syns(c) && c.Repeats >= c.Probes*99/100 }},
		{"novel_probe", func(n uint64, buf *[1514]byte) int { return probe(buf, 0x0b000001, uint16(1024+n%4096)) },
			func(c *watch.Counters) bool { return c.Probes == syns(c) && c.Repeats == 0 && c.Sources == 1 }},
		{"new_source", func(_ uint64, buf *[1514]byte) int { sources++; return probe(buf, 0x0b000000|sources&0xffffff, 80) },
			func(c *watch.Counters) bool { return c.Probes == syns(c) && c.Sources == c.Probes }},
		// As in the tests of floods: any source, and any port, traps as well.
		{"forged_flood", func(_ uint64, buf *[1514]byte) int {
			return probe(buf, 0x0b000000|rng.Uint32()>>8, uint16([]uint32{80, 11, 443, rng.Uint32()}[rng.IntN(4)]))
		}, func(c *watch.Counters) bool {
			return c.Probes == syns(c) && c.Sources >= c.Probes/2 && c.EvictedLive > 0
		}},
	}
}

// BenchmarkDetector floods a host, in turns with an empty XDP program and with the
// detector attached. veth runs the receiver's program on the sender's processor, so
// what it costs is missing in the sender's packets per second. ratio is the median of
// the pairs, and cpu-ratio that of the sender's processor time for a packet, which others on
// the machine disturb less; live-ns is the detector's cost per packet beyond the empty program's by the
// kernel's run statistics, which are on in pairs of their own.
func BenchmarkDetector(b *testing.B) {
	l := lab.New(b, lab.Config{})
	h := l.MustAddHost(b, lab.HostConfig{Place: lab.OwnLink})
	for _, kind := range allTraffic(b, l, h) {
		b.Run("traffic="+kind.name, func(b *testing.B) {
			empty := xdpProgram(b, passing)
			w, err := watch.Load(watch.Config{}, watchRules)
			if err != nil {
				b.Fatalf("%+v", err)
			}
			defer w.Close()
			withWatch := func() outcome {
				var a *watch.Attachment
				inside(b, h.Namespace, func() (err error) { a, err = w.Attach(h.Far, watch.Native); return err })
				defer a.Close()
				before := watchCounters(b, w)
				o := flooded(b, l, h, kind.frame)
				after := watchCounters(b, w)
				// What the host says by itself, of neighbours, is a frame, too.
				if n := after.Frames() - before.Frames(); n < o.probes || n > o.probes+100 || !kind.is(&after) || after.LostEvents != 0 {
					b.Fatalf("%d frames were sent, and the detector has seen %+v", o.probes, after)
				}
				return o
			}
			var ratios, cpu, more, ours, live []float64
			for b.Loop() {
				bare, with := limitPass(b, l, h, empty, kind.frame), withWatch()
				ours, ratios = append(ours, with.pps), append(ratios, with.pps/bare.pps)
				cpu, more = append(cpu, with.cpu), append(more, with.cpu/bare.cpu)

				stats, err := watch.EnableStats()
				if err != nil {
					b.Fatal(err)
				}
				e0, _ := empty.Stats()
				w0, _ := w.Cost()
				limitPass(b, l, h, empty, kind.frame)
				withWatch()
				e1, err1 := empty.Stats()
				w1, err2 := w.Cost()
				stats.Close()
				if err1 != nil || err2 != nil || e1.RunCount == e0.RunCount || w1.Runs == w0.Runs {
					b.Fatal("no run statistics", err1, err2)
				}
				live = append(live, float64(w1.Time-w0.Time)/float64(w1.Runs-w0.Runs)-float64(e1.Runtime-e0.Runtime)/float64(e1.RunCount-e0.RunCount))
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(median(ratios), "ratio")
			b.ReportMetric(median(ours), "pps")
			b.ReportMetric(median(cpu), "cpu-ns/packet")
			b.ReportMetric(median(more), "cpu-ratio")
			b.ReportMetric(median(live), "live-ns/packet")
		})
	}
}

// passing is the program that leaves every packet to the system, which is what any XDP
// program costs.
var passing = asm.Instructions{asm.Mov.Imm(asm.R0, 2 /* XDP_PASS */), asm.Return()}

// limitPass is a flood of a host with such a program at its end of the link.
func limitPass(t testing.TB, l *lab.Lab, h *lab.Host, empty *ebpf.Program, frame func(n uint64, buf *[1514]byte) int) outcome {
	t.Helper()
	a := attach(t, h, empty)
	defer a.Close()
	return flooded(t, l, h, frame)
}

// flooded sends a host as much as one thread can for a while.
func flooded(t testing.TB, l *lab.Lab, h *lab.Host, frame func(n uint64, buf *[1514]byte) int) outcome {
	t.Helper()
	var f lab.Flooded
	cpu, err := threadTime(func() (err error) {
		f, err = l.Scanner.Flood(t.Context(), lab.Flood{Device: h.Near, Packets: 2_000_000, Time: 400 * time.Millisecond, Frame: frame})
		return err
	})
	if err != nil || f.Sent < 10_000 {
		t.Fatalf("%d frames were sent: %v", f.Sent, err)
	}
	return outcome{
		pps: float64(f.Sent) / f.Elapsed.Seconds(), cpu: float64(cpu.Nanoseconds()) / float64(f.Sent), probes: f.Sent, elapsed: f.Elapsed,
	}
}

func inside(t testing.TB, ns *lab.Namespace, f func() error) {
	t.Helper()
	if err := ns.Do(f); err != nil {
		t.Fatal(err)
	}
}

func watchCounters(b *testing.B, w *watch.Watch) watch.Counters {
	b.Helper()
	c, err := w.Counters()
	if err != nil {
		b.Fatal(err)
	}
	return c
}

// ackOf returns a frame with an ACK of a connection that a host has, with a wrong
// checksum, so that the stack drops it at once.
func ackOf(t testing.TB, l *lab.Lab, h *lab.Host) []byte {
	from, to := connection(t, l, h)
	s := h.Segment(from, to, respond.ACK)
	s[24], s[25] = 0, 0
	return s[:]
}

// connection opens one from the scanner to a host and returns its two ends.
func connection(t testing.TB, l *lab.Lab, h *lab.Host) (from, to netip.AddrPort) {
	t.Helper()
	inside(t, h.Namespace, func() error {
		server, err := net.Listen("tcp4", netip.AddrPortFrom(h.Addr4, 80).String())
		if err == nil {
			t.Cleanup(func() { server.Close() })
		}
		return err
	})
	inside(t, l.Scanner, func() error {
		c, err := net.Dial("tcp4", netip.AddrPortFrom(h.Addr4, 80).String())
		if err == nil {
			t.Cleanup(func() { c.Close() })
			from, to = c.LocalAddr().(*net.TCPAddr).AddrPort(), c.RemoteAddr().(*net.TCPAddr).AddrPort()
		}
		return err
	})
	return from, to
}

// probeTo returns what writes a SYN to a port of a host, from any address.
func probeTo(b *testing.B, h *lab.Host) func(buf *[1514]byte, source uint32, port uint16) int {
	var frame []byte
	inside(b, h.Namespace, func() error {
		dev, err := netlink.LinkByName(h.Far)
		if err == nil {
			frame = segment(b, dev.Attrs().HardwareAddr, scannerPort, netip.AddrPortFrom(h.Addr4, 80), respond.SYN)
		}
		return err
	})
	return func(buf *[1514]byte, source uint32, port uint16) int {
		copy(buf[:], frame)
		binary.BigEndian.PutUint32(buf[26:], source)
		binary.BigEndian.PutUint16(buf[36:], port)
		return len(frame)
	}
}
