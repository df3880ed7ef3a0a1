package sink

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// eventually waits for what another goroutine or process does.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !so(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited too long: %s", what)
		}
	}
}

// disk mounts a file system of so many bytes.
func disk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("this test needs root")
		}
		t.Skip("needs root")
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// episodes reads a file of EVE lines, all whole, and returns their episodes.
func episodes(t *testing.T, name string) (list []string) {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(text) {
		var e eve
		if err := json.Unmarshal(line, &e); err != nil || !bytes.HasSuffix(line, []byte("\n")) {
			t.Fatalf("half a line: %q (%v)", line, err)
		}
		list = append(list, e.Alert.Metadata["episode"]...)
	}
	return list
}

// A full disk stops nobody, is said once, and leaves whole lines only, with none
// lost, once there is room again.
func TestFullDisk(t *testing.T) {
	dir := disk(t, "64k")
	name, ballast := filepath.Join(dir, "eve.json"), filepath.Join(dir, "ballast")
	// Not a number of whole lines, so that the last one fits in part.
	if err := os.WriteFile(ballast, make([]byte, 48<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	var r told
	s, err := NewEVE(name, "web1", Config{Report: r.report})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for i := range 100 { // of more than a kilobyte each
		s.Alert(event(i))
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("giving alerts took %v", took)
	}
	eventually(t, "the disk is full", func() bool { return s.Stats().Failures >= 2 })
	if st := s.Stats(); !st.Failing || !strings.Contains(st.Err, "no space left on device") || st.Written == 0 {
		t.Errorf("%+v", st)
	}
	written := s.Stats().Written
	if got := episodes(t, name); uint64(len(got)) != written {
		t.Errorf("while the disk is full, the file has %d lines of %d", len(got), written)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	s.Reopen()
	eventually(t, "the rest has room by half", func() bool { return s.Stats().Written > written })
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT, "size=1m"); err != nil {
		t.Fatal(err)
	}
	s.Reopen()
	eventually(t, "everything is written", func() bool { return s.Stats().Written == 100 })
	if err := s.Close(5 * time.Second); err != nil {
		t.Error(err)
	}
	var want []string
	for i := range 100 {
		want = append(want, strconv.Itoa(i))
	}
	if got := episodes(t, name); !slices.Equal(got, want) {
		t.Errorf("the file has %v", got)
	}
	said := r.texts()
	if len(said) < 2 || len(said) > 4 || !strings.Contains(said[0], "write "+name+": no space left on device") || !strings.HasSuffix(said[len(said)-1], "works again, nothing lost") {
		t.Errorf("said %q", said)
	}
}

// Where the half line cannot be taken back because others have written behind
// it, the next one begins on a line of its own.
func TestHalfALineOfSomebodyElse(t *testing.T) {
	name := filepath.Join(t.TempDir(), "eve.json")
	if err := os.WriteFile(name, []byte("{\"whole\":1}\n{\"half\":"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := NewEVE(name, "", Config{})
	if err != nil {
		t.Fatal(err)
	}
	s.Alert(event(1))
	s.Alert(event(2))
	if err := s.Close(time.Second); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	if len(lines) != 5 || lines[0] != `{"whole":1}` || lines[1] != `{"half":` || !json.Valid([]byte(lines[2])) || !json.Valid([]byte(lines[3])) || lines[4] != "" {
		t.Errorf("the file has %q", lines)
	}
}

// Nothing is put into a file before there is something to say.
func TestAWholeFileIsContinued(t *testing.T) {
	name := filepath.Join(t.TempDir(), "eve.json")
	if err := os.WriteFile(name, []byte("{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := NewEVE(name, "", Config{})
	if err != nil {
		t.Fatal(err)
	}
	s.Close(time.Second)
	if text, _ := os.ReadFile(name); string(text) != "{}\n" {
		t.Errorf("the file has %q", text)
	}
}

func TestRotation(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "eve.json")
	s, err := NewEVE(name, "", Config{})
	if err != nil {
		t.Fatal(err)
	}
	s.Alert(event(1))
	eventually(t, "the first line", func() bool { return s.Stats().Written == 1 })
	if err := os.Rename(name, name+".1"); err != nil {
		t.Fatal(err)
	}
	s.Alert(event(2)) // still there
	eventually(t, "the second line", func() bool { return s.Stats().Written == 2 })
	s.Reopen()
	eventually(t, "the new file", func() bool { _, err := os.Stat(name); return err == nil })
	s.Alert(event(3))
	if err := s.Close(time.Second); err != nil {
		t.Fatal(err)
	}
	if got := episodes(t, name+".1"); !slices.Equal(got, []string{"1", "2"}) {
		t.Errorf("the old file has %v", got)
	}
	if got := episodes(t, name); !slices.Equal(got, []string{"3"}) {
		t.Errorf("the new file has %v", got)
	}
	info, err := os.Stat(name)
	if err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// A file that was cut while it is open, as by logrotate's copytruncate, has no
// hole.
func TestCopyTruncate(t *testing.T) {
	name := filepath.Join(t.TempDir(), "eve.json")
	s, err := NewEVE(name, "", Config{})
	if err != nil {
		t.Fatal(err)
	}
	s.Alert(event(1))
	eventually(t, "the first line", func() bool { return s.Stats().Written == 1 })
	if err := os.Truncate(name, 0); err != nil {
		t.Fatal(err)
	}
	s.Alert(event(2))
	s.Close(time.Second)
	if got := episodes(t, name); !slices.Equal(got, []string{"2"}) {
		t.Errorf("the file has %v", got)
	}
}

// The folder goes away and comes back.
func TestReopenFails(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "eve.json")
	var r told
	s, err := NewEVE(name, "", Config{Report: r.report})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	s.Reopen()
	eventually(t, "the failure is said", func() bool { return len(r.texts()) == 1 })
	s.Alert(event(1))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s.Reopen()
	eventually(t, "it is written again", func() bool { return s.Stats().Written == 1 })
	s.Close(time.Second)
	if got := r.texts(); len(got) != 2 || !strings.Contains(got[0], "open "+name+": no such file or directory") || !strings.Contains(got[1], "works again") {
		t.Errorf("said %q", got)
	}
	if got := episodes(t, name); !slices.Equal(got, []string{"1"}) {
		t.Errorf("the file has %v", got)
	}
}

func TestFilesThatCannotBe(t *testing.T) {
	dir := t.TempDir()
	for name, want := range map[string]string{
		filepath.Join(dir, "none", "eve.json"): "no such file or directory",
		dir:                                    "is a directory",
		"/dev/null/x":                          "not a directory",
	} {
		for _, create := range []func(string, string, Config) (*Sink, error){NewEVE, NewScanlogd} {
			if _, err := create(name, "", Config{}); err == nil || err.Error() != "open "+name+": "+want {
				t.Errorf("%s: %v, want %s", name, err, want)
			}
		}
	}
}

// A device without room is no reason not to begin.
func TestDevFull(t *testing.T) {
	var r told
	s, err := NewScanlogd("/dev/full", "", Config{Report: r.report})
	if err != nil {
		t.Fatal(err)
	}
	s.Alert(sample())
	eventually(t, "it fails", func() bool { return len(r.texts()) == 1 })
	if err := s.Close(time.Second); err == nil || err.Error() != "scanlogd-line: 1 alert lost: write /dev/full: no space left on device" {
		t.Errorf("at the end: %v", err)
	}
}

func fifo(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// A named pipe may have no reader yet; what came before waits for one. A reader
// that goes away makes room for another one, which sees whole lines.
func TestNamedPipe(t *testing.T) {
	name := fifo(t)
	var r told
	s, err := NewEVE(name, "", Config{Report: r.report})
	if err != nil {
		t.Fatal(err)
	}
	s.Alert(event(1))
	eventually(t, "nobody reads", func() bool { return s.Stats().Failing })
	if said := r.texts(); len(said) != 1 || !strings.Contains(said[0], "nobody reads it") {
		t.Errorf("said %q", said)
	}
	read := func(n int) (got []string) {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for d := json.NewDecoder(f); len(got) < n; {
			var e eve
			if err := d.Decode(&e); err != nil {
				t.Fatal(err)
			}
			got = append(got, e.Alert.Metadata["episode"]...)
		}
		return got
	}
	if got := read(1); !slices.Equal(got, []string{"1"}) {
		t.Errorf("the reader has %v", got)
	}
	eventually(t, "it works", func() bool { return !s.Stats().Failing })
	s.Alert(event(2))
	s.Alert(event(3))
	eventually(t, "nobody reads again", func() bool { return s.Stats().Failing })
	// A reader that comes now waits for us, instead of seeing our old end close.
	fds, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil && to == name {
			t.Error("the pipe is open between two tries")
		}
	}
	if got := read(2); !slices.Equal(got, []string{"2", "3"}) {
		t.Errorf("the second reader has %v", got)
	}
	if err := s.Close(time.Second); err != nil {
		t.Error(err)
	}
}

// A reader that stops reading loses alerts, and holds up nobody, not even the
// end.
func TestAPipeThatIsFull(t *testing.T) {
	for _, tc := range []struct {
		name string
		open func(t *testing.T, c Config) (*Sink, *os.File)
	}{
		{"named", func(t *testing.T, c Config) (*Sink, *os.File) {
			name := fifo(t)
			f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
			if err != nil {
				t.Fatal(err)
			}
			s, err := NewEVE(name, "", c)
			if err != nil {
				t.Fatal(err)
			}
			return s, f
		}},
		{"stdout", func(t *testing.T, c Config) (*Sink, *os.File) {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { w.Close() })
			return NewEVEStream(w, "stdout", "", c), r
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var told told
			s, r := tc.open(t, Config{Report: told.report, Room: 8})
			defer r.Close()
			given := 0
			fill := func() {
				t.Helper()
				was := s.Stats().Lost
				began := time.Now()
				eventually(t, "alerts are lost", func() bool { // the pipe has 64 kB
					s.Alert(event(given))
					given++
					return s.Stats().Lost > was
				})
				if took := time.Since(began); took > 5*time.Second {
					t.Errorf("giving %d alerts took %v", given, took)
				}
			}
			fill()
			lost := s.Stats().Lost
			if got := told.texts(); len(got) != 1 || !strings.Contains(got[0], "too slow") {
				t.Errorf("said %q", got)
			}
			// It reads on: nothing that was not counted is missing.
			var lines int
			buf := make([]byte, 1<<16)
			eventually(t, "it has caught up", func() bool {
				r.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
				n, _ := r.Read(buf)
				lines += bytes.Count(buf[:n], []byte("\n"))
				return uint64(lines)+lost == uint64(given)
			})
			fill()
			began := time.Now()
			err := s.Close(300 * time.Millisecond)
			if took := time.Since(began); took > 2*time.Second || err == nil || !strings.Contains(err.Error(), "took too long at the end") {
				t.Errorf("the end took %v: %v", took, err)
			}
		})
	}
}

// What is more than a pipe takes holds up the end no longer than it may.
func TestMoreThanAPipeTakes(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	s := NewEVEStream(w, "stdout", "", Config{})
	s.Say(strings.Repeat("x", 1<<17) + "\n")
	time.Sleep(50 * time.Millisecond) // until the pipe is full
	began := time.Now()
	err = s.Close(100 * time.Millisecond)
	if took := time.Since(began); took > abandoned || err == nil || !strings.Contains(err.Error(), "took too long at the end") {
		t.Errorf("the end took %v: %v", took, err)
	}
}

func TestAClosedPipe(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	r.Close()
	var told told
	s := NewEVEStream(w, "stdout", "", Config{Report: told.report})
	s.Alert(sample())
	eventually(t, "it fails", func() bool { return s.Stats().Failing })
	if err := s.Close(time.Second); err == nil || !strings.Contains(err.Error(), "write stdout: broken pipe") {
		t.Errorf("at the end: %v", err)
	}
}

// What stdout goes to may be on a full disk, too. What is half written is ended
// before the line is written again.
func TestStdoutOnAFullDisk(t *testing.T) {
	dir := disk(t, "16k")
	f, err := os.OpenFile(filepath.Join(dir, "out"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := NewEVEStream(f, "stdout", "", Config{})
	for i := range 30 {
		s.Alert(event(i))
	}
	eventually(t, "the disk is full", func() bool { return s.Stats().Failing })
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT, "size=1m"); err != nil {
		t.Fatal(err)
	}
	s.Reopen()
	eventually(t, "everything is written", func() bool { return s.Stats().Written == 30 })
	s.Close(time.Second)
	text, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	whole, half := 0, 0
	for line := range bytes.Lines(text) {
		var e eve
		if json.Unmarshal(line, &e) == nil {
			if got := e.Alert.Metadata["episode"][0]; got != strconv.Itoa(whole) {
				t.Errorf("line %d is of episode %s", whole, got)
			}
			whole++
		} else {
			half++
		}
	}
	if whole != 30 || half != 1 {
		t.Errorf("%d whole lines and %d others", whole, half)
	}
}
