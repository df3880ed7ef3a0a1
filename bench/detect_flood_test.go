package bench

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"synoptic/bench/report"
	"synoptic/internal/lab"
)

const (
	// crossing is the probe of a low port with which a scan crosses scanlogd's
	// line, which is one of synwatch's too: 7 times 3 points.
	crossing = 7
	// patient is how long a detector may take from there.
	patient = 2 * time.Second
)

// slowScan scans low ports at a rate until ctx is done or nobody needs to wait
// longer, and returns when the probe that crosses the line was about to be sent.
func slowScan(ctx context.Context, l *lab.Lab, h *lab.Host, source netip.Addr, rate float64) (crossed time.Time, err error) {
	walk := h.Walk(source, 100)
	most := crossing + uint64(rate*patient.Seconds())
	_, err = l.Scanner.Flood(ctx, lab.Flood{Device: h.Near, Packets: most, Time: time.Minute, Rate: rate, Frame: func(n uint64, buf *[1514]byte) int {
		if n == crossing-1 {
			crossed = time.Now()
		}
		return walk(n, buf)
	}})
	return crossed, err
}

// whenHeard calls done when the detectors all have spoken of a source, or when ctx
// is done.
func whenHeard(ctx context.Context, source netip.Addr, done func(), all ...*detector) {
	defer done()
	for ctx.Err() == nil {
		heard := 0
		for _, d := range all {
			if len(d.heard(source)) > 0 {
				heard++
			}
		}
		if heard == len(all) {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// noteScan notes whether and when a detector told of a scan. There is no delay of
// a scan that was not told.
func noteScan(w *report.Work, name string, d *detector, source netip.Addr, crossed time.Time) {
	lines := d.heard(source)
	if len(lines) == 0 {
		note(w, name, d, report.Seen, 0)
		return
	}
	note(w, name, d, report.Seen, 1)
	note(w, name, d, report.Delay, lines[0].Read.Sub(crossed).Seconds()*1e3)
}

// compareDelays scans a host that both watch at the same time.
func compareDelays(t *testing.T, bin string, rounds int) (works []report.Work) {
	l := lab.New(t, lab.Config{})
	h := l.MustAddHost(t, lab.HostConfig{Place: lab.OwnLink})
	source := h.Neighbour(50)
	for _, rate := range []float64{10, 100} {
		w := report.Work{
			Name: fmt.Sprintf("detector/delay/rate=%v", rate), Section: detection,
			Text: fmt.Sprintf("A scan of %v low ports a second of a host that both watch: from the 7th probe, which crosses the line, to the syslog message.", rate),
		}
		for range rounds {
			us, them := startDetector(t, ourWatch, bin, h), startDetector(t, theirs, bin, h)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			var waiting sync.WaitGroup
			waiting.Go(func() { whenHeard(ctx, source, cancel, us, them) })
			crossed, err := slowScan(ctx, l, h, source, rate)
			cancel()
			waiting.Wait()
			if err != nil || crossed.IsZero() {
				t.Fatalf("the scan did not cross the line: %v", err)
			}
			us.stop()
			them.stop()
			noteScan(&w, ourWatch, us, source, crossed)
			noteScan(&w, theirs, them, source, crossed)
		}
		works = append(works, w)
	}
	return works
}

// compareUnderFlood scans a host slowly while SYNs from forged sources come in,
// for each of the detectors in turn.
func compareUnderFlood(t *testing.T, bin string, rounds int) (works []report.Work) {
	const (
		filling = 500 * time.Millisecond // before the scan begins
		rate    = 10
	)
	l := lab.New(t, lab.Config{})
	h := l.MustAddHost(t, lab.HostConfig{Place: lab.OwnLink})
	source := h.Neighbour(50)
	for _, flood := range []struct {
		name, text string
		rate       float64
	}{
		{"100000", "100,000 SYNs a second", 100_000},
		{"max", "SYNs as fast as one thread sends them", 0},
	} {
		w := report.Work{
			Name: "detector/flood/rate=" + flood.name, Section: detection,
			Text: fmt.Sprintf("%s, each from another forged source to a low port, while another source scans %d low ports a second: is it told within %v of the 7th probe, and what does the detector's process need?", flood.text, rate, patient),
		}
		for round := range rounds {
			for _, name := range inTurn(round, ourWatch, theirs) {
				d := startDetector(t, name, bin, h)
				before := d.used(t)
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				var running sync.WaitGroup
				var done lab.Flooded
				var failed error
				running.Go(func() {
					done, failed = l.Scanner.Flood(ctx, lab.Flood{Device: h.Near, Packets: 1 << 40, Time: time.Minute, Rate: flood.rate, Frame: h.Storm(uint64(round), 0)})
				})
				time.Sleep(filling)
				scan, told := context.WithCancel(ctx)
				running.Go(func() { whenHeard(scan, source, told, d) })
				crossed, err := slowScan(scan, l, h, source, rate)
				told()
				cancel()
				running.Wait()
				used := d.used(t) - before
				d.stop()
				if err != nil || failed != nil || crossed.IsZero() {
					t.Fatalf("the scan did not cross the line: %v, %v", err, failed)
				}
				noteScan(&w, name, d, source, crossed)
				note(&w, name, d, report.Core, used.Seconds()/done.Elapsed.Seconds())
				note(&w, name, d, report.Packets, float64(done.Sent)/done.Elapsed.Seconds())
			}
		}
		works = append(works, w)
	}
	return works
}
