package checkpoint

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

type header struct {
	Seed  uint64
	Words []string `json:",omitempty"`
}

// mustWrite writes a file that is then the only one in its folder.
func mustWrite(t *testing.T, path string, h header, sections ...[]byte) {
	t.Helper()
	if err := Write(path, h, sections...); err != nil {
		t.Fatal(err)
	}
	only(t, path)
}

// mustRead checks what a file has.
func mustRead(t *testing.T, path string, want header, sections ...[]byte) {
	t.Helper()
	var h header
	got, err := Read(path, &h)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(h, want) {
		t.Errorf("the header is %v, want %v", h, want)
	}
	if !same(got, sections) {
		t.Errorf("%d sections are not the %d that were written", len(got), len(sections))
	}
}

func same(a, b [][]byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !bytes.Equal(a[i], b[i]) {
			return false
		}
	}
	return true
}

// only checks that a folder has these files and no other.
func only(t *testing.T, paths ...string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(paths[0]))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if len(names) != len(paths) {
		t.Errorf("the folder has %v, want %v", names, paths)
	}
}

func TestRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "scan.checkpoint")
	large := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	for _, sections := range [][][]byte{
		nil, {{}}, {[]byte("one")}, {{}, []byte("two"), {}, large, []byte("end")}, {[]byte("short again")},
	} {
		h := header{Seed: 1 << 63, Words: []string{"10.0.0.0/8", "ü\n"}}
		mustWrite(t, path, h, sections...)
		mustRead(t, path, h, sections...)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// The bytes are a promise to the programs of tomorrow.
func TestFormat(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c")
	mustWrite(t, path, header{Seed: 7}, []byte("ab"), nil)
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := "synscan checkpoint 1\n" +
		"\x00\x00\x00\x00\x00\x00\x00\x0a" + `{"Seed":7}` +
		"\x00\x00\x00\x00\x00\x00\x00\x02" +
		"\x00\x00\x00\x00\x00\x00\x00\x02ab" +
		"\x00\x00\x00\x00\x00\x00\x00\x00" +
		// what sha256sum(1) says of the above
		"\xbc\xc8\x0b\x02\xeb\x54\x6e\x11\x3a\x9a\x07\x53\xe4\x8c\xf5\xa0" +
		"\x32\x44\xb5\x4e\x02\x62\xdf\x50\x65\x61\x31\x6e\xf6\x99\x2e\xe5"
	if string(got) != want {
		t.Errorf("the file has\n%q, want\n%q", got, want)
	}
}

// Every way to cut a file, and every bit that is not what it was.
func TestDamage(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "c")
	mustWrite(t, path, header{Seed: 7}, []byte("section"), nil)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, at int, data []byte, want error) {
		t.Helper()
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		var h header
		sections, err := Read(path, &h)
		if !errors.Is(err, want) || sections != nil || !reflect.DeepEqual(h, header{}) {
			t.Errorf("%s %d: %q, %v, %v, want %v", what, at, sections, h, err, want)
		}
		if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, data) {
			t.Errorf("%s %d: the file was changed", what, at)
		}
	}
	for n := range whole {
		want := ErrDamaged
		if n == 0 {
			want = ErrForeign
		}
		check("cut to", n, whole[:n], want)
	}
	check("longer by", 1, append(bytes.Clone(whole), 0), ErrDamaged)
	for at := range whole {
		for bit := range 8 {
			data := bytes.Clone(whole)
			data[at] ^= 1 << bit
			want := ErrDamaged
			if at < len(magic) {
				want = ErrForeign
			} else if at == len(magic) && data[at] >= '0' && data[at] <= '9' {
				want = ErrVersion
			}
			check("flipped", at, data, want)
		}
	}
}

