package output

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"synoptic/internal/result"
)

var lineFormats = map[string]Format{"text": Text, "json": JSON, "list": List, "array": Array}

// numbered are records that differ.
func numbered(from, to int) (records []result.Record) {
	for i := from; i < to; i++ {
		r := openV4
		r.Addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), uint16(i))
		r.Time = r.Time.Add(time.Duration(i) * time.Second)
		records = append(records, r)
	}
	return records
}

func recordAll(t testing.TB, l *Lines, records []result.Record) {
	t.Helper()
	for i := range records {
		if err := l.Record(&records[i]); err != nil {
			t.Fatal(err)
		}
	}
}

// undisturbed is what a whole run writes.
func undisturbed(t testing.TB, format Format, records []result.Record) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "whole")
	l, err := Create(path, format)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Begin(nil); err != nil {
		t.Fatal(err)
	}
	recordAll(t, l, records)
	if err := l.Close(nil); err != nil {
		t.Fatal(err)
	}
	return content(t, path)
}

func content(t testing.TB, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func put(t testing.TB, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// marked writes records to a file and takes a mark, and then more records that no
// Close follows: the file is what a killed process leaves.
func marked(t testing.TB, path string, format Format, before, after []result.Record) Mark {
	t.Helper()
	l, err := Create(path, format)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.file.Close() })
	if err := l.Begin(nil); err != nil {
		t.Fatal(err)
	}
	recordAll(t, l, before)
	if err := l.Flush(); err != nil {
		t.Fatal(err)
	}
	m, ok := l.Mark()
	if !ok {
		t.Fatal("there is no mark")
	}
	if m.Any != (len(before) > 0) {
		t.Errorf("%+v after %d records", m, len(before))
	}
	recordAll(t, l, after)
	if err := l.Flush(); err != nil {
		t.Fatal(err)
	}
	return m
}

// document fails the test if a file is not one with so many records.
func document(t testing.TB, format string, text []byte, records int) {
	t.Helper()
	n, good := bytes.Count(text, []byte("\n")), true
	switch format {
	case "list":
		n, good = n-2, bytes.HasPrefix(text, []byte("#masscan\n")) && bytes.HasSuffix(text, []byte("# end\n"))
	case "array":
		var elements []any
		good = json.Unmarshal(text, &elements) == nil
		n = len(elements)
	case "json":
		good = ReadJSON(bytes.NewReader(text), "lines", func(*result.Record) error { return nil }) == nil
	}
	if !good || n != records {
		t.Fatalf("no %s with %d records:\n%.2000s", format, records, text)
	}
}

// resumed continues a file in a new process's place, and ends it.
func resumed(t testing.TB, name, path string, format Format, m Mark, had int, rest []result.Record) []byte {
	t.Helper()
	var read Mark // as a checkpoint has it
	if text, err := json.Marshal(m); err != nil || json.Unmarshal(text, &read) != nil || read != m {
		t.Fatalf("%+v is read back as %+v", m, read)
	}
	l, err := Create(path, format)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Continue(nil, read); err != nil {
		t.Fatal(err)
	}
	document(t, name, content(t, path), had)
	recordAll(t, l, rest)
	if err := l.Close(nil); err != nil {
		t.Fatal(err)
	}
	return content(t, path)
}

func TestContinuedFileIsTheUndisturbedOne(t *testing.T) {
	for name, format := range lineFormats {
		for _, n := range []int{0, 1, 3000} {
			t.Run(fmt.Sprintf("%s/%d_records", name, n), func(t *testing.T) {
				records := numbered(0, n+5)
				want := undisturbed(t, format, records)
				path := filepath.Join(t.TempDir(), "out")
				m := marked(t, path, format, records[:n], records[n:n+3])
				left := content(t, path)
				// Killed at any byte of a write, which the file system may or may not have, and
				// with what another writer or a crashed disk may have put behind it.
				var damages [][]byte
				step := 1
				if n > 100 {
					step = 61 // a prime
				}
				for size := int(m.Whole); size <= len(left); size += step {
					damages = append(damages, left[:size])
				}
				for _, more := range []string{`{"times`, "]\n", "\x00\x00\x00\x00", strings.Repeat("garbage\n", 50)} {
					damages = append(damages, append(bytes.Clone(left), more...))
				}
				for _, damage := range damages {
					put(t, path, damage)
					if got := resumed(t, name, path, format, m, n, records[n:]); !bytes.Equal(got, want) {
						t.Fatalf("%d bytes of %d, when %d were left\n%.1000s", len(got), len(want), len(damage), got)
					}
				}
				// Nothing follows
				put(t, path, left)
				if got := resumed(t, name, path, format, m, n, nil); !bytes.Equal(got, undisturbed(t, format, records[:n])) {
					t.Errorf("when nothing follows:\n%.1000s", got)
				}
			})
		}
	}
}

