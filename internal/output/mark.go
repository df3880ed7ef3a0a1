package output

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"syscall"
	"time"
)

// Mark is how far an output has got, so that another process can go on from there.
// It is comparable, and of use to an output of the same format only.
//
// A file that Create opened is exact: whatever a killed process wrote behind the
// mark is cut off, and no record is lost or doubled when what came after the mark
// is recorded again. So is stdout, if it is still the same regular file: what
// others wrote into it behind the mark is lost, too. A pipe and a terminal cannot
// take back: the document begins anew with what the mark does not know to be
// delivered, and a reader may be told some of it a second time.
//
// It is about processes that end, not about machines: nothing waits for the disk.
type Mark struct {
	Whole   int64 `json:"whole"`         // bytes of whole lines that the operating system has, without what closes the document
	Any     bool  `json:"any,omitempty"` // there has been a record
	Regular bool  `json:"regular,omitempty"`

	// Of a file that Create opened: the CRC-32C of these bytes. Other than an
	// inode it survives a copy and a restart of the machine.
	Sum uint32 `json:"sum,omitempty"`

	// Of stdout, if it is a regular file: which one, and where it ended. Others may
	// write to it as well.
	Device uint64 `json:"device,omitempty"`
	Inode  uint64 `json:"inode,omitempty"`
	At     int64  `json:"at,omitempty"`
}

// markWait is how long Mark waits for the reader of a pipe. One that keeps up
// takes microseconds, but Mark may be called at any of them.
const markWait = 10 * time.Millisecond

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Into says in which open file the writer ends that New was given; it stays the
// caller's. Without it the output is taken for a pipe. It is called before Queue.
func (l *Lines) Into(f *os.File) {
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
		l.into = f
	}
}

// Mark returns how far the output is, after Flush. It is false when that cannot be
// told: when the output has failed, something is not flushed, or a pipe's reader
// does not take what waits for it within 10 ms.
func (l *Lines) Mark() (Mark, bool) {
	if l.err != nil || len(l.buf) > 0 || l.queue != nil && !l.queue.idle(markWait) {
		return Mark{}, false
	}
	m := Mark{Regular: l.regular, Sum: l.sum}
	if l.into != nil {
		var err error
		if m, err = here(l.into); err != nil {
			return Mark{}, false
		}
	}
	m.Whole, m.Any = l.whole, l.any
	return m, true
}

// Check reports why Continue cannot go on from a mark, and changes nothing. It
// reads the file up to the mark.
func (l *Lines) Check(m Mark) error {
	begun := int64(len(l.format.open))
	switch {
	case m.Whole < begun, m.Any != (m.Whole > begun), m.At < 0:
		return fmt.Errorf("continue %s: %+v is no mark of this format", l.name, m)
	case l.file == nil: // it begins anew if it must
		return nil
	case l.created:
		return fmt.Errorf("continue %s: there is no such file, and %d bytes of it are to be kept", l.name, m.Whole)
	case m.Regular && !l.regular:
		return fmt.Errorf("continue %s: it was a file, and is none now", l.name)
	case !m.Regular && l.regular:
		return fmt.Errorf("continue %s: it was a pipe or a device, and is a file now", l.name)
	case !l.regular:
		return nil
	}
	if err := l.holds(m); err != nil {
		return fmt.Errorf("continue %s: %w", l.name, err)
	}
	l.checked = &m
	return nil
}

// holds reports why the file of an output does not begin with what a mark is of.
func (l *Lines) holds(m Mark) error {
	in, err := os.Open(l.name)
	if err != nil {
		return cause(err)
	}
	defer in.Close()
	sum := crc32.New(castagnoli)
	n, err := io.CopyN(sum, in, m.Whole)
	switch {
	case errors.Is(err, io.EOF):
		return fmt.Errorf("the file has %d bytes, and %d of it are to be kept", n, m.Whole)
	case err != nil:
		return cause(err)
	case sum.Sum32() != m.Sum:
		return fmt.Errorf("the first %d bytes are not those that were written: it is another file, or was changed", m.Whole)
	}
	return nil
}

// Continue opens the document in place of Begin and goes on from a mark that
// another process took of the same output. What is behind the mark is gone then,
// and a file is closed as a document already. The error of a file that cannot be
// it is Check's, and leaves it as it was.
func (l *Lines) Continue(scan *Scan, m Mark) error {
	if l.checked == nil || *l.checked != m {
		if err := l.Check(m); err != nil {
			return err
		}
	}
	var err error
	switch {
	case l.regular:
		err = cut(l.file, l.name, m.Whole)
	case l.same(m):
		err = cut(l.into, l.name, m.At)
	default:
		return l.Begin(scan)
	}
	if err != nil {
		return err
	}
	l.whole, l.any, l.sum = m.Whole, m.Any, m.Sum
	if l.regular && len(l.closing) > 0 {
		return l.write(true)
	}
	return nil
}

// cut ends a file at an offset and goes on there.
func cut(f interface {
	io.Seeker
	Truncate(size int64) error
}, name string, at int64) error {
	err := f.Truncate(at)
	if err == nil {
		_, err = f.Seek(at, io.SeekStart)
	}
	if err != nil {
		return fmt.Errorf("cut %s to %d bytes: %w", name, at, cause(err))
	}
	return nil
}

// same tells whether stdout is the file that a mark is of, and has all that the
// mark is of. A shell that opens it with > has emptied it.
func (l *Lines) same(m Mark) bool {
	if l.into == nil {
		return false
	}
	end, err := here(l.into)
	return err == nil && m.Regular && m.Device == end.Device && m.Inode == end.Inode && m.At <= end.At
}

// here marks the end of a regular file that may not be ours alone.
func here(f *os.File) (Mark, error) {
	info, err := f.Stat()
	if err != nil {
		return Mark{}, cause(err)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return Mark{}, errors.ErrUnsupported
	}
	return Mark{Regular: true, Device: stat.Dev, Inode: stat.Ino, At: stat.Size}, nil
}
