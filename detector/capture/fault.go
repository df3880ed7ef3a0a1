package capture

import (
	"compress/flate"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
)

// What a Fault can be.
var (
	ErrEmpty     = errors.New("empty capture")
	ErrFormat    = errors.New("unknown capture format")
	ErrTruncated = errors.New("truncated capture")
	ErrDamaged   = errors.New("damaged capture") // it contradicts itself
)

// wanted ends the sentences about files that are none.
const wanted = "expected pcap or pcapng, plain or compressed by gzip"

// Fault says where and why a capture cannot be read on. Everything before that
// place was delivered.
type Fault struct {
	Kind   error  // one of the above; errors.Is finds it
	Frame  uint64 // number of the first packet that was not read; the file's first is 1
	Offset uint64 // bytes before the place, of a compressed file those after decompression

	capture, reason string
}

func (f *Fault) Error() string { return "read " + f.capture + ": " + f.reason }

func (f *Fault) Unwrap() error { return f.Kind }

// fault is one at the present place.
func (r *Reader) fault(kind error, reason string) error {
	return r.faultAt(r.in.offset, kind, reason)
}

func (r *Reader) faultAt(offset uint64, kind error, reason string) error {
	return &Fault{Kind: kind, Frame: r.packets + 1, Offset: offset, capture: r.name, reason: reason}
}

// cut says what is wrong with a thing that began at offset start and of which
// only n of size bytes could be read.
func (r *Reader) cut(thing string, start, n, size uint64, err error) error {
	if err != io.EOF && err != io.ErrUnexpectedEOF {
		return r.unreadable(thing, start, err)
	}
	return r.faultAt(start, ErrTruncated, fmt.Sprintf("%s at %s is cut off after %d of %d bytes", thing, r.place(start), n, size))
}

// unreadable says that a thing could not be read because of err, which is the
// system's or the decompressor's.
func (r *Reader) unreadable(thing string, start uint64, err error) error {
	place := thing + " at " + r.place(start)
	var corrupt flate.CorruptInputError
	switch {
	case err == io.EOF, err == io.ErrUnexpectedEOF:
		return r.faultAt(start, ErrTruncated, place+" is cut off")
	case err == gzip.ErrChecksum, err == gzip.ErrHeader, errors.As(err, &corrupt):
		return r.faultAt(start, ErrDamaged, fmt.Sprintf("%s cannot be decompressed (%v)", place, err))
	}
	return fmt.Errorf("read %s: %s: %w", r.name, place, err)
}

func (r *Reader) place(offset uint64) string {
	if r.in.packed {
		return fmt.Sprintf("byte %d of the decompressed data", offset)
	}
	return fmt.Sprintf("byte %d", offset)
}

// frame names the packet that is being read.
func (r *Reader) frame() string { return fmt.Sprintf("frame %d", r.packets+1) }

// overlong is a packet that claims more bytes than one can have.
func (r *Reader) overlong(start uint64, size uint32) error {
	return r.faultAt(start, ErrDamaged, fmt.Sprintf("%s at %s claims %d bytes, and none has more than %d",
		r.frame(), r.place(start), size, MaxFrame))
}
