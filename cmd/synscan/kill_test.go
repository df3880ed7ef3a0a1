package main

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"synoptic/bpf/respond"
	"synoptic/internal/lab"
	"synoptic/internal/method"
	"synoptic/internal/output"
	"synoptic/internal/result"
)

// kills is how many times the scans below are killed in all.
var kills = flag.Int("kills", 100, "how many times TestKilledSweepsLoseNothing kills a sweep")

// killRate leaves a run some seconds, and a killed one some thousand probes to
// send again.
const killRate = "300k"

// A hundred times (-kills) a sweep of 2^20 endpoints is killed at any moment and resumed
// until it is done. Each time all formats have exactly what an undisturbed run
// finds, nothing lost and nothing twice, and all probes together are at most 3 %
// more.
func TestKilledSweepsLoseNothing(t *testing.T) {
	l := killLab(t)
	seed := uint64(time.Now().UnixNano())
	rnd := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	var probes, undisturbed uint64
	for sweep, done := 0, 0; done < *kills; sweep++ {
		name, perSweep := []string{"syn", "fin"}[sweep%2], min(1+sweep/2%2, *kills-done)
		path := []string{"kernel", "packet"}[sweep/4%2]
		done += perSweep
		t.Run(fmt.Sprintf("%d/%s/%s", sweep, path, name), func(t *testing.T) {
			m := method.ByName(name)
			if err := l.Responder.Reset(); err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			args := []string{"synscan", "-s" + string(m.Letter), "-p1-4", "10.0.0.0/14", "--path", path, "--rate", killRate, "-q", "--all-states",
				"--seed", fmt.Sprint(sweep), "--checkpoint", "scan", "-oD", "json", "-oJ", "array", "-oL", "list", "-oX", "xml", "-oG", "grep"}
			if name == "syn" {
				args = append(args[:len(args):len(args)], "--open")
				args = without(args, "--all-states")
			}
			for n := 0; ; n++ {
				limit := time.Duration(0)
				if n < perSweep {
					limit = 200*time.Millisecond + time.Duration(rnd.IntN(5500/perSweep))*time.Millisecond
				}
				if !runUntil(t, l, dir, limit, args...) {
					if n < perSweep {
						t.Fatalf("it was done before it could be killed")
					}
					break
				}
				if _, err := os.Stat(filepath.Join(dir, "scan")); err == nil {
					args = []string{"synscan", "--resume", "scan", "-q"}
				} else { // before the first checkpoint: from the beginning
					n--
				}
			}
			counters, err := l.Responder.Counters()
			if err != nil {
				t.Fatal(err)
			}
			probes += counters.TCP[m.Flags]
			undisturbed += wouldSend(t, l, m)
			checkKilled(t, l, dir, m)
		})
	}
	t.Logf("%d probes for %d of undisturbed runs: %.2f %% more", probes, undisturbed, 100*float64(probes-undisturbed)/float64(undisturbed))
	over := float64(probes)/float64(undisturbed) - 1
	t.Attr("more-probes-%", fmt.Sprint(100*over))
	if over > 0.03 {
		t.Errorf("%.2f %% more probes than an undisturbed run", 100*over)
	}
}

// wouldSend is how many probes an undisturbed run takes: one for each endpoint, and
// another for each that does not answer.
func wouldSend(t *testing.T, l *lab.Lab, m *method.Method) uint64 {
	t.Helper()
	cfg, err := l.Responder.Config()
	if err != nil {
		t.Fatal(err)
	}
	truth, n := cfg.Truth(), uint64(2<<20)
	for a := netip.MustParseAddr("10.0.0.0"); a != netip.MustParseAddr("10.4.0.0"); a = a.Next() {
		for port := uint16(1); port <= 4; port++ {
			if k := truth.Answer(m.Flags, netip.AddrPortFrom(a, port)).Kind; k == respond.SynAck || k == respond.Reset {
				n--
			}
		}
	}
	return n
}

func killLab(t *testing.T) *lab.Lab {
	t.Helper()
	lab.NeedRoot(t)
	l := lab.New(t, lab.Config{})
	return l
}

func without(args []string, word string) (rest []string) {
	for _, a := range args {
		if a != word {
			rest = append(rest, a)
		}
	}
	return rest
}

// runUntil runs the program and kills it after a time, if that is not 0; it
// reports whether it did, and fails the test if the program failed by itself.
func runUntil(t *testing.T, l *lab.Lab, dir string, limit time.Duration, args ...string) (killed bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := l.Scanner.Command(ctx, args[0], args[1:]...)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if limit > 0 {
		timer := time.AfterFunc(limit, func() { cmd.Process.Kill() })
		defer timer.Stop()
	}
	err := cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == -1 && ctx.Err() == nil {
		return true
	}
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, stderr.String())
	}
	return false
}

// checkKilled compares the outputs of a run with the truth and with each other.
func checkKilled(t *testing.T, l *lab.Lab, dir string, m *method.Method) {
	t.Helper()
	cfg, err := l.Responder.Config()
	if err != nil {
		t.Fatal(err)
	}
	truth := cfg.Truth()
	want := map[netip.AddrPort]string{}
	alive := map[netip.Addr]bool{}
	silent := []netip.AddrPort{}
	for a := netip.MustParseAddr("10.0.0.0"); a != netip.MustParseAddr("10.4.0.0"); a = a.Next() {
		for port := uint16(1); port <= 4; port++ {
			ap := netip.AddrPortFrom(a, port)
			switch truth.Answer(m.Flags, ap).Kind {
			case respond.SynAck:
				want[ap] = "open"
			case respond.Reset:
				alive[a] = true
				if m.Name == "fin" {
					want[ap] = "closed"
				}
			default:
				silent = append(silent, ap)
			}
		}
	}
	if m.Name == "fin" {
		for _, ap := range silent {
			if alive[ap.Addr()] {
				want[ap] = "open|filtered"
			}
		}
	}
	got := map[netip.AddrPort]string{}
	in, err := os.Open(filepath.Join(dir, "json"))
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if err := output.ReadJSON(in, "json", func(r *result.Record) error {
		if _, twice := got[r.Addr]; twice {
			t.Errorf("%v is there twice", r.Addr)
		}
		got[r.Addr] = r.State.String()
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	wrong := 0
	for ap, state := range want {
		if got[ap] != state {
			if wrong++; wrong <= 3 {
				t.Errorf("%v is %q, want %q", ap, got[ap], state)
			}
		}
	}
	if wrong > 0 || len(got) != len(want) {
		t.Errorf("%d wrong, %d records, want %d", wrong, len(got), len(want))
	}
	// The other formats have as many, and are whole.
	for file, mark := range map[string]string{"array": `"port":`, "list": " tcp ", "xml": "<port ", "grep": "/tcp/"} {
		text, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		n := strings.Count(string(text), mark)
		if n != len(want) {
			t.Errorf("%s has %d ports, want %d", file, n, len(want))
		}
	}
	mustXML(t, filepath.Join(dir, "xml"))
}

// mustXML fails the test unless a file is an XML document to its end.
func mustXML(t *testing.T, name string) {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := xml.Unmarshal(text, new(struct {
		XMLName xml.Name `xml:"nmaprun"`
	})); err != nil {
		t.Errorf("%s: %v", name, err)
	}
}
