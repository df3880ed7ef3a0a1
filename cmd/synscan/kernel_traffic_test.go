package main

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"synoptic/internal/lab"
	"synoptic/internal/wire"
)

// traffic is what other programs say meanwhile, by the device that a scan sends by: a
// connection each way with a host there, over which data flows, and short ones, each of
// a word and its echo.
type traffic struct {
	arrived atomic.Uint64 // bytes, all of them as they were sent
	echoes  atomic.Uint64
	pace    float64 // bytes per second each way; 0: as fast as it goes
	talking sync.WaitGroup
	done    atomic.Bool
}

func (f *traffic) begin(t *testing.T, l *lab.Lab, host *lab.Host) {
	t.Helper()
	f.flow(t, host.Namespace, listenIn(t, l.Scanner, lab.Scanner4.String()))
	f.flow(t, l.Scanner, listenIn(t, host.Namespace, host.Addr6.String()))
	f.chat(t, l.Scanner, listenIn(t, host.Namespace, host.Addr4.String()))
}

// end stops it, when all that was sent has arrived.
func (f *traffic) end() {
	f.done.Store(true)
	f.talking.Wait()
}

func listenIn(t *testing.T, ns *lab.Namespace, at string) (listener net.Listener) {
	t.Helper()
	if err := ns.Do(func() (err error) { listener, err = net.Listen("tcp", net.JoinHostPort(at, "0")); return err }); err != nil {
		t.Fatal(err)
	}
	return listener
}

func dialIn(ns *lab.Namespace, to net.Addr) (c net.Conn, err error) {
	err = ns.Do(func() (err error) { c, err = net.DialTimeout("tcp", to.String(), 5*time.Second); return err })
	return c, err
}

// said is what flows, again and again.
var said = func() []byte {
	b := make([]byte, 1<<14)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}()

func (f *traffic) flow(t *testing.T, from *lab.Namespace, listener net.Listener) {
	t.Helper()
	near, err := dialIn(from, listener.Addr())
	if err != nil {
		t.Fatal(err)
	}
	far, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	var sent atomic.Int64
	f.talking.Go(func() {
		defer near.Close()
		for due := time.Now(); !f.done.Load(); {
			n, err := near.Write(said)
			sent.Add(int64(n))
			if err != nil {
				t.Errorf("to %v: %v", listener.Addr(), err)
				return
			}
			if f.pace > 0 {
				due = due.Add(time.Duration(float64(n) / f.pace * 1e9))
				time.Sleep(time.Until(due))
			}
		}
	})
	f.talking.Go(func() {
		defer far.Close()
		got := make([]byte, len(said))
		for total := int64(0); ; {
			n, err := io.ReadFull(far, got)
			total += int64(n)
			if err == io.EOF && f.done.Load() && total == sent.Load() {
				return
			}
			if err != nil || !bytes.Equal(got, said) {
				t.Errorf("to %v: after %d bytes of %d what arrives is not what was sent: %v", listener.Addr(), total, sent.Load(), err)
				return
			}
			f.arrived.Add(uint64(n))
		}
	})
}

func (f *traffic) chat(t *testing.T, from *lab.Namespace, listener net.Listener) {
	f.talking.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return // it is closed
			}
			io.Copy(c, c)
			c.Close()
		}
	})
	f.talking.Go(func() {
		defer listener.Close()
		word := said[:100]
		for ; !f.done.Load(); time.Sleep(time.Millisecond) {
			c, err := dialIn(from, listener.Addr())
			if err == nil {
				got := make([]byte, len(word))
				if _, err = c.Write(word); err == nil {
					_, err = io.ReadFull(c, got)
				}
				if err == nil && !bytes.Equal(got, word) {
					err = fmt.Errorf("the echo is another word")
				}
				c.Close()
			}
			if err != nil {
				t.Errorf("a short connection: %v", err)
				return
			}
			f.echoes.Add(1)
		}
	})
}

// rate is how many bytes arrive per second, over a while.
func (f *traffic) rate(over time.Duration) float64 {
	before, begin := f.arrived.Load(), time.Now()
	time.Sleep(over)
	return float64(f.arrived.Load()-before) / time.Since(begin).Seconds()
}

