package sink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// file is a file of lines that others may rotate, cut or fill the disk of. It
// may also be a pipe or a device.
type file struct {
	name    string
	f       *os.File // nil: not open
	regular bool
	broken  bool // its last line has no end
}

// fileMode: who may read it sees who was scanned.
const fileMode = 0o640

// openFile opens a file of lines, before anything else has begun. What would
// not be better later is an error; a pipe without a reader and a disk without
// room are not.
func openFile(name string) (*file, error) {
	o := &file{name: name}
	err := o.open()
	if errors.Is(err, unix.ENXIO) || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		err = nil
	}
	return o, err
}

func (o *file) open() error {
	o.close()
	// Without O_NONBLOCK, opening a pipe would wait for its reader (fifo(7)).
	f, err := os.OpenFile(o.name, os.O_WRONLY|os.O_APPEND|os.O_CREATE|unix.O_NONBLOCK, fileMode)
	if errors.Is(err, unix.ENXIO) {
		return fmt.Errorf("open %s: nobody reads it: %w", o.name, unix.ENXIO)
	}
	if err != nil {
		return fmt.Errorf("open %s: %w", o.name, bare(err))
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return fmt.Errorf("open %s: %w", o.name, bare(err))
	}
	o.f, o.regular = f, info.Mode().IsRegular()
	o.broken = o.regular && unfinished(o.name, info.Size(), o.broken)
	return nil
}

// unfinished tells whether a file ends in the middle of a line, as when the
// program was killed in the middle of a write. Of a file that we may not read it
// is what it was.
func unfinished(name string, size int64, was bool) bool {
	if size == 0 {
		return false
	}
	f, err := os.Open(name)
	if err != nil {
		return was
	}
	defer f.Close()
	var last [1]byte
	if _, err := f.ReadAt(last[:], size-1); err != nil && err != io.EOF {
		return was
	}
	return last[0] != '\n'
}

func (o *file) write(ctx context.Context, record []byte) error {
	if o.f == nil {
		if err := o.open(); err != nil {
			return err
		}
	}
	if o.broken {
		record = append([]byte{'\n'}, record...)
	}
	before := o.size()
	end := context.AfterFunc(ctx, func() { o.f.SetWriteDeadline(past) }) // of a pipe
	n, err := o.f.Write(record)
	end()
	if err == nil {
		o.broken = false
		return nil
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return errStopped
	}
	// Take back what is not a whole line, if nobody else has written behind it.
	if n > 0 && o.regular && (o.size() != before+int64(n) || o.f.Truncate(before) != nil) {
		o.broken = true
	}
	// The next reader of a pipe must not find us there and then see us go.
	o.close()
	return fmt.Errorf("write %s: %w", o.name, bare(err))
}

// size is what a regular file has, or -1.
func (o *file) size() int64 {
	if info, err := o.f.Stat(); err == nil && o.regular {
		return info.Size()
	}
	return -1
}

func (o *file) close() {
	if o.f != nil {
		o.f.Close()
		o.f = nil
	}
}

// bare strips what package os puts before an error.
func bare(err error) error {
	if path, ok := errors.AsType[*os.PathError](err); ok {
		return path.Err
	}
	return err
}
