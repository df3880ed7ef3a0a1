package main_test

import (
	"context"
	"flag"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"synoptic/detector"
	"synoptic/internal/lab"
)

var floods = flag.Int("floods", 3, "runs of TestFloodLive")

const (
	// floodTime bounds a flood. It ends earlier when both scans were told.
	floodTime    = 8 * time.Second
	floodPackets = 8_000_000
	// filling is how long the flood runs before the scans begin: the default
	// table is full of forged sources by then.
	filling = time.Second
	// caughtIn is how soon after the probe that crosses the line a scan has to
	// be told, under the flood.
	caughtIn = 2 * time.Second
	// share is the part of a core that the detector's process may use.
	share = 0.05
)

// slow is a scan of low ports from an address that the flood does not forge.
type slow struct {
	policy string
	last   byte
	rate   float64
}

var slows = []slow{
	{detector.Scanlogd, 50, 10},
	{detector.Sophos, 51, 40},
}

// underFlood floods a host with SYNs from forged sources, as fast as one thread
// can, and scans it slowly in the meantime, until told is satisfied or the time
// is over. It returns when the scans crossed their lines by the second opinion.
func underFlood(t *testing.T, l *lab.Lab, h *lab.Host, seed uint64, told func() bool) (crossed map[string]time.Time, done lab.Flooded) {
	t.Helper()
	path := t.TempDir()
	var stops []func() error
	for _, s := range slows {
		stop, err := h.Namespace.Record(h.Far, filepath.Join(path, s.policy), h.Neighbour(s.last))
		if err != nil {
			t.Fatal(err)
		}
		stops = append(stops, stop)
	}
	ctx, cancel := context.WithTimeout(t.Context(), floodTime)
	defer cancel()
	var senders sync.WaitGroup
	frame := h.Storm(seed, 0)
	senders.Go(func() {
		var err error
		if done, err = l.Scanner.Flood(ctx, lab.Flood{Device: h.Near, Packets: floodPackets, Time: floodTime, Frame: frame}); err != nil {
			t.Error(err)
		}
	})
	for _, s := range slows {
		walk := h.Walk(h.Neighbour(s.last), 100)
		senders.Go(func() {
			select {
			case <-ctx.Done():
				return
			case <-time.After(filling):
			}
			if _, err := l.Scanner.Flood(ctx, lab.Flood{Device: h.Near, Packets: 500, Time: floodTime, Rate: s.rate, Frame: walk}); err != nil {
				t.Error(err)
			}
		})
	}
	senders.Go(func() {
		for least := time.After(filling + caughtIn + time.Second); ; {
			select {
			case <-ctx.Done():
				return
			case <-least:
				least = nil
			case <-time.After(20 * time.Millisecond):
				if least == nil && told() {
					cancel()
				}
			}
		}
	})
	senders.Wait()
	crossed = map[string]time.Time{}
	for i, s := range slows {
		if err := stops[i](); err != nil {
			t.Fatal(err)
		}
		at := rules[s.policy].accuse(probes(readCapture(t, filepath.Join(path, s.policy)), h.Addr4))[h.Neighbour(s.last)]
		if len(at) != 1 {
			t.Fatalf("%s: the scan crosses its line at %v, not once: no test", s.policy, at)
		}
		crossed[s.policy] = at[0]
	}
	return crossed, done
}

// TestFloodLive: with forged sources arriving as fast as the lab can make them,
// a slow scan is told by each policy, every time, and the detector's process
// has next to nothing to do. What Debian's scanlogd makes of the same is logged.
func TestFloodLive(t *testing.T) {
	lab.NeedRoot(t)
	synwatch := build(t, "synwatch")
	l := lab.New(t, lab.Config{})
	for run := range uint64(*floods) {
		h := l.MustAddHost(t, lab.HostConfig{Place: lab.OwnLink})
		w := start(t, synwatch, h.Namespace, h.Far, "--policy", detector.Sophos+","+detector.Scanlogd)
		find := func(s slow) *eve {
			for _, a := range w.begun(s.policy) {
				if a.Source == h.Neighbour(s.last) {
					return &a
				}
			}
			return nil
		}
		before := w.processorTime()
		crossed, done := underFlood(t, l, h, run, func() bool { return find(slows[0]) != nil && find(slows[1]) != nil })
		used := w.processorTime() - before
		counted := w.counters()
		w.stop()
		for _, s := range slows {
			a := find(s)
			if a == nil {
				t.Errorf("run %d: a scan of %v low ports a second is not told by %s", run, s.rate, s.policy)
				continue
			}
			late := a.read.Sub(crossed[s.policy])
			if late > caughtIn || late < -early {
				t.Errorf("run %d: a scan of %v low ports a second is told by %s %v after the probe that crossed the line", run, s.rate, s.policy, late)
			}
			t.Logf("run %d: %s tells %v after the probe", run, s.policy, late)
		}
		for _, policy := range []string{detector.Sophos, detector.Scanlogd} {
			for _, source := range sources(w.begun(policy)) {
				if source != h.Neighbour(slows[0].last) && source != h.Neighbour(slows[1].last) {
					t.Errorf("run %d: %s accuses the forged source %s", run, policy, source)
				}
			}
		}
		part := used.Seconds() / done.Elapsed.Seconds()
		if part > share {
			t.Errorf("run %d: the detector's process used %.1f %% of a core", run, 100*part)
		}
		if counted.Sources < done.Sent/2 || counted.TCP[syn] < done.Sent {
			t.Errorf("run %d: %d forged SYNs were sent, %d counted from %d sources", run, done.Sent, counted.TCP[syn], counted.Sources)
		}
		t.Logf("run %d: %d forged SYNs, %.0f a second, %d evictions of live sources; the process used %.2f %% of a core",
			run, done.Sent, float64(done.Sent)/done.Elapsed.Seconds(), counted.EvictedLive, 100*part)
	}

	h := l.MustAddHost(t, lab.HostConfig{Place: lab.OwnLink})
	s := lab.StartScanlogd(t, h.Namespace)
	_, done := underFlood(t, l, h, 0, func() bool { return true })
	for _, scan := range slows {
		t.Logf("Debian's scanlogd, %.0f forged SYNs a second: %d reports of the scan of %v low ports a second", float64(done.Sent)/done.Elapsed.Seconds(), len(s.Heard(h.Neighbour(scan.last))), scan.rate)
	}
	t.Logf("Debian's scanlogd: %d reports of anybody", len(s.Lines()))
	s.Stop()
}