// A scan may be killed again and again.
func TestContinuedFileHasMarks(t *testing.T) {
	for name, format := range lineFormats {
		t.Run(name, func(t *testing.T) {
			records := numbered(0, 40)
			path := filepath.Join(t.TempDir(), "out")
			m := marked(t, path, format, nil, records[:2])
			for n := 0; n < len(records); n += 4 {
				l, err := Create(path, format)
				if err != nil {
					t.Fatal(err)
				}
				if err := l.Continue(nil, m); err != nil {
					t.Fatal(err)
				}
				if again, ok := l.Mark(); !ok || again != m {
					t.Errorf("continued, the mark is %+v, %v; was %+v", again, ok, m)
				}
				recordAll(t, l, records[n:n+4])
				if _, ok := l.Mark(); ok {
					t.Error("there is a mark of what is not flushed")
				}
				l.Flush()
				m, _ = l.Mark()
				recordAll(t, l, records[:1]) // lost with the process
				l.Flush()
				l.file.Close()
			}
			if got := resumed(t, name, path, format, m, len(records), nil); !bytes.Equal(got, undisturbed(t, format, records)) {
				t.Errorf("got\n%s", got)
			}
		})
	}
}

func TestContinueRefusesAnotherFile(t *testing.T) {
	records := numbered(0, 10)
	for _, tc := range []struct {
		name   string
		change func(t *testing.T, path string, m *Mark)
		want   string // FILE and WHOLE stand for these
	}{
		{"too_short", func(t *testing.T, path string, m *Mark) {
			if err := os.Truncate(path, m.Whole-1); err != nil {
				t.Fatal(err)
			}
		}, "continue FILE: the file has 318 bytes, and 319 of it are to be kept"},
		{"emptied", func(t *testing.T, path string, m *Mark) { put(t, path, nil) },
			"continue FILE: the file has 0 bytes, and 319 of it are to be kept"},
		{"gone", func(t *testing.T, path string, m *Mark) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}, "continue FILE: there is no such file, and 319 bytes of it are to be kept"},
		{"another", func(t *testing.T, path string, m *Mark) { put(t, path, bytes.Repeat([]byte("dear diary\n"), 100)) },
			"continue FILE: the first 319 bytes are not those that were written: it is another file, or was changed"},
		{"one_letter_changed", func(t *testing.T, path string, m *Mark) {
			text := content(t, path)
			text[20]++
			put(t, path, text)
		}, "continue FILE: the first 319 bytes are not those that were written: it is another file, or was changed"},
		{"now_a_pipe", func(t *testing.T, path string, m *Mark) {
			if err := errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o600)); err != nil {
				t.Fatal(err)
			}
			f, err := os.OpenFile(path, os.O_RDWR, 0) // or Create waits for a reader
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { f.Close() })
		}, "continue FILE: it was a file, and is none now"},
		{"was_a_pipe", func(t *testing.T, path string, m *Mark) { m.Regular = false },
			"continue FILE: it was a pipe or a device, and is a file now"},
		{"no_mark_at_all", func(t *testing.T, path string, m *Mark) { *m = Mark{} },
			"continue FILE: {Whole:0 Any:false Regular:false Sum:0 Device:0 Inode:0 At:0} is no mark of this format"},
		{"a_negative_length", func(t *testing.T, path string, m *Mark) { *m = Mark{Whole: -1, Regular: true} },
			"continue FILE: {Whole:-1 Any:false Regular:true Sum:0 Device:0 Inode:0 At:0} is no mark of this format"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "out")
			m := marked(t, path, List, records, records)
			tc.change(t, path, &m)
			info, err := os.Stat(path)
			var before []byte
			if err == nil && info.Mode().IsRegular() {
				before = content(t, path)
			}
			l, err := Create(path, List)
			if err != nil {
				t.Fatal(err)
			}
			check := l.Check(m)
			err = l.Continue(nil, m)
			if want := strings.ReplaceAll(tc.want, "FILE", path); err == nil || err.Error() != want || check == nil || check.Error() != want {
				t.Errorf("error %v, and of Check %v; want %v", err, check, want)
			}
			l.Discard()
			if before != nil {
				if got := content(t, path); !bytes.Equal(got, before) {
					t.Errorf("the file was changed: %s", got)
				}
			} else if _, err := os.Stat(path); tc.name == "gone" && !errors.Is(err, os.ErrNotExist) {
				t.Errorf("a new file is left: %v", err)
			}
		})
	}
	t.Run("a_copy_will_do", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "out")
		m := marked(t, path, List, records, records)
		put(t, path+"2", content(t, path))
		if got := resumed(t, "list", path+"2", List, m, 10, nil); !bytes.Equal(got, undisturbed(t, List, records)) {
			t.Errorf("got\n%s", got)
		}
	})
	t.Run("a_directory", func(t *testing.T) {
		path := t.TempDir()
		if _, err := Create(path, List); err == nil || err.Error() != "create "+path+": is a directory" {
			t.Errorf("error %v", err)
		}
	})
}

