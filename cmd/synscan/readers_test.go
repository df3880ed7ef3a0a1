package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"synoptic/internal/lab"
	"synoptic/internal/method"
	"synoptic/internal/output"
	"synoptic/internal/result"
)

// Programs that read nmap's XML, as Debian ships them; scripts/need installs
// them. Both scripts print "address port state" of every port that is listed.
const (
	libnmap = `
import sys
from libnmap.parser import NmapParser
report = NmapParser.parse_fromfile(sys.argv[1])
for host in report.hosts:
    assert host.status == "up", host.status
    for port, protocol in host.get_ports():
        service = host.get_service(port, protocol)
        assert protocol == "tcp" and service.reason
        print(host.address, port, service.state)
`
	nmapParser = `
use Nmap::Parser;
my $report = Nmap::Parser->new;
$report->parsefile($ARGV[0]);
for my $host ($report->all_hosts()) {
	die "status " . $host->status if $host->status ne "up";
	for my $port ($host->tcp_ports()) {
		print join(" ", $host->addr || $host->ipv6_addr, $port, $host->tcp_port_state($port)), "\n";
	}
}
`
)

// readerOutput runs a reader, which must succeed.
func readerOutput(t *testing.T, name string, args ...string) string {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil || stderr.Len() > 0 {
		t.Errorf("%s: %v\n%s%s", name, err, stderr.Bytes(), out)
	}
	return string(out)
}

// readersAccept has every reader read a report. Those that can list ports must
// list just the wanted ones.
func readersAccept(t *testing.T, report string, want []string) {
	t.Helper()
	slices.Sort(want)
	readerOutput(t, "xmllint", "--noout", "--dtdvalid", "/usr/share/nmap/nmap.dtd", report)
	if out := readerOutput(t, "ndiff", report, report); out != "" {
		t.Errorf("ndiff finds differences between a report and itself:\n%s", out)
	}
	page := readerOutput(t, "xsltproc", "/usr/share/nmap/nmap.xsl", report)
	if !strings.Contains(page, "</html>") {
		t.Errorf("the page is not whole:\n%s", page)
	}
	for name, out := range map[string]string{
		"libnmap":      readerOutput(t, "/usr/bin/python3", "-c", libnmap, report), // Debian's, where its package goes
		"Nmap::Parser": readerOutput(t, "/usr/bin/perl", "-e", nmapParser, report),
		"xml":          listedPorts(t, report),
	} {
		got := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
		if out == "" {
			got = nil
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s lists\n%q, want\n%q", name, got, want)
		}
	}
	for _, line := range want {
		if address, _, _ := strings.Cut(line, " "); !strings.Contains(page, address) {
			t.Errorf("%s is not on the page", address)
		}
	}
}

// listedPorts is what the script languages' readers do, by encoding/xml.
func listedPorts(t *testing.T, report string) string {
	t.Helper()
	var doc struct {
		Hosts []struct {
			Address struct {
				Addr string `xml:"addr,attr"`
			} `xml:"address"`
			Ports []struct {
				ID    string `xml:"portid,attr"`
				State struct {
					State string `xml:"state,attr"`
				} `xml:"state"`
			} `xml:"ports>port"`
		} `xml:"host"`
	}
	text, err := os.ReadFile(report)
	if err == nil {
		err = xml.Unmarshal(text, &doc)
	}
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, h := range doc.Hosts {
		for _, p := range h.Ports {
			fmt.Fprintln(&b, h.Address.Addr, p.ID, p.State.State)
		}
	}
	return b.String()
}

// listed is what a reader should list of records.
func listed(records []result.Record) (lines []string) {
	for _, r := range records {
		lines = append(lines, fmt.Sprintf("%v %d %v", r.Addr.Addr(), r.Addr.Port(), r.State))
	}
	return lines
}

// selfCommand prepares this test binary to be the program.
func selfCommand(t *testing.T, dir string, args ...string) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Args, cmd.Dir = append([]string{"synscan"}, args...), dir
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	return cmd
}

