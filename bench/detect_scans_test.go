package bench

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"synoptic/bench/report"
	"synoptic/internal/lab"
)

// sight is a scan of 1,000 ports of a host, as a scanner does it; HOST, NEAR,
// DEVICE and MAC are replaced.
type sight struct {
	name, kind string
	command    string
	// hangs: the program may never end by itself, and is ended when it has sent
	// everything.
	hangs bool
	// complains: it calls it a failure that not everything was answered.
	complains bool
}

func sights() (list []sight) {
	for _, m := range []struct{ letter, kind string }{
		{"S", "syn"}, {"T", "connect"}, {"N", "null"}, {"F", "fin"}, {"X", "xmas"}, {"M", "maimon"}, {"A", "ack"}, {"W", "ack"}, {"U", "udp"},
	} {
		list = append(list, sight{name: "nmap -s" + m.letter, kind: m.kind, command: "nmap -n -Pn -T4 --max-retries 1 -s" + m.letter + " HOST"})
		if m.letter != "U" {
			list = append(list, sight{name: "synscan -s" + m.letter, kind: m.kind, command: "synscan -q -s" + m.letter + " -p1-1000 --wait 0.2s HOST"})
		}
	}
	return append(list,
		sight{name: "masscan", kind: "syn", hangs: true,
			command: "masscan -e DEVICE --source-ip NEAR --router-mac MAC --source-port 61000 --rate 2000 --wait 0 -p1-1000 HOST"},
		sight{name: "hping3 --scan", kind: "syn", hangs: true, command: "hping3 -n -I DEVICE -S --scan 1-1000 HOST"},
		sight{name: "hping3 -F -A", kind: "maimon", complains: true, command: "hping3 -n -q -I DEVICE -i u1000 -c 1000 -p ++1 -F -A HOST"},
	)
}

// compareSights has a host scanned in every way that both detectors watch at the
// same time.
func compareSights(t *testing.T, bin string, rounds int) (works []report.Work) {
	all := sights()
	works = make([]report.Work, len(all))
	t.Run("scans", func(t *testing.T) {
		for i, s := range all {
			works[i] = report.Work{
				Name: "detector/scan=" + s.name, Section: detection,
				Text: fmt.Sprintf("1,000 ports of a real host that both watch, by %s. Is the scan told, and as what it is? scanlogd names no kind.", s.command),
			}
			t.Run(s.name, func(t *testing.T) {
				t.Parallel() // nothing is timed here
				for range rounds {
					s.look(t, bin, &works[i])
				}
			})
		}
	})
	const reason = "Debian's zmap 2.1.1 probes one port in a run, and one port is no scan of a host"
	return append(works, report.Work{
		Name: "detector/scan=zmap", Section: detection, Text: "1,000 ports of a real host that both watch, by zmap.",
		Runs: []report.Run{{Program: ourWatch, Cannot: reason}, {Program: theirs, Cannot: reason}},
	})
}

// look has the host scanned once. The lab is new, as hping3 finds no device among
// many; and so are the detectors: after five scans scanlogd says nothing for a
// while.
func (s *sight) look(t *testing.T, bin string, w *report.Work) {
	l := lab.New(t, lab.Config{})
	h := l.MustAddHost(t, lab.HostConfig{Place: lab.OwnLink, Listen: []lab.Ports{lab.Port(22), lab.Port(80), lab.Port(443), lab.Port(8080)}})
	us, them := startDetector(t, ourWatch, bin, h), startDetector(t, theirs, bin, h)
	scanner := h.Neighbour(1)
	s.run(t, l, strings.NewReplacer("HOST", h.Addr4.String(), "NEAR", scanner.String(), "DEVICE", h.Near, "MAC", h.MAC.String()).Replace(s.command))
	time.Sleep(200 * time.Millisecond)
	us.stop()
	them.stop()
	told := us.heard(scanner)
	note(w, ourWatch, us, report.Seen, one(len(told) > 0))
	note(w, ourWatch, us, report.Right, one(s.right(told, us.lines(), scanner)))
	note(w, theirs, them, report.Seen, one(len(them.heard(scanner)) > 0))
}

// right tells whether each of synwatch's policies told once of a scan of this
// kind, and neither of anything else.
func (s *sight) right(told, all []lab.LogLine, scanner netip.Addr) bool {
	all = slices.DeleteFunc(all, func(line lab.LogLine) bool { return !begins(line) })
	if len(all) != 2 || len(told) != 2 {
		return false
	}
	for _, policy := range []string{"sophos", "scanlogd"} {
		if !slices.ContainsFunc(told, func(line lab.LogLine) bool {
			return strings.Contains(line.Text, fmt.Sprintf(` policy="%s" kind="%s" `, policy, s.kind))
		}) {
			return false
		}
	}
	return true
}

func one(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// run runs the scanner to its end.
func (s *sight) run(t *testing.T, l *lab.Lab, command string) {
	t.Helper()
	patience := time.Minute
	if s.hangs {
		patience = 2 * time.Second
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	args := strings.Fields(command)
	name := args[0]
	if name == "synscan" {
		name = synscanPath
	}
	cmd := l.Scanner.Command(ctx, name, args[1:]...)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	_, exited := errors.AsType[*exec.ExitError](err)
	if err == nil || s.hangs && ctx.Err() != nil || s.complains && exited && strings.Contains(string(out), " packets transmitted, ") {
		return
	}
	t.Errorf("%s: %v\n%s", command, err, out)
}