// A file whose sum is right, and whose numbers are not. None makes us ask for
// memory that the file does not have.
func TestLiesWithASum(t *testing.T) {
	huge := "\x7f\xff\xff\xff\xff\xff\xff\xf0"
	for name, body := range map[string]string{
		"no_header":              "",
		"half_a_length":          "\x00\x00\x00",
		"huge_header":            huge + "{}",
		"no_count":               "\x00\x00\x00\x00\x00\x00\x00\x02{}",
		"huge_count":             "\x00\x00\x00\x00\x00\x00\x00\x02{}" + huge,
		"one_section_too_many":   "\x00\x00\x00\x00\x00\x00\x00\x02{}\x00\x00\x00\x00\x00\x00\x00\x01",
		"huge_section":           "\x00\x00\x00\x00\x00\x00\x00\x02{}\x00\x00\x00\x00\x00\x00\x00\x01" + huge + "section",
		"section_longer_by_one":  "\x00\x00\x00\x00\x00\x00\x00\x02{}\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x08section",
		"something_follows":      "\x00\x00\x00\x00\x00\x00\x00\x02{}\x00\x00\x00\x00\x00\x00\x00\x00.",
		"length_of_all_one_bits": "\xff\xff\xff\xff\xff\xff\xff\xff{}",
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "c")
			if err := os.WriteFile(path, sealed([]byte(magic+version+"\n"+body)), 0o600); err != nil {
				t.Fatal(err)
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			var h header
			_, err := Read(path, &h)
			runtime.ReadMemStats(&after)
			if !errors.Is(err, ErrDamaged) {
				t.Errorf("%v, want %v", err, ErrDamaged)
			}
			if took := after.TotalAlloc - before.TotalAlloc; took > 64<<10 {
				t.Errorf("%d bytes of memory for a file of %d", took, len(body))
			}
		})
	}
}

func TestMessages(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	pipe := filepath.Join(dir, "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		path, want string
		is         error
	}{
		{file("empty", ""), "read checkpoint: %s is no checkpoint of synscan", ErrForeign},
		{file("text", "synscan is a scanner\n"), "read checkpoint: %s is no checkpoint of synscan", ErrForeign},
		{file("xml", `<?xml version="1.0"?><nmaprun/>`), "read checkpoint: %s is no checkpoint of synscan", ErrForeign},
		{dir, "read checkpoint: %s is no checkpoint of synscan", ErrForeign},
		{pipe, "read checkpoint: %s is no checkpoint of synscan", ErrForeign},
		{"/dev/null", "read checkpoint: %s is no checkpoint of synscan", ErrForeign},
		{file("two", "synscan checkpoint 2\nanything"), "read checkpoint: %s is a checkpoint of format 2, and this program reads format 1", ErrVersion},
		{file("cut", "synscan checkpoint 1\n"), "read checkpoint: %s is damaged or cut off", ErrDamaged},
		{file("words", "synscan checkpoint of yesterday\n"), "read checkpoint: %s is damaged or cut off", ErrDamaged},
		{filepath.Join(dir, "none"), "read checkpoint %s: no such file or directory", fs.ErrNotExist},
	} {
		_, err := Read(tt.path, new(header))
		if want := strings.Replace(tt.want, "%s", tt.path, 1); err == nil || err.Error() != want || !errors.Is(err, tt.is) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	path := filepath.Join(dir, "other")
	if err := Write(path, []int{1}); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(path, new(header)); err == nil || !strings.HasPrefix(err.Error(), "read checkpoint "+path+": its header: json: cannot unmarshal array") {
		t.Errorf("a header of another kind: %v", err)
	}
}

// What is there and is no file of bytes stays what it is. Nothing here may be a
// file of the machine: where Write fails this test, that would be lost.
func TestWriteTouchesNothingElse(t *testing.T) {
	dir := t.TempDir()
	target, link, dangling := filepath.Join(dir, "target"), filepath.Join(dir, "link"), filepath.Join(dir, "dangling")
	pipe, folder := filepath.Join(dir, "pipe"), filepath.Join(dir, "folder")
	if err := errors.Join(
		os.WriteFile(target, []byte("precious"), 0o600),
		os.Symlink(target, link), os.Symlink("nowhere", dangling),
		unix.Mkfifo(pipe, 0o600), os.Mkdir(folder, 0o700),
	); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		link:                                 "a symbolic link is there, and no regular file",
		dangling:                             "a symbolic link is there, and no regular file",
		pipe:                                 "a pipe or socket is there, and no regular file",
		folder:                               "a folder is there, and no regular file",
		filepath.Join(dir, "no/c"):           "no such file or directory",
		filepath.Join(target, "c"):           "not a directory",
		filepath.Join(dir, "no") + "/":       "no such file or directory",
		dir + "/" + strings.Repeat("x", 256): "file name too long",
	} {
		before, _ := os.Lstat(path)
		if err := Write(path, header{}); err == nil || err.Error() != "write checkpoint "+path+": "+want {
			t.Errorf("%v, want %s: %s", err, path, want)
		}
		if after, _ := os.Lstat(path); before != nil && (after == nil || !os.SameFile(before, after)) {
			t.Errorf("%s is another one now", path)
		}
	}
	if text, err := os.ReadFile(target); err != nil || string(text) != "precious" {
		t.Errorf("what the link leads to has %q, %v", text, err)
	}
	if err := Write(target+"2", func() {}); err == nil || err.Error() != "write checkpoint "+target+"2: its header: json: unsupported type: func()" {
		t.Errorf("a header that is none: %v", err)
	}
	only(t, target, link, dangling, pipe, folder)
}