// Reports made from lines: every method, every size.
func TestReadersAcceptReports(t *testing.T) {
	open := func(endpoint string) result.Record {
		return result.Record{Time: time.Now(), Addr: netip.MustParseAddrPort(endpoint), State: result.Open, Reason: result.SynAck, Method: "syn", TTL: 64}
	}
	type document struct {
		name    string
		records []result.Record
	}
	suspect := open("10.0.0.1:443")
	suspect.Suspect = result.SynProxy
	documents := []document{
		{"no_results", nil},
		{"one_host", []result.Record{open("10.0.0.1:80"), suspect}},
		{"ipv6", []result.Record{open("[2001:db8::1]:80"), open("[2001:db8::2]:80"), open("10.0.0.1:80")}},
		{"many_hosts", nil},
	}
	for i := range 1000 {
		documents[3].records = append(documents[3].records, open(fmt.Sprintf("10.0.%d.%d:80", i/256, i%256)))
	}
	for _, m := range method.All() {
		d := document{"method_" + m.Name, []result.Record{open("10.0.0.1:80"), open("10.0.0.1:22"), open("10.0.0.1:23"), open("10.0.0.1:25")}}
		d.records[1].State, d.records[1].Reason = m.Reset, result.Reset
		d.records[2].State, d.records[2].Reason, d.records[2].TTL = m.Silence, result.NoResponse, 0
		d.records[3].State, d.records[3].Reason = result.Filtered, result.AdminProhibited
		d.records[3].ReasonIP = netip.MustParseAddr("10.0.0.254")
		if m == method.Connect {
			d.records[0].TTL, d.records[1].TTL, d.records[1].Reason = 0, 0, result.ConnRefused
		}
		for i := range d.records {
			d.records[i].Method = m.Name
		}
		documents = append(documents, d)
	}
	for _, d := range documents {
		t.Run(d.name, func(t *testing.T) {
			dir := t.TempDir()
			var lines []byte
			for i := range d.records {
				lines = output.JSON.Line(lines, &d.records[i])
			}
			if err := os.WriteFile(filepath.Join(dir, "lines"), lines, 0o600); err != nil {
				t.Fatal(err)
			}
			if out, err := selfCommand(t, dir, "convert", "-oX", "xml", "lines").CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			readersAccept(t, filepath.Join(dir, "xml"), listed(d.records))
		})
	}
	t.Run("many_ports_told_together", func(t *testing.T) {
		dir := t.TempDir()
		r := open("10.0.0.1:80")
		lines := output.JSON.Line(nil, &r)
		r.State, r.Reason = result.Closed, result.Reset
		for p := range 30 {
			r.Addr = netip.AddrPortFrom(r.Addr.Addr(), uint16(1000+p))
			lines = output.JSON.Line(lines, &r)
		}
		if err := os.WriteFile(filepath.Join(dir, "lines"), lines, 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := selfCommand(t, dir, "convert", "-oX", "xml", "lines").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		readersAccept(t, filepath.Join(dir, "xml"), []string{"10.0.0.1 80 open"})
	})
}

// Reports of real scans that ended early, and of one that was killed.
func TestReadersAcceptWhatIsUnfinished(t *testing.T) {
	lab.NeedRoot(t)
	for _, tc := range []struct {
		name   string
		signal syscall.Signal
		exit   string // attribute of the report
	}{
		{"interrupted", syscall.SIGINT, `exit="error" errormsg="interrupted: `},
		{"killed", syscall.SIGKILL, `exit="error" errormsg="the scan has not finished"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			// Few enough ports for a report to list them all
			cmd := selfCommand(t, dir, "-p", "1-25", "--rate", "100", "-oD", "lines", "-oX", "xml", "-oJ", "array", "--all-states", "127.0.0.0/26")
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			wait(t, "results", func() bool {
				text, err := os.ReadFile(filepath.Join(dir, "lines"))
				return err == nil && bytes.Count(text, []byte("\n")) >= 20
			})
			if err := cmd.Process.Signal(tc.signal); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err == nil {
				t.Fatal("the scan was not interrupted")
			}
			text, err := os.ReadFile(filepath.Join(dir, "xml"))
			if err != nil || !bytes.Contains(text, []byte(tc.exit)) {
				t.Errorf("%v, no %s in\n%s", err, tc.exit, text)
			}
			records := readLines(t, filepath.Join(dir, "lines"))
			var array []any
			if text, err := os.ReadFile(filepath.Join(dir, "array")); err != nil || json.Unmarshal(text, &array) != nil || len(array) < 10 {
				t.Errorf("the array has %d elements, %v", len(array), err)
			}
			want := listed(records)
			if tc.signal == syscall.SIGKILL {
				want = nil
			}
			readersAccept(t, filepath.Join(dir, "xml"), want)
		})
	}
}

// wait waits until something is so.
func wait(t *testing.T, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !so(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited too long for %s", what)
		}
	}
}

// readLines reads what -oD wrote.
func readLines(t *testing.T, path string) (records []result.Record) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := output.ReadJSON(f, path, func(r *result.Record) error {
		records = append(records, *r)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if len(records) == 0 {
		t.Fatal("no results at all")
	}
	return records
}
