package output

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"synoptic/internal/result"
)

// aScan is a scan of two ports whose names are known.
func aScan() *Scan {
	return &Scan{
		Program: "synscan 1.0", Args: []string{"synscan", "-p", "22,80", "10.0.0.0/30"}, Start: when.UTC(),
		Methods: []string{"syn"}, Ports: "22,80", NPorts: 2,
		Service: func(port uint16) string { return map[uint16]string{22: "ssh", 80: "http"}[port] },
	}
}

func anEnd() *End {
	return &End{Time: when.UTC().Add(2500 * time.Millisecond), Elapsed: 2500 * time.Millisecond, Addresses: 4}
}

// render writes a report of some records.
func render(t testing.TB, style Style, scan *Scan, end *End, records ...result.Record) string {
	t.Helper()
	hosts := NewHosts()
	for i := range records {
		hosts.Record(&records[i])
	}
	var b bytes.Buffer
	r := NewReport(&b, "test", style, hosts)
	if err := errors.Join(r.Begin(scan), r.Flush(), r.Close(end)); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// record makes one of the usual answers.
func record(endpoint string, state result.State, why result.Reason, ttl uint8) result.Record {
	return result.Record{Time: when, Addr: netip.MustParseAddrPort(endpoint), State: state, Reason: why, Method: "syn", TTL: ttl}
}

func TestReports(t *testing.T) {
	proxy := record("10.0.0.1:80", result.Open, result.SynAck, 63)
	proxy.Suspect, proxy.RTT = result.SynProxy, 1234*time.Microsecond
	rejected := record("10.0.0.1:8080", result.Filtered, result.AdminProhibited, 0)
	rejected.ReasonIP = netip.MustParseAddr("10.0.0.254")
	records := []result.Record{
		record("[2001:db8::1]:22", result.Open, result.SynAck, 64),
		proxy, rejected,
		record("10.0.0.1:22", result.Closed, result.Reset, 64),
	}
	scan := aScan()
	scan.Reasons = true
	for _, tc := range []struct {
		name  string
		style Style
		want  string
	}{
		{"grepable", Grepable, `# synscan 1.0 scan initiated Tue Nov  3 08:08:07 2026 as: synscan -p 22,80 10.0.0.0/30
Host: 10.0.0.1 ()	Status: Up
Host: 10.0.0.1 ()	Ports: 22/closed/tcp//ssh///, 80/open/tcp//http///, 8080/filtered/tcp/////
Host: 2001:db8::1 ()	Status: Up
Host: 2001:db8::1 ()	Ports: 22/open/tcp//ssh///
# synscan 1.0 done at Tue Nov  3 08:08:09 2026 -- 4 IP addresses (2 hosts up) scanned in 2.50 seconds
`},
		{"normal", Normal, `# synscan 1.0 scan initiated Tue Nov  3 08:08:07 2026 as: synscan -p 22,80 10.0.0.0/30
Nmap scan report for 10.0.0.1
Host is up, received syn-ack ttl 63 (0.0012s latency).

PORT     STATE    SERVICE REASON
22/tcp   closed   ssh     reset ttl 64
80/tcp   open     http    syn-ack ttl 63
|_suspect: syn-proxy
8080/tcp filtered unknown admin-prohibited from 10.0.0.254

Nmap scan report for 2001:db8::1
Host is up, received syn-ack ttl 64.

PORT   STATE SERVICE REASON
22/tcp open  ssh     syn-ack ttl 64

# synscan 1.0 done at Tue Nov  3 08:08:09 2026 -- 4 IP addresses (2 hosts up) scanned in 2.50 seconds
`},
		{"xml", XML, `<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE nmaprun>
<!-- synscan 1.0 scan initiated Tue Nov  3 08:08:07 2026 as: synscan -p 22,80 10.0.0.0/30 -->
<nmaprun scanner="nmap" args="synscan -p 22,80 10.0.0.0/30" start="1793693287" startstr="Tue Nov  3 08:08:07 2026" version="synscan 1.0" xmloutputversion="1.05">
<scaninfo type="syn" protocol="tcp" numservices="2" services="22,80"/>
<verbose level="0"/>
<debugging level="0"/>
<host><status state="up" reason="syn-ack" reason_ttl="63"/>
<address addr="10.0.0.1" addrtype="ipv4"/>
<hostnames>
</hostnames>
<ports><port protocol="tcp" portid="22"><state state="closed" reason="reset" reason_ttl="64"/><service name="ssh" method="table" conf="3"/></port>
<port protocol="tcp" portid="80"><state state="open" reason="syn-ack" reason_ttl="63"/><service name="http" method="table" conf="3"/><script id="suspect" output="syn-proxy"/></port>
<port protocol="tcp" portid="8080"><state state="filtered" reason="admin-prohibited" reason_ttl="0" reason_ip="10.0.0.254"/></port>
</ports>
</host>
<host><status state="up" reason="syn-ack" reason_ttl="64"/>
<address addr="2001:db8::1" addrtype="ipv6"/>
<hostnames>
</hostnames>
<ports><port protocol="tcp" portid="22"><state state="open" reason="syn-ack" reason_ttl="64"/><service name="ssh" method="table" conf="3"/></port>
</ports>
</host>
<runstats><finished time="1793693289" timestr="Tue Nov  3 08:08:09 2026" summary="synscan 1.0 done at Tue Nov  3 08:08:09 2026; 4 IP addresses (2 hosts up) scanned in 2.50 seconds" elapsed="2.50" exit="success"/><hosts up="2" down="2" total="4"/>
</runstats>
</nmaprun>
`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := render(t, tc.style, scan, anEnd(), records...); got != tc.want {
				t.Errorf("got\n%s\nwant\n%s", got, tc.want)
			}
		})
	}
}

