// Package bench measures whole programs in a lab, ours and the peers' in turn:
// the same network, the same work, the same minute. See README.md.
package bench

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"synoptic/bpf/respond"
	"synoptic/internal/lab"
)

const patience = 3 * time.Minute

// area is what is to be swept: one port of so many addresses, as zmap 2 knows only
// one.
type area struct {
	targets   string
	endpoints uint64
}

var (
	standard = area{"10.0.0.0/11", 1 << 21}
	large    = area{"10.0.0.0/9", 1 << 23}
)

// program is a scanner and how it is asked for the sweep.
type program struct {
	name string
	args func(senders int, targets, results string) []string
	// lines returns how many endpoints a result file reports open.
	lines func(results []byte) int
	// hangs: the program may never end by itself (masscan 1.3.2), and is killed
	// when it has sent nothing for a while.
	hangs bool
}

var (
	zmap = program{
		name: "zmap",
		args: func(senders int, targets, results string) []string {
			return []string{"-p", "80", "--rate=0", "--sender-threads=" + strconv.Itoa(senders), "--cooldown-time=1", "--max-sendto-failures=1000000",
				"-i", lab.ScannerDevice, "-S", lab.Scanner4.String(), "-G", lab.GateMAC.String(), "-b", os.DevNull,
				"-q", "-v", "0", "-o", results, targets}
		},
		lines: countLines,
	}
	masscan = program{
		name: "masscan",
		args: func(_ int, targets, results string) []string {
			return []string{targets, "-p80", "--rate", "100000000", "--wait", "1", "-e", lab.ScannerDevice, "--source-ip", lab.Scanner4.String(),
				"--router-mac", lab.GateMAC.String(), "--source-port", "61000", "-oL", results}
		},
		lines: func(b []byte) int { return bytes.Count(b, []byte("open tcp ")) },
		hangs: true,
	}
)

// synscan returns ours, by a path.
func synscan(path string) program {
	return program{
		name: synscanPath,
		args: func(senders int, targets, results string) []string {
			return []string{"-sS", "-p80", "--path", path, "--rate", "max", "--senders", strconv.Itoa(senders), "--wait", "1", "-q", "-oD", results, targets}
		},
		lines: countLines,
	}
}

func countLines(b []byte) int { return bytes.Count(b, []byte("\n")) }

var synscanPath = filepath.Join(os.TempDir(), fmt.Sprintf("synscan-%d", os.Getpid()))

func TestMain(m *testing.M) {
	code := 1
	if out, err := exec.Command("go", "build", "-o", synscanPath, "synoptic/cmd/synscan").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build synscan: %v\n%s", err, out)
	} else {
		code = m.Run()
	}
	os.Remove(synscanPath)
	os.Exit(code)
}

// outcome is one run of a program.
type outcome struct {
	pps     float64 // probes per second, as the responder saw them
	cpu     float64 // ns of CPU time per probe, user and system
	probes  uint64
	open    int
	maxRSS  int64 // bytes, or what this process has had when it started the program, if that is more
	peak    int64 // bytes, a hundredth of a second before the end
	elapsed time.Duration
}

// sweep runs a program once in the lab.
func sweep(t testing.TB, l *lab.Lab, p program, senders int, a area) outcome {
	t.Helper()
	results := filepath.Join(t.TempDir(), "results")
	o := measure(t, l, p.hangs, p.name, p.args(senders, a.targets, results)...)
	b, err := os.ReadFile(results)
	if err != nil {
		t.Fatal(err)
	}
	o.open = p.lines(b)
	return o
}

// measure runs a program that sends SYNs in the scanner's namespace and watches the
// responder meanwhile.
func measure(t testing.TB, l *lab.Lab, hangs bool, name string, args ...string) outcome {
	t.Helper()
	o, _ := measureAt(t, l, atResponder(l, respond.SYN), hangs, name, args...)
	return o
}

// seen returns how many probes a far end has seen.
type seen func() (uint64, error)

// atResponder counts probes with these flags.
func atResponder(l *lab.Lab, flags uint8) seen {
	return func() (uint64, error) {
		c, err := l.Responder.Counters()
		return c.TCP[flags], err
	}
}

