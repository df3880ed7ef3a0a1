package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"synoptic/bpf/respond"
	"synoptic/internal/lab"
	"synoptic/internal/method"
	"synoptic/internal/services"
)

// peerLab is a lab in which each state is had in every way: hosts with rules,
// and simulated ones whose router answers for them.
func peerLab(t *testing.T) *lab.Lab {
	cfg := respond.DefaultConfig()
	cfg.Open, cfg.Closed, cfg.Rejected, cfg.Error = respond.Fraction(1, 8), respond.Fraction(1, 4), respond.Fraction(1, 8), respond.HostUnreach
	cfg.Router4, cfg.Router6 = lab.Gate4, lab.Gate6
	l := lab.New(t, lab.Config{Respond: &cfg})
	rules := []lab.Rule{
		{Ports: []lab.Ports{{First: 40, Last: 42}}, Verdict: lab.Drop},
		{Ports: []lab.Ports{{First: 43, Last: 45}}, Verdict: lab.RejectReset},
		// Few, because a kernel limits the errors that it sends.
		{Ports: []lab.Ports{lab.Port(46)}, Verdict: lab.RejectPort},
		{Ports: []lab.Ports{lab.Port(47)}, Verdict: lab.RejectAdmin},
	}
	for _, place := range []lab.Place{lab.OnLink, lab.Routed} {
		l.MustAddHost(t, lab.HostConfig{Place: place, Listen: []lab.Ports{lab.Port(22), lab.Port(80), lab.Port(8080)}, Rules: rules})
	}
	return l
}

// mustInLab runs a program in the scanner's namespace, in a folder.
func mustInLab(t *testing.T, l *lab.Lab, dir string, args ...string) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	name := args[0]
	if name == "synscan" {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		name = self
	}
	cmd := l.Scanner.Command(ctx, name, args[1:]...)
	cmd.Args[0], cmd.Dir = args[0], dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func readText(t *testing.T, elements ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(elements...))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The three reports say of every host and port what nmap's say.
