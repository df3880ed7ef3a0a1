package checkpoint

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// suffix makes the name of the file that is written before it takes the place
// of the old one.
const suffix = ".unfinished"

// Write replaces the file at path, which only its owner may read, by one of
// header, in JSON, and the sections. When it returns nil, the file is on the
// disk and not only on its way there. After an error the old file is as it was;
// only if the folder cannot be synchronized it is the new one, whole too.
//
// What is there and is no regular file, as a device or a symbolic link, is not
// touched: it would be replaced, or written through.
func Write(path string, header any, sections ...[]byte) error {
	f := File{path: path}
	defer f.Close()
	return f.Write(header, sections...)
}

func (f *File) write(header any, sections [][]byte) error {
	head, err := json.Marshal(header)
	if err != nil {
		return fmt.Errorf("its header: %w", err)
	}
	if err := regular(f.path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(f.path))
	if err != nil {
		return err
	}
	defer dir.Close()
	next, err := create(f.path + suffix)
	if err != nil {
		return err
	}
	if err = fill(next, head, sections); err == nil {
		err = next.Sync()
	}
	if err == nil {
		err = f.own()
	}
	if err == nil {
		err = os.Rename(next.Name(), f.path)
	}
	if err != nil {
		os.Remove(next.Name())
		next.Close()
		return err
	}
	f.Close() // of the old one
	f.held = next
	// EINVAL: a file system where folders need it not (fsync(2)).
	if err := dir.Sync(); err != nil && !errors.Is(err, unix.EINVAL) {
		return err
	}
	return nil
}

// regular refuses what is there and is no regular file.
func regular(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is there, and no regular file", kind(info.Mode()))
	}
	return nil
}

// Usable reports why Write, which replaces any file, is not to be called for a
// path: because what is there is something else than a checkpoint, or because
// nothing can be written there. It leaves the folder as it was.
func Usable(path string) error {
	if err := regular(path); err != nil {
		return fmt.Errorf("write checkpoint %s: %w", path, bare(err))
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err == nil {
		defer f.Close()
		begin := make([]byte, len(magic))
		if n, _ := io.ReadFull(f, begin); string(begin[:n]) != magic {
			return fmt.Errorf("write checkpoint %s: that file is there, and %w", path, ErrForeign)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("write checkpoint %s: %w", path, bare(err))
	}
	trial, err := create(path + suffix)
	if err != nil {
		return fmt.Errorf("write checkpoint %s: %w", path, bare(err))
	}
	defer trial.Close()
	return os.Remove(trial.Name())
}

// kind names what is no regular file.
func kind(mode fs.FileMode) string {
	switch {
	case mode.IsDir():
		return "a folder"
	case mode&fs.ModeSymlink != 0:
		return "a symbolic link"
	case mode&fs.ModeDevice != 0:
		return "a device"
	}
	return "a pipe or socket"
}

// create makes a file that was not there, locked as long as it is open. It takes
// away what a program left that was killed.
func create(name string) (*os.File, error) {
	if err := removeStale(name); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil, ErrBusy
	}
	if err != nil {
		return nil, err
	}
	if err := lock(f, name); err != nil { // somebody took it for stale before
		f.Close()
		return nil, err
	}
	return f, nil
}

// removeStale removes the file of a Write that did not end. What is not ours
// stays and is an error.
func removeStale(name string) error {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s is in the way: %w", name, bare(err))
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	var begin [len(magic)]byte
	n := 0
	if info.Mode().IsRegular() {
		n, err = f.ReadAt(begin[:], 0)
	}
	if !info.Mode().IsRegular() || err != nil && err != io.EOF || !strings.HasPrefix(magic, string(begin[:n])) {
		return fmt.Errorf("%s is in the way", name)
	}
	if err := lock(f, name); err != nil {
		return err
	}
	if err := os.Remove(name); err != nil {
		return fmt.Errorf("%s is in the way: %w", name, bare(err))
	}
	return nil
}

func fill(f *os.File, head []byte, sections [][]byte) error {
	sum := sha256.New()
	buffered := bufio.NewWriter(f) // it keeps its first error for Flush
	w := io.MultiWriter(sum, buffered)
	number := func(n int) {
		w.Write(binary.BigEndian.AppendUint64(nil, uint64(n)))
	}
	io.WriteString(w, magic+version+"\n")
	number(len(head))
	w.Write(head)
	number(len(sections))
	for _, s := range sections {
		number(len(s))
		w.Write(s)
	}
	buffered.Write(sum.Sum(nil))
	return buffered.Flush()
}