// measureAt does so at another far end, and returns what the program wrote to stderr,
// too.
func measureAt(t testing.TB, l *lab.Lab, far seen, hangs bool, name string, args ...string) (outcome, []byte) {
	t.Helper()
	if err := l.Responder.Reset(); err != nil {
		t.Fatal(err)
	}
	before, err := far()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := l.Scanner.Command(ctx, name, args...)
	var complaint bytes.Buffer
	if !hangs {
		cmd.Stderr = &complaint
	}
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()

	// The count of probes over time gives the rate of sending, however long a
	// program starts up and cools down.
	const every, hung = 10 * time.Millisecond, 5 * time.Second
	var first, last time.Time
	var count uint64
	var peak int64
	look := func() {
		peak = max(peak, residentPeak(cmd.Process.Pid))
		all, err := far()
		if err != nil {
			t.Error(err)
		}
		now := time.Now()
		if n := all - before; n > count {
			if first.IsZero() {
				first = now
			}
			count, last = n, now
		}
	}
	for tick := time.NewTicker(every); ; <-tick.C {
		look()
		select {
		case err := <-ended:
			tick.Stop()
			look()
			if err != nil && !(hangs && ctx.Err() != nil) {
				t.Fatalf("%s %v: %v: %s", name, args, err, complaint.Bytes())
			}
			state := cmd.ProcessState
			usage := rusage(state)
			return outcome{
				pps: float64(count) / (last.Sub(first) + every).Seconds(), probes: count, maxRSS: usage.Maxrss << 10, peak: peak,
				cpu: float64((state.UserTime() + state.SystemTime()).Nanoseconds()) / float64(count), elapsed: time.Since(begin),
			}, complaint.Bytes()
		default:
			if hangs && !last.IsZero() && time.Since(last) > hung {
				cancel()
			}
		}
	}
}

// BenchmarkSweepAgainst runs synscan and a peer in turn, one pair an iteration,
// and reports the medians and the ratios of each pair's halves.
func BenchmarkSweepAgainst(b *testing.B) {
	for _, c := range []struct {
		path    string
		peer    program
		senders int
		area    area
	}{
		{"packet", zmap, 1, standard},
		{"packet", zmap, 2, standard},
		{"packet", masscan, 1, standard}, // it has one sender
		{"kernel", zmap, 1, large},
		{"kernel", zmap, 2, large},
	} {
		b.Run(fmt.Sprintf("path=%s/peer=%s/senders=%d", c.path, c.peer.name, c.senders), func(b *testing.B) {
			if _, err := exec.LookPath(c.peer.name); err != nil {
				b.Fatalf("%v: scripts/need bench installs it", err)
			}
			l := lab.New(b, lab.Config{})
			var ours, theirs, speed, cost []float64
			open := -1
			for b.Loop() {
				var us, them outcome
				if len(ours)%2 == 0 { // take turns in going first
					us, them = sweep(b, l, synscan(c.path), c.senders, c.area), sweep(b, l, c.peer, c.senders, c.area)
				} else {
					them, us = sweep(b, l, c.peer, c.senders, c.area), sweep(b, l, synscan(c.path), c.senders, c.area)
				}
				if us.probes < c.area.endpoints || us.probes > c.area.endpoints+c.area.endpoints/100 { // canaries are more
					b.Fatalf("synscan sent %d probes for %d", us.probes, c.area.endpoints)
				}
				if open < 0 {
					open = expectedOpen(b, l, c.area)
				}
				if us.open != open {
					b.Fatalf("synscan found %d open of %d", us.open, open)
				}
				b.Logf("synscan %.0f pps %.0f ns, %s %.0f pps %.0f ns, %d probes, found %d of %d",
					us.pps, us.cpu, c.peer.name, them.pps, them.cpu, them.probes, them.open, open)
				ours, theirs = append(ours, us.pps), append(theirs, them.pps)
				speed, cost = append(speed, us.pps/them.pps), append(cost, us.cpu/them.cpu)
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(median(ours), "pps")
			b.ReportMetric(median(theirs), "peer-pps")
			b.ReportMetric(median(speed), "pps-ratio")
			b.ReportMetric(median(cost), "cpu-ratio")
		})
	}
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

// expectedOpen counts the open endpoints of the sweep by the truth.
func expectedOpen(t testing.TB, l *lab.Lab, a area) int {
	t.Helper()
	truth := l.MustTruth(t)
	return countOpen(truth, a.targets, 80)
}
