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
	"strconv"
	"testing"
	"time"

	"synoptic/bench/report"
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
	}
	masscan = program{
		name: "masscan",
		args: func(_ int, targets, results string) []string {
			return []string{targets, "-p80", "--rate", "100000000", "--wait", "1", "-e", lab.ScannerDevice, "--source-ip", lab.Scanner4.String(),
				"--router-mac", lab.GateMAC.String(), "--source-port", "61000", "-oL", results}
		},
		hangs: true,
	}
)

// synscan returns ours, by a path.
func synscan(path string) program {
	return program{
		name: synscanPath,
		args: func(senders int, targets, results string) []string {
			return []string{"-sS", "-p80", "--path", path, "--rate", "max", "--senders", strconv.Itoa(senders), "--wait", "1", "--retries", "0", "-q", "-oD", results, targets}
		},
	}
}

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
	maxRSS  int64 // bytes, or what this process has had when it started the program, if that is more
	peak    int64 // bytes, a hundredth of a second before the end
	elapsed time.Duration
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
	cmd.Stderr = &complaint
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()

	// The count of probes over time gives the rate of sending, however long a
	// program starts up and cools down.
	const every, hung = 10 * time.Millisecond, 3 * time.Second
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

func median(v []float64) float64 {
	m, _, _ := report.Median(v)
	return m
}
