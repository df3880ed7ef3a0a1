package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"synoptic/internal/lab"
)

// These tests run the program in networks of every kind, with real kernels at
// the far end, and hold what it says against what is known of them.

// scanned is what a run of the program said.
type scanned struct {
	found   map[netip.AddrPort]string // "state reason"
	summary struct {
		Planned, Probed, Unreachable, Open, Answered uint64
		Silent, Dropped                              uint64
		HostsAlive                                   uint64 `json:"hosts_alive"`
	}
	stderr string
	code   int
	took   time.Duration
}

// scanIn runs the program in a namespace, with all states and the summary
// reported for machines.
func scanIn(t *testing.T, ns *lab.Namespace, args ...string) *scanned {
	t.Helper()
	return runIn(t, ns, append([]string{"synscan", "--status-json"}, args...)...)
}

// runIn runs the program as the words say, which may begin with another.
func runIn(t *testing.T, ns *lab.Namespace, words ...string) *scanned {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	// Whoever the program runs as may write this.
	results, err := os.Create(filepath.Join(t.TempDir(), "results"))
	if err != nil {
		t.Fatal(err)
	}
	defer results.Close()
	words = append(words, "--all-states", "-oD", "-")
	cmd := ns.Command(ctx, words[0], words[1:]...)
	cmd.Dir = t.TempDir() // for the checkpoint of one that fails
	var stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = results, &stderr
	// With -race the process would linger for a second at its end.
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	begin := time.Now()
	err = cmd.Run()
	s := &scanned{found: map[netip.AddrPort]string{}, took: time.Since(begin), stderr: stderr.String(), code: cmd.ProcessState.ExitCode()}
	if _, exit := errors.AsType[*exec.ExitError](err); err != nil && !exit {
		t.Fatal(err)
	}
	if _, err := results.Seek(0, 0); err != nil {
		t.Fatal(err)
	}
	for in := bufio.NewScanner(results); in.Scan(); {
		var line struct {
			IP            netip.Addr
			Port          uint16
			State, Reason string
		}
		if err := json.Unmarshal(in.Bytes(), &line); err != nil {
			t.Fatalf("%s: %v", in.Bytes(), err)
		}
		at := netip.AddrPortFrom(line.IP, line.Port)
		if before, twice := s.found[at]; twice {
			t.Errorf("%v is reported twice: %s, and %s %s", at, before, line.State, line.Reason)
		}
		s.found[at] = line.State + " " + line.Reason
	}
	for line := range strings.Lines(s.stderr) {
		if strings.HasPrefix(line, `{"summary":`) {
			if err := json.Unmarshal([]byte(line), &struct{ Summary any }{&s.summary}); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
		}
	}
	return s
}

// ends fails the test unless the program ended so.
func (s *scanned) ends(t *testing.T, code int) {
	t.Helper()
	if s.code != code {
		t.Fatalf("exit code %d, want %d: %s", s.code, code, s.stderr)
	}
}

// everyKind are ports 1 to 100 of every kind, with and without a listener.
var everyKind = lab.HostConfig{
	Listen: []lab.Ports{lab.Port(22), lab.Port(80), {First: 50, Last: 59}},
	Rules: []lab.Rule{
		{Ports: []lab.Ports{{First: 10, Last: 12}, {First: 50, Last: 51}}, Verdict: lab.Drop},
		{Ports: []lab.Ports{{First: 20, Last: 21}, {First: 52, Last: 53}}, Verdict: lab.RejectReset},
		{Ports: []lab.Ports{{First: 30, Last: 31}, lab.Port(54)}, Verdict: lab.RejectPort},
		{Ports: []lab.Ports{lab.Port(40), lab.Port(55)}, Verdict: lab.RejectAdmin},
		{Ports: []lab.Ports{lab.Port(41), lab.Port(56)}, Verdict: lab.RejectHost},
	},
}

// isTrue compares what was found on ports 1 to 100 of the addresses with the
// truth.
func (s *scanned) isTrue(t *testing.T, truth lab.Truth, method string, addrs ...netip.Addr) {
	t.Helper()
	var ports []uint16
	for p := uint16(1); p <= 100; p++ {
		ports = append(ports, p)
	}
	expected := 0
	for _, a := range addrs {
		wanted, err := truth.Expect(lab.Scan{Method: method}, a, ports)
		if err != nil {
			t.Fatal(err)
		}
		expected += len(wanted)
		for _, w := range wanted {
			want := w.State.String() + " " + w.Reason.String()
			if method == "connect" && want == "closed reset" {
				want = "closed conn-refused" // the kernel saw the reset, we did not
			}
			if got := s.found[w.Addr]; got != want {
				t.Errorf("%v is %q, want %q", w.Addr, got, want)
			}
		}
	}
	if len(s.found) != expected {
		t.Errorf("%d endpoints are reported, want %d", len(s.found), expected)
	}
	if s.summary.Unreachable != 0 || s.summary.Probed != uint64(expected) {
		t.Errorf("%d of %d endpoints probed, %d without a link address", s.summary.Probed, expected, s.summary.Unreachable)
	}
}

