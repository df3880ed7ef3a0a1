package output

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"synoptic/internal/result"
)

var when = time.Date(2026, 11, 3, 9, 8, 7, 60_000_005, time.FixedZone("", 3600))

var (
	openV4 = result.Record{
		Time: when, Addr: netip.MustParseAddrPort("127.0.0.1:80"), State: result.Open, Reason: result.SynAck,
		Method: "syn", TTL: 64, Window: 65495, RTT: 41999 * time.Nanosecond,
	}
	silentV6 = result.Record{
		Time: when, Addr: netip.MustParseAddrPort("[::1]:65535"), State: result.OpenFiltered, Reason: result.NoResponse, Method: "null",
	}
	rejected = result.Record{
		Time: when, Addr: netip.MustParseAddrPort("[2001:db8::2]:22"), State: result.Filtered, Reason: result.AdminProhibited,
		Method: "syn", TTL: 61, RTT: time.Second, ReasonIP: netip.MustParseAddr("2001:db8::1"),
	}
	proxied = result.Record{
		Time: when, Addr: netip.MustParseAddrPort("10.0.0.1:1"), State: result.Open, Reason: result.SynAck, Suspect: result.SynProxy,
		Method: "syn", TTL: 255,
	}
	closedV4 = result.Record{
		Time: when, Addr: netip.MustParseAddrPort("10.0.0.1:2"), State: result.Closed, Reason: result.Reset, Method: "fin", TTL: 1,
		RTT: 999 * time.Nanosecond,
	}
)

// longest has every optional field at its longest.
var longest = result.Record{
	Time: when, Addr: netip.AddrPortFrom(netip.MustParseAddr("2001:db8:1111:2222:3333:4444:5555:6666"), 65535),
	State: result.OpenFiltered, Reason: result.AdminProhibited, Suspect: result.SynProxy, Method: "maimon", TTL: 255, Window: 65535,
	RTT: 1<<63 - 1, ReasonIP: netip.MustParseAddr("2001:db8:1111:2222:3333:4444:5555:7777"),
}

