package checkpoint

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"path/filepath"
	"testing"
)

// sealed appends the sum of a file.
func sealed(data []byte) []byte {
	sum := sha256.Sum256(data)
	return append(bytes.Clone(data), sum[:]...)
}

// FuzzRead reads the bytes as a file, and as one whose sum is right.
func FuzzRead(f *testing.F) {
	const line, none, two = magic + version + "\n", "\x00\x00\x00\x00\x00\x00\x00\x00", "\x00\x00\x00\x00\x00\x00\x00\x02"
	for _, s := range []string{
		"", "synscan", magic, magic + "2\n", magic + "one\n", line,
		line + two + "{}" + none,
		line + two + "{}" + two + two + "ab" + none,
		line + two + "{}" + two + none,
		line + two + "{}" + none + "more",
		line + none + none,
		line + "\xff\xff\xff\xff\xff\xff\xff\xff",
		line + two + "{}" + "\x1f\xff\xff\xff\xff\xff\xff\xff" + none,
		line + two + "[]" + none,
		string(sealed([]byte(line + two + "17" + none))),
		line + two + "0 " + none, // a header that loses its space when it is decoded
	} {
		f.Add([]byte(s))
	}
	path := filepath.Join(f.TempDir(), "c")
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, file := range [][]byte{data, sealed(data)} {
			var h json.RawMessage
			sections, err := parse(file, &h)
			if errors.Is(err, ErrForeign) || errors.Is(err, ErrVersion) || errors.Is(err, ErrDamaged) {
				continue
			}
			if err != nil { // the header is not JSON, as it must be
				if _, isSyntax := errors.AsType[*json.SyntaxError](err); !isSyntax {
					t.Fatal(err)
				}
				continue
			}
			if err := Write(path, h, sections...); err != nil {
				t.Fatal(err)
			}
			var again json.RawMessage
			got, err := Read(path, &again)
			if err != nil || !same(got, sections) {
				t.Fatalf("read again: %q, %v, want %q", got, err, sections)
			}
		}
	})
}
