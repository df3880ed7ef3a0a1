package output

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"synoptic/internal/result"
)

// bufferLen is how much is collected before it is written without a Flush:
// about a thousand lines of text. No line is longer than lineMax: the longest
// JSON object has two IPv6 addresses and a name of 253 letters and stays below
// 700 bytes.
const (
	bufferLen = 64 << 10
	lineMax   = 768
)

// Error is a failed output. It stays: what is recorded afterwards is lost too,
// and counted.
type Error struct {
	Name string // of the output: a file name or "stdout"
	Lost uint64 // records that a reader of the output misses
	Err  error
}

// Error names the output and the cause.
func (e *Error) Error() string { return fmt.Sprintf("write %s: %v", e.Name, e.Err) }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Lines is a Writer of one line per record.
type Lines struct {
	name   string
	to     io.Writer
	format Format
	buf    []byte
	whole  int64  // bytes written, all of them whole lines
	err    *Error // sticky

	// Of an output that Create opened.
	file interface {
		Truncate(size int64) error
		Close() error
	}
	regular bool
}

// New returns a Writer to w, which stays the caller's to close. The name is for
// errors.
func New(w io.Writer, name string, format Format) *Lines {
	return &Lines{name: name, to: w, format: format, buf: make([]byte, 0, bufferLen)}
}

// Create opens a file to write to, and creates it if it does not exist. What is
// in it stays until Begin.
func Create(path string, format Format) (*Lines, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o666)
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", path, cause(err))
	}
	l := New(f, path, format)
	l.file = f
	if info, err := f.Stat(); err == nil {
		l.regular = info.Mode().IsRegular()
	}
	return l, nil
}

// Begin empties a file that Create opened.
func (l *Lines) Begin() error {
	if !l.regular {
		return nil
	}
	if err := l.file.Truncate(0); err != nil {
		return fmt.Errorf("empty %s: %w", l.name, cause(err))
	}
	return nil
}

// Record implements Writer.
func (l *Lines) Record(r *result.Record) error {
	if l.err != nil {
		l.err.Lost++
		return l.err
	}
	l.buf = l.format(l.buf, r)
	if len(l.buf) > bufferLen-lineMax {
		return l.Flush()
	}
	return nil
}

// Flush implements Writer.
func (l *Lines) Flush() error {
	if l.err != nil {
		return l.err
	}
	if len(l.buf) == 0 {
		return nil
	}
	n, err := l.to.Write(l.buf)
	if err != nil {
		return l.fail(n, err)
	}
	l.whole += int64(n)
	l.buf = l.buf[:0]
	return nil
}

// fail settles what a failed write of n bytes means: lines that are whole are
// there, the others are lost. A file gives the beginning of a line back.
func (l *Lines) fail(n int, err error) error {
	kept := bytes.LastIndexByte(l.buf[:n], '\n') + 1
	l.whole += int64(kept)
	if kept < n && l.regular {
		// Failing that, the reader has half a line and the error anyway.
		_ = l.file.Truncate(l.whole)
	}
	l.err = &Error{Name: l.name, Lost: uint64(bytes.Count(l.buf[kept:], []byte{'\n'})), Err: cause(err)}
	l.buf = nil
	return l.err
}

// Close implements Writer.
func (l *Lines) Close() error {
	err := l.Flush()
	if l.file == nil {
		return err
	}
	// Some file systems tell only now that they had no room.
	if closeErr := l.file.Close(); err == nil && closeErr != nil {
		l.err = &Error{Name: l.name, Err: cause(closeErr)}
		return l.err
	}
	return err
}

// cause strips the operation and path that package os puts before an error:
// ours are better.
func cause(err error) error {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path.Err
	}
	return err
}