// Whatever room there is when a disk fills up behind a mark: what the mark is of
// stays, as a document, and when there is room again the rest follows.
func TestFullDiskKeepsTheMark(t *testing.T) {
	for name, format := range lineFormats {
		t.Run(name, func(t *testing.T) {
			records := numbered(0, 12)
			want := undisturbed(t, format, records)
			path := filepath.Join(t.TempDir(), "out")
			whole := int(marked(t, path, format, records[:4], nil).Whole)
			for room := whole + len(format.close); room < len(want); room++ {
				d := &disk{room: room}
				l := New(d, "results", format)
				l.file, l.regular = d, true
				if err := l.Begin(nil); err != nil {
					t.Fatal(err)
				}
				recordAll(t, l, records[:4])
				l.Flush()
				m, ok := l.Mark()
				if !ok || m.Whole != int64(whole) {
					t.Fatalf("mark %+v, %v", m, ok)
				}
				for i := range records[4:] {
					l.Record(&records[4+i])
					if i%3 == 0 {
						l.Flush()
					}
				}
				if err := l.Flush(); err == nil {
					// Lines had room, and what closes them has not.
					if err = l.Close(nil); !errors.Is(err, errFull) {
						t.Fatalf("in %d bytes there is room: %v", room, err)
					}
				} else {
					if _, ok := l.Mark(); ok {
						t.Fatal("there is a mark of what has failed")
					}
					l.Close(nil)
				}
				if !bytes.HasPrefix(d.data, want[:whole]) {
					t.Fatalf("room %d: the mark is cut: %d bytes of %d", room, len(d.data), whole)
				}
				document(t, name, d.data, bytes.Count(d.data, []byte(format.end))-closers(format))
				put(t, path, d.data)
				if got := resumed(t, name, path, format, m, 4, records[4:]); !bytes.Equal(got, want) {
					t.Fatalf("room %d: got\n%s", room, got)
				}
			}
		})
	}
}

// closers is how often what ends a line stands beside the lines.
func closers(f Format) int { return strings.Count(f.open+f.close, f.end) }

// A disk without room for what closes a document leaves the mark as well.
func TestContinueOnAFullDisk(t *testing.T) {
	records := numbered(0, 4)
	path := filepath.Join(t.TempDir(), "out")
	m := marked(t, path, Array, records, nil)
	d := &disk{room: int(m.Whole) + 1, data: content(t, path)}
	l := New(d, "results", Array)
	l.file, l.regular, l.checked = d, true, &m
	err := l.Continue(nil, m)
	if !errors.Is(err, errFull) || !bytes.HasPrefix(d.data, content(t, path)[:m.Whole]) {
		t.Errorf("error %v, %d bytes of %d", err, len(d.data), m.Whole)
	}
	l.Close(nil)
	put(t, path, d.data)
	if got := resumed(t, "array", path, Array, m, 4, nil); !bytes.Equal(got, undisturbed(t, Array, records)) {
		t.Errorf("got\n%s", got)
	}
}

