package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// printer is stdout for what is no result of a scan: help, lists, files of
// options. It keeps its first error, because who prints does not always ask.
type printer struct {
	to  io.Writer
	err error
}

func (p *printer) Write(text []byte) (int, error) {
	if p.err != nil {
		return 0, p.err
	}
	n, err := p.to.Write(text)
	if err != nil {
		p.err = fmt.Errorf("write stdout: %w", bare(err))
	}
	return n, p.err
}

// bare strips what package os puts before an error.
func bare(err error) error {
	if path, ok := errors.AsType[*os.PathError](err); ok {
		return path.Err
	}
	return err
}

// checkReader refuses to do for nobody what is done for stdout alone. In place of
// a stdout that is closed, Go's runtime opens the null device before we are asked,
// for reading and writing: what a shell opens for >/dev/null is for writing only.
func checkReader(places []place, stdout *os.File) error {
	if slices.ContainsFunc(places, func(p place) bool { return !onStdout(p) }) {
		return nil
	}
	info, err := stdout.Stat()
	if err != nil {
		return fmt.Errorf("write stdout: %w", bare(err))
	}
	if s, ok := info.Sys().(*syscall.Stat_t); !ok || info.Mode()&os.ModeCharDevice == 0 || s.Rdev != unix.Mkdev(1, 3) {
		return nil
	}
	flags, err := unix.FcntlInt(stdout.Fd(), unix.F_GETFL, 0)
	if err == nil && flags&unix.O_ACCMODE == unix.O_RDWR {
		return errors.New("stdout is closed, so nobody would see the results: open it, or name a file for them, as -oD FILE")
	}
	return nil
}