// The states of ports are exact by whatever device their host is reached, and
// when all are reached in one scan.
func TestEveryKindOfNetwork(t *testing.T) {
	l := lab.New(t, lab.Config{})
	var all []netip.Addr
	hosts := map[lab.Place]*lab.Host{}
	places := []lab.Place{lab.AtScanner, lab.AtGate, lab.OnLink, lab.Routed, lab.OwnLink, lab.VLAN, lab.Tunnel, lab.WireGuard}
	for _, place := range places {
		cfg := everyKind
		cfg.Place = place
		h := l.MustAddHost(t, cfg)
		all = append(all, h.Addr4, h.Addr6)
		hosts[place] = h
	}
	truth := l.MustTruth(t)
	scan := func(t *testing.T, letter, method string, addrs ...netip.Addr) {
		args := []string{"-s" + letter, "-p1-100"}
		for _, a := range addrs {
			args = append(args, a.String())
		}
		s := scanIn(t, l.Scanner, args...)
		s.ends(t, exitDone)
		s.isTrue(t, truth, method, addrs...)
	}
	methods := []struct{ letter, name string }{{"S", "syn"}, {"F", "fin"}, {"T", "connect"}}
	for _, m := range methods {
		for _, place := range places {
			h := hosts[place]
			t.Run(fmt.Sprintf("%s/%s", place, m.name), func(t *testing.T) { scan(t, m.letter, m.name, h.Addr4, h.Addr6) })
		}
		t.Run("all_at_once/"+m.name, func(t *testing.T) { scan(t, m.letter, m.name, all...) })
	}
	t.Run("the_named_interface_is_the_one", func(t *testing.T) {
		// A host that is not behind it is not probed by another.
		h := hosts[lab.OwnLink]
		s := scanIn(t, l.Scanner, "-e", h.Near, "-p1-100", h.Addr4.String())
		s.ends(t, exitDone)
		s.isTrue(t, truth, "syn", h.Addr4)
		s = scanIn(t, l.Scanner, "-e", h.Near, "-p1-100", hosts[lab.Tunnel].Addr4.String())
		s.ends(t, exitUsage)
		if len(s.found) > 0 || !strings.Contains(s.stderr, h.Near) {
			t.Errorf("%d endpoints reported: %s", len(s.found), s.stderr)
		}
	})
}

// Raw scans need CAP_NET_RAW and nothing else, whatever has to be resolved.
func TestOneCapabilityIsEnough(t *testing.T) {
	l := lab.New(t, lab.Config{})
	cfg := everyKind
	h := l.MustAddHost(t, cfg)
	cfg.Place = lab.Routed
	far := l.MustAddHost(t, cfg)
	nobody := append(asNobody(t, "-all,+net_raw"), "-sS", "--status-json", "-p1-100")
	for _, addrs := range [][]netip.Addr{{h.Addr4, far.Addr4}, {h.Addr6, far.Addr6}} {
		s := runIn(t, l.Scanner, append(slices.Clone(nobody), addrs[0].String(), addrs[1].String())...)
		s.ends(t, exitDone)
		s.isTrue(t, l.MustTruth(t), "syn", addrs...)
	}
}

// asNobody is the program as a command of a user without any privileges but some
// capabilities, as setpriv(1) has them.
func asNobody(t *testing.T, caps string) []string {
	t.Helper()
	// The program is in a directory that is root's alone.
	path, err := exec.LookPath("synscan")
	if err != nil {
		t.Fatal(err)
	}
	binary, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "synscan")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	copied := filepath.Join(dir, "synscan")
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(copied, binary, 0o755)); err != nil {
		t.Fatal(err)
	}
	return []string{"setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups",
		"--inh-caps", caps, "--ambient-caps", caps, "--bounding-set", caps, copied}
}

// A gateway that does not answer is named before anything is sent.
func TestSilentGateway(t *testing.T) {
	l := lab.New(t, lab.Config{})
	for _, c := range []struct{ to, via string }{
		{"203.0.113.0/24", "172.16.0.250"},
		{"2001:db8:77::/64", "fd00:172:16::fa"},
	} {
		t.Run(c.via, func(t *testing.T) {
			to, via := netip.MustParsePrefix(c.to), netip.MustParseAddr(c.via)
			if err := l.Scanner.AddRoute(to, via); err != nil {
				t.Fatal(err)
			}
			probes := 0
			stop, err := l.Gate.Watch(lab.GateDevice, func(frame []byte) {
				if p, ok := parseFrame(frame); ok && to.Contains(p.dst) {
					probes++
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			s := scanIn(t, l.Scanner, "-sS", "-p80", to.Addr().Next().String())
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			s.ends(t, exitUsage)
			if len(s.found) > 0 || probes > 0 || s.took > 10*time.Second {
				t.Errorf("%d results, %d probes, %v", len(s.found), probes, s.took)
			}
			if !regexp.MustCompile(`^synscan: [^\n]*` + regexp.QuoteMeta(c.via) + `[^\n]*\n$`).MatchString(s.stderr) {
				t.Errorf("the gateway is not named in one sentence: %s", s.stderr)
			}
		})
	}
}
