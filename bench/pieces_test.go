package bench

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"synoptic/bench/report"
)

// piece is a promise that is measured beside its code: benchmarks, or a test that
// says its figures by t.Attr. It runs in a process of its own.
type piece struct {
	name, text string
	dirs       []string // of the packages
	bench      string   // which benchmarks, or empty
	time       string   // -test.benchtime of them
	units      []string // what is kept of what they say
	test       string   // which test, or empty; all its figures are kept
	args       []string // for the test
	pinned     bool     // to one processor
	small      bool     // in the small comparison, too: one of each sort
	once       bool     // in one round only, because it takes minutes or hardly varies
}

// failed is a figure of a test: 1 if it did. It speaks for itself there, because a
// bound that is missed is what the report is to show.
const failed = "failed"

var pieces = []piece{
	{
		name: "allocations", text: "What is done for each probe and each answer, with its allocations.",
		dirs:  []string{"../tx", "../rx", "../internal/wire", "../internal/cookie", "../internal/permute", "../bpf/validate"},
		bench: "^Benchmark(Frame|Classify|Decode|Cookie|Shuffle|Read)$", time: "200000x", units: []string{"ns/op", "allocs/op"}, once: true,
	},
	{
		name: "ledger", text: "Answers put into a ledger of 2^24 positions, of which so many have one.",
		dirs: []string{"../internal/ledger"}, bench: "^BenchmarkPut$", time: "1s", units: []string{"ns/answer", "bytes/position"},
	},
	{
		name: "targets", text: "All of IPv4 less so many excluded ranges, from words to a set.",
		dirs: []string{"../internal/target"}, bench: "^BenchmarkBuild$/^exclusions=10000$", time: "20x", units: []string{"ns/op", "B/op"}, small: true,
	},
	{
		name: "rate", text: "The busiest second of a scan, with a clock that jumps, by the rate that was asked for.",
		dirs: []string{"../tx"}, test: "^TestAnySecondStaysWithinTheRate$", small: true,
	},
	{
		name: "generator", text: "Frames made and sent in spans of 4096 on one core of the lab, by what they need: one constant frame (bare), frames made before (replay), the generator.",
		dirs: []string{"../bpf/generate"}, bench: "^BenchmarkSweep$/^program=.*$/^span=4096$", time: "500x", units: []string{"median-ns/frame"}, pinned: true, small: true,
	},
	{
		name: "start-up", text: "Until the first probe leaves, how much longer the kernel path takes than the packet path.",
		dirs: []string{"../cmd/synscan"}, test: "^TestTheKernelPathBeginsSoon$",
	},
	{
		name: "traffic", text: "TCP of 50 MB/s each way beside a scan of 200,000 probes a second by the kernel path, by the same beside nothing.",
		dirs: []string{"../cmd/synscan"}, test: "^TestOrdinaryTrafficBesideASweep$",
	},
	{
		name: "full-traffic", text: "TCP that arrives as fast as it can by a device with the validator attached, idle, by the same beside nothing.",
		dirs: []string{"../bpf/validate"}, bench: "^BenchmarkTrafficBeside$/^beside=tcx$", time: "20x", units: []string{"left"},
	},
	{
		name: "memory", text: "The most that a process had resident: a sweep of 2^24 addresses, and the first 10^7 endpoints of all of IPv4 printed.",
		dirs: []string{"."}, test: "^TestResidentMemory$", once: true,
	},
	{
		name: "checkpoints", text: "Sweeps of 2^24 endpoints with checkpoints: what they sent less while one was made (lost-%), and all of it by sweeps without, the median of six pairs.",
		dirs: []string{"."}, bench: "^BenchmarkCheckpointedSweep$/^path=kernel$", time: "6x", units: []string{"lost-%", "rate-ratio", "cpu-ratio"}, once: true,
	},
	{
		name: "checkpoint", text: "One checkpoint of 2^24 positions, of which so many are answered, by the five seconds until the next that a scan of a quarter of an hour has.",
		dirs: []string{"../internal/scan"}, bench: "^BenchmarkCheckpoint$", time: "3x", units: []string{"µs-books/op", "%-of-throughput"},
	},
	{
		name: "neighbours", text: "A /16 (and a /112) on the link of which 1 % is alive, at 20,000 a second.",
		dirs: []string{"../cmd/synscan"}, test: `^TestManyNeighboursFewAlive$/^(172\.20\.0\.0|fd00:172:20::)$`, once: true,
	},
	{
		name: "dropped-ports", text: "Connections to 20,000 ports that a host drops, with 1,024 descriptors.",
		dirs: []string{"../internal/connect"}, test: "^TestManyDroppedPortsWithFewDescriptors$", once: true,
	},
	{
		name: "kills", text: "Sweeps of 2^20 endpoints killed at any moment, 16 times in all, and resumed until they are done: probes beyond those of undisturbed ones.",
		dirs: []string{"../cmd/synscan"}, test: "^TestKilledSweepsLoseNothing$", args: []string{"-kills=16"}, once: true,
	},
	{
		name: "bottleneck", text: "A path that drops what is above 20,000 packets a second, then above 10,000: an adaptive scan, and one at four times the rate.",
		dirs: []string{"../internal/scan"}, test: "^TestAnAdaptiveScanFindsTheRateOfABottleneck$", once: true,
	},
	{
		name: "watch", text: "What a packet costs the detector beyond an empty XDP program: with cold caches (more-ns), and repeated at once (hot-more-ns).",
		dirs: []string{"../bpf/watch"}, bench: "^BenchmarkWatch$", time: "30x", units: []string{"more-ns/packet", "hot-more-ns/packet"},
	},
	{
		name: "watch-on-veth", text: "Floods of a host with the detector attached: their rate by that with an empty program, and what a packet costs beyond it as it comes.",
		dirs: []string{"."}, bench: "^BenchmarkDetector$", time: "3x", units: []string{"ratio", "live-ns/packet"},
	},
	{
		name: "forged-sources", text: "Scans of 10 and of 40 ports a second among 100,000 and 1,000,000 forged sources a second, 20 times each, through the program with a clock of its own: the latest alert.",
		dirs: []string{"../detector"}, test: "^TestAFloodHidesNobody$", args: []string{"-flood-runs=20"}, once: true,
	},
}