// A pipe is marked when its reader has everything, and begins anew.
func TestMarkOfAPipe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reader, writer := io.Pipe()
		l := New(writer, "pipe", List)
		l.Queue(func() {})
		var reading sync.WaitGroup
		got := make([]byte, len(List.open))
		reading.Go(func() { io.ReadFull(reader, got) })
		if err := l.Begin(nil); err != nil {
			t.Fatal(err)
		}
		reading.Wait()
		begun, ok := l.Mark()
		if !ok || begun != (Mark{Whole: int64(len(List.open))}) {
			t.Errorf("begun, the mark is %+v, %v", begun, ok)
		}
		l.Record(&openV4)
		l.Flush()
		start := time.Now()
		if m, ok := l.Mark(); ok || time.Since(start) != markWait {
			t.Errorf("after %v a line that waits is marked: %+v", time.Since(start), m)
		}
		line := List.Line(nil, &openV4)
		half := make([]byte, len(line)/2)
		io.ReadFull(reader, half)
		synctest.Wait()
		if m, ok := l.Mark(); ok {
			t.Errorf("half a line is marked: %+v", m)
		}
		// A reader that comes in time is waited for.
		reading.Go(func() {
			time.Sleep(markWait / 2)
			io.ReadFull(reader, make([]byte, len(line)-len(half)))
		})
		m, ok := l.Mark()
		if want := (Mark{Whole: int64(len(List.open) + len(line)), Any: true}); !ok || m != want {
			t.Errorf("read, the mark is %+v, %v; want %+v", m, ok, want)
		}
		reading.Wait()
		l.Record(&openV4)
		l.Flush()
		reader.Close()
		synctest.Wait()
		if m, ok := l.Mark(); ok {
			t.Errorf("what has no reader is marked: %+v", m)
		}
		l.Close(nil)

		var b bytes.Buffer
		l = New(&b, "pipe", List)
		l.Queue(func() {})
		if err := l.Continue(nil, m); err != nil {
			t.Fatal(err)
		}
		l.Record(&openV4)
		if err := l.Close(nil); err != nil || b.String() != List.open+string(line)+List.close {
			t.Errorf("%v: %q", err, b.String())
		}
	})
}

// standard opens a file as a shell does for stdout.
func standard(t testing.TB, path string, flags int, format Format) (*Lines, *os.File) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|flags, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	l := New(f, "stdout", format)
	l.Into(f)
	l.Queue(func() {})
	return l, f
}

func TestContinuedStdout(t *testing.T) {
	records := numbered(0, 9)
	for name, format := range lineFormats {
		lines := func(records []result.Record) string {
			var b bytes.Buffer
			l := New(&b, "stdout", format)
			l.Begin(nil)
			recordAll(t, l, records)
			l.Close(nil)
			return b.String()
		}
		for _, tc := range []struct {
			name    string
			n       int
			before  string // in the file
			first   int    // how the shell opens it for the first process
			beside  string // written to it by others before the mark
			change  func(path string) error
			then    int    // how for the second
			want    string // in the end
			records int    // that follow
		}{
			{"appended", 4, "", os.O_TRUNC, "", nil, os.O_APPEND, lines(records), 9},
			{"behind_another_text", 4, "before\n", os.O_APPEND, "", nil, os.O_APPEND, "before\n" + lines(records), 9},
			{"before_any_record", 0, "before\n", os.O_APPEND, "", nil, os.O_APPEND, "before\n" + lines(records), 9},
			{"not_for_appending", 4, "", os.O_TRUNC, "", nil, 0, lines(records), 9},
			{"emptied_by_the_shell", 4, "", os.O_TRUNC, "", nil, os.O_TRUNC, lines(records[4:]), 9},
			{"another_file", 4, "", os.O_TRUNC, "", func(path string) error {
				if err := os.Rename(path, path+".old"); err != nil {
					return err
				}
				return os.WriteFile(path, bytes.Repeat([]byte("dear diary\n"), 100), 0o600)
			}, os.O_APPEND, strings.Repeat("dear diary\n", 100) + lines(records[4:]), 9},
		} {
			t.Run(name+"/"+tc.name, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "out")
				put(t, path, []byte(tc.before))
				l, f := standard(t, path, tc.first, format)
				if err := l.Begin(nil); err != nil {
					t.Fatal(err)
				}
				recordAll(t, l, records[:tc.n])
				l.Flush()
				m, ok := l.Mark()
				if !ok || !m.Regular {
					t.Fatalf("mark %+v, %v", m, ok)
				}
				recordAll(t, l, records[tc.n:tc.n+3])
				l.Flush()
				f.WriteString("half a l")
				f.Close()
				if tc.change != nil {
					if err := tc.change(path); err != nil {
						t.Fatal(err)
					}
				}
				l, _ = standard(t, path, tc.then, format)
				if err := l.Continue(nil, m); err != nil {
					t.Fatal(err)
				}
				recordAll(t, l, records[tc.n:])
				if err := l.Close(nil); err != nil {
					t.Fatal(err)
				}
				if got := string(content(t, path)); got != tc.want {
					t.Errorf("got\n%s\nwant\n%s", got, tc.want)
				}
			})
		}
	}
	t.Run("what_others_wrote_before_the_mark_stays", func(t *testing.T) { // > out 2>&1
		path := filepath.Join(t.TempDir(), "out")
		l, f := standard(t, path, os.O_TRUNC, Text)
		l.Begin(nil)
		f.WriteString("synscan: a note\n")
		recordAll(t, l, records[:4])
		l.Flush()
		f.WriteString("synscan: another\n")
		m, _ := l.Mark()
		recordAll(t, l, records)
		l.Flush()
		before, after, _ := strings.Cut(string(undisturbed(t, Text, records)), string(Text.Line(nil, &records[4])))
		l, _ = standard(t, path, os.O_APPEND, Text)
		if err := l.Continue(nil, m); err != nil {
			t.Fatal(err)
		}
		recordAll(t, l, records[4:])
		l.Close(nil)
		want := "synscan: a note\n" + before + "synscan: another\n" + string(Text.Line(nil, &records[4])) + after
		if got := string(content(t, path)); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	})
}

