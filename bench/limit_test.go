package bench

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"synoptic/bpf/respond"
	"synoptic/internal/lab"
)

// The limits are the barest loops that do what our programs do last: whatever a
// program computes comes on top. A limit is measured in the lab where the program
// is, so that the far end costs the same.

// limitSendmmsg is the packet path without a plan: each sender offers 64 prepared
// SYNs to silent ports, again and again, past the queueing discipline. They are 64
// because both queues of the link shall be used, as by a sweep.
func limitSendmmsg(t testing.TB, l *lab.Lab, senders int, packets uint64) outcome {
	t.Helper()
	const each = 64
	frames := make([][]byte, senders*each)
	for i, at := range portsThatAre(t, l, respond.Silent, len(frames)) {
		frames[i] = segment(t, lab.GateMAC, scannerPort, at, respond.SYN)
	}
	var sent atomic.Uint64
	o := limit(t, l, senders, func(sender int) error {
		mine := frames[sender*each:][:each]
		f, err := l.Scanner.Flood(t.Context(), lab.Flood{
			Device: lab.ScannerDevice, Packets: packets / uint64(senders), Time: patience,
			Frame: func(n uint64, buf *[1514]byte) int {
				if buf[12] == 0 { // no frame has been written here yet
					copy(buf[:], mine[n%each])
				}
				return segmentLen
			},
		})
		sent.Add(f.Sent)
		return err
	})
	if o.probes != sent.Load() || o.probes != packets {
		t.Fatalf("of %d SYNs %d were sent and %d arrived", packets, sent.Load(), o.probes)
	}
	return o
}

// limitLive is the kernel path without a plan: BPF_PROG_RUN with live frames of a
// program that writes one constant SYN to a port of the given state.
func limitLive(t testing.TB, l *lab.Lab, senders int, packets uint64, state respond.State) outcome {
	t.Helper()
	frame := segment(t, lab.GateMAC, scannerPort, portsThatAre(t, l, state, 1)[0], respond.SYN)
	prog := xdpProgram(t, writing(frame))
	parked := park(t, l, prog)
	defer parked.Close()
	before, _, err := l.Overruns()
	if err != nil {
		t.Fatal(err)
	}
	o := limit(t, l, senders, func(int) error {
		return l.Scanner.Do(func() error {
			dev, err := net.InterfaceByName(lab.ScannerDevice)
			if err != nil {
				return err
			}
			// struct xdp_md: XDP_TX sends by the device that a frame is said to come from.
			context := struct{ data, end, meta, ifindex, queue, egress uint32 }{end: uint32(len(frame)), ifindex: uint32(dev.Index)}
			_, err = prog.Run(&ebpf.RunOptions{
				Data: frame, Context: context, Repeat: uint32(packets / uint64(senders)), Flags: 1 << 1 /* BPF_F_TEST_XDP_LIVE_FRAMES */, BatchSize: 64,
			})
			return err
		})
	})
	after, _, err := l.Overruns()
	if err != nil {
		t.Fatal(err)
	}
	if o.probes+after-before < packets { // more, if a signal has had a run begin again
		t.Fatalf("of %d SYNs %d arrived and %d were refused", packets, o.probes, after-before)
	}
	return o
}

var scannerPort = netip.AddrPortFrom(lab.Scanner4, 20000)

// portsThatAre returns the first simulated ports of a state.
func portsThatAre(t testing.TB, l *lab.Lab, state respond.State, n int) (all []netip.AddrPort) {
	t.Helper()
	truth := l.MustTruth(t)
	at := netip.MustParseAddr("10.0.0.1")
	for port := uint16(1); len(all) < n; port++ {
		if port == 0 {
			t.Fatalf("%v has only %d ports that are %s", at, len(all), state)
		}
		if ap := netip.AddrPortFrom(at, port); truth.State(ap) == state {
			all = append(all, ap)
		}
	}
	return all
}

// limit runs a loop for each sender, on threads of their own, and counts at the
// responder what has arrived by the end.
func limit(t testing.TB, l *lab.Lab, senders int, loop func(sender int) error) outcome {
	t.Helper()
	if err := l.Responder.Reset(); err != nil {
		t.Fatal(err)
	}
	var used atomic.Int64
	var all sync.WaitGroup
	begin := time.Now()
	for sender := range senders {
		all.Go(func() {
			cpu, err := threadTime(func() error { return loop(sender) })
			if err != nil {
				t.Error(err)
			}
			used.Add(int64(cpu))
		})
	}
	all.Wait()
	o := outcome{elapsed: time.Since(begin)}
	for more := true; more; { // what is in the link's rings arrives, too
		time.Sleep(10 * time.Millisecond)
		c, err := l.Responder.Counters()
		if err != nil {
			t.Fatal(err)
		}
		more, o.probes = c.TCP[respond.SYN] > o.probes, c.TCP[respond.SYN]
	}
	if o.probes == 0 || t.Failed() {
		t.Fatalf("%d SYNs arrived", o.probes)
	}
	o.pps, o.cpu = float64(o.probes)/o.elapsed.Seconds(), float64(used.Load())/float64(o.probes)
	return o
}

