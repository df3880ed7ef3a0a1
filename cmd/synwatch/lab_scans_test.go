package main_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"synoptic/detector"
	"synoptic/internal/lab"
)

// scan is a scan of a host by a real scanner, from the host's neighbour.
type scan struct {
	name string
	kind detector.Kind
	// commands are run at the same time.
	commands func(t *testing.T, h *lab.Host) [][]string
	// hangs: the program may never end by itself, and is ended.
	hangs bool
}

// inTime is how soon after the probe that crosses the line an alert has to be
// read, and how much earlier than the capture's time of that probe it may be:
// the two are taken at different places of the kernel.
const (
	inTime = 500 * time.Millisecond
	early  = 20 * time.Millisecond
)

func one(args ...string) func(*testing.T, *lab.Host) [][]string {
	return func(*testing.T, *lab.Host) [][]string { return [][]string{args} }
}

// scans are all of them; HOST, NEAR, DEVICE and MAC are replaced.
func scans() (list []scan) {
	for _, m := range []struct {
		letter string
		kind   detector.Kind
	}{
		{"S", detector.SYN}, {"T", detector.Connect}, {"N", detector.NULL}, {"F", detector.FIN}, {"X", detector.XMAS},
		{"M", detector.Maimon}, {"A", detector.ACK}, {"W", detector.ACK}, {"U", detector.UDP},
	} {
		nmap := []string{"nmap", "-n", "-Pn", "--max-retries", "1", "-s" + m.letter, "HOST"}
		list = append(list,
			scan{name: "nmap_" + m.letter, kind: m.kind, commands: one(nmap...)},
			scan{name: "nmap_" + m.letter + "_T4", kind: m.kind, commands: one(append(nmap, "-T4")...)},
		)
		if m.letter != "U" {
			list = append(list, scan{name: "synscan_" + m.letter, kind: m.kind, commands: one("synscan", "-q", "-s"+m.letter, "-p1-1000", "--wait", "0.2s", "HOST")})
		}
	}
	masscan := one("masscan", "-e", "DEVICE", "--source-ip", "NEAR", "--router-mac", "MAC", "--source-port", "61000", "--rate", "2000", "--wait", "0", "-p1-1000", "HOST")
	list = append(list, scan{name: "masscan", kind: detector.SYN, hangs: true, commands: masscan})
	// zmap 2 knows one port a run. The first ones are traps, so that a slow
	// start of the others does not matter to the window.
	list = append(list, scan{name: "zmap", kind: detector.SYN, commands: func(*testing.T, *lab.Host) (all [][]string) {
		for _, port := range []int{11, 12, 13, 2000, 21, 22, 23, 25, 53, 80, 110, 143, 443, 8080, 8443} {
			all = append(all, []string{"zmap", "-p", fmt.Sprint(port), "-i", "DEVICE", "-S", "NEAR", "-G", "MAC", "-b", os.DevNull, "-q", "-v", "0", "-c", "1", "-o", os.DevNull, "HOST"})
		}
		return all
	}})
	for _, c := range []struct {
		name  string
		flags []string
		kind  detector.Kind
	}{
		{"syn", []string{"-S"}, detector.SYN},
		{"fin", []string{"-F"}, detector.FIN},
		{"xmas", []string{"-F", "-P", "-U"}, detector.XMAS},
		{"null", nil, detector.NULL},
		{"ack", []string{"-A"}, detector.ACK},
		{"udp", []string{"-2"}, detector.UDP},
	} {
		list = append(list, scan{name: "hping3_" + c.name, kind: c.kind,
			commands: one(append([]string{"hping3", "-n", "-q", "-I", "DEVICE", "-i", "u2000", "-c", "200", "-p", "++1", "HOST"}, c.flags...)...)})
	}
	return append(list, scan{name: "hping3_scan", kind: detector.SYN, hangs: true, commands: one("hping3", "-n", "-I", "DEVICE", "-S", "--scan", "1-1000", "HOST")})
}

