package bench

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"synoptic/bpf/respond"
	"synoptic/internal/lab"
)

// BenchmarkCheckpointedSweep runs a sweep of 2^24 endpoints with a checkpoint that is
// written and without one, a pair an iteration. rate-ratio is the median of what the
// first sends a second by what the second does, cpu-ratio that of their time of the
// processor for a probe: of everything that differs, but pairs of such sweeps differ by
// some percent in any case. lost-% is what less was sent while a checkpoint was made
// than just before and after, in percent of all, which is a matter of the checkpoints
// alone and takes no two sweeps.
func BenchmarkCheckpointedSweep(b *testing.B) {
	area := area{"10.0.0.0/8", 1 << 24}
	for _, path := range []string{"packet", "kernel"} {
		b.Run("path="+path, func(b *testing.B) {
			l := lab.New(b, lab.Config{})
			file := filepath.Join(b.TempDir(), "checkpoint")
			plain, kept := synscan(path), synscan(path)
			kept.args = func(senders int, targets, results string) []string {
				return append(plain.args(senders, targets, results), "--checkpoint", file)
			}
			var speed, cost []float64
			var lost, sent float64
			for b.Loop() {
				far := atResponder(l, respond.SYN)
				saved := &saves{file: file, far: far}
				var with, without outcome
				var open, openToo int
				if len(speed)%2 == 0 { // take turns in going first
					with, open = sweep(b, l, saved.look, kept, area)
					without, openToo = sweep(b, l, far, plain, area)
				} else {
					without, openToo = sweep(b, l, far, plain, area)
					with, open = sweep(b, l, saved.look, kept, area)
				}
				if open != openToo || open == 0 {
					b.Fatalf("%d open with checkpoints, %d without", open, openToo)
				}
				speed, cost = append(speed, with.pps/without.pps), append(cost, with.cpu/without.cpu)
				less, n := saved.lost()
				// The first is made after two seconds, which a fast machine may not need.
				if sending := float64(with.probes) / with.pps; n == 0 && sending > 3 {
					b.Fatalf("no checkpoint was seen in the %.1f s of sending", sending)
				}
				lost, sent = lost+less, sent+float64(with.probes)
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(median(speed), "rate-ratio")
			b.ReportMetric(median(cost), "cpu-ratio")
			b.ReportMetric(100*lost/sent, "lost-%")
		})
	}
}

// sweep runs a program with one sender and returns how many results it wrote, too.
func sweep(b *testing.B, l *lab.Lab, far seen, p program, a area) (o outcome, results int) {
	b.Helper()
	name := filepath.Join(b.TempDir(), "results")
	o, _ = measureAt(b, l, far, p.hangs, p.name, p.args(1, a.targets, name)...)
	text, err := os.ReadFile(name)
	if err != nil {
		b.Fatal(err)
	}
	return o, bytes.Count(text, []byte("\n"))
}

// saves watches how the probes of a sweep arrive, and when its checkpoint is written.
type saves struct {
	file    string
	far     seen
	written time.Time // the file's
	looks   []arrived
}

// arrived is how many probes had by then, and whether a checkpoint was written just
// before.
type arrived struct {
	at    time.Time
	n     uint64
	saved bool
}

func (s *saves) look() (uint64, error) {
	n, err := s.far()
	now := arrived{at: time.Now(), n: n}
	if info, err := os.Stat(s.file); err == nil && info.ModTime() != s.written {
		now.saved = !s.written.IsZero() || len(s.looks) > 0
		s.written = info.ModTime()
	}
	s.looks = append(s.looks, now)
	return n, err
}

// lost is how many probes less were sent while checkpoints were made, which is from a
// tenth of a second before they are there, than in a quarter of a second before and
// after; and how many checkpoints that is of, which are those amid the sending.
func (s *saves) lost() (probes float64, checkpoints int) {
	const before, after, around = 100 * time.Millisecond, 30 * time.Millisecond, 250 * time.Millisecond
	by := func(t time.Time) arrived {
		i, _ := slices.BinarySearchFunc(s.looks, t, func(l arrived, t time.Time) int { return l.at.Compare(t) })
		return s.looks[min(i, len(s.looks)-1)]
	}
	between := func(a, b arrived) (n, seconds float64) { return float64(b.n - a.n), b.at.Sub(a.at).Seconds() }
	all := s.looks[len(s.looks)-1].n
	for _, l := range s.looks {
		first, begin, end, last := by(l.at.Add(-before-around)), by(l.at.Add(-before)), by(l.at.Add(after)), by(l.at.Add(after+around))
		if !l.saved || first.n == 0 || last.n == all {
			continue
		}
		n, t := between(begin, end)
		n0, t0 := between(first, begin)
		n1, t1 := between(end, last)
		probes += (n0+n1)/(t0+t1)*t - n
		checkpoints++
	}
	return probes, checkpoints
}

// TestWhatACheckpointCosts: what is not sent while one is made is found, and what is
// not sent at other times is not.
func TestWhatACheckpointCosts(t *testing.T) {
	const (
		rate  = 1000 // a millisecond
		stall = 20   // ms
	)
	s, begin, n := saves{}, time.Now(), uint64(0)
	for ms := 0; ms < 4000; ms += 10 {
		inCheckpoint, otherwise := ms >= 1000 && ms < 1000+stall, ms >= 2000 && ms < 2000+stall
		if !inCheckpoint && !otherwise {
			n += 10 * rate
		}
		s.looks = append(s.looks, arrived{at: begin.Add(time.Duration(ms) * time.Millisecond), n: n, saved: ms == 1000+stall || ms == 3000 || ms == 3990})
	}
	if probes, of := s.lost(); of != 2 || math.Abs(probes-stall*rate) > rate {
		t.Errorf("%.0f probes less in %d checkpoints, want %d in 2", probes, of, stall*rate)
	}
}