func pieceWorks(t *testing.T, s scale) (works []report.Work) {
	binaries := map[string]string{} // of the tests, by directory
	for _, p := range pieces {
		if !p.small && !s.full {
			continue
		}
		begin := time.Now()
		w := report.Work{Name: p.name, Section: "Pieces", Text: p.text}
		for _, dir := range p.dirs {
			if binaries[dir] != "" {
				continue
			}
			binaries[dir] = filepath.Join(t.TempDir(), "test")
			if out, err := exec.Command("go", "test", "-c", "-o", binaries[dir], "./"+dir).CombinedOutput(); err != nil {
				t.Fatalf("build the test of %s: %v\n%s", dir, err, out)
			}
		}
		rounds := s.rounds
		if p.once {
			rounds = 1
		}
		for range rounds {
			for _, dir := range p.dirs {
				p.run(t, &w, s, binaries[dir], dir)
			}
		}
		works = append(works, w)
		t.Logf("%s: %d rounds in %.0f s", p.name, rounds, time.Since(begin).Seconds())
	}
	return works
}

// run adds the figures of one round.
func (p piece) run(t *testing.T, w *report.Work, s scale, binary, dir string) {
	t.Helper()
	args := []string{"-test.run=^$", "-test.bench=" + p.bench, "-test.benchmem", "-test.benchtime=" + p.time}
	if p.test != "" {
		args = append([]string{"-test.v", "-test.run=" + p.test}, p.args...)
	} else if !s.full {
		args[len(args)-1] = "-test.benchtime=1x"
	}
	cmd := exec.CommandContext(t.Context(), binary, append(args, "-test.timeout=15m")...)
	if p.pinned {
		cmd = exec.CommandContext(t.Context(), "taskset", append([]string{"-c", "1", binary, "-test.cpu=1"}, cmd.Args[1:]...)...)
	}
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil && p.test == "" {
		t.Fatalf("%s: %v\n%s", p.name, err, out)
	}
	add := func(program, unit string, figure float64) {
		r := w.Run(program)
		if r == nil {
			w.Runs = append(w.Runs, report.Run{Program: program, Figures: map[string][]float64{}})
			r = &w.Runs[len(w.Runs)-1]
		}
		r.Figures[unit] = append(r.Figures[unit], figure)
	}
	for _, f := range figures(string(out)) {
		if p.test != "" || slices.Contains(p.units, f.unit) {
			add(f.program, f.unit, f.value)
		}
	}
	if len(w.Runs) == 0 {
		t.Errorf("%s says no figure:\n%s", p.name, out)
	}
	if p.test != "" {
		n := 0.
		if err != nil {
			n = 1
			fmt.Fprintf(os.Stderr, "%s: %v\n%s", p.name, err, out)
		}
		add(strings.Trim(strings.Split(p.test, "/")[0], "^$"), failed, n)
	}
}

type figure struct {
	program, unit string
	value         float64
}

var (
	attribute = regexp.MustCompile(`(?m)^\s*=== ATTR  (\S+) (\S+) (\S+)$`)
	benchmark = regexp.MustCompile(`(?m)^Benchmark(\S+?)(?:-\d+)?\s+\d+\s+(\S.*)$`)
)

// figures reads what benchmarks and tests print.
func figures(out string) (all []figure) {
	for _, m := range attribute.FindAllStringSubmatch(out, -1) {
		if v, err := strconv.ParseFloat(m[3], 64); err == nil {
			all = append(all, figure{m[1], m[2], v})
		}
	}
	for _, m := range benchmark.FindAllStringSubmatch(out, -1) {
		for words := strings.Fields(m[2]); len(words) > 1; words = words[2:] {
			if v, err := strconv.ParseFloat(words[0], 64); err == nil {
				all = append(all, figure{m[1], words[1], v})
			}
		}
	}
	return all
}