// run runs the scan to its end.
func (s *scan) run(t *testing.T, l *lab.Lab, h *lab.Host, synscan string) {
	t.Helper()
	replace := strings.NewReplacer("HOST", h.Addr4.String(), "NEAR", h.Neighbour(1).String(), "DEVICE", h.Near, "MAC", h.MAC.String())
	// A scan that hangs has done its work by then.
	patience := 60 * time.Second
	if s.hangs {
		patience = 3 * time.Second
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var running sync.WaitGroup
	for _, c := range s.commands(t, h) {
		args := slices.Clone(c)
		for i := range args {
			args[i] = replace.Replace(args[i])
		}
		name := args[0]
		if name == "synscan" {
			name = synscan
		}
		running.Go(func() {
			cmd := l.Scanner.Command(ctx, name, args[1:]...)
			cmd.Args[0] = args[0]
			cmd.WaitDelay = time.Second
			out, err := cmd.CombinedOutput()
			if s.hangs && errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return
			}
			if err != nil && !(args[0] == "hping3" && unanswered(out)) {
				t.Errorf("%s: %v\n%s", strings.Join(args, " "), err, out)
			}
		})
	}
	running.Wait()
}

// unanswered tells whether hping3 ended as it does when it has sent everything
// and not everything was answered, which it calls a failure.
func unanswered(out []byte) bool { return bytes.Contains(out, []byte(" packets transmitted, ")) }

// TestItSeesEveryMethod: each scan of a real host is told once by each policy,
// with its source and kind, and in time after the probe that, by a second
// opinion on the capture, crossed the line. What Debian's scanlogd tells, the
// policy of that name tells too.
func TestItSeesEveryMethod(t *testing.T) {
	lab.NeedRoot(t)
	need(t, "nmap", "masscan", "zmap", "hping3")
	synwatch, synscan := build(t, "synwatch"), build(t, "synscan")
	var slowest time.Duration
	heard := map[string]int{}
	for _, s := range scans() {
		t.Run(s.name, func(t *testing.T) {
			l := lab.New(t, lab.Config{}) // of its own: hping3 finds no device among many
			h := l.MustAddHost(t, lab.HostConfig{Place: lab.OwnLink, Listen: []lab.Ports{lab.Port(22), lab.Port(80), lab.Port(443), lab.Port(8080)}})
			path := filepath.Join(t.TempDir(), "scan.pcap")
			theirs := lab.StartScanlogd(t, h.Namespace)
			ours := start(t, synwatch, h.Namespace, h.Far, "--policy", detector.Sophos+","+detector.Scanlogd)
			stop, err := h.Namespace.Record(h.Far, path, netip.Addr{})
			if err != nil {
				t.Fatal(err)
			}
			s.run(t, l, h, synscan)
			time.Sleep(inTime) // later alerts would be too late
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			ours.stop()
			theirs.Stop()

			sent := probes(readCapture(t, path), h.Addr4)
			for _, policy := range []string{detector.Sophos, detector.Scanlogd} {
				crossed, alerts := rules[policy].accuse(sent), ours.begun(policy)
				if len(crossed) != 1 || len(crossed[h.Neighbour(1)]) != 1 {
					t.Fatalf("%s: the scan crosses the line at %v, not once: no test", policy, crossed)
				}
				if len(alerts) != 1 {
					t.Errorf("%s: %d alerts, want 1: %+v\n%s", policy, len(alerts), alerts, ours.words())
					continue
				}
				a, at := alerts[0], crossed[h.Neighbour(1)][0]
				if a.Source != h.Neighbour(1) || a.kind() != s.kind || a.Interface != h.Far {
					t.Errorf("%s: a scan of kind %q from %s on %q, want %q from %s on %q", policy, a.kind(), a.Source, a.Interface, s.kind, h.Neighbour(1), h.Far)
				}
				if late := a.read.Sub(at); late > inTime || late < -early {
					t.Errorf("%s: the alert is read %v after the probe that crossed the line, want up to %v", policy, late, inTime)
				} else {
					slowest = max(slowest, late)
				}
				if off := a.time(t).Sub(at).Abs(); off > early {
					t.Errorf("%s: the alert is of %s, %v off the probe that crossed the line", policy, a.Timestamp, off)
				}
			}
			reports := theirs.Heard(h.Neighbour(1))
			heard[s.name] = len(reports)
			if len(reports) > 0 && len(ours.begun(detector.Scanlogd)) == 0 {
				t.Errorf("scanlogd tells what its policy does not: %s", reports[0].Text)
			}
		})
	}
	t.Logf("slowest alert %v after the probe; scanlogd tells of %v", slowest, heard)
	// Without these the comparison with scanlogd would compare nothing.
	for _, name := range []string{"nmap_S", "nmap_F_T4", "masscan", "hping3_syn"} {
		if n, run := heard[name]; run && n == 0 {
			t.Errorf("%s: scanlogd tells nothing", name)
		}
	}
}