func TestReportsAreNmaps(t *testing.T) {
	lab.NeedRoot(t)
	l := peerLab(t)
	v4, v6 := []string{"10.0.0.1", "10.0.0.2"}, []string{"-6", "fd00:10::1", "fd00:10::2"}
	for _, h := range l.Hosts() {
		v4, v6 = append(v4, h.Addr4.String()), append(v6, h.Addr6.String())
	}
	type scan struct {
		name, method string
		targets      []string
		options      []string
	}
	scans := []scan{
		{"ipv6", "-sS", v6, nil},
		{"verbose", "-sS", v4, []string{"-v"}},
		{"open", "-sS", v4, []string{"--open"}},
	}
	for _, m := range method.All() {
		scans = append(scans, scan{m.Name, fmt.Sprintf("-s%c", m.Letter), v4, nil})
	}
	// nmap is to take the names of services from where we do.
	names := t.TempDir()
	if err := os.WriteFile(filepath.Join(names, "nmap-services"), []byte(readText(t, services.File)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, s := range scans {
		t.Run(s.name, func(t *testing.T) {
			dir := t.TempDir()
			ports := "1-50,80,443,8080"
			if s.name == method.Connect.Name {
				// connect(2) does not tell which ICMP error there was, and nmap
				// asks no further: 46 and 47 are rejected so.
				ports = "1-45,48-50,80,443,8080"
			}
			common := append([]string{s.method, "-n", "-Pn", "-p", ports, "--reason"}, s.options...)
			theirs := slices.Concat([]string{"nmap", "--send-ip", "-T4", "--max-retries", "2", "--datadir", names, "-oA", "theirs"}, common, s.targets)
			ours := slices.Concat([]string{"synscan", "-q", "--retries", "1", "-oA", "ours"}, common, slices.DeleteFunc(slices.Clone(s.targets), func(w string) bool { return w == "-6" }))
			mustInLab(t, l, dir, theirs...)
			mustInLab(t, l, dir, ours...)
			if s.name == "open" {
				// nmap counts the silent ports as well, which a scan for open ones does not keep.
				listed := func(report string) []string { return hostLines(ignored.ReplaceAllString(report, "")) }
				compareText(t, "grepable", listed(readText(t, dir, "ours.gnmap")), listed(readText(t, dir, "theirs.gnmap")))
				return
			}
			compareText(t, "grepable", hostLines(readText(t, dir, "ours.gnmap")), hostLines(readText(t, dir, "theirs.gnmap")))
			compareText(t, "normal", hostTables(readText(t, dir, "ours.nmap")), hostTables(readText(t, dir, "theirs.nmap")))
			if difference := portDifference(t, filepath.Join(dir, "theirs.xml"), filepath.Join(dir, "ours.xml")); difference != "" {
				t.Errorf("ndiff:\n%s", difference)
			}
		})
	}
}

var ignored = regexp.MustCompile(`\tIgnored State: .*`)

func compareText(t *testing.T, what string, ours, theirs []string) {
	t.Helper()
	if len(theirs) == 0 {
		t.Errorf("%s: nmap lists no host", what)
	}
	if !slices.Equal(ours, theirs) {
		t.Errorf("%s: ours\n%s\nnmap's\n%s", what, strings.Join(ours, "\n"), strings.Join(theirs, "\n"))
	}
}

// hostLines are the lines of a grepable report that are not comments, sorted:
// nmap lists hosts as it is done with them.
func hostLines(report string) (lines []string) {
	for line := range strings.Lines(report) {
		if !strings.HasPrefix(line, "# ") || strings.HasPrefix(line, "# Ports scanned") {
			lines = append(lines, line)
		}
	}
	slices.Sort(lines)
	return lines
}

// What a normal report says that two scans cannot agree on: how long an answer
// took, why a host is up (nmap did not ask, told by -Pn), who made its Ethernet
// device, and where nmap has its data from.
var personal = regexp.MustCompile(`(?m)^Host is up.*\n|^MAC Address: .*\n|^Read .*\n|^#.*\n`)

// hostTables are the hosts of a normal report, sorted.
func hostTables(report string) []string {
	hosts := strings.Split(personal.ReplaceAllString(report, ""), "Nmap scan report for ")[1:]
	for i := range hosts {
		hosts[i] = strings.TrimSpace(hosts[i])
	}
	slices.Sort(hosts)
	return hosts
}

// headings are what ndiff says of two reports before their ports: who scanned, and
// a neighbour's link address, which nmap tells.
var headings = regexp.MustCompile(`(?m)^[-+]Nmap .*\n|^-\S+, [0-9A-F:]{17}:\n\+\S+:\n|^ *\n`)

// portDifference is what ndiff finds between two reports, but for their headings.
func portDifference(t *testing.T, before, after string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "ndiff", before, after)
	out, err := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); code != 0 && code != 1 {
		t.Fatalf("ndiff: %v\n%s", err, out)
	}
	return headings.ReplaceAllString(string(out), "")
}

// Lines and array have masscan's fields, and of an endpoint that both found the
// same values but for the second in which it answered.
func TestLinesAreMasscans(t *testing.T) {
	lab.NeedRoot(t)
	cfg := respond.DefaultConfig() // without ICMP errors, which masscan takes for closed ports
	cfg.Open, cfg.Closed, cfg.Rejected = respond.Fraction(1, 4), respond.Fraction(1, 4), respond.Fraction(0, 1)
	l := lab.New(t, lab.Config{Respond: &cfg})
	dir := t.TempDir()
	mustInLab(t, l, dir, "synscan", "-q", "-p", "1-100", "--all-states", "-oL", "ours.list", "-oJ", "ours.json", "10.0.0.0/30")

	stop := makeNoise(t, l)
	defer stop()
	masscan := func(option, file string) string {
		mustInLab(t, l, dir, "masscan", "-e", lab.ScannerDevice, "--source-ip", lab.Scanner4.String(), "--router-mac", lab.GateMAC.String(),
			"--rate", "2000", "--wait", "1", "--show", "closed", "-p1-100", option, file, "10.0.0.0/30")
		return readText(t, dir, file)
	}

	ours, theirs := listFields(t, readText(t, dir, "ours.list")), listFields(t, masscan("-oL", "theirs.list"))
	compareFields(t, "list", ours, theirs)

	ours, theirs = arrayFields(t, readText(t, dir, "ours.json")), arrayFields(t, masscan("-oJ", "theirs.json"))
	compareFields(t, "array", ours, theirs)
}

