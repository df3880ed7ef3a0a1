package bench

import (
	"bytes"
	"fmt"
	"math/bits"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"synoptic/bench/report"
	"synoptic/bpf/respond"
	"synoptic/internal/lab"
)

const (
	packetPath = "synscan --path packet"
	kernelPath = "synscan --path kernel"
	sendmmsg   = "limit: sendmmsg"
	liveFrames = "limit: live frames"
)

// sweepWorks are one port of many addresses.
func sweepWorks(t *testing.T, s scale) (works []report.Work) {
	const (
		oneHost   = "scans one host in a run"
		tooSlow   = "keeps state for each host, which is not for this size: see small-sweep"
		oneSender = "has one sending thread"
	)
	for senders := 1; senders <= 2; senders++ {
		l := lab.New(t, lab.Config{})
		truth := openIn(t, l, s.sweep)
		peers := []contender{
			s.sweeper(l, packetPath, sendmmsg, synscan("packet"), senders, s.sweep, truth),
			s.sweeper(l, kernelPath, liveFrames, synscan("kernel"), senders, s.sweep, truth),
			s.sweeper(l, "zmap", sendmmsg, zmap, senders, s.sweep, truth),
			s.sweeper(l, "masscan", sendmmsg, masscan, senders, s.sweep, truth),
		}
		if senders > 1 {
			peers[3] = contender{program: "masscan", cannot: oneSender}
		}
		works = append(works, takeTurns(t, s.rounds, report.Work{
			Name: fmt.Sprintf("sweep/senders=%d", senders), Section: "Sweep", Truth: len(truth),
			Text: fmt.Sprintf("One port of %s, of which 1/64 have it open, 3/64 closed and the rest are silent; no rate is set, sending threads: %d.", s.sweep, senders),
		}, append(peers, contender{program: "nmap", cannot: tooSlow}, contender{program: "hping3", cannot: oneHost},
			bareLoop(l, sendmmsg, senders, s.sweep), bareLoop(l, liveFrames, senders, s.sweep))))

		truth = openIn(t, l, s.larger)
		works = append(works, takeTurns(t, s.rounds, report.Work{
			Name: fmt.Sprintf("large-sweep/senders=%d", senders), Section: "Sweep", Truth: len(truth),
			Text: fmt.Sprintf("The same of %s, which gives the kernel path time to run; sending threads: %d.", s.larger, senders),
		}, []contender{
			s.sweeper(l, kernelPath, liveFrames, synscan("kernel"), senders, s.larger, truth),
			s.sweeper(l, "zmap", "", zmap, senders, s.larger, truth),
			bareLoop(l, liveFrames, senders, s.larger),
		}))
	}

	cfg := respond.DefaultConfig()
	cfg.Open, cfg.Closed = respond.Fraction(1, 16), respond.Fraction(15, 16)
	l := lab.New(t, lab.Config{Respond: &cfg})
	truth := openIn(t, l, s.answering)
	works = append(works, takeTurns(t, s.rounds, report.Work{
		Name: "sweep/all-answer", Section: "Sweep", Truth: len(truth),
		Text: fmt.Sprintf("One port of %s, all of which answer: 1/16 have it open, the rest closed; one sending thread.", s.answering),
	}, []contender{
		s.sweeper(l, packetPath, "", synscan("packet"), 1, s.answering, truth),
		s.sweeper(l, kernelPath, "", synscan("kernel"), 1, s.answering, truth),
		s.sweeper(l, "zmap", "", zmap, 1, s.answering, truth),
		s.sweeper(l, "masscan", "", masscan, 1, s.answering, truth),
	}))

	l = lab.New(t, lab.Config{})
	truth = openIn(t, l, s.slow)
	return append(works, takeTurns(t, s.rounds, report.Work{
		Name: "small-sweep", Section: "Sweep", Truth: len(truth),
		Text: fmt.Sprintf("One port of %s, few enough for nmap; what counts is the time from start to end, waits included.", s.slow),
	}, []contender{
		s.sweeper(l, "synscan", "", synscan("auto"), 1, s.slow, truth),
		s.sweeper(l, "nmap", "", nmapSweep, 1, s.slow, truth),
		s.sweeper(l, "zmap", "", zmap, 1, s.slow, truth),
	}))
}

func (a area) String() string { return fmt.Sprintf("2^%d simulated hosts", bits.Len64(a.endpoints)-1) }

