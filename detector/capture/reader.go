package capture

import (
	"bufio"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// MaxFrame is the most bytes that a packet can have, as in libpcap. A longer
// one is taken for damage.
const MaxFrame = 262144

// Reader reads a capture. It is not safe for concurrent use.
type Reader struct {
	name   string // for error sentences
	in     input
	format format
	file   *os.File // nil iff somebody else closes the source
	err    error    // of the last Next, which stays

	packet  packet                    // the last one; here since it would be allocated elsewhere
	buf     [headroom + MaxFrame]byte // the packet lies at buf[headroom:]
	packets uint64                    // complete ones
	skipped map[uint32]uint64         // of them, those of unknown link types
}

// format reads the packets of one file format. It fills in all of the packet
// and leaves its bytes in Reader.buf, or passes over them if its link type is
// not known.
type format interface {
	next(*packet) error
}

// packet is what a format knows of one.
type packet struct {
	link   uint32 // LINKTYPE_*
	at     uint64 // nanoseconds since 1970
	device int
	length int // bytes at buf[headroom:]
}

// Stats count what a Reader has read.
type Stats struct {
	Packets uint64 // complete ones, those of Skipped included
	// Skipped are those whose link type has no place for IP that we know, by
	// the link type's name. It is nil if there were none.
	Skipped map[string]uint64
}

// Open opens a capture file; "-" is the standard input, which Close leaves
// open. Its errors name the file and are ErrEmpty, ErrFormat, ErrTruncated or
// ErrDamaged, or come from the system.
func Open(name string) (*Reader, error) {
	if name == "-" {
		return newReader(os.Stdin, "capture from standard input")
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("open capture: %w", err)
	}
	r, err := newReader(f, fmt.Sprintf("capture %q", name))
	if err != nil {
		f.Close()
		return nil, err
	}
	r.file = f
	return r, nil
}

// NewReader reads a capture from a stream, which it does not close. It reads
// ahead, but never waits for more than the packet that is asked for.
func NewReader(r io.Reader) (*Reader, error) {
	return newReader(r, "capture")
}

func newReader(source io.Reader, name string) (*Reader, error) {
	r := &Reader{name: name, in: input{r: bufio.NewReaderSize(source, 1<<16)}}
	if err := r.gunzip(); err != nil {
		return nil, err
	}
	magic, err := r.in.r.Peek(4)
	switch {
	case err == io.EOF && len(magic) == 0:
		return nil, r.fault(ErrEmpty, "it is empty: "+wanted)
	case err != nil:
		return nil, r.cut("the file", 0, uint64(len(magic)), 4, err)
	}
	switch binary.BigEndian.Uint32(magic) {
	case 0xa1b2c3d4:
		r.format, err = newClassic(r, binary.BigEndian, 1000)
	case 0xa1b23c4d:
		r.format, err = newClassic(r, binary.BigEndian, 1)
	case 0xd4c3b2a1:
		r.format, err = newClassic(r, binary.LittleEndian, 1000)
	case 0x4d3cb2a1:
		r.format, err = newClassic(r, binary.LittleEndian, 1)
	case blockSection:
		r.format, err = newSections(r)
	default:
		err = r.fault(ErrFormat, fmt.Sprintf("unknown format that begins with % x: %s", magic, wanted))
	}
	if err != nil {
		return nil, err
	}
	return r, nil
}

// gunzip puts a decompressor in front of a compressed source. Offsets are then
// of what it yields.
func (r *Reader) gunzip() error {
	if magic, _ := r.in.r.Peek(2); len(magic) < 2 || magic[0] != 0x1f || magic[1] != 0x8b {
		return nil // errors come again when it is read
	}
	z, err := gzip.NewReader(r.in.r)
	if err != nil {
		return r.unreadable("the gzip header", 0, err)
	}
	r.in = input{r: bufio.NewReaderSize(z, 1<<16), packed: true}
	return nil
}

// Next returns the next packet as an Ethernet frame, which is valid until the
// next call, when it was captured in nanoseconds since 1970, and the number of
// its interface, counted from 0 through the whole file. The error is io.EOF at
// a clean end, else a *Fault or the system's; it stays with all later calls.
//
// Packets without Ethernet header are given one, with addresses of zero, in
// place of their own: raw IP, BSD loopback, Linux cooked (both versions), PPP,
// PPPoE and Cisco HDLC. What does not carry IP there has the EtherType 0 or
// the one that it came with; a packet that is cut within its link header is an
// empty frame. Packets of other link types are passed over and counted by the
// name of the type in Stats.
//
// The time is at least 1 and at most 1<<63 - 1: earlier and later ones are
// moved there, since 0 is no time to package watch. It may run backwards where
// the file's does. A packet without a time has that of the one before it.
func (r *Reader) Next() (frame []byte, at uint64, device int, err error) {
	for r.err == nil {
		p := &r.packet
		if r.err = r.format.next(p); r.err != nil {
			break
		}
		r.packets++
		if known(p.link) {
			return ethernet(r.buf[:headroom+p.length], p.link), p.at, p.device, nil
		}
		if r.skipped == nil {
			r.skipped = make(map[uint32]uint64)
		}
		r.skipped[p.link]++
	}
	return nil, 0, 0, r.err
}

// Stats returns the counts so far.
func (r *Reader) Stats() Stats {
	stats := Stats{Packets: r.packets}
	if r.skipped != nil {
		stats.Skipped = make(map[string]uint64)
	}
	for link, n := range r.skipped {
		stats.Skipped[linkName(link)] += n
	}
	return stats
}

// Close closes the file that Open has opened.
func (r *Reader) Close() error {
	if r.err == nil {
		r.err = errors.New("read " + r.name + ": it is closed")
	}
	if r.file == nil {
		return nil
	}
	return r.file.Close()
}

// take reads the bytes of a packet, which are to be at most kept, from the
// size bytes that the file has of it. Those of unknown link types are not
// looked at.
func (r *Reader) take(p *packet, size, kept uint32) (n uint64, err error) {
	if !known(p.link) {
		return r.in.skip(uint64(size))
	}
	p.length = int(min(size, kept))
	read, err := r.in.read(r.buf[headroom : headroom+p.length])
	if err != nil {
		return uint64(read), err
	}
	n, err = r.in.skip(uint64(size) - uint64(p.length))
	return n + uint64(read), err
}
