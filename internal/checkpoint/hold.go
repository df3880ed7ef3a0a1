package checkpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// ErrBusy is the error of a file that another process holds, or is writing.
var ErrBusy = errors.New("another scan is writing it: wait for its end")

// File is a checkpoint that this process alone writes, until Close or its end. The
// lock is one of the file that has the name at a time (flock(2)), so that none is
// left behind. It is for one goroutine at a time.
type File struct {
	path string
	held *os.File // the locked one; nil: there was none yet
}

// Hold takes the file at path for this process; whether it is there, and what is in
// it, does not matter. ErrBusy says that another process has it.
func Hold(path string) (*File, error) {
	f := &File{path: path}
	if err := f.own(); err != nil {
		return nil, fmt.Errorf("use checkpoint %s: %w", path, bare(err))
	}
	return f, nil
}

// own locks the file that has the name now, if it is not the one that is held.
func (f *File) own() error {
	if regular(f.path) != nil {
		return nil // Read and Write say more of it, and to open a device may do something
	}
	named, err := os.OpenFile(f.path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if f.held != nil {
		mine, err := f.held.Stat()
		if err != nil {
			named.Close()
			return err
		}
		if there, err := named.Stat(); err == nil && os.SameFile(mine, there) {
			named.Close()
			return nil
		}
	}
	if err := lock(named, f.path); err != nil {
		named.Close()
		return err
	}
	f.Close()
	f.held = named
	return nil
}

// Write is the function Write; the new file is held in place of the old one.
func (f *File) Write(header any, sections ...[]byte) error {
	if err := f.write(header, sections); err != nil {
		return fmt.Errorf("write checkpoint %s: %w", f.path, bare(err))
	}
	return nil
}

// Close lets go of the file, which stays.
func (f *File) Close() {
	if f.held != nil {
		f.held.Close()
		f.held = nil
	}
}

// lock locks an open file against other processes. It is an error if one has it, or
// if the file lost its name before it was locked. Where a file system has no
// locks, there is none.
func lock(f *os.File, name string) error {
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
		return ErrBusy
	}
	mine, err := f.Stat()
	if err != nil {
		return err
	}
	if named, err := os.Lstat(name); err != nil || !os.SameFile(mine, named) {
		return ErrBusy
	}
	return nil
}