var nmapSweep = program{
	name: "nmap",
	args: func(_ int, targets, results string) []string {
		return []string{"-n", "-Pn", "-T4", "-sS", "-p80", "--min-hostgroup", "4096", "--open", "-oG", results, targets}
	},
}

// sweeper is a program that sweeps an area, and whose results are held against the
// truth: that of one of ours must be it.
func (s scale) sweeper(l *lab.Lab, name, limit string, p program, senders int, a area, truth map[netip.Addr]bool) contender {
	return contender{program: name, limit: limit, once: func(t *testing.T) (string, map[string]float64) {
		results := filepath.Join(t.TempDir(), "results")
		args := p.args(senders, a.targets, results)
		o, said := measureAt(t, l, atResponder(l, respond.SYN), p.hangs, p.name, args...)
		text, err := os.ReadFile(results)
		if err != nil {
			t.Fatal(err)
		}
		missing, wrong, doubled := judge(addresses(text), truth)
		missing -= unwritten(string(said), len(truth)-missing)
		if p.name == synscanPath {
			if missing+wrong+doubled > 0 {
				t.Errorf("%d open endpoints are missing of %d, %d are none, %d came twice", missing, len(truth), wrong, doubled)
			}
			if o.probes < a.endpoints {
				t.Errorf("%d probes for %d endpoints", o.probes, a.endpoints)
			}
		}
		return spelled(p.name, args), map[string]float64{
			report.PPS: o.pps, report.CPU: o.cpu, report.Seconds: o.elapsed.Seconds(), report.Memory: float64(o.peak) / (1 << 20),
			report.Probes: float64(o.probes) / float64(a.endpoints), report.Missing: float64(missing), report.Wrong: float64(wrong), report.Doubled: float64(doubled),
		}
	}}
}

// bareLoop is a limit, as a contender.
func bareLoop(l *lab.Lab, name string, senders int, a area) contender {
	return contender{program: name, once: func(t *testing.T) (string, map[string]float64) {
		var o outcome
		if name == sendmmsg {
			o = limitSendmmsg(t, l, senders, a.endpoints)
		} else {
			o = limitLive(t, l, senders, a.endpoints, respond.Silent)
		}
		return "", map[string]float64{report.PPS: o.pps, report.CPU: o.cpu}
	}}
}

var simulated = regexp.MustCompile(`\b10\.\d+\.\d+\.\d+\b`)

// addresses returns those that a file of results reports open, in any of the formats:
// the first of a line, but for comments and for nmap's lines that a host is up.
func addresses(results []byte) (all []netip.Addr) {
	for line := range bytes.Lines(results) {
		if at := simulated.Find(line); at != nil && line[0] != '#' && !bytes.Contains(line, []byte("Status:")) {
			all = append(all, netip.MustParseAddr(string(at)))
		}
	}
	return all
}

var masscanFound = regexp.MustCompile(`found=(\d+)`)

// unwritten is how many open endpoints masscan says to have found beyond those in its
// file. When it is killed because it does not end, its last ones are not written yet,
// and that is not its receiver's fault.
func unwritten(said string, written int) int {
	all := masscanFound.FindAllStringSubmatch(said, -1)
	if len(all) == 0 {
		return 0
	}
	found, _ := strconv.Atoi(all[len(all)-1][1])
	return max(found-written, 0)
}

// judge counts what of the truth was not reported, what was reported and is not
// true, and what was reported again.
func judge[E comparable](reported []E, truth map[E]bool) (missing, wrong, doubled int) {
	seen := map[E]bool{}
	for _, e := range reported {
		switch {
		case seen[e]:
			doubled++
		case !truth[e]:
			wrong++
		}
		seen[e] = true
	}
	return len(truth) - (len(seen) - wrong), wrong, doubled
}

// openIn returns the addresses whose port 80 is open.
func openIn(t *testing.T, l *lab.Lab, a area) map[netip.Addr]bool {
	t.Helper()
	open, truth, net := map[netip.Addr]bool{}, l.MustTruth(t), netip.MustParsePrefix(a.targets)
	for at := net.Addr(); net.Contains(at); at = at.Next() {
		if truth.State(netip.AddrPortFrom(at, 80)) == respond.Open {
			open[at] = true
		}
	}
	if len(open) == 0 {
		t.Fatalf("nothing is open in %s", a.targets)
	}
	return open
}
