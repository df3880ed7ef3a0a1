package bench

import (
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"

	"synoptic/bench/report"
	"synoptic/bpf/respond"
	"synoptic/bpf/watch"
	"synoptic/internal/lab"
)

// frames writes the n-th frame of a flood.
type frames = func(n uint64, buf *[1514]byte) int

// compareCosts floods a host as fast as one thread can, with nothing to watch it,
// an empty XDP program, and each of the detectors.
//
// veth does the receiver's work on the sender's processor, so what a detector
// costs within the kernel is missing in the sender's packets a second. What it
// costs outside is its process's. Of ns/packet, scanlogd's part is only that,
// divided by the packets that its socket had room for, because its kernel half,
// the copies for a raw socket, has no account of its own; synwatch's is its
// process's and its program's by the kernel's run statistics, which are on in a
// flood of their own, as they cost time themselves.
func compareCosts(t *testing.T, bin string, rounds int, time time.Duration) (works []report.Work) {
	l := lab.New(t, lab.Config{})
	h := l.MustAddHost(t, lab.HostConfig{Place: lab.OwnLink})
	constant := func(s *lab.Segment) frames {
		return func(_ uint64, buf *[1514]byte) int { return copy(buf[:], s[:]) }
	}
	scanner := netip.MustParseAddr("128.0.0.1") // no way leads back to it, so that answers cost little
	from, to := connection(t, l, h)
	known := constant(h.Segment(from, to, respond.ACK))
	repeated := constant(h.Segment(netip.AddrPortFrom(scanner, 40000), netip.AddrPortFrom(h.Addr4, 81), respond.SYN))
	seed := uint64(0)
	for _, c := range []struct {
		name, text string
		frames     func() frames
	}{
		{"ack", "ACKs of an open connection", func() frames { return known }},
		{"repeated", "SYNs of one source to one port", func() frames { return repeated }},
		{"novel", "SYNs of one source to one port after the other", func() frames { return h.Walk(scanner, 1) }},
		{"flood", "SYNs to ports below 1024, each from another forged source", func() frames { seed++; return h.Storm(seed, 0) }},
	} {
		w := report.Work{
			Name: "detector/case=" + c.name, Section: detection,
			Text: c.text + ", as fast as one thread sends them over a veth pair: packets a second that the sender reaches, and what the detector's own program and process take of a processor for each.",
		}
		for round := range rounds {
			for _, name := range inTurn(round, nothing, emptyXDP, ourWatch, theirs) {
				x := &costing{t: t, l: l, h: h, work: &w, time: time, frames: c.frames}
				switch name {
				case nothing:
					x.nothing()
				case emptyXDP:
					x.empty()
				default:
					x.detector(name, bin)
				}
			}
			bpf := w.Run(ourWatch).Figures
			// Both with the clock that the statistics read at each run.
			bpf[report.BPF][round] -= w.Run(emptyXDP).Figures[report.BPF][round]
			bpf[report.Cost][round] += bpf[report.BPF][round]
		}
		works = append(works, w)
	}
	return works
}

// costing is one program's turn in a round.
type costing struct {
	t      *testing.T
	l      *lab.Lab
	h      *lab.Host
	work   *report.Work
	time   time.Duration
	frames func() frames
}

func (x *costing) flood() lab.Flooded {
	f, err := x.l.Scanner.Flood(x.t.Context(), lab.Flood{Device: x.h.Near, Packets: 1 << 40, Time: x.time, Frame: x.frames()})
	if err != nil {
		x.t.Fatal(err)
	}
	return f
}

func (x *costing) nothing() {
	f := x.flood()
	note(x.work, nothing, "", report.Packets, float64(f.Sent)/f.Elapsed.Seconds())
}

// counted is the flood with the kernel's run statistics on: ns of each run by
// what cost tells before and after.
func (x *costing) counted(cost func() (ns, runs uint64)) float64 {
	stats, err := watch.EnableStats()
	if err != nil {
		x.t.Fatal(err)
	}
	defer stats.Close()
	ns, runs := cost()
	f := x.flood()
	ns1, runs1 := cost()
	if runs1-runs < f.Sent {
		x.t.Fatalf("%d packets were sent, the program ran %d times", f.Sent, runs1-runs)
	}
	return float64(ns1-ns) / float64(runs1-runs)
}

func (x *costing) empty() {
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.XDP, Flags: 1 << 5 /* BPF_F_XDP_HAS_FRAGS */, License: "MIT",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 2), asm.Return()},
	})
	if err != nil {
		x.t.Fatal(err)
	}
	defer program.Close()
	var attached link.Link
	inside(x.t, x.h.Namespace, func() error {
		dev, err := netlink.LinkByName(x.h.Far)
		if err == nil {
			attached, err = link.AttachXDP(link.XDPOptions{Program: program, Interface: dev.Attrs().Index, Flags: link.XDPDriverMode})
		}
		return err
	})
	defer attached.Close()
	f := x.flood()
	note(x.work, emptyXDP, "", report.Packets, float64(f.Sent)/f.Elapsed.Seconds())
	note(x.work, emptyXDP, "", report.BPF, x.counted(func() (uint64, uint64) {
		s, err := program.Stats()
		if err != nil {
			x.t.Fatal(err)
		}
		return uint64(s.Runtime), s.RunCount
	}))
}

func (x *costing) detector(name, bin string) {
	d := startDetector(x.t, name, bin, x.h)
	defer d.stop()
	before, lost := d.used(x.t), uint64(0)
	f := x.flood()
	time.Sleep(20 * time.Millisecond) // what is in the socket is read
	used := d.used(x.t) - before
	if d.status != nil {
		counters := d.status().Counters
		lost = f.Sent - min(f.Sent, counters.Frames())
	} else {
		lost = rawDrops(x.t, x.h.Namespace)
	}
	if lost >= f.Sent {
		x.t.Fatalf("%s lost %d of %d packets", name, lost, f.Sent)
	}
	note(x.work, name, d.command, report.Packets, float64(f.Sent)/f.Elapsed.Seconds())
	note(x.work, name, d.command, report.Cost, float64(used.Nanoseconds())/float64(f.Sent-lost))
	note(x.work, name, d.command, report.Lost, float64(lost)/float64(f.Sent))
	if d.status != nil {
		note(x.work, name, d.command, report.BPF, x.counted(func() (uint64, uint64) {
			s := d.status()
			return s.RunTime, s.Runs
		}))
	}
}

// rawDrops is how many packets the raw sockets of a namespace had no room for.
func rawDrops(t *testing.T, ns *lab.Namespace) (drops uint64) {
	t.Helper()
	inside(t, ns, func() error {
		table, err := os.ReadFile("/proc/thread-self/net/raw")
		if err != nil {
			return err
		}
		sockets := strings.Split(strings.TrimSpace(string(table)), "\n")[1:]
		if len(sockets) != 1 {
			return fmt.Errorf("%d raw sockets, want scanlogd's", len(sockets))
		}
		fields := strings.Fields(sockets[0])
		drops, err = strconv.ParseUint(fields[len(fields)-1], 10, 64)
		return err
	})
	return drops
}
