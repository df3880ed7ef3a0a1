package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"synoptic/internal/output"
	"synoptic/internal/result"
)

// everywhere are all formats, each in a file of a directory, and text on stdout.
func everywhere(dir string) []place {
	places := []place{textOnStdout}
	for _, k := range kinds {
		places = append(places, place{k, filepath.Join(dir, strings.TrimPrefix(k.option, "-"))})
	}
	return places
}

// opened opens outputs in a directory, as a process does, with stdout for
// appending to a file there.
func opened(t *testing.T, dir string, places []place) (*outputs, error) {
	t.Helper()
	stdout, err := os.OpenFile(filepath.Join(dir, "stdout"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stdout.Close() })
	out, err := openOutputs(places, stdout, newConsole(stdout), func() {})
	if err == nil {
		out.allStates = true
	}
	return out, err
}

var (
	began  = time.Date(2026, 11, 3, 9, 8, 7, 0, time.UTC)
	about  = &output.Scan{Program: "synscan 1.0", Args: []string{"synscan"}, Start: began, Methods: []string{"syn"}, Ports: "80", NPorts: 1, Reasons: true}
	theEnd = &output.End{Time: began.Add(time.Minute), Elapsed: time.Minute}
)

// someRecords are so many, of three ports of each address, with round trips that
// are no whole microseconds.
func someRecords(n int) []result.Record {
	records := make([]result.Record, n)
	for i := range records {
		records[i] = result.Record{
			Time: began.Add(time.Duration(i) * time.Millisecond), Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i / 3 >> 8), byte(i / 3)}), uint16(80+i%3)),
			State: result.Open, Reason: result.SynAck, Method: "syn", TTL: 64, RTT: time.Duration(41_999 + i),
		}
		if i%5 == 0 {
			records[i].State, records[i].Reason, records[i].ReasonIP = result.Filtered, result.HostUnreach, netip.MustParseAddr("192.0.2.1")
		}
	}
	return records
}

