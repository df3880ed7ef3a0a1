package capture

import (
	"encoding/binary"
	"fmt"
	"io"
)

// Blocks of pcapng that matter here. All others are passed over.
const (
	blockSection   = 0x0a0d0d0a // reads the same in both byte orders
	blockInterface = 1
	blockPacket    = 2 // obsolete
	blockSimple    = 3
	blockEnhanced  = 6
)

// Options of an interface that matter here.
const (
	optionEnd        = 0
	optionResolution = 9
	optionOffset     = 14
)

// maxInterfaces is how many a section can have: a bound for memory, far above
// what machines have.
const maxInterfaces = 1 << 16

// sections is the pcapng format: blocks, each with its type, its length, its
// body and its length again. A section header names the byte order and begins
// the list of interfaces anew.
type sections struct {
	r          *Reader
	order      binary.ByteOrder
	interfaces []captured // of this section
	before     int        // interfaces in the sections before it
	last       uint64     // time of the last packet

	// The block in hand.
	kind   uint32
	start  uint64 // its offset
	length uint32 // all of it
	left   uint32 // bytes of its body that are not read yet
	fixed  [24]byte
}

// captured is an interface of a section.
type captured struct {
	link       uint32
	snaplen    uint32 // 0: no limit
	resolution uint8  // as nanoseconds takes it
	offset     int64  // seconds
}

// newSections reads the file's first section header.
func newSections(r *Reader) (*sections, error) {
	s := &sections{r: r, last: earliest}
	if err := s.open(); err != nil {
		return nil, err
	}
	return s, s.section()
}

func (s *sections) next(p *packet) error {
	for {
		err := s.open()
		if err != nil {
			return err
		}
		switch s.kind {
		case blockSection:
			err = s.section()
		case blockInterface:
			err = s.newInterface()
		case blockEnhanced, blockPacket, blockSimple:
			return s.packet(p)
		default:
			err = s.close()
		}
		if err != nil {
			return err
		}
	}
}

// open reads the head of the next block; io.EOF if there is none.
func (s *sections) open() error {
	s.kind, s.start, s.length = 0, s.r.in.offset, 12 // until it is known
	switch n, err := s.r.in.read(s.fixed[:8]); {
	case n == 0 && err == io.EOF:
		return io.EOF
	case err != nil:
		return s.cut(err)
	}
	if s.kind = binary.BigEndian.Uint32(s.fixed[:]); s.kind == blockSection {
		if err := s.byteOrder(); err != nil {
			return err
		}
	} else {
		s.kind = s.order.Uint32(s.fixed[:])
	}
	s.length = s.order.Uint32(s.fixed[4:])
	if least := s.least(); s.length < least || s.length%4 != 0 {
		return s.damaged("claims to be %d bytes long, but it has at least %d, and four times a number", s.length, least)
	}
	s.left = s.length - uint32(s.r.in.offset-s.start) - 4
	return nil
}

// byteOrder reads the order of a section from its header, where it stands
// behind the length, which cannot be read without.
func (s *sections) byteOrder() error {
	s.length = s.least()
	if _, err := s.r.in.read(s.fixed[8:12]); err != nil {
		return s.cut(err)
	}
	switch binary.BigEndian.Uint32(s.fixed[8:]) {
	case 0x1a2b3c4d:
		s.order = binary.BigEndian
	case 0x4d3c2b1a:
		s.order = binary.LittleEndian
	default:
		return s.damaged("has no byte order mark")
	}
	return nil
}

// least is the length of the shortest block of this type.
func (s *sections) least() uint32 {
	switch s.kind {
	case blockSection:
		return 28
	case blockInterface:
		return 20
	case blockEnhanced, blockPacket:
		return 32
	case blockSimple:
		return 16
	}
	return 12
}

// read reads the next n bytes of the body, which are there, to fixed.
func (s *sections) read(n uint32) error {
	if _, err := s.r.in.read(s.fixed[:n]); err != nil {
		return s.cut(err)
	}
	s.left -= n
	return nil
}

// skip forgets the next n bytes of the body, which are there.
func (s *sections) skip(n uint32) error {
	if _, err := s.r.in.skip(uint64(n)); err != nil {
		return s.cut(err)
	}
	s.left -= n
	return nil
}

// close passes over the rest of the block.
func (s *sections) close() error {
	if err := s.skip(s.left); err != nil {
		return err
	}
	if _, err := s.r.in.read(s.fixed[:4]); err != nil {
		return s.cut(err)
	}
	if again := s.order.Uint32(s.fixed[:]); again != s.length {
		return s.damaged("claims to be %d bytes long at its beginning and %d at its end", s.length, again)
	}
	return nil
}