func TestFormats(t *testing.T) {
	for _, tc := range []struct {
		name       string
		record     *result.Record
		text, json string
	}{
		{"open", &openV4, "127.0.0.1:80 open syn-ack",
			`{"timestamp":"2026-11-03T08:08:07.060000005Z","host":"127.0.0.1","ip":"127.0.0.1","port":80,"protocol":"tcp","state":"open","reason":"syn-ack","ttl":64,"method":"syn","tls":false,"rtt_us":41,"window":65495}`},
		{"silence_has_no_ttl", &silentV6, "[::1]:65535 open|filtered no-response",
			`{"timestamp":"2026-11-03T08:08:07.060000005Z","host":"::1","ip":"::1","port":65535,"protocol":"tcp","state":"open|filtered","reason":"no-response","method":"null","tls":false}`},
		{"icmp_names_its_sender", &rejected, "[2001:db8::2]:22 filtered admin-prohibited",
			`{"timestamp":"2026-11-03T08:08:07.060000005Z","host":"2001:db8::2","ip":"2001:db8::2","port":22,"protocol":"tcp","state":"filtered","reason":"admin-prohibited","ttl":61,"method":"syn","tls":false,"rtt_us":1000000,"reason_ip":"2001:db8::1"}`},
		{"suspect_is_no_fourth_word", &proxied, "10.0.0.1:1 open syn-ack",
			`{"timestamp":"2026-11-03T08:08:07.060000005Z","host":"10.0.0.1","ip":"10.0.0.1","port":1,"protocol":"tcp","state":"open","reason":"syn-ack","ttl":255,"method":"syn","tls":false,"window":0,"suspect":"syn-proxy"}`},
		{"known_rtt_is_never_0", &closedV4, "10.0.0.1:2 closed reset",
			`{"timestamp":"2026-11-03T08:08:07.060000005Z","host":"10.0.0.1","ip":"10.0.0.1","port":2,"protocol":"tcp","state":"closed","reason":"reset","ttl":1,"method":"fin","tls":false,"rtt_us":1,"window":0}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := string(Text.Line(nil, tc.record)); got != tc.text+"\n" {
				t.Errorf("Text: %q, want %q", got, tc.text)
			}
			if got := string(JSON.Line(nil, tc.record)); got != tc.json+"\n" {
				t.Errorf("JSON:\n got %s\nwant %s", got, tc.json)
			}
		})
	}
}

// Lines as masscan 1.3.2 writes them, of a SYN+ACK and of resets.
func TestMasscanFormats(t *testing.T) {
	reset := func(method string) *result.Record {
		r := closedV4
		r.Method = method
		return &r
	}
	for _, tc := range []struct {
		name        string
		record      *result.Record
		list, array string
	}{
		{"open", &openV4, "open tcp 80 127.0.0.1 1793693287",
			`{   "ip": "127.0.0.1",   "timestamp": "1793693287", "ports": [ {"port": 80, "proto": "tcp", "status": "open", "reason": "syn-ack", "ttl": 64} ] }`},
		{"reset_of_a_segment_without_ack", reset("syn"), "closed tcp 2 10.0.0.1 1793693287",
			`{   "ip": "10.0.0.1",   "timestamp": "1793693287", "ports": [ {"port": 2, "proto": "tcp", "status": "closed", "reason": "rst-ack", "ttl": 1} ] }`},
		{"reset_of_a_segment_with_ack", reset("maimon"), "closed tcp 2 10.0.0.1 1793693287",
			`{   "ip": "10.0.0.1",   "timestamp": "1793693287", "ports": [ {"port": 2, "proto": "tcp", "status": "closed", "reason": "rst", "ttl": 1} ] }`},
		{"an_unknown_ttl_is_0", &silentV6, "open|filtered tcp 65535 ::1 1793693287",
			`{   "ip": "::1",   "timestamp": "1793693287", "ports": [ {"port": 65535, "proto": "tcp", "status": "open|filtered", "reason": "no-response", "ttl": 0} ] }`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := string(List.Line(nil, tc.record)); got != tc.list+"\n" {
				t.Errorf("list: %q, want %q", got, tc.list)
			}
			if got := string(Array.Line(nil, tc.record)); got != tc.array+"\n" {
				t.Errorf("array:\n got %s\nwant %s", got, tc.array)
			}
		})
	}
}

// ReadJSON reads what JSON writes, to the microsecond of a round trip.
func TestReadJSON(t *testing.T) {
	named := openV4
	named.Host = "www.example.com"
	records := []*result.Record{&openV4, &silentV6, &rejected, &proxied, &closedV4, &named}
	var text []byte
	for _, r := range records {
		text = JSON.Line(text, r)
	}
	n := 0
	if err := ReadJSON(bytes.NewReader(text), "lines", func(got *result.Record) error {
		want := *records[n]
		if want.RTT > 0 {
			want.RTT = max(want.RTT.Truncate(time.Microsecond), time.Microsecond)
		}
		if !got.Time.Equal(want.Time) {
			t.Errorf("time %v, want %v", got.Time, want.Time)
		}
		if want.Time = got.Time; *got != want {
			t.Errorf("read back %+v\nof %+v", *got, want)
		}
		n++
		return nil
	}); err != nil || n != len(records) {
		t.Errorf("%d records of %d, %v", n, len(records), err)
	}
	if err := ReadJSON(bytes.NewReader(text), "lines", func(*result.Record) error { return errFull }); !errors.Is(err, errFull) {
		t.Errorf("error %v", err)
	}
}

func TestReadJSONRefuses(t *testing.T) {
	good := string(JSON.Line(nil, &openV4))
	for _, tc := range []struct{ name, line, want string }{
		{"half_a_line", good[:50], "unexpected end of JSON input"},
		{"two_objects", strings.TrimSpace(good) + good, "invalid character '{' after top-level value"},
		{"an_empty_line", "\n", "unexpected end of JSON input"},
		{"xml", "<?xml version=\"1.0\"?>\n", "invalid character '<' looking for beginning of value"},
		{"an_array", "[]\n", "it is array"},
		{"no_timestamp", strings.Replace(good, "timestamp", "time", 1), "no timestamp"},
		{"no_ip", strings.Replace(good, `"ip"`, `"address"`, 1), "no ip"},
		{"an_ip_with_a_zone", strings.ReplaceAll(good, "127.0.0.1", `fe80::1%<\"&`), `ip "fe80::1%<\"&"`},
		{"a_mapped_ip", strings.ReplaceAll(good, "127.0.0.1", "::ffff:127.0.0.1"), `ip "::ffff:127.0.0.1"`},
		{"a_reason_ip_with_a_zone", strings.Replace(good, `"tls":`, `"reason_ip":"fe80::1%x","tls":`, 1), `reason_ip "fe80::1%x"`},
		{"a_mapped_reason_ip", strings.Replace(good, `"tls":`, `"reason_ip":"::ffff:1.2.3.4","tls":`, 1), `reason_ip "::ffff:1.2.3.4"`},
		{"a_host_that_is_no_name", strings.Replace(good, `"host":"127.0.0.1"`, `"host":"a\">b"`, 1), `host "a\">b"`},
		{"a_host_that_is_another_address", strings.Replace(good, `"host":"127.0.0.1"`, `"host":"127.0.0.2"`, 1), `host "127.0.0.2"`},
		{"no_port", strings.Replace(good, `"port"`, `"portid"`, 1), "no port"},
		{"a_port_in_quotes", strings.Replace(good, `:80,`, `:"80",`, 1), "port is string"},
		{"a_port_too_large", strings.Replace(good, `:80,`, `:65536,`, 1), "port is number 65536"},
		{"another_protocol", strings.Replace(good, `"tcp"`, `"udp"`, 1), `protocol "udp"`},
		{"an_unknown_state", strings.Replace(good, `"open"`, `"ajar"`, 1), `state "ajar"`},
		{"an_unknown_reason", strings.Replace(good, `"syn-ack"`, `"hunch"`, 1), `reason "hunch"`},
		{"an_unknown_suspicion", strings.Replace(good, `"tls":`, `"suspect":"ufo","tls":`, 1), `suspect "ufo"`},
		{"no_method", strings.Replace(good, `"method":"syn"`, `"method":""`, 1), "no method"},
		{"no_lines_at_all", strings.Repeat("x", 1<<17), "it is too long"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := ReadJSON(strings.NewReader(good+tc.line), "x.json", func(*result.Record) error { return nil })
			want := "read x.json: line 2 is no result as -oD writes it: " + tc.want
			if err == nil || err.Error() != want {
				t.Errorf("error %v, want %v", err, want)
			}
		})
	}
}

// What encoding/json reads back is the record.
func TestJSONReadsBack(t *testing.T) {
	for _, r := range []*result.Record{&openV4, &silentV6, &rejected, &proxied, &closedV4, &longest} {
		var got struct {
			Timestamp             time.Time
			Host, IP, Protocol    string
			Port                  uint16
			State, Reason, Method string
			TTL                   *uint8
			TLS                   *bool
			RTT                   *int64 `json:"rtt_us"`
			ReasonIP              string `json:"reason_ip"`
			Window                *uint16
			Suspect               string
		}
		decoder := json.NewDecoder(bytes.NewReader(JSON.Line(nil, r)))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&got); err != nil {
			t.Fatal(err)
		}
		ip := r.Addr.Addr().String()
		reasonIP := ""
		if r.ReasonIP.IsValid() {
			reasonIP = r.ReasonIP.String()
		}
		if !got.Timestamp.Equal(r.Time) || got.Host != ip || got.IP != ip || got.Port != r.Addr.Port() || got.Protocol != "tcp" ||
			got.State != r.State.String() || got.Reason != r.Reason.String() || got.Method != r.Method ||
			got.TLS == nil || *got.TLS || got.ReasonIP != reasonIP || got.Suspect != r.Suspect.String() {
			t.Errorf("read back %+v\nof %+v", got, r)
		}
		if (got.TTL != nil) != (r.Reason != result.NoResponse) || got.TTL != nil && *got.TTL != r.TTL {
			t.Errorf("%v: ttl %v", r.Addr, got.TTL)
		}
		if (got.RTT != nil) != (r.RTT > 0) {
			t.Errorf("%v: rtt_us %v of %v", r.Addr, got.RTT, r.RTT)
		}
	}
}

func TestLineFitsItsBound(t *testing.T) {
	for name, format := range map[string]Format{"text": Text, "json": JSON, "list": List, "array": Array} {
		if n := len(format.Line(nil, &longest)) + len(format.between); n > lineMax {
			t.Errorf("%s: the longest line has %d bytes, the bound is %d", name, n, lineMax)
		}
	}
}

func TestRecordAllocatesNothing(t *testing.T) {
	for name, format := range map[string]Format{"text": Text, "json": JSON, "list": List, "array": Array} {
		w := New(io.Discard, name, format)
		records := []*result.Record{&openV4, &silentV6, &rejected, &proxied, &longest}
		if n := testing.AllocsPerRun(1000, func() {
			for _, r := range records {
				if err := w.Record(r); err != nil {
					t.Fatal(err)
				}
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations for %d records", name, n, len(records))
		}
	}
}

// wholeLines fails the test if a write does not end with a newline.
type wholeLines struct {
	t      *testing.T
	lines  int
	writes int
}

func (w *wholeLines) Write(p []byte) (int, error) {
	if !bytes.HasSuffix(p, []byte{'\n'}) {
		w.t.Errorf("a write ends with %q", p[max(0, len(p)-10):])
	}
	w.writes++
	w.lines += bytes.Count(p, []byte{'\n'})
	return len(p), nil
}

func TestWritesAreWholeLines(t *testing.T) {
	const records = 5000
	sink := &wholeLines{t: t}
	w := New(sink, "test", JSON)
	for range records {
		if err := w.Record(&longest); err != nil {
			t.Fatal(err)
		}
	}
	if sink.writes < 2 {
		t.Errorf("%d writes before the flush", sink.writes)
	}
	if err := w.Close(nil); err != nil {
		t.Fatal(err)
	}
	if sink.lines != records {
		t.Errorf("%d lines of %d", sink.lines, records)
	}
}

func TestNoRecordsMakeAnEmptyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	if err := os.WriteFile(path, []byte("the scan before\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w, err := Create(path, JSON)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "the scan before\n" {
		t.Errorf("a file that was only opened reads %q, %v", got, err)
	}
	if err := errors.Join(w.Begin(nil), w.Flush(), w.Close(nil)); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || len(got) != 0 {
		t.Errorf("read %q, %v", got, err)
	}
}

func TestCreateNamesTheFile(t *testing.T) {
	_, err := Create(filepath.Join(t.TempDir(), "none", "out"), Text)
	if !errors.Is(err, os.ErrNotExist) || !strings.HasSuffix(err.Error(), "none/out: no such file or directory") {
		t.Errorf("error %v", err)
	}
}

var errFull = errors.New("no room")

// disk has room for so many bytes.
type disk struct {
	room      int
	data      []byte
	truncated bool
	closed    bool
}

func (d *disk) Write(p []byte) (int, error) {
	n := min(len(p), d.room-len(d.data))
	d.data = append(d.data, p[:n]...)
	if n < len(p) {
		return n, &os.PathError{Op: "write", Path: "x", Err: errFull}
	}
	return n, nil
}

func (d *disk) Truncate(size int64) error {
	clear(d.data[size:]) // or a Seek behind the end would find it again
	d.data, d.truncated = d.data[:size], true
	return nil
}

func (d *disk) Seek(offset int64, _ int) (int64, error) {
	d.data = d.data[:offset]
	return offset, nil
}

func (d *disk) Close() error { d.closed = true; return nil }

func TestFullDisk(t *testing.T) {
	line := len(Text.Line(nil, &openV4))
	for _, tc := range []struct {
		name    string
		room    int
		regular bool
		kept    int // bytes
		lost    uint64
	}{
		{"half_a_line_is_taken_back", 5*line + line/2, true, 5 * line, 7},
		{"a_pipe_cannot_take_back", 5*line + line/2, false, 5*line + line/2, 7},
		{"full_between_lines", 5 * line, true, 5 * line, 7},
		{"full_from_the_start", 0, true, 0, 12},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := &disk{room: tc.room}
			w := New(d, "results", Text)
			w.file, w.regular = d, tc.regular
			for i := range 12 { // three of them flushed before, two after the disk is full
				if i == 3 || i == 10 {
					w.Flush()
				}
				w.Record(&openV4)
			}
			err := w.Close(nil)
			failed, ok := errors.AsType[*Error](err)
			if !ok || !errors.Is(err, errFull) || failed.Lost != tc.lost || err.Error() != "write results: no room" {
				t.Errorf("error %v, %+v", err, failed)
			}
			if len(d.data) != tc.kept || !d.closed {
				t.Errorf("%d bytes kept, want %d; closed %v", len(d.data), tc.kept, d.closed)
			}
		})
	}
}

func BenchmarkRecord(b *testing.B) {
	for _, bc := range []struct {
		name   string
		format Format
		record *result.Record
	}{
		{"format=text/family=ipv4", Text, &openV4},
		{"format=text/family=ipv6", Text, &silentV6},
		{"format=json/family=ipv4", JSON, &openV4},
		{"format=json/family=ipv6", JSON, &rejected},
	} {
		b.Run(bc.name, func(b *testing.B) {
			w := New(io.Discard, "bench", bc.format)
			b.ReportAllocs()
			for b.Loop() {
				if err := w.Record(bc.record); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