// No text of an error becomes a line of its own, which could pass for a host's.
func TestErrorsStayOnTheirLine(t *testing.T) {
	end := anEnd()
	end.Err = "write a\nHost: 10.0.0.9 ()\tStatus: Up: no room"
	for name, style := range map[string]Style{"grepable": Grepable, "normal": Normal} {
		got := render(t, style, aScan(), end)
		if want := `seconds: "write a\nHost: 10.0.0.9 ()\tStatus: Up: no room"` + "\n"; !strings.HasSuffix(got, want) || strings.Count(got, "\n") != 2 {
			t.Errorf("%s: no %q at the end of\n%s", name, want, got)
		}
	}
}

// A scan that lost answers is done, and its reports say that they may lack some.
func TestReportsTellALoss(t *testing.T) {
	const loss = "; this machine dropped 7 packets, results may be incomplete"
	end := anEnd()
	end.Dropped = 7
	for _, tc := range []struct {
		name  string
		style Style
		want  string
	}{
		{"grepable", Grepable, " -- 4 IP addresses (1 host up) scanned in 2.50 seconds" + loss + "\n"},
		{"normal", Normal, " -- 4 IP addresses (1 host up) scanned in 2.50 seconds" + loss + "\n"},
		{"xml", XML, "; 4 IP addresses (1 host up) scanned in 2.50 seconds" + loss + `" elapsed="2.50" exit="success"/>`},
	} {
		if got := render(t, tc.style, aScan(), end, openV4); !strings.Contains(got, tc.want) {
			t.Errorf("%s: no %q in\n%s", tc.name, tc.want, got)
		}
	}
}

