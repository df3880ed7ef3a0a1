// Package checkpoint keeps the state of a scan in a file that survives what
// happens to the scan: whenever the program or the machine stops, the file is
// the last one that was written whole, or the one before it.
//
// A file is, with numbers of 8 bytes in network byte order:
//
//	synscan checkpoint 1\n           what it is, and the version of this format
//	length, that many bytes          the header, in JSON
//	number of sections
//	length, that many bytes          each section
//	32 bytes                         SHA-256 of everything before
//
// What the header and the sections mean is the caller's. A file is replaced as a
// whole: the new one is written beside it, as path.unfinished, reaches the disk,
// and takes its name. Two programs that write the same file do not harm it, and
// one that holds it keeps others from going on with it.
package checkpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

const (
	magic   = "synscan checkpoint "
	version = "1"
)

// What Read finds wrong with a file; test with errors.Is.
var (
	ErrForeign = errors.New("is no checkpoint of synscan")
	ErrVersion = errors.New("is a checkpoint of another format")
	ErrDamaged = errors.New("is damaged or cut off")
)

// versionError is the number of a format that is not ours.
type versionError string

func (e versionError) Error() string {
	return fmt.Sprintf("is a checkpoint of format %s, and this program reads format %s", string(e), version)
}

func (e versionError) Is(target error) bool { return target == ErrVersion }

// bare strips what package os puts before an error.
func bare(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	if e, ok := errors.AsType[*os.LinkError](err); ok {
		return e.Err
	}
	return err
}
