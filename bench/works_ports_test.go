package bench

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"synoptic/bench/report"
	"synoptic/internal/lab"
)

// portWorks are many ports of a real host, and some ports of 256 simulated ones: the
// programs from start to end, with what they say of every port.
func portWorks(t *testing.T, s scale) (works []report.Work) {
	l, all := nmapWorks(t, s)
	for _, w := range all {
		for _, m := range scanTypes {
			if !strings.ContainsRune(string(w.methods), rune(m.letter)) {
				continue
			}
			want := w.truth(m.letter)
			contenders := []contender{
				{program: "synscan", once: func(t *testing.T) (string, map[string]float64) {
					found, took := raceSynscan(t, l.Scanner, m.letter, w.args...)
					figures := held(found, want, took)
					if figures[report.Missing]+figures[report.Wrong] > 0 {
						t.Errorf("synscan is not exact: %v", figures)
					}
					return fmt.Sprintf("synscan -q -s%c --rate max -oX synscan.xml %s", m.letter, strings.Join(w.args, " ")), figures
				}},
				{program: "nmap", once: func(t *testing.T) (string, map[string]float64) {
					found, took := runNmap(t, l.Scanner, m.letter, w.args...)
					return fmt.Sprintf("nmap -n -Pn -T4 -s%c -oX nmap.xml %s", m.letter, strings.Join(w.args, " ")), held(found, want, took)
				}},
			}
			if w.host != nil && w.ports == s.ports {
				contenders = append(contenders, othersAt(l, w, m.letter, want)...)
			}
			works = append(works, takeTurns(t, s.rounds, report.Work{
				Name: w.name + "/-s" + string(m.letter), Section: "Ports", Truth: len(want), Text: w.text + ", " + m.name + "; from start to end.",
			}, contenders))
		}
	}
	return works
}

// held is what a scan that reports every port's state got wrong.
func held(found, want findings, took time.Duration) map[string]float64 {
	missing, wrong := 0, 0
	for _, at := range union(found, want) {
		switch f, said := found[at]; {
		case !said:
			missing++
		case f.state != want[at].state:
			wrong++
		}
	}
	return map[string]float64{report.Seconds: took.Seconds(), report.Missing: float64(missing), report.Wrong: float64(wrong)}
}

// othersAt are the peers that can do only some of it: of a real host, masscan and
// hping3.
func othersAt(l *lab.Lab, w work, letter byte, want findings) []contender {
	const onlySYN = "of TCP's methods it has SYN only, and refuses this one"
	others := []contender{{program: "masscan", cannot: onlySYN}, {program: "hping3", cannot: "prints the flags of every answer and leaves the verdict to the reader; as slow as for SYN, and not run"},
		{program: "zmap", cannot: "version 2 scans one port for each run"}}
	if letter == 'T' {
		others[0].cannot, others[1].cannot = "makes no connections; -sT becomes SYN without a word", "makes no connections"
	}
	if letter != 'S' {
		return others
	}
	open := map[uint16]bool{}
	for at, f := range want {
		if f.state == "open" {
			open[at.Port()] = true
		}
	}
	// Both report open ports only, so only these are judged.
	openOnly := func(t *testing.T, took time.Duration, lines, format string) map[string]float64 {
		var reported []uint16
		for line := range strings.Lines(lines) {
			var port uint16
			if n, _ := fmt.Sscanf(line, format, &port); n == 1 {
				reported = append(reported, port)
			}
		}
		missing, wrong, doubled := judge(reported, open)
		return map[string]float64{report.Seconds: took.Seconds(), report.Missing: float64(missing), report.Wrong: float64(wrong), report.Doubled: float64(doubled)}
	}
	host := w.host
	others[0] = contender{program: "masscan", once: func(t *testing.T) (string, map[string]float64) {
		results := filepath.Join(t.TempDir(), "results")
		near := host.Addr4.As4()
		near[3] = 1
		args := []string{host.Addr4.String(), w.args[0], "--rate", "100000000", "--wait", "1", "-e", host.Near, "--source-ip", netip.AddrFrom4(near).String(),
			"--router-mac", host.MAC.String(), "--source-port", "61000", "-oL", results}
		// It may never end by itself.
		ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second)
		defer cancel()
		begin := time.Now()
		out, err := l.Scanner.Command(ctx, "masscan", args...).CombinedOutput()
		if err != nil && ctx.Err() == nil {
			t.Fatalf("masscan: %v: %s", err, out)
		}
		took := time.Since(begin)
		text, err := os.ReadFile(results)
		if err != nil {
			t.Fatal(err)
		}
		figures := openOnly(t, took, string(text), "open tcp %d")
		figures[report.Missing] -= float64(unwritten(string(out), len(open)-int(figures[report.Missing])))
		return spelled("masscan", args), figures
	}}
	others[1] = contender{program: "hping3", once: func(t *testing.T) (string, map[string]float64) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		args := []string{"--scan", strings.TrimPrefix(w.args[0], "-p"), "-S", host.Addr4.String()}
		begin := time.Now()
		out, err := l.Scanner.Command(ctx, "hping3", args...).Output()
		if err != nil {
			t.Fatalf("hping3: %v: %s", err, out)
		}
		return spelled("hping3", args), openOnly(t, time.Since(begin), string(out), "%d")
	}}
	return others
}
