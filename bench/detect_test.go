package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"math"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"synoptic/bench/report"
	"synoptic/bpf/watch"
	"synoptic/internal/lab"
)

// The programs of the comparison of detectors. Two of them detect nothing and
// show what the others cost.
const (
	nothing   = "nothing"
	emptyXDP  = "limit: empty XDP_PASS"
	ourWatch  = "synwatch"
	theirs    = "scanlogd"
	detection = "Detection" // the section of the report
)

// compareDetectors runs synwatch and Debian's scanlogd, both with their defaults
// and a syslog socket to write to, against the same traffic: what a packet costs
// them, how soon they tell of a scan, which scans they see, and what a flood of
// forged sources makes of them. small is for a test: less time for each figure.
func compareDetectors(t *testing.T, rounds int, small bool) []report.Work {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "synwatch")
	build := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", bin, "synoptic/cmd/synwatch")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build synwatch: %v\n%s", err, out)
	}
	slices := 8
	if small {
		slices = 2
	}
	works := compareCosts(t, bin, rounds, slices)
	works = append(works, compareDelays(t, bin, rounds)...)
	works = append(works, compareSights(t, bin, rounds)...)
	return append(works, compareUnderFlood(t, bin, rounds)...)
}

// detector is one at work on a host.
type detector struct {
	command string
	process int
	lines   func() []lab.LogLine                  // all that it has said
	heard   func(source netip.Addr) []lab.LogLine // of scans by a source, when they began
	stop    func()
	status  func() watchStatus // synwatch's, or nil
}

// watchStatus is what is read of the words of synwatch status.
type watchStatus struct {
	Counters watch.Counters `json:"counters"`
	RunTime  uint64         `json:"run_time_ns"`
	Runs     uint64         `json:"run_cnt"`
}

