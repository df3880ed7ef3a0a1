package bench

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"synoptic/bench/report"
	"synoptic/internal/lab"
)

var roundsFlag = flag.Int("rounds", 0, "TestCompare runs so many rounds of everything and writes results/compare.json; 0: one of small works, written nowhere")

// scale is how large the works are: as the report has them, or just enough to see
// that all of it still runs.
type scale struct {
	full       bool
	rounds     int
	sweep      area   // of the works that every program does
	larger     area   // of the kernel path's
	answering  area   // where everything answers
	ports, few uint16 // of one host
	hosts      string // and 100 ports of each
	slow       area   // what nmap can sweep
}

var (
	fullScale  = scale{full: true, sweep: standard, larger: area{"10.0.0.0/10", 1 << 22}, answering: area{"10.0.0.0/13", 1 << 19}, ports: 65535, few: 1000, hosts: "10.1.2.0/24", slow: area{"10.0.0.0/20", 1 << 12}}
	smallScale = scale{rounds: 1, sweep: area{"10.0.0.0/16", 1 << 16}, larger: area{"10.0.0.0/15", 1 << 17}, answering: area{"10.0.0.0/16", 1 << 16}, ports: 2000, few: 100, hosts: "10.1.2.0/29", slow: area{"10.0.0.0/24", 1 << 8}}
)

// TestCompare measures us and the peers at the same work in turn, and writes down
// what the report is made of. Our own results must be exact; how fast anybody is and
// what a peer gets wrong are figures, which the report holds against its claims.
func TestCompare(t *testing.T) {
	lab.NeedRoot(t)
	s, file := smallScale, filepath.Join(t.TempDir(), "compare.json")
	if *roundsFlag > 0 {
		s, file = fullScale, filepath.Join("results", "compare.json")
		s.rounds = *roundsFlag
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	c := report.Comparison{
		Machine: machine(t), Kernel: kernel(t), Date: time.Now().UTC().Format(time.DateOnly), Command: "make compare", Rounds: s.rounds, Versions: versions(t),
	}
	detectors := func(t *testing.T, s scale) []report.Work {
		begin := time.Now()
		works := compareDetectors(t, s.rounds, !s.full)
		for i := range works {
			for _, name := range []string{ourWatch, theirs} {
				if works[i].Run(emptyXDP) != nil {
					works[i].Run(name).Limit = emptyXDP
				}
			}
		}
		t.Logf("detectors: %d rounds in %.0f s", s.rounds, time.Since(begin).Seconds())
		return works
	}
	for _, measure := range []func(*testing.T, scale) []report.Work{sweepWorks, portWorks, detectors, pieceWorks} {
		c.Works = append(c.Works, measure(t, s)...)
	}
	if t.Failed() {
		return
	}
	if err := c.Write(file); err != nil {
		t.Fatal(err)
	}
	// Every claim must find its figures; in small, but for those of the pieces left out.
	read, err := report.Read(file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := read.Claims(); err != nil {
		for line := range strings.Lines(err.Error()) {
			if s.full || !slices.ContainsFunc(pieces, func(p piece) bool { return !p.small && strings.Contains(line, strconv.Quote(p.name)) }) {
				t.Error(line)
			}
		}
	}
}

// contender is a program and how it does a work once.
type contender struct {
	program string // as the report calls it
	limit   string // the program of the same work that is its limit
	cannot  string // why it does not take part
	once    func(t *testing.T) (command string, figures map[string]float64)
}

// takeTurns runs the contenders of a work, in every round each once and each in another
// place.
func takeTurns(t *testing.T, rounds int, w report.Work, contenders []contender) report.Work {
	t.Helper()
	for _, c := range contenders {
		w.Runs = append(w.Runs, report.Run{Program: c.program, Limit: c.limit, Cannot: c.cannot, Figures: map[string][]float64{}})
	}
	begin := time.Now()
	for round := range rounds {
		for i := range contenders {
			i = (i + round) % len(contenders)
			if contenders[i].once == nil {
				continue
			}
			// Its files are gone before the next begins.
			t.Run(fmt.Sprintf("%s/%s", w.Name, strings.ReplaceAll(contenders[i].program, " ", "_")), func(t *testing.T) {
				command, figures := contenders[i].once(t)
				w.Runs[i].Command = command
				for metric, figure := range figures {
					w.Runs[i].Figures[metric] = append(w.Runs[i].Figures[metric], figure)
				}
				t.Logf("%s\n%v", command, figures)
			})
			if t.Failed() {
				t.FailNow()
			}
		}
	}
	t.Logf("%s: %d rounds in %.0f s", w.Name, rounds, time.Since(begin).Seconds())
	return w
}

// spelled is a command line without the places that differ from run to run.
func spelled(name string, args []string) string {
	words := []string{name}
	if name == synscanPath {
		words[0] = "synscan"
	}
	for _, a := range args {
		if filepath.IsAbs(a) && a != os.DevNull && strings.HasPrefix(a, os.TempDir()) {
			a = filepath.Base(a)
		}
		words = append(words, a)
	}
	return strings.Join(words, " ")
}

func machine(t *testing.T) string {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		t.Fatal(err)
	}
	model := "unknown processor"
	if m := regexp.MustCompile(`(?m)^model name\s*: (.*)$`).FindSubmatch(info); m != nil {
		model = string(m[1])
	}
	return fmt.Sprintf("%s, %d cores, %s", model, runtime.NumCPU(), runtime.GOARCH)
}

func kernel(t *testing.T) string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	return "Linux " + unix.ByteSliceToString(u.Release[:])
}

// versions asks the programs; scanlogd, which does not tell, its package.
func versions(t *testing.T) map[string]string {
	all := map[string]string{"go": strings.TrimPrefix(runtime.Version(), "go")}
	for program, question := range map[string][]string{
		"synscan": {synscanPath, "--version"}, "zmap": {"zmap", "--version"}, "masscan": {"masscan", "--version"}, "nmap": {"nmap", "--version"},
		"hping3": {"hping3", "--version"}, "scanlogd": {"dpkg-query", "--show", "--showformat", "scanlogd ${Version}", "scanlogd"},
	} {
		out, err := exec.CommandContext(t.Context(), question[0], question[1:]...).CombinedOutput()
		line, _, _ := bytes.Cut(bytes.TrimSpace(out), []byte("\n"))
		words := strings.Fields(string(line))
		at := slices.IndexFunc(words, regexp.MustCompile(`^(v?\d|\()`).MatchString)
		if len(words) < 2 || at < 0 {
			t.Fatalf("%v: %v: scripts/need bench installs it: %q", question, err, out)
		}
		all[program] = words[at]
	}
	return all
}