// What nmap 7.93 prints of a host with so many ports in these states.
func TestManyPortsAreToldTogether(t *testing.T) {
	ports := func(from, to int, state result.State, why result.Reason) (all []result.Record) {
		for p := from; p <= to; p++ {
			all = append(all, record(fmt.Sprintf("10.0.0.1:%d", p), state, why, 64))
		}
		return all
	}
	open := ports(1, 1, result.Open, result.SynAck)
	suspect := ports(5, 5, result.Closed, result.Reset)
	suspect[0].Suspect = result.Anomaly
	for _, tc := range []struct {
		name    string
		change  func(*Scan)
		records []result.Record
		ports   string // of the grepable line, with what follows
		hidden  string // in the normal report
	}{
		{"25_are_listed", nil, slices.Concat(open, ports(101, 125, result.Closed, result.Reset)),
			"1/open/tcp/////, 101/closed/tcp/////,", ""},
		{"26_are_not", nil, slices.Concat(open, ports(101, 126, result.Closed, result.Reset)),
			"1/open/tcp/////\tIgnored State: closed (26)\n", "Not shown: 26 closed tcp ports (reset)\nPORT  STATE SERVICE\n1/tcp open  unknown\n"},
		{"50_are_with_v", func(s *Scan) { s.Verbose = 1 }, slices.Concat(open, ports(101, 150, result.Closed, result.Reset)),
			"1/open/tcp/////, 101/closed/tcp/////,", ""},
		{"51_are_not_with_v", func(s *Scan) { s.Verbose = 1 }, slices.Concat(open, ports(101, 151, result.Closed, result.Reset)),
			"1/open/tcp/////\tIgnored State: closed (51)\n", "Not shown: 51 closed tcp ports (reset)\n"},
		{"76_are_not_with_vv", func(s *Scan) { s.Verbose = 2 }, slices.Concat(open, ports(101, 176, result.Closed, result.Reset)),
			"1/open/tcp/////\tIgnored State: closed (76)\n", "Not shown: 76 closed tcp ports (reset)\n"},
		{"open_ports_are_always_listed", nil, ports(1, 100, result.Open, result.SynAck), "1/open/tcp/////, 2/open/tcp/////,", ""},
		{"all_states", func(s *Scan) { s.AllStates = true }, ports(1, 100, result.Closed, result.Reset), "1/closed/tcp/////, 2/closed/tcp/////,", ""},
		{"open_only", func(s *Scan) { s.OpenOnly = true }, slices.Concat(open, ports(101, 102, result.Closed, result.Reset)),
			"1/open/tcp/////\tIgnored State: closed (2)\n", "Not shown: 2 closed tcp ports (reset)\n"},
		{"of_two_states_neither_is_named_in_grepable", nil,
			slices.Concat(open, ports(101, 126, result.Closed, result.Reset), ports(201, 220, result.Filtered, result.NoResponse), ports(300, 309, result.Filtered, result.PortUnreach)),
			"1/open/tcp/////\n", "Not shown: 20 filtered tcp ports (no-response), 10 filtered tcp ports (port-unreach), 26 closed tcp ports (reset)\n"},
		{"equal_counts_come_in_nmaps_order", nil,
			slices.Concat(ports(1, 10, result.Filtered, result.NoResponse), ports(21, 30, result.Filtered, result.PortUnreach), ports(41, 50, result.Filtered, result.AdminProhibited)),
			"\tIgnored State: filtered (30)\n", "All 30 scanned ports on 10.0.0.1 are in ignored states.\nNot shown: 10 filtered tcp ports (admin-prohibited), 10 filtered tcp ports (port-unreach), 10 filtered tcp ports (no-response)\n\n"},
		{"nothing_is_listed", nil, ports(101, 126, result.Closed, result.ConnRefused),
			"\tIgnored State: closed (26)\n", "All 26 scanned ports on 10.0.0.1 are in ignored states.\nNot shown: 26 closed tcp ports (conn-refused)\n\n"},
		{"a_suspect_answer_is_never_hidden", nil, slices.Concat(suspect, ports(101, 130, result.Closed, result.Reset)),
			"5/closed/tcp/////\tIgnored State: closed (30)\n", "Not shown: 30 closed tcp ports (reset)\n"},
		{"nmap_has_a_plural_of_one", nil, slices.Concat(open, ports(2, 26, result.Filtered, result.NoResponse), ports(27, 27, result.Filtered, result.PortUnreach)),
			"1/open/tcp/////\tIgnored State: filtered (26)\n", "Not shown: 25 filtered tcp ports (no-response), 1 filtered tcp ports (port-unreach)\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			scan := aScan()
			scan.Service = nil
			if tc.change != nil {
				tc.change(scan)
			}
			if got := render(t, Grepable, scan, anEnd(), tc.records...); !strings.Contains(got, "\nHost: 10.0.0.1 ()\tPorts: "+tc.ports) {
				t.Errorf("grepable:\n%s\nwants %q", got, tc.ports)
			}
			got := render(t, Normal, scan, anEnd(), tc.records...)
			if !strings.Contains(got, tc.hidden) || strings.Contains(got, "Not shown") != (tc.hidden != "") {
				t.Errorf("normal:\n%s\nwants %q", got, tc.hidden)
			}
		})
	}
	// nmap leaves the second line out of a host with nothing to list and two states.
	two := slices.Concat(ports(1, 30, result.Closed, result.Reset), ports(101, 130, result.Filtered, result.NoResponse))
	if got := render(t, Grepable, aScan(), anEnd(), two...); strings.Count(got, "Host: ") != 1 {
		t.Errorf("two lines:\n%s", got)
	}
	scan := aScan()
	scan.OpenOnly = true
	if got := render(t, XML, scan, anEnd(), two...); strings.Contains(got, "<host>") || !strings.Contains(got, `<hosts up="1" down="3" total="4"/>`) {
		t.Errorf("--open lists a host without open ports:\n%s", got)
	}
}