func recordTo(t *testing.T, to sink, records []result.Record) {
	t.Helper()
	for i := range records {
		if err := to.Record(&records[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := to.Flush(); err != nil {
		t.Fatal(err)
	}
}

// contents returns what is in a directory.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		all[e.Name()] = e.Type().String()
		if e.Type().IsRegular() {
			text, err := os.ReadFile(filepath.Join(dir, e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			all[e.Name()] = string(text)
		}
	}
	return all
}

func sameFiles(t *testing.T, what string, got, want map[string]string) {
	t.Helper()
	for name := range want {
		if got[name] != want[name] {
			t.Errorf("%s: %s is\n%.1500s\nwant\n%.1500s", what, name, got[name], want[name])
		}
	}
	if len(got) != len(want) {
		t.Errorf("%s: %d files of %d", what, len(got), len(want))
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// kept is what a caller keeps of a snapshot.
type kept struct {
	state   string // JSON
	section []byte
}

// taken takes a snapshot and, beside it, lets more records come.
func taken(t *testing.T, of sink, then func()) kept {
	t.Helper()
	state, encode, ok := of.snapshot()
	if !ok {
		t.Fatal("there is no snapshot")
	}
	section := make(chan []byte)
	go func() { section <- encode([]byte("header")) }()
	then()
	text, err := json.Marshal(state)
	if err != nil {
		t.Fatal(err)
	}
	return kept{string(text), bytes.TrimPrefix(<-section, []byte("header"))}
}

func (c kept) resume(t *testing.T, out *outputs) error {
	t.Helper()
	var state outputsState
	if err := json.Unmarshal([]byte(c.state), &state); err != nil {
		t.Fatal(err)
	}
	return out.resume(about, state, c.section)
}

func TestResumedOutputsAreTheUndisturbedOnes(t *testing.T) {
	for _, n := range []int{0, 1, 2000} {
		records := someRecords(n + 10)
		dir := t.TempDir()
		out, err := opened(t, dir, everywhere(dir))
		if err != nil {
			t.Fatal(err)
		}
		if err := out.begin(about); err != nil {
			t.Fatal(err)
		}
		recordTo(t, out, records)
		out.close(theEnd)
		want := contents(t, dir)

		for name, damage := range map[string]func(text string, kept int64) string{
			"as_it_is":            func(text string, _ int64) string { return text },
			"half_a_line_follows": func(text string, _ int64) string { return text + `{"timest` },
			"garbage_follows":     func(text string, _ int64) string { return text + strings.Repeat("\x00garbage\n", 1000) },
			"cut_in_between":      func(text string, kept int64) string { return text[:(kept+int64(len(text)))/2] },
			"cut_at_the_mark":     func(text string, kept int64) string { return text[:kept] },
		} {
			t.Run(fmt.Sprintf("%d_records/%s", n, name), func(t *testing.T) {
				dir := t.TempDir()
				out, err := opened(t, dir, everywhere(dir))
				if err != nil {
					t.Fatal(err)
				}
				if err := out.begin(about); err != nil {
					t.Fatal(err)
				}
				recordTo(t, out, records[:n])
				c := taken(t, out, func() { recordTo(t, out, records[n:n+7]) })
				var state outputsState
				if err := json.Unmarshal([]byte(c.state), &state); err != nil {
					t.Fatal(err)
				}
				for i, m := range state.Outputs {
					file := m.Name
					if onStdout(out.opened[i].place) {
						file = filepath.Join(dir, "stdout")
					}
					write(t, file, damage(contents(t, dir)[filepath.Base(file)], m.Mark.Whole))
				}
				again, err := opened(t, dir, everywhere(dir))
				if err != nil {
					t.Fatal(err)
				}
				if err := c.resume(t, again); err != nil {
					t.Fatal(err)
				}
				var array []any
				if err := json.Unmarshal([]byte(contents(t, dir)["oJ"]), &array); err != nil || len(array) != n {
					t.Errorf("resumed, the array has %d elements of %d, %v", len(array), n, err)
				}
				recordTo(t, again, records[n:])
				again.close(theEnd)
				sameFiles(t, name, contents(t, dir), want)
			})
		}
	}
}

// What waits for a name at a snapshot is there once in the end, with a name.
func TestResumedNames(t *testing.T) {
	records := someRecords(300)
	dir := t.TempDir()
	places := everywhere(dir)
	named := func(t *testing.T, dir string, first, second int, wait time.Duration, killed bool) map[string]string {
		search := func(ctx context.Context, a netip.Addr) string {
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
			return fmt.Sprintf("host%d.example", a.As4()[3])
		}
		for i := range places {
			if places[i].name != "-" {
				places[i].name = filepath.Join(dir, filepath.Base(places[i].name))
			}
		}
		out, err := opened(t, dir, places)
		if err != nil {
			t.Fatal(err)
		}
		if err := out.begin(about); err != nil {
			t.Fatal(err)
		}
		n := newNamer(t.Context(), out, search)
		recordTo(t, n, records[:first])
		time.Sleep(wait)
		synctest.Wait()
		if killed {
			c := taken(t, n, func() { recordTo(t, n, records[first:second]) })
			time.Sleep(3 * time.Second / 2) // more names come
			synctest.Wait()
			left := contents(t, dir)
			n.finish()
			for name, text := range left { // as if it had been killed
				write(t, filepath.Join(dir, name), text)
			}
			if out, err = opened(t, dir, places); err != nil {
				t.Fatal(err)
			}
			if err := c.resume(t, out); err != nil {
				t.Fatal(err)
			}
			if n := len(out.waiting); n == 0 && wait < 2*time.Second {
				t.Error("nothing waits")
			}
			n = newNamer(t.Context(), out, search)
			n.resume(out.waiting)
		}
		recordTo(t, n, records[first:])
		if missed := n.finish(); missed != 0 {
			t.Errorf("%d missed", missed)
		}
		out.close(theEnd)
		all := contents(t, dir)
		lines := strings.SplitAfter(all["oD"], "\n") // names come in any order, those of an address in its own
		slices.SortStableFunc(lines, func(a, b string) int { return strings.Compare(address(a), address(b)) })
		all["oD"] = strings.Join(lines, "")
		return all
	}
	var want map[string]string
	synctest.Test(t, func(t *testing.T) { want = named(t, t.TempDir(), 100, 150, 0, false) })
	if strings.Count(want["oD"], `"host":"host`) != len(records) {
		t.Fatalf("not every record has a name:\n%s", want["oD"])
	}
	for _, wait := range []time.Duration{0, 3 * time.Second / 2, 10 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			sameFiles(t, wait.String(), named(t, t.TempDir(), 100, 150, wait, true), want)
		})
	}
}

func address(line string) string {
	_, line, _ = strings.Cut(line, `"ip":"`)
	line, _, _ = strings.Cut(line, `"`)
	return line
}

// Who waited when the outputs were resumed waits again, or without -R no more.
func TestNamedTakesWhoWaited(t *testing.T) {
	over, cancel := context.WithCancel(t.Context())
	cancel() // so that nobody is asked for a name
	for _, resolve := range []bool{false, true} {
		dir := t.TempDir()
		out, err := opened(t, dir, everywhere(dir)[1:])
		if err != nil {
			t.Fatal(err)
		}
		if err := out.begin(about); err != nil {
			t.Fatal(err)
		}
		out.waiting = someRecords(3)
		a := &app{opt: options{resolve: resolve}, signals: &signals{ctx: over}, say: &console{out: io.Discard}}
		to, end := a.named(out)
		end()
		if _, names := to.(*namer); names != resolve || out.waiting != nil || out.Flush() != nil {
			t.Errorf("-R %v: something waits, or not where it should", resolve)
		}
		if got := contents(t, dir); strings.Count(got["oD"], "\n") != 3 || got["oJ"] != "[]\n" || out.hosts.Len() != 1 {
			t.Errorf("-R %v: %q", resolve, got)
		}
	}
}

// A report on stdout is told once in a file that it is appended to.
func TestResumedReportOnStdout(t *testing.T) {
	records := someRecords(20)
	places := []place{{kinds[5], "-"}}
	dir, undisturbed := t.TempDir(), t.TempDir()
	whole, err := opened(t, undisturbed, places)
	if err != nil {
		t.Fatal(err)
	}
	out, err := opened(t, dir, places)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(whole.begin(about), out.begin(about)); err != nil {
		t.Fatal(err)
	}
	recordTo(t, whole, records)
	whole.close(theEnd)
	recordTo(t, out, records[:10])
	c := taken(t, out, func() { recordTo(t, out, records[10:]) })
	out.close(theEnd)
	if out, err = opened(t, dir, places); err != nil {
		t.Fatal(err)
	}
	if err := c.resume(t, out); err != nil {
		t.Fatal(err)
	}
	recordTo(t, out, records[10:])
	out.close(theEnd)
	sameFiles(t, "resumed", contents(t, dir), contents(t, undisturbed))
}

// An output that cannot be gone on with costs no other output anything.
func TestResumeRefuses(t *testing.T) {
	records := someRecords(20)
	file := func(dir, name string) string { return filepath.Join(dir, name) }
	for _, tc := range []struct {
		name   string
		change func(t *testing.T, dir string, places []place, c *kept) []place
		want   string // DIR stands for the directory
	}{
		{"a_short_file", func(t *testing.T, dir string, places []place, _ *kept) []place {
			if err := os.Truncate(file(dir, "oL"), 100); err != nil {
				t.Fatal(err)
			}
			return places
		}, "continue DIR/oL: the file has 100 bytes, and "},
		{"a_missing_file", func(t *testing.T, dir string, places []place, _ *kept) []place {
			if err := os.Remove(file(dir, "oL")); err != nil {
				t.Fatal(err)
			}
			return places
		}, "continue DIR/oL: there is no such file, and "},
		{"another_file", func(t *testing.T, dir string, places []place, _ *kept) []place {
			write(t, file(dir, "oL"), strings.Repeat("dear diary\n", 1000))
			return places
		}, "continue DIR/oL: the first "},
		{"a_directory", func(t *testing.T, dir string, places []place, _ *kept) []place {
			if err := errors.Join(os.Remove(file(dir, "oL")), os.Mkdir(file(dir, "oL"), 0o700)); err != nil {
				t.Fatal(err)
			}
			return places
		}, "create DIR/oL: is a directory"},
		{"a_directory_for_a_report", func(t *testing.T, dir string, places []place, _ *kept) []place {
			if err := errors.Join(os.Remove(file(dir, "oX")), os.Mkdir(file(dir, "oX"), 0o700)); err != nil {
				t.Fatal(err)
			}
			return places
		}, "create DIR/oX: is a directory"},
		{"an_output_less", func(t *testing.T, dir string, places []place, _ *kept) []place { return places[:len(places)-1] },
			"the scan to be resumed had the output -oX DIR/oX: it is missing now"},
		{"no_text", func(t *testing.T, dir string, places []place, _ *kept) []place { return places[1:] },
			"the scan to be resumed had the output text on stdout: it is missing now"},
		{"an_output_more", func(t *testing.T, dir string, places []place, _ *kept) []place {
			return append(places, place{kinds[0], file(dir, "more")})
		}, "the scan to be resumed did not have the output -oD DIR/more: leave it out"},
		{"another_format", func(t *testing.T, dir string, places []place, c *kept) []place {
			c.state = strings.Replace(c.state, `"-oL"`, `"-oJ"`, 1)
			return places
		}, "the scan to be resumed had the output -oJ DIR/oL: it is missing now"},
		{"malformed_hosts", func(t *testing.T, dir string, places []place, c *kept) []place {
			c.section = c.section[:len(c.section)-1]
			return places
		}, "malformed snapshot of hosts"},
		{"malformed_waiting", func(t *testing.T, dir string, places []place, c *kept) []place {
			c.section = []byte{9, 9}
			return places
		}, "malformed records that wait for a name"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			places := everywhere(dir)
			out, err := opened(t, dir, places)
			if err != nil {
				t.Fatal(err)
			}
			if err := out.begin(about); err != nil {
				t.Fatal(err)
			}
			recordTo(t, out, records)
			c := taken(t, out, func() { recordTo(t, out, records) })
			places = tc.change(t, dir, places, &c)
			before := contents(t, dir)
			out, err = opened(t, dir, places)
			if err == nil {
				err = c.resume(t, out)
				out.discard()
			}
			if want := strings.ReplaceAll(tc.want, "DIR", dir); err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %v, want %s", err, want)
			}
			sameFiles(t, "refused", contents(t, dir), before)
		})
	}
}

// There is no checkpoint of what has not got everywhere.
func TestNoSnapshotOfAFailedOutput(t *testing.T) {
	dir := t.TempDir()
	for _, full := range []place{{kinds[1], "/dev/full"}, {kinds[0], filepath.Join(dir, "pipe")}} {
		if full.name != "/dev/full" {
			if err := syscall.Mkfifo(full.name, 0o600); err != nil {
				t.Fatal(err)
			}
			reader, err := os.OpenFile(full.name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer reader.Close() // reads nothing
		}
		out, err := opened(t, dir, []place{{kinds[2], filepath.Join(dir, "good")}, full})
		if err != nil {
			t.Fatal(err)
		}
		if err := out.begin(about); full.name == "/dev/full" {
			if err == nil {
				t.Error("/dev/full takes the beginning of an array")
			}
			out.discard()
			continue
		}
		if _, _, ok := out.snapshot(); !ok {
			t.Error("there is no snapshot of nothing")
		}
		records := someRecords(1000) // more than a pipe holds: pipe(7)
		for i := range records {
			out.Record(&records[i])
		}
		if _, _, ok := out.snapshot(); ok {
			t.Error("there is a snapshot, and a reader misses something")
		}
	}
	bad := &fake{err: &output.Error{Name: "bad", Err: errors.New("full")}}
	o := &outputs{lines: []lineWriter{bad, &fake{}}, hosts: output.NewHosts(), stop: func() {}}
	if _, _, ok := o.snapshot(); ok {
		t.Error("there is a snapshot of what has failed")
	}
}

func TestMalformedWaiting(t *testing.T) {
	records := someRecords(3)
	good := appendWaiting(nil, records)
	got, rest, err := parseWaiting(append(bytes.Clone(good), "rest"...))
	if err != nil || string(rest) != "rest" || len(got) != len(records) {
		t.Fatalf("%d records, %q, %v", len(got), rest, err)
	}
	for i := range got {
		if got[i] != records[i] {
			t.Errorf("read back %+v\nof %+v", got[i], records[i])
		}
	}
	for n := range good {
		if _, _, err := parseWaiting(good[:n]); err == nil {
			t.Errorf("%d bytes of %d are taken", n, len(good))
		}
	}
	line := output.JSON.Line(nil, &records[0])
	for name, data := range map[string][]byte{
		"claims_many":         binary.AppendUvarint(nil, 1<<62),
		"a_line_too_few":      {1, 0, 0},
		"a_line_too_many":     append(binary.AppendUvarint([]byte{0}, uint64(len(line))), line...),
		"below_0":             append(binary.AppendUvarint([]byte{1}, 1<<63), 0),
		"a_method_of_nowhere": append(binary.AppendUvarint([]byte{1, 0}, uint64(len(line))), bytes.Replace(line, []byte(`"syn"`), []byte(`"sin"`), 1)...),
		"no_line":             {1, 0, 2, '{', '\n'},
	} {
		if _, _, err := parseWaiting(data); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}