// A report on stdout is begun again in its place, and a file's in any case.
func TestContinuedReport(t *testing.T) {
	hosts := NewHosts()
	for _, r := range numbered(0, 9) {
		hosts.Record(&r)
	}
	for name, style := range map[string]Style{"grepable": Grepable, "normal": Normal, "xml": XML} {
		report := render(t, style, aScan(), anEnd(), numbered(0, 9)...)
		for _, tc := range []struct {
			name   string
			before string
			flags  int // that the shell opens it with for the second process
			want   string
		}{
			{"appended", "before\n", os.O_APPEND, "before\n" + report},
			{"not_for_appending", "", 0, report},
			{"emptied_by_the_shell", "before\n", os.O_TRUNC, report},
		} {
			t.Run(name+"/"+tc.name, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "out")
				put(t, path, []byte(tc.before))
				on := func(flags int) *Report {
					f, err := os.OpenFile(path, os.O_WRONLY|flags, 0)
					if err != nil {
						t.Fatal(err)
					}
					t.Cleanup(func() { f.Close() })
					r := NewReport(f, "stdout", style, hosts)
					r.Into(f)
					return r
				}
				r := on(os.O_APPEND)
				scan := aScan()
				scan.Args = []string{"another", "command", "line"}
				if err := r.Begin(scan); err != nil {
					t.Fatal(err)
				}
				m, ok := r.Mark()
				if !ok {
					t.Fatal("there is no mark")
				}
				if err := r.Close(anEnd()); err != nil { // killed when it was done
					t.Fatal(err)
				}
				r = on(tc.flags)
				if err := errors.Join(r.Check(m), r.Continue(aScan(), m), r.Close(anEnd())); err != nil {
					t.Fatal(err)
				}
				if got := string(content(t, path)); got != tc.want {
					t.Errorf("got\n%s\nwant\n%s", got, tc.want)
				}
			})
		}
		t.Run(name+"/file", func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "out")
			for _, left := range []string{"", report, report[:len(report)/2], "dear diary\n"} {
				put(t, path, []byte(left))
				r, err := CreateReport(path, style, hosts)
				if err != nil {
					t.Fatal(err)
				}
				if err := errors.Join(r.Check(Mark{}), r.Continue(aScan(), Mark{}), r.Close(anEnd())); err != nil {
					t.Fatal(err)
				}
				if got := string(content(t, path)); got != report {
					t.Errorf("got\n%s\nwant\n%s", got, report)
				}
			}
		})
	}
}