func TestExtraPorts(t *testing.T) {
	var records []result.Record
	for p := 1; p <= 40; p++ {
		state, why := result.Closed, result.Reset
		switch {
		case p == 7 || p == 9:
			state, why = result.Open, result.SynAck
		case p > 20 && p < 30:
			state, why = result.Filtered, result.NoResponse
		}
		records = append(records, record(fmt.Sprintf("10.0.0.1:%d", p), state, why, 64))
	}
	want := `<ports><extraports state="closed" count="29">
<extrareasons reason="reset" count="29" proto="tcp" ports="1-6,8,10-20,30-40"/>
</extraports>
<port protocol="tcp" portid="7">`
	if got := render(t, XML, aScan(), anEnd(), records...); !strings.Contains(got, want) {
		t.Errorf("got\n%s", got)
	}
}

func TestWhyAHostIsUp(t *testing.T) {
	router := record("10.0.0.1:1", result.Filtered, result.HostUnreach, 60)
	router.ReasonIP = netip.MustParseAddr("10.0.0.254")
	own := record("10.0.0.1:2", result.Filtered, result.PortUnreach, 61)
	silent := record("10.0.0.1:3", result.Filtered, result.NoResponse, 0)
	reset := record("10.0.0.1:4", result.Closed, result.Reset, 62)
	refused := record("10.0.0.1:5", result.Closed, result.ConnRefused, 0)
	answer := record("10.0.0.1:6", result.Open, result.SynAck, 63)
	for _, tc := range []struct {
		name    string
		records []result.Record
		reason  string
		ttl     int
	}{
		{"the_best_answer", []result.Record{router, own, silent, reset, refused, answer}, "syn-ack", 63},
		{"a_reset", []result.Record{router, own, silent, refused, reset}, "reset", 62},
		{"a_refused_connection", []result.Record{router, own, silent, refused}, "conn-refused", 0},
		{"its_own_error", []result.Record{silent, router, own}, "port-unreach", 61},
		{"a_routers_word_is_none", []result.Record{router, silent}, "user-set", 0},
		{"silence_is_none", []result.Record{silent}, "user-set", 0},
		{"this_machine", []result.Record{record("127.0.0.1:1", result.Open, result.SynAck, 64)}, "localhost-response", 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			want := fmt.Sprintf(`<status state="up" reason="%s" reason_ttl="%d"/>`, tc.reason, tc.ttl)
			if got := render(t, XML, aScan(), anEnd(), tc.records...); !strings.Contains(got, want) {
				t.Errorf("got\n%s\nwant %s", got, want)
			}
		})
	}
}

