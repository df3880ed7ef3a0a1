package output

import (
	"errors"
	"fmt"
	"hash/crc32"
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
	Lost uint64 // how much a reader of the output misses
	Unit string // of what: "result", or "host" of a report
	Err  error
}

// Error names the output and the cause.
func (e *Error) Error() string { return fmt.Sprintf("write %s: %v", e.Name, e.Err) }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Lines is a Writer of one line per record.
type Lines struct {
	name    string
	to      io.Writer
	format  Format
	unit    string
	buf     []byte
	pending uint64 // records in buf
	any     bool   // there has been a record
	whole   int64  // bytes written, all of them whole lines
	sum     uint32 // of these bytes; valid iff regular
	closing []byte // what closes the document as it is now
	err     *Error // sticky
	queue   *queue // in front of to; nil: there is none
	failed  func() // of the queue to be; nil: there is to be none

	// Of an output that Create opened.
	file interface {
		io.Seeker
		Truncate(size int64) error
		Close() error
	}
	regular bool
	created bool  // by us, not only opened
	checked *Mark // that Check has found good

	into *os.File // that to writes to in the end, if it is a regular file; see Into
}

// New returns a Writer to w, which stays the caller's to close. The name is for
// errors.
func New(w io.Writer, name string, format Format) *Lines {
	return &Lines{
		name: name, to: w, format: format, unit: "result", buf: make([]byte, 0, bufferLen), closing: []byte(format.close),
	}
}

// Create opens a file to write to, and creates it if it does not exist. What is
// in it stays until Begin.
func Create(path string, format Format) (*Lines, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	created := err == nil
	if errors.Is(err, fs.ErrExist) {
		f, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o666)
	}
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", path, cause(err))
	}
	l := New(f, path, format)
	l.file, l.created = f, created
	if info, err := f.Stat(); err == nil {
		l.regular = info.Mode().IsRegular()
	}
	return l, nil
}

// Queue lets what is recorded wait in memory for a slow reader, 256 MiB at most;
// only Close waits for it to the end. failed is called, by another goroutine,
// when a write fails: the error itself comes from the next call of a method. It
// has no effect on a regular file that Create opened or Into named. It is called
// before Begin.
func (l *Lines) Queue(failed func()) {
	if !l.regular && l.into == nil {
		l.failed = failed
	}
}

// Begin implements Writer. It waits for its writes even if there is a queue.
func (l *Lines) Begin(*Scan) error {
	if l.regular {
		if err := l.file.Truncate(0); err != nil {
			return fmt.Errorf("empty %s: %w", l.name, cause(err))
		}
	}
	l.buf = append(l.buf, l.format.open...)
	if err := l.Flush(); err != nil {
		return err
	}
	if l.failed != nil {
		l.queue = newQueue(l.to, l.format.end, l.failed)
		l.to = l.queue
	}
	return nil
}

// Discard implements Writer.
func (l *Lines) Discard() {
	if l.file != nil {
		_ = l.file.Close()
	}
	if l.created {
		_ = os.Remove(l.name)
	}
}

// Record takes one record; what it points to is the caller's again after the
// call.
func (l *Lines) Record(r *result.Record) error {
	if l.err != nil {
		l.err.Lost++
		return l.err
	}
	if l.any {
		l.buf = append(l.buf, l.format.between...)
	} else {
		l.buf, l.any = append(l.buf, l.format.first...), true
	}
	l.buf = l.format.Line(l.buf, r)
	l.pending++
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
	return l.write(l.regular && len(l.closing) > 0)
}

// write writes the buffer, and after it what closes the document if that is
// asked for. In a file both go where the last closing began.
func (l *Lines) write(closed bool) error {
	if l.regular && len(l.closing) > 0 {
		if _, err := l.file.Seek(l.whole, io.SeekStart); err != nil {
			return l.fail(0, err)
		}
	}
	lines := len(l.buf)
	if closed {
		l.buf = append(l.buf, l.closing...)
	}
	n, err := l.to.Write(l.buf)
	l.buf = l.buf[:lines]
	if err != nil {
		return l.fail(min(n, lines), err)
	}
	l.whole += int64(lines)
	if l.regular {
		l.sum = crc32.Update(l.sum, castagnoli, l.buf)
	}
	l.buf, l.pending = l.buf[:0], 0
	return nil
}

// fail settles what a failed write of n bytes means: lines that are whole are
// there, the others are lost. A file gives the beginning of a line back, and is
// closed as a document: before this write there was room for that, so a line that
// has taken it is given back too. What Mark told of stays.
func (l *Lines) fail(n int, err error) error {
	kept, lost := 0, l.pending
	if end := []byte(l.format.end); len(end) > 0 {
		kept, lost = split(l.buf, n, end)
	}
	if l.queue != nil {
		lost += l.queue.lost
	}
	whole := l.whole
	l.whole += int64(kept)
	for l.regular && !l.closed() && kept > 0 {
		kept, lost = split(l.buf, kept-1, []byte(l.format.end))
		l.whole = whole + int64(kept)
	}
	l.err = &Error{Name: l.name, Lost: lost, Unit: l.unit, Err: cause(err)}
	l.buf = nil
	return l.err
}

// closed ends a file where its whole lines do, as a document if it has the room.
// Failing that, the reader has half a line and the error anyway.
func (l *Lines) closed() bool {
	_ = l.file.Truncate(l.whole)
	_, err := l.file.Seek(l.whole, io.SeekStart)
	if err == nil {
		_, err = l.to.Write(l.closing)
	}
	return err == nil
}

// Close implements Writer.
func (l *Lines) Close(*End) error {
	if l.err == nil && len(l.buf)+len(l.closing) > 0 {
		if l.write(true) == nil && l.regular && len(l.closing) > 0 {
			// What closed the document before may have been longer.
			if err := l.file.Truncate(l.whole + int64(len(l.closing))); err != nil {
				_ = l.fail(0, err)
			}
		}
	}
	if l.queue != nil {
		if err := l.queue.close(); err != nil && l.err == nil {
			_ = l.fail(0, err)
		}
	}
	var closeErr error
	if l.file != nil {
		closeErr = l.file.Close()
	}
	switch {
	case l.err != nil:
		return l.err
	case closeErr != nil: // some file systems tell only now that they had no room
		l.err = &Error{Name: l.name, Unit: l.unit, Err: cause(closeErr)}
		return l.err
	}
	return nil
}

// cause strips the operation and path that package os puts before an error:
// ours are better.
func cause(err error) error {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path.Err
	}
	return err
}