// What a killed Write left is replaced; somebody else's file of that name is not.
func TestUnfinishedFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c")
	for _, left := range []string{"", "synscan ch", "synscan checkpoint 1\n and more"} {
		if err := os.WriteFile(path+suffix, []byte(left), 0o600); err != nil {
			t.Fatal(err)
		}
		mustWrite(t, path, header{Seed: 3})
	}
	mine := filepath.Join(filepath.Dir(path), "mine")
	for name, put := range map[string]func() error{
		"text":   func() error { return os.WriteFile(path+suffix, []byte("my work"), 0o600) },
		"folder": func() error { return os.Mkdir(path+suffix, 0o700) },
		"link": func() error {
			return errors.Join(os.WriteFile(mine, nil, 0o600), os.Symlink(mine, path+suffix))
		},
		"pipe": func() error { return unix.Mkfifo(path+suffix, 0o600) },
	} {
		if err := put(); err != nil {
			t.Fatal(err)
		}
		before, _ := os.Lstat(path + suffix)
		if err := Write(path, header{Seed: 4}); err == nil || !strings.HasPrefix(err.Error(), "write checkpoint "+path+": "+path+suffix+" is in the way") {
			t.Errorf("%s: %v", name, err)
		}
		if after, err := os.Lstat(path + suffix); err != nil || !os.SameFile(before, after) {
			t.Errorf("%s: it is gone: %v", name, err)
		}
		if err := os.Remove(path + suffix); err != nil {
			t.Fatal(err)
		}
	}
	mustRead(t, path, header{Seed: 3})
}

// Several writers of one file: each succeeds or says that it is not alone, and
// what is there is always whole.
func TestWritersOfOneFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c")
	section := func(seed uint64) []byte { return bytes.Repeat([]byte{byte(seed)}, 9000) }
	mustWrite(t, path, header{}, section(0))
	var writers sync.WaitGroup
	for w := range uint64(4) {
		writers.Go(func() {
			for i := range uint64(50) {
				seed := w*50 + i
				if err := Write(path, header{Seed: seed}, section(seed)); err != nil && !errors.Is(err, ErrBusy) {
					t.Error(err)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { writers.Wait(); close(done) }()
	for reads := 0; ; reads++ {
		var h header
		sections, err := Read(path, &h)
		if err != nil || !same(sections, [][]byte{section(h.Seed)}) {
			t.Errorf("read %d: %v", reads, err)
		}
		select {
		case <-done:
			only(t, path)
			return
		default:
		}
	}
}
