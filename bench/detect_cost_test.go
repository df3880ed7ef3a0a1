package bench

import (
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"synoptic/bench/report"
	"synoptic/bpf/respond"
	"synoptic/bpf/watch"
	"synoptic/internal/lab"
)

// slice is how long one of the hosts is flooded before it is the next one's turn:
// short, so that whatever else the machine does slows all of them down.
const slice = 50 * time.Millisecond

// frames writes the n-th frame of a flood.
type frames = func(n uint64, buf *[1514]byte) int

// watched is a host that is flooded, and what watches it.
type watched struct {
	*lab.Host
	known    *lab.Segment             // an ACK of a connection that it has
	detector *detector                // or nil
	cost     func() (ns, runs uint64) // of its XDP program by the kernel's run statistics, or nil
	received func(sent uint64) uint64 // packets that the detector got of those sent
	sent     uint64
}

// compareCosts floods hosts as fast as one thread can: one with nothing to watch
// it, one with an empty XDP program, and one for each of the detectors.
//
// veth does the receiver's work on the sender's processor, so what a detector
// costs within the kernel is missing in the sender's packets a second. What it
// costs outside is its process's. Of ns/packet, scanlogd's part is only that,
// divided by the packets that its socket had room for, because its kernel half,
// the copies for a raw socket, has no account of its own; synwatch's is its
// process's and its program's by the kernel's run statistics, which are on in a
// flood of their own, as they cost time themselves.
func compareCosts(t *testing.T, bin string, rounds, slices int) (works []report.Work) {
	scanner := netip.MustParseAddr("128.0.0.1") // no way leads back to it, so that answers cost little
	constant := func(s *lab.Segment) frames {
		return func(_ uint64, buf *[1514]byte) int { return copy(buf[:], s[:]) }
	}
	l := lab.New(t, lab.Config{})
	hosts := watchedHosts(t, l, bin)
	for _, c := range []struct {
		name, text string
		frames     func(x *watched) frames
	}{
		{"ack", "ACKs of an open connection", func(x *watched) frames { return constant(x.known) }},
		{"repeated", "SYNs of one source to one port", func(x *watched) frames {
			return constant(x.Segment(netip.AddrPortFrom(scanner, 40000), netip.AddrPortFrom(x.Addr4, 81), respond.SYN))
		}},
		{"novel", "SYNs of one source to one port after the other", func(x *watched) frames { return x.Walk(scanner, 1) }},
		{"flood", "SYNs to ports below 1024, each from another forged source", func(x *watched) frames { return x.Storm(x.sent, 0) }},
	} {
		w := report.Work{
			Name: "detector/case=" + c.name, Section: detection,
			Text: c.text + ", as fast as one thread sends them over a veth pair: packets a second that the sender reaches, and ns of the detector's program and process for each. What scanlogd costs the kernel is in the former alone.",
		}
		for round := range rounds {
			costOnce(t, l, hosts, &w, c.frames, round, slices)
		}
		works = append(works, w)
	}
	return works
}

// watchedHosts are those of a lab, by the program that watches them.
func watchedHosts(t *testing.T, l *lab.Lab, bin string) map[string]*watched {
	t.Helper()
	hosts := map[string]*watched{}
	for _, name := range []string{nothing, emptyXDP, ourWatch, theirs} {
		x := &watched{Host: l.MustAddHost(t, lab.HostConfig{Place: lab.OwnLink})}
		from, to := connection(t, l, x.Host)
		x.known = x.Segment(from, to, respond.ACK)
		switch name {
		case emptyXDP:
			program := xdpProgram(t, passing)
			attached := attach(t, x.Host, program)
			t.Cleanup(func() { attached.Close() })
			x.cost = func() (uint64, uint64) {
				s, err := program.Stats()
				if err != nil {
					t.Fatal(err)
				}
				return uint64(s.Runtime), s.RunCount
			}
		case ourWatch:
			x.detector = startDetector(t, name, bin, x.Host)
			x.cost = func() (uint64, uint64) {
				s := x.detector.status()
				return s.RunTime, s.Runs
			}
			x.received = func(uint64) uint64 {
				counters := x.detector.status().Counters
				return counters.Frames()
			}
		case theirs:
			x.detector = startDetector(t, name, bin, x.Host)
			x.received = func(sent uint64) uint64 { return sent - rawDrops(t, x.Namespace) }
		}
		hosts[name] = x
	}
	return hosts
}

func (x *watched) flood(t *testing.T, l *lab.Lab, f frames) lab.Flooded {
	t.Helper()
	done, err := l.Scanner.Flood(t.Context(), lab.Flood{Device: x.Near, Packets: 1 << 40, Time: slice, Frame: f})
	if err != nil || done.Sent == 0 {
		t.Fatalf("flood: %+v, %v", done, err)
	}
	x.sent += done.Sent
	return done
}

// costOnce is a round of a work.
func costOnce(t *testing.T, l *lab.Lab, hosts map[string]*watched, w *report.Work, frames func(*watched) frames, round, slices int) {
	t.Helper()
	detectors := []string{ourWatch, theirs}
	sent, received, used := map[string]uint64{}, map[string]uint64{}, map[string]time.Duration{}
	for _, name := range detectors {
		x := hosts[name]
		sent[name], received[name] = x.sent, x.received(x.sent)
	}
	speeds := map[string][]float64{}
	for i := range slices {
		for _, name := range inTurn(round+i, nothing, emptyXDP, ourWatch, theirs) {
			x := hosts[name]
			if x.detector != nil {
				used[name] -= x.detector.used(t)
			}
			done := x.flood(t, l, frames(x))
			speeds[name] = append(speeds[name], float64(done.Sent)/done.Elapsed.Seconds())
			if x.detector != nil {
				time.Sleep(10 * time.Millisecond) // what is left in its socket or ring is read
				used[name] += x.detector.used(t)
			}
		}
	}
	for _, name := range []string{nothing, emptyXDP, ourWatch, theirs} {
		note(w, name, hosts[name].detector, report.Packets, median(speeds[name]))
	}
	for _, name := range detectors {
		x := hosts[name]
		sent, received := float64(x.sent-sent[name]), float64(x.received(x.sent)-received[name])
		note(w, name, x.detector, report.Cost, float64(used[name].Nanoseconds())/received)
		note(w, name, x.detector, report.Lost, max(0, 1-received/sent)) // the kernel's own packets are received, too
	}

	stats, err := watch.EnableStats()
	if err != nil {
		t.Fatal(err)
	}
	defer stats.Close()
	for _, name := range []string{emptyXDP, ourWatch} {
		x := hosts[name]
		ns, runs := x.cost()
		done := x.flood(t, l, frames(x))
		ns1, runs1 := x.cost()
		if runs1-runs < done.Sent {
			t.Fatalf("%s: %d packets were sent, the program ran %d times", name, done.Sent, runs1-runs)
		}
		note(w, name, x.detector, report.BPF, float64(ns1-ns)/float64(runs1-runs))
	}
	// Both with the time that the statistics themselves take.
	ours := w.Run(ourWatch).Figures
	ours[report.BPF][round] -= w.Run(emptyXDP).Figures[report.BPF][round]
	ours[report.Cost][round] += ours[report.BPF][round]
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