func TestTheBetterStateCounts(t *testing.T) {
	closed, open := record("10.0.0.1:22", result.Closed, result.Reset, 64), record("10.0.0.1:22", result.Open, result.SynAck, 64)
	for _, records := range [][]result.Record{{closed, open}, {open, closed}, {closed, open, closed}} {
		if got := render(t, Grepable, aScan(), anEnd(), records...); !strings.Contains(got, "\tPorts: 22/open/tcp//ssh///\n") {
			t.Errorf("got\n%s", got)
		}
	}
}

// Whatever is on the command line, the document is XML and says it.
func TestArgumentsAreEscaped(t *testing.T) {
	scan := aScan()
	scan.Args = []string{"synscan", "--exclude", `<a>&"b"`, "two words", "---", "", "tab\t", "line\nbreak", "\xff\x01", "ende-"}
	text := render(t, XML, scan, anEnd())
	var got struct {
		Args string `xml:"args,attr"`
	}
	if err := xml.Unmarshal([]byte(text), &got); err != nil { // refuses -- in a comment
		t.Fatalf("%v in\n%s", err, text)
	}
	want := `synscan --exclude "<a>&\"b\"" "two words" --- "" "tab\t" "line\nbreak" "\xff\x01" ende-`
	if got.Args != want {
		t.Errorf("args\n%s, want\n%s", got.Args, want)
	}
	if lines := strings.Count(render(t, Grepable, scan, anEnd()), "\n"); lines != 2 {
		t.Errorf("%d lines in a report without hosts", lines)
	}
}

// At any time a file is a document: opened, with some results, and after Close.
func TestFilesAreWholeAtAnyTime(t *testing.T) {
	path := func(name string) string { return filepath.Join(t.TempDir(), name) }
	hosts := NewHosts()
	array, list, report := path("array"), path("list"), path("report")
	a, err1 := Create(array, Array)
	l, err2 := Create(list, List)
	x, err3 := CreateReport(report, XML, hosts)
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	read := func(path string) string {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	check := func(when string, records int, ending string) {
		t.Helper()
		var elements []any
		if err := json.Unmarshal([]byte(read(array)), &elements); err != nil || len(elements) != records {
			t.Errorf("%s: the array has %d elements of %d, %v", when, len(elements), records, err)
		}
		if text := read(list); strings.Count(text, "open tcp ") != records || !strings.HasPrefix(text, "#masscan\n") || !strings.HasSuffix(text, "\n# end\n") {
			t.Errorf("%s: the list is\n%s", when, text)
		}
		var doc struct {
			Finished struct {
				Exit string `xml:"exit,attr"`
				Why  string `xml:"errormsg,attr"`
			} `xml:"runstats>finished"`
		}
		if err := xml.Unmarshal([]byte(read(report)), &doc); err != nil || doc.Finished.Exit+doc.Finished.Why != ending {
			t.Errorf("%s: the report is %+v, %v", when, doc, err)
		}
	}
	writers := []Writer{a, l, x}
	for _, w := range writers {
		if err := w.Begin(aScan()); err != nil {
			t.Fatal(err)
		}
	}
	check("begun", 0, "error"+unfinished)
	if got := read(array); got != "[]\n" {
		t.Errorf("an array of nothing is %q", got)
	}
	for i := range 5 {
		r := record(fmt.Sprintf("10.0.0.1:%d", i+1), result.Open, result.SynAck, 64)
		hosts.Record(&r)
		if err := errors.Join(a.Record(&r), l.Record(&r), a.Flush(), l.Flush(), x.Flush()); err != nil {
			t.Fatal(err)
		}
		check("running", i+1, "error"+unfinished)
	}
	for _, w := range writers {
		if err := w.Close(anEnd()); err != nil {
			t.Fatal(err)
		}
	}
	check("closed", 5, "success")
}

// A file that becomes full stays a document of what had room.
func TestFullDiskLeavesADocument(t *testing.T) {
	line := len(Array.Line(nil, &openV4)) + len(",\n")
	for _, tc := range []struct {
		name string
		room int
		kept int
	}{
		{"in_a_line", 5*line + line/2, 5},
		{"in_a_comma", 5*line + len("]\n"), 5},
		{"no_room_is_left_to_close_it", 5*line + 1, 4},
		{"in_the_first_line", line / 2, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := &disk{room: tc.room}
			w := New(d, "results", Array)
			w.file, w.regular = d, true
			if err := w.Begin(nil); err != nil {
				t.Fatal(err)
			}
			for i := range 12 {
				if i == 3 || i == 10 {
					w.Flush()
				}
				w.Record(&openV4)
			}
			err := w.Close(nil)
			failed, ok := errors.AsType[*Error](err)
			if !ok || failed.Lost != uint64(12-tc.kept) || failed.Unit != "result" {
				t.Errorf("error %v, %+v", err, failed)
			}
			var elements []any
			if err := json.Unmarshal(d.data, &elements); err != nil || len(elements) != tc.kept || !d.closed {
				t.Errorf("%d elements of %d, %v in\n%s", len(elements), tc.kept, err, d.data)
			}
		})
	}
	t.Run("a_report_counts_the_hosts_it_lost", func(t *testing.T) {
		hosts := NewHosts()
		for i := range 5000 {
			r := record(fmt.Sprintf("10.0.%d.%d:80", i/250, i%250), result.Open, result.SynAck, 64)
			hosts.Record(&r)
		}
		d := &disk{room: 100_000}
		w := newReport(New(d, "report", Format{}), XML, hosts)
		w.lines.file, w.lines.regular = d, true
		if err := w.Begin(aScan()); err != nil {
			t.Fatal(err)
		}
		err := w.Close(anEnd())
		failed, ok := errors.AsType[*Error](err)
		kept := bytes.Count(d.data, []byte("<host>"))
		if !ok || failed.Unit != "host" || kept == 0 || failed.Lost != uint64(5000-kept) {
			t.Errorf("error %v, %+v; %d kept", err, failed, kept)
		}
		if err := xml.Unmarshal(d.data, new(struct{})); err != nil {
			t.Error(err)
		}
	})
}

