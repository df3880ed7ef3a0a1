package capture

import (
	"encoding/binary"
	"fmt"
	"io"
)

// classic is the pcap format: a header of 24 bytes, and one of 16 in front of
// each packet.
type classic struct {
	r       *Reader
	order   binary.ByteOrder
	unit    uint64 // nanoseconds in one of the smaller part of a time
	link    uint32
	snaplen uint32
	header  [16]byte
}

// newClassic reads the file's header, whose first four bytes have told order
// and unit.
func newClassic(r *Reader, order binary.ByteOrder, unit uint64) (*classic, error) {
	var h [24]byte
	if n, err := r.in.read(h[:]); err != nil {
		return nil, r.cut("the pcap header", 0, uint64(n), uint64(len(h)), err)
	}
	if major, minor := order.Uint16(h[4:]), order.Uint16(h[6:]); major != 2 || minor != 4 {
		return nil, r.faultAt(0, ErrFormat, fmt.Sprintf("pcap version %d.%d is not known, only 2.4: editcap converts others", major, minor))
	}
	c := &classic{r: r, order: order, unit: unit, snaplen: order.Uint32(h[16:])}
	if c.snaplen == 0 {
		c.snaplen = MaxFrame
	}
	c.link = order.Uint32(h[20:]) & 0x03ffffff // the other bits tell of frame check sequences
	return c, nil
}

func (c *classic) next(p *packet) error {
	start := c.r.in.offset
	switch n, err := c.r.in.read(c.header[:]); {
	case err == io.EOF:
		return io.EOF
	case err != nil:
		return c.r.cut("the header of "+c.r.frame(), start, uint64(n), uint64(len(c.header)), err)
	}
	// Seconds are unsigned, so this ends in 2106 and fits.
	p.at = clamp(uint64(c.order.Uint32(c.header[0:]))*1e9 + uint64(c.order.Uint32(c.header[4:]))*c.unit)
	p.link = c.link
	size := c.order.Uint32(c.header[8:])
	if size > MaxFrame && known(c.link) {
		return c.r.overlong(start, size)
	}
	// A packet longer than the file announced is cut to that, as by libpcap.
	if n, err := c.r.take(p, size, c.snaplen); err != nil {
		return c.r.cut(c.r.frame(), start, n, uint64(size), err)
	}
	return nil
}