func (s *sections) section() error {
	if err := s.read(12); err != nil {
		return err
	}
	// 1.2 is 1.0 by another name. The section's length is not needed.
	if major, minor := s.order.Uint16(s.fixed[0:]), s.order.Uint16(s.fixed[2:]); major != 1 || minor != 0 && minor != 2 {
		return s.r.faultAt(s.start, ErrFormat, fmt.Sprintf("pcapng version %d.%d at %s is not known, only 1.0: editcap converts others",
			major, minor, s.r.place(s.start)))
	}
	s.before += len(s.interfaces)
	s.interfaces = s.interfaces[:0]
	return s.close()
}

func (s *sections) newInterface() error {
	if len(s.interfaces) == maxInterfaces {
		return s.damaged("is of one interface more than the %d that a section can have", maxInterfaces)
	}
	if err := s.read(8); err != nil {
		return err
	}
	added := captured{link: uint32(s.order.Uint16(s.fixed[0:])), snaplen: s.order.Uint32(s.fixed[4:]), resolution: 6}
	for s.left > 0 {
		if err := s.read(4); err != nil {
			return err
		}
		option, size := s.order.Uint16(s.fixed[0:]), s.order.Uint16(s.fixed[2:])
		if option == optionEnd {
			break
		}
		padded := (uint32(size) + 3) &^ 3
		if padded > s.left {
			return s.damaged("has an option %d of %d bytes, which ends beyond it", option, size)
		}
		switch {
		case option == optionResolution && size == 1:
			if err := s.read(padded); err != nil {
				return err
			}
			added.resolution = s.fixed[0]
		case option == optionOffset && size == 8:
			if err := s.read(padded); err != nil {
				return err
			}
			added.offset = int64(s.order.Uint64(s.fixed[:]))
		case option == optionResolution, option == optionOffset:
			return s.damaged("has an option %d of %d bytes, which is not its size", option, size)
		default:
			if err := s.skip(padded); err != nil {
				return err
			}
		}
	}
	if err := s.close(); err != nil {
		return err
	}
	s.interfaces = append(s.interfaces, added)
	return nil
}

// packet reads a packet of any of the three types. The length that it had on
// the wire is not needed.
func (s *sections) packet(p *packet) error {
	var index, size uint32
	var ticks uint64
	if s.kind == blockSimple {
		if err := s.read(4); err != nil {
			return err
		}
		size = s.order.Uint32(s.fixed[:])
	} else {
		if err := s.read(20); err != nil {
			return err
		}
		if index = s.order.Uint32(s.fixed[:]); s.kind == blockPacket {
			index = uint32(s.order.Uint16(s.fixed[:]))
		}
		ticks = uint64(s.order.Uint32(s.fixed[4:]))<<32 | uint64(s.order.Uint32(s.fixed[8:]))
		size = s.order.Uint32(s.fixed[12:])
	}
	if uint64(index) >= uint64(len(s.interfaces)) {
		return s.damaged("came in by interface %d, but its section has described %d", index, len(s.interfaces))
	}
	from := &s.interfaces[index]
	p.link, p.device = from.link, s.before+int(index)
	if s.kind != blockSimple {
		s.last = nanoseconds(ticks, from.resolution, from.offset)
	} else if from.snaplen != 0 {
		size = min(size, from.snaplen)
	}
	p.at = s.last

	if size > MaxFrame && known(p.link) {
		return s.r.overlong(s.start, size)
	}
	if size > s.left {
		return s.damaged("claims %d bytes, but its block has room for %d", size, s.left)
	}
	if _, err := s.r.take(p, size, size); err != nil {
		return s.cut(err)
	}
	s.left -= size
	return s.close()
}

// thing names the block in hand.
func (s *sections) thing() string {
	switch s.kind {
	case blockSection:
		return "the section header"
	case blockInterface:
		return "the interface description"
	case blockEnhanced, blockPacket, blockSimple:
		return s.r.frame()
	}
	return fmt.Sprintf("the block after %d frames", s.r.packets)
}

func (s *sections) cut(err error) error {
	return s.r.cut(s.thing(), s.start, s.r.in.offset-s.start, uint64(s.length), err)
}

func (s *sections) damaged(format string, values ...any) error {
	return s.r.faultAt(s.start, ErrDamaged, fmt.Sprintf("%s at %s ", s.thing(), s.r.place(s.start))+fmt.Sprintf(format, values...))
}