func TestReportAllocatesForAnswersOnly(t *testing.T) {
	h := NewHosts()
	h.answers = make([]answer, 0, 4096)
	r := record("10.0.0.1:80", result.Closed, result.Reset, 64)
	h.Record(&r)
	if n := testing.AllocsPerRun(1000, func() { h.Record(&r) }); n != 0 {
		t.Errorf("%v allocations for an answer", n)
	}
}

func BenchmarkReport(b *testing.B) {
	h := NewHosts()
	for host := range 256 {
		for port := range 1000 {
			h.Record(&result.Record{
				Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(host)}), uint16(port*63)), State: result.Closed, Reason: result.Reset, TTL: 64,
			})
		}
	}
	for name, style := range map[string]Style{"grepable": Grepable, "normal": Normal, "xml": XML} {
		b.Run("format="+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r := NewReport(io.Discard, "bench", style, h)
				if err := errors.Join(r.Begin(&Scan{AllStates: true}), r.Close(&End{})); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// What comes in the order of a scan is told in that of addresses and ports.
func BenchmarkSort(b *testing.B) {
	const answers = 65535
	for _, hosts := range []int{1, 256} {
		b.Run(fmt.Sprintf("hosts=%d", hosts), func(b *testing.B) {
			h := NewHosts()
			for i := range answers {
				at := i * 65521 % answers // a prime: each once
				h.Record(&result.Record{
					Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(at % hosts)}), uint16(at/hosts)), State: result.Closed, Reason: result.Reset,
				})
			}
			mixed := slices.Clone(h.answers)
			b.ReportAllocs()
			for b.Loop() {
				h.answers, h.sorted = slices.Clone(mixed), false
				h.sort()
			}
			if len(h.answers) != answers {
				b.Fatalf("%d answers of %d", len(h.answers), answers)
			}
		})
	}
}
