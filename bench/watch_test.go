package bench

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"

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

// BenchmarkWatchOnVeth floods a host with ACKs of a connection that it has, in
// turns with an empty XDP program and with the detector attached. veth runs the
// receiver's program on the sender's processor, so what it costs is missing in
// the sender's packets per second. ratio is the median of the pairs; live-ns is
// the detector's cost per packet beyond the empty program's by the kernel's run
// statistics, which are on in pairs of their own.
func BenchmarkWatchOnVeth(b *testing.B) {
	l := lab.New(b, lab.Config{})
	h := l.MustAddHost(b, lab.HostConfig{Place: lab.OwnLink})
	frame := ackOf(b, l, h)
	empty, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.XDP, Flags: 1 << 5 /* BPF_F_XDP_HAS_FRAGS */, License: "MIT",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 2), asm.Return()},
	})
	if err != nil {
		b.Fatal(err)
	}
	defer empty.Close()
	w, err := watch.Load(watch.Config{}, watchRules)
	if err != nil {
		b.Fatalf("%+v", err)
	}
	defer w.Close()

	flood := func() float64 {
		f, err := l.Scanner.Flood(b.Context(), lab.Flood{Device: h.Near, Packets: 2_000_000, Time: 400 * time.Millisecond,
			Frame: func(_ uint64, buf *[1514]byte) int { return copy(buf[:], frame) }})
		if err != nil {
			b.Fatal(err)
		}
		return float64(f.Sent) / f.Elapsed.Seconds()
	}
	withEmpty := func() (pps float64) {
		var attached link.Link
		inside(b, h.Namespace, func() error {
			dev, err := netlink.LinkByName(h.Far)
			if err == nil {
				attached, err = link.AttachXDP(link.XDPOptions{Program: empty, Interface: dev.Attrs().Index, Flags: link.XDPDriverMode})
			}
			return err
		})
		defer attached.Close()
		return flood()
	}
	withWatch := func() float64 {
		var a *watch.Attachment
		inside(b, h.Namespace, func() (err error) { a, err = w.Attach(h.Far, watch.Native); return err })
		defer a.Close()
		before := watchCounters(b, w)
		pps := flood()
		after := watchCounters(b, w)
		// The first asks a socket; then the cache knows for a while.
		if acks, cached := after.TCP[0x10]-before.TCP[0x10], after.Cached-before.Cached; acks < 10_000 || cached < acks*99/100 || after.Probes != 0 {
			b.Fatalf("%d ACKs were seen, %d of them cached; %d probes", acks, cached, after.Probes)
		}
		return pps
	}
	var ratios, ours, live []float64
	for b.Loop() {
		bare := withEmpty()
		ours = append(ours, withWatch())
		ratios = append(ratios, ours[len(ours)-1]/bare)

		stats, err := watch.EnableStats()
		if err != nil {
			b.Fatal(err)
		}
		e0, _ := empty.Stats()
		w0, _ := w.Cost()
		withEmpty()
		withWatch()
		e1, err1 := empty.Stats()
		w1, err2 := w.Cost()
		stats.Close()
		if err1 != nil || err2 != nil || e1.RunCount == e0.RunCount || w1.Runs == w0.Runs {
			b.Fatal("no run statistics", err1, err2)
		}
		live = append(live, float64(w1.Time-w0.Time)/float64(w1.Runs-w0.Runs)-float64(e1.Runtime-e0.Runtime)/float64(e1.RunCount-e0.RunCount))
	}
	b.ReportMetric(middle(ratios), "ratio")
	b.ReportMetric(middle(ours), "pps")
	b.ReportMetric(middle(live), "live-ns/packet")
}

func middle(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

func inside(b *testing.B, ns *lab.Namespace, f func() error) {
	b.Helper()
	if err := ns.Do(f); err != nil {
		b.Fatal(err)
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

// ackOf opens a connection from the scanner to a host and returns a frame with
// an ACK of it, without checksum.
func ackOf(b *testing.B, l *lab.Lab, h *lab.Host) []byte {
	var (
		from, to netip.AddrPort
		frame    = make([]byte, 54)
	)
	inside(b, h.Namespace, func() error {
		server, err := net.Listen("tcp4", netip.AddrPortFrom(h.Addr4, 80).String())
		if err == nil {
			b.Cleanup(func() { server.Close() })
			var dev netlink.Link
			if dev, err = netlink.LinkByName(h.Far); err == nil {
				copy(frame, dev.Attrs().HardwareAddr)
			}
		}
		return err
	})
	inside(b, l.Scanner, func() error {
		c, err := net.Dial("tcp4", netip.AddrPortFrom(h.Addr4, 80).String())
		if err == nil {
			b.Cleanup(func() { c.Close() })
			from, to = c.LocalAddr().(*net.TCPAddr).AddrPort(), c.RemoteAddr().(*net.TCPAddr).AddrPort()
		}
		return err
	})
	copy(frame[12:], []byte{8, 0, 0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6})
	copy(frame[26:], from.Addr().AsSlice())
	copy(frame[30:], to.Addr().AsSlice())
	binary.BigEndian.PutUint16(frame[34:], from.Port())
	binary.BigEndian.PutUint16(frame[36:], to.Port())
	frame[46], frame[47] = 5<<4, 0x10
	return frame
}