// What others say to each other by the same device while 200,000 probes a second are
// made and answers judged there arrives whole, breaks nowhere, and is as much as beside
// nothing.
func TestOrdinaryTrafficBesideASweep(t *testing.T) {
	l := denseLab(t)
	host := l.MustAddHost(t, lab.HostConfig{})
	const rounds, while = 5, 400 * time.Millisecond
	f := traffic{pace: 50e6}
	f.begin(t, l, host)
	rates := map[string][]float64{}
	for range rounds {
		for _, path := range []string{"", "kernel", "packet"} {
			if path == "" {
				rates[path] = append(rates[path], f.rate(while))
				continue
			}
			p := begin(t, l, t.TempDir(), nil, "--path", path, "-p80", "--rate", "200k", "--retries", "0", "-q", "10.0.0.0/8")
			before := probesSeen(t, l)
			wait(t, "probes", func() bool { return probesSeen(t, l) > before+20_000 })
			before, start := probesSeen(t, l), time.Now()
			rates[path] = append(rates[path], f.rate(while))
			if pace := float64(probesSeen(t, l)-before) / time.Since(start).Seconds(); pace < 100_000 {
				t.Logf("only %.0f probes a second by %s", pace, path)
			}
			p.Process.Kill()
			p.ends(-1)
		}
	}
	f.end()
	for _, r := range rates {
		slices.Sort(r)
	}
	alone, kernel, packet := rates[""][rounds/2], rates["kernel"][rounds/2], rates["packet"][rounds/2]
	t.Logf("%.1f MB/s beside nothing, %.1f beside the kernel path, %.1f beside the packet path; %d short connections", alone/1e6, kernel/1e6, packet/1e6, f.echoes.Load())
	t.Attr("throughput-ratio", fmt.Sprint(kernel/alone))
	if alone < 0.9*2*f.pace {
		t.Errorf("%.1f MB/s beside nothing: this proves nothing", alone/1e6)
	}
	if kernel < 0.95*alone {
		t.Errorf("beside the kernel path it is %.1f %%, want at least 95", 100*kernel/alone)
	}
	if f.echoes.Load() < 100 {
		t.Errorf("%d short connections are too few", f.echoes.Load())
	}
}

func probesSeen(t *testing.T, l *lab.Lab) uint64 {
	t.Helper()
	c, err := l.Responder.Counters()
	if err != nil {
		t.Fatal(err)
	}
	return c.TCP[wire.SYN]
}

// Of all the time that traffic takes which goes as fast as it can, both of its ends and
// all between them, the validator that it passes takes a small part.
func TestTrafficThatPassesTheValidator(t *testing.T) {
	l := denseLab(t)
	host := l.MustAddHost(t, lab.HostConfig{})
	stats, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	if err != nil {
		t.Fatal(err)
	}
	defer stats.Close()
	p := begin(t, l, t.TempDir(), nil, "--path", "kernel", "-p80", "--rate", "1", "--retries", "0", "-q", "10.0.0.0/16")
	wait(t, "the validator", func() bool { return programAt(t, l.Scanner, lab.ScannerDevice) != 0 })
	validator, err := ebpf.NewProgramFromID(ebpf.ProgramID(programAt(t, l.Scanner, lab.ScannerDevice)))
	if err != nil {
		t.Fatal(err)
	}
	defer validator.Close()
	var f traffic
	f.begin(t, l, host)
	before, used := statsOf(t, validator), processorTime(t)
	rate := f.rate(2 * time.Second)
	after, used := statsOf(t, validator), processorTime(t)-used
	f.end()
	p.Process.Kill()
	p.ends(-1)
	runs, took := after.RunCount-before.RunCount, after.Runtime-before.Runtime
	share := took.Seconds() / used.Seconds()
	t.Logf("%.0f MB/s, %d frames, %v for each; %v of %v: %.2f %%", rate/1e6, runs, took/time.Duration(max(runs, 1)), took, used, 100*share)
	if runs < 10_000 {
		t.Errorf("%d frames have passed, too few", runs)
	}
	if share > 0.05 {
		t.Errorf("%.1f %% of the time is the validator's, want at most 5", 100*share)
	}
}

func statsOf(t *testing.T, p *ebpf.Program) *ebpf.ProgramStats {
	t.Helper()
	s, err := p.Stats()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// processorTime is what this process has used.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