// makeNoise sends a datagram now and then until it is stopped: masscan 1.3.2
// notices the end of its wait only when a packet passes by, and hangs otherwise.
func makeNoise(t *testing.T, l *lab.Lab) (stop func()) {
	var conn net.Conn
	if err := l.Scanner.Do(func() (err error) {
		conn, err = net.Dial("udp", netip.AddrPortFrom(lab.Gate4, 9).String())
		return err
	}); err != nil {
		t.Fatal(err)
	}
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn.Write([]byte{0}) // that nobody listens is no matter
			select {
			case <-done:
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	}()
	return func() {
		close(done)
		<-ended
		conn.Close()
	}
}

// compareFields holds every result of masscan against ours.
func compareFields(t *testing.T, what string, ours, theirs map[string]string) {
	t.Helper()
	states := map[bool]int{}
	for endpoint, want := range theirs {
		if ours[endpoint] != want {
			t.Errorf("%s: %s is %q, masscan's %q", what, endpoint, ours[endpoint], want)
		}
		states[strings.Contains(want, "open")]++
	}
	if states[true] < 10 || states[false] < 10 {
		t.Errorf("%s: masscan found %d open and %d closed ports: too few to compare", what, states[true], states[false])
	}
}

var seconds10 = regexp.MustCompile(`^\d{10}$`)

// listFields are the lines of a list by endpoint, their times checked and taken out.
func listFields(t *testing.T, list string) map[string]string {
	t.Helper()
	all := map[string]string{}
	lines := strings.Split(list, "\n")
	if n := len(lines); n < 3 || lines[0] != "#masscan" || lines[n-2] != "# end" || lines[n-1] != "" {
		t.Fatalf("no list:\n%s", list)
	}
	for _, line := range lines[1 : len(lines)-2] {
		words := strings.Split(line, " ")
		if len(words) != 5 || !seconds10.MatchString(words[4]) {
			t.Fatalf("a line of the list is %q", line)
		}
		all[words[3]+":"+words[2]] = strings.Join(words[:4], " ")
	}
	return all
}

// arrayFields are the elements of an array by endpoint, with their keys, their
// times checked and taken out.
func arrayFields(t *testing.T, array string) map[string]string {
	t.Helper()
	var elements []map[string]any
	if err := json.Unmarshal([]byte(array), &elements); err != nil {
		t.Fatalf("%v in\n%s", err, array)
	}
	all := map[string]string{}
	for line := range strings.Lines(array) { // byte for byte, blanks included
		if !strings.HasPrefix(line, "{") {
			continue
		}
		e := elements[len(all)]
		stamp, _ := e["timestamp"].(string)
		port := e["ports"].([]any)[0].(map[string]any)
		if keys := slices.Sorted(maps.Keys(port)); !seconds10.MatchString(stamp) || !slices.Equal(keys, []string{"port", "proto", "reason", "status", "ttl"}) {
			t.Fatalf("an element is %v", e)
		}
		all[fmt.Sprintf("%v:%v", e["ip"], port["port"])] = strings.Replace(line, stamp, "", 1)
	}
	if len(all) != len(elements) {
		t.Fatalf("%d lines with %d elements", len(all), len(elements))
	}
	return all
}