// startDetector starts one of the two on a host.
func startDetector(t *testing.T, name, bin string, h *lab.Host) *detector {
	t.Helper()
	if name == theirs {
		s := lab.StartScanlogd(t, h.Namespace)
		return &detector{command: theirs, process: s.Process, lines: s.Lines, heard: s.Heard, stop: s.Stop}
	}
	dir, err := os.MkdirTemp("", "synwatch") // short: a socket's path is
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	log, err := lab.ListenSyslog(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	control := filepath.Join(dir, "control")
	cmd := h.Namespace.Command(context.Background(), bin, "-i", h.Far, "--syslog", "unix://"+dir+"/log", "--control", control)
	said, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	words, watching := new(strings.Builder), make(chan bool, 1)
	var reader sync.WaitGroup
	reader.Go(func() {
		defer close(watching)
		for lines, ready := bufio.NewScanner(said), false; lines.Scan(); {
			words.WriteString(lines.Text() + "\n")
			if !ready && strings.Contains(lines.Text(), "watching "+h.Far) {
				ready = true
				watching <- true
			}
		}
	})
	stop := sync.OnceFunc(func() {
		late := time.AfterFunc(20*time.Second, func() { cmd.Process.Kill() })
		defer late.Stop()
		cmd.Process.Signal(syscall.SIGTERM)
		reader.Wait()
		if err := cmd.Wait(); err != nil {
			t.Errorf("synwatch ends with %v:\n%s", err, words)
		}
		log.Close()
	})
	t.Cleanup(stop)
	if !<-watching {
		stop()
		t.Fatalf("synwatch does not start:\n%s", words)
	}
	return &detector{
		command: strings.ReplaceAll("synwatch "+strings.Join(cmd.Args[1:], " "), dir, "DIR"),
		process: cmd.Process.Pid, lines: log.Lines, stop: stop,
		heard: func(source netip.Addr) []lab.LogLine {
			return slices.DeleteFunc(log.Lines(), func(line lab.LogLine) bool {
				return !begins(line) || !strings.Contains(line.Text, ` src="`+source.String()+`" `)
			})
		},
		status: func() (s watchStatus) {
			out, err := exec.CommandContext(t.Context(), bin, "status", "--json", "--control", control, "--wait", "0s").Output()
			if err == nil {
				err = json.Unmarshal(out, &s)
			}
			if err != nil {
				t.Fatalf("synwatch status: %v", err)
			}
			return s
		},
	}
}

// used is the processor time of the detector's process until now.
func (d *detector) used(t *testing.T) time.Duration {
	t.Helper()
	used, err := lab.ProcessorTime(d.process)
	if err != nil {
		t.Fatal(err)
	}
	return used
}

// begins tells whether a line of synwatch, which is of RFC 5424, is about the
// beginning of a scan.
func begins(line lab.LogLine) bool { return strings.Contains(line.Text, " scan [") }

// inTurn returns the programs in another order each round.
func inTurn(round int, programs ...string) []string {
	n := round % len(programs)
	return slices.Concat(programs[n:], programs[:n])
}

// note adds a figure of a round to a program's run. What is no detector has no
// command.
func note(w *report.Work, program string, d *detector, metric string, figure float64) {
	r := w.Run(program)
	if r == nil {
		w.Runs = append(w.Runs, report.Run{Program: program, Figures: map[string][]float64{}})
		r = &w.Runs[len(w.Runs)-1]
	}
	if d != nil {
		r.Command = d.command
	}
	r.Figures[metric] = append(r.Figures[metric], figure)
}

// TestDetectorsCompared: every figure of the comparison can be had, synwatch sees
// what it has to, and scanlogd is at work. Speed is not judged here.
func TestDetectorsCompared(t *testing.T) {
	lab.NeedRoot(t)
	works := compareDetectors(t, 1, true)
	// The figures of each program by the beginning of a work's name. A delay is
	// only of a scan that was told.
	want := map[string]map[string][]string{
		"detector/case=": {
			nothing: {report.Packets}, emptyXDP: {report.Packets, report.BPF},
			ourWatch: {report.Packets, report.Cost, report.BPF, report.Lost}, theirs: {report.Packets, report.Cost, report.Lost},
		},
		"detector/delay/": {ourWatch: {report.Seen, report.Delay}, theirs: {report.Seen, report.Delay}},
		"detector/scan=":  {ourWatch: {report.Seen, report.Right}, theirs: {report.Seen}},
		"detector/flood/": {ourWatch: {report.Seen, report.Delay, report.Core, report.Packets}, theirs: {report.Seen, report.Core, report.Packets}},
	}
	count := map[string]int{}
	for _, w := range works {
		for _, r := range w.Runs {
			t.Logf("%s: %s: %v%s", w.Name, r.Program, r.Figures, r.Cannot)
			for metric, figures := range r.Figures {
				if len(figures) != 1 || math.IsNaN(figures[0]) || math.IsInf(figures[0], 0) {
					t.Errorf("%s: %s: %s: %v", w.Name, r.Program, metric, figures)
				}
			}
		}
		for prefix, programs := range want {
			if !strings.HasPrefix(w.Name, prefix) {
				continue
			}
			count[prefix]++
			for program, metrics := range programs {
				r := w.Run(program)
				if r == nil || r.Cannot == "" && slices.ContainsFunc(metrics, func(m string) bool { return len(r.Figures[m]) == 0 }) {
					t.Errorf("%s: %s: %+v, want %v", w.Name, program, r, metrics)
				}
			}
		}
		if r := w.Run(ourWatch); r != nil && r.Cannot == "" {
			for _, metric := range []string{report.Seen, report.Right} {
				if f := r.Figures[metric]; len(f) > 0 && f[0] != 1 {
					t.Errorf("%s: synwatch: %s: %v", w.Name, metric, f)
				}
			}
		}
		// Else it would be compared with nobody.
		if slices.Contains([]string{"detector/scan=nmap -sS", "detector/scan=masscan", "detector/delay/rate=10"}, w.Name) && w.Run(theirs).Figures[report.Seen][0] != 1 {
			t.Errorf("%s: scanlogd tells nothing", w.Name)
		}
	}
	if len(count) != len(want) || count["detector/case="] != 4 || count["detector/scan="] != len(sights())+1 {
		t.Errorf("works by the beginning of their names: %v", count)
	}
}
