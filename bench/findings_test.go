package bench

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"synoptic/internal/lab"
)

// findings are what a scanner says of every endpoint that it was asked about.
type findings map[netip.AddrPort]finding

type finding struct{ state, reason string }

func (f finding) String() string {
	if f == (finding{}) {
		return "nothing"
	}
	return f.state + " " + f.reason
}

// union returns the endpoints that either knows, in their order.
func union(a, b findings) []netip.AddrPort {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return slices.SortedFunc(maps.Keys(all), netip.AddrPort.Compare)
}

// timed runs a program to its end and returns how long that took.
func timed(t testing.TB, ns *lab.Namespace, name string, args ...string) time.Duration {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := ns.Command(ctx, name, args...)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	begin := time.Now()
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, complaint.Bytes())
	}
	return time.Since(begin)
}

// runSynscan scans with all states reported, and fails unless each is decided
// once.
func runSynscan(t testing.TB, ns *lab.Namespace, rate string, letter byte, args ...string) (findings, time.Duration) {
	t.Helper()
	results := filepath.Join(t.TempDir(), "synscan.json")
	took := timed(t, ns, synscanPath, append([]string{"-q", "-s" + string(letter), "--all-states", "--rate", rate, "-oD", results}, args...)...)
	f, err := os.Open(results)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	found := findings{}
	for in := bufio.NewScanner(f); in.Scan(); {
		var line struct {
			IP            netip.Addr
			Port          uint16
			State, Reason string
		}
		if err := json.Unmarshal(in.Bytes(), &line); err != nil {
			t.Fatalf("%s: %v", in.Bytes(), err)
		}
		at := netip.AddrPortFrom(line.IP, line.Port)
		if before, twice := found[at]; twice {
			t.Errorf("%v is reported twice: %v, and %s %s", at, before, line.State, line.Reason)
		}
		found[at] = finding{line.State, line.Reason}
	}
	return found, took
}

// raceSynscan scans as fast as it goes and writes the same report as nmap.
func raceSynscan(t testing.TB, ns *lab.Namespace, letter byte, args ...string) (findings, time.Duration) {
	t.Helper()
	results := filepath.Join(t.TempDir(), "synscan.xml")
	took := timed(t, ns, synscanPath, append([]string{"-q", "-s" + string(letter), "--rate", "max", "-oX", results}, args...)...)
	return readReport(t, results), took
}

// runNmap scans without pings, names and version detection, as we do.
func runNmap(t testing.TB, ns *lab.Namespace, letter byte, args ...string) (findings, time.Duration) {
	t.Helper()
	results := filepath.Join(t.TempDir(), "nmap.xml")
	options := []string{"-n", "-Pn", "-T4", "-s" + string(letter), "-oX", results}
	if strings.Contains(args[len(args)-1], ":") {
		options = append(options, "-6")
	}
	took := timed(t, ns, "nmap", append(options, args...)...)
	return readReport(t, results), took
}

// readReport reads nmap's XML, which lists every port: those of the extraports,
// too, by ranges.
func readReport(t testing.TB, name string) findings {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	found, err := readNmap(text)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// nmapRun is the part of nmap's XML that holds ports.
type nmapRun struct {
	Hosts []struct {
		Addresses []struct {
			Addr netip.Addr `xml:"addr,attr"`
		} `xml:"address"`
		Ports []struct {
			ID    uint16 `xml:"portid,attr"`
			State struct {
				State  string `xml:"state,attr"`
				Reason string `xml:"reason,attr"`
			} `xml:"state"`
		} `xml:"ports>port"`
		Extra []struct {
			State   string `xml:"state,attr"`
			Reasons []struct {
				Reason string `xml:"reason,attr"`
				Ports  string `xml:"ports,attr"`
			} `xml:"extrareasons"`
		} `xml:"ports>extraports"`
	} `xml:"host"`
}

func readNmap(text []byte) (findings, error) {
	// The other addresses of a host are those of its Ethernet.
	text = regexp.MustCompile(`<address [^>]*addrtype="mac"[^>]*>`).ReplaceAll(text, nil)
	var run nmapRun
	if err := xml.Unmarshal(text, &run); err != nil {
		return nil, err
	}
	found := findings{}
	for _, h := range run.Hosts {
		if len(h.Addresses) != 1 {
			return nil, fmt.Errorf("a host with %d addresses", len(h.Addresses))
		}
		addr := h.Addresses[0].Addr
		for _, p := range h.Ports {
			found[netip.AddrPortFrom(addr, p.ID)] = finding{p.State.State, p.State.Reason}
		}
		for _, e := range h.Extra {
			for _, r := range e.Reasons {
				for part := range strings.SplitSeq(r.Ports, ",") {
					from, to, isRange := strings.Cut(part, "-")
					if !isRange {
						to = from
					}
					first, err1 := strconv.ParseUint(from, 10, 16)
					last, err2 := strconv.ParseUint(to, 10, 16)
					if err := cmp.Or(err1, err2); err != nil {
						return nil, fmt.Errorf("ports %q: %w", r.Ports, err)
					}
					for port := first; port <= last; port++ {
						found[netip.AddrPortFrom(addr, uint16(port))] = finding{e.State, r.Reason}
					}
				}
			}
		}
	}
	return found, nil
}