// threadTime runs f on a thread of its own and returns the time of the processor
// that it took, user's and system's.
func threadTime(f func() error) (time.Duration, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, after unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &before); err != nil {
		return 0, err
	}
	if err := f(); err != nil {
		return 0, err
	}
	err := unix.Getrusage(unix.RUSAGE_THREAD, &after)
	return time.Duration(after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()), err
}

// xdpProgram loads one for the time of a test.
func xdpProgram(t testing.TB, instructions asm.Instructions) *ebpf.Program {
	t.Helper()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.XDP, Flags: 1 << 5 /* BPF_F_XDP_HAS_FRAGS */, License: "Dual MIT/GPL", Instructions: instructions})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// park attaches a program to a device where it sees nothing, because BPF_PROG_RUN
// of one that is nowhere attached begins with a wait (see parking in bpf/generate).
func park(t testing.TB, l *lab.Lab, p *ebpf.Program) link.Link {
	t.Helper()
	for _, h := range l.Hosts() {
		if h.Far != "" {
			return attach(t, h, p)
		}
	}
	return attach(t, l.MustAddHost(t, lab.HostConfig{Place: lab.OwnLink}), p)
}

// attach puts an XDP program on a host's end of its own link.
func attach(t testing.TB, h *lab.Host, p *ebpf.Program) (attached link.Link) {
	t.Helper()
	if err := h.Namespace.Do(func() error {
		dev, err := netlink.LinkByName(h.Far)
		if err == nil {
			attached, err = link.AttachXDP(link.XDPOptions{Program: p, Interface: dev.Attrs().Index, Flags: link.XDPDriverMode})
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return attached
}

// writing is an XDP program that sends the frame. The kernel does not write a
// recycled page anew, and the responder has been there, so the program does.
func writing(frame []byte) asm.Instructions {
	ins := asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, 0, asm.Word), // data
		asm.LoadMem(asm.R3, asm.R1, 4, asm.Word), // data_end
		asm.Mov.Imm(asm.R0, 1),                   // XDP_DROP
		asm.Mov.Reg(asm.R4, asm.R2),
		asm.Add.Imm(asm.R4, int32(len(frame))),
		asm.JGT.Reg(asm.R4, asm.R3, "out"),
	}
	for i := 0; i < len(frame); i += 2 {
		ins = append(ins, asm.StoreImm(asm.R2, int16(i), int64(binary.NativeEndian.Uint16(frame[i:])), asm.Half))
	}
	return append(ins, asm.Mov.Imm(asm.R0, 3), asm.Return().WithSymbol("out")) // XDP_TX
}

// BenchmarkLimit is what stands beside the results of our programs. All of it
// happens in the lab, whose far end works on the sender's processor.
func BenchmarkLimit(b *testing.B) {
	report := func(b *testing.B, measure func() outcome) {
		var pps, cpu []float64
		for b.Loop() {
			o := measure()
			pps, cpu = append(pps, o.pps), append(cpu, o.cpu)
		}
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(median(pps), "pps")
		b.ReportMetric(median(cpu), "cpu-ns/probe")
	}
	b.Run("loop=xdp_pass", func(b *testing.B) {
		l := lab.New(b, lab.Config{})
		h := l.MustAddHost(b, lab.HostConfig{Place: lab.OwnLink})
		empty, acks := xdpProgram(b, passing), allTraffic(b, l, h)[0]
		report(b, func() outcome { return limitPass(b, l, h, empty, acks.frame) })
	})
	for _, senders := range []int{1, 2} {
		b.Run(fmt.Sprintf("loop=sendmmsg/senders=%d", senders), func(b *testing.B) {
			l := lab.New(b, lab.Config{})
			report(b, func() outcome { return limitSendmmsg(b, l, senders, standard.endpoints) })
		})
	}
	// With an answer comes its way back, and the system's reset of a SYN+ACK.
	cfg := respond.DefaultConfig()
	cfg.Rejected = respond.Fraction(1, 64)
	for _, c := range []struct {
		state   respond.State
		senders int
		packets uint64
	}{
		{respond.Silent, 1, large.endpoints}, {respond.Silent, 2, large.endpoints},
		{respond.Closed, 1, standard.endpoints}, {respond.Open, 1, standard.endpoints}, {respond.Rejected, 1, standard.endpoints},
	} {
		b.Run(fmt.Sprintf("loop=live_frames/port=%s/senders=%d", c.state, c.senders), func(b *testing.B) {
			l := lab.New(b, lab.Config{Respond: &cfg})
			report(b, func() outcome { return limitLive(b, l, c.senders, c.packets, c.state) })
		})
	}
}
