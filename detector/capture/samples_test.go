package capture

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"testing"
)

// got is a packet as Next gave it.
type got struct {
	frame  string
	at     uint64
	device int
}

func (g got) String() string { return fmt.Sprintf("%x at %d from %d", g.frame, g.at, g.device) }

// readAll reads a capture to its end, which is io.EOF or a fault. The reader
// is nil if it could not be begun.
func readAll(source io.Reader) ([]got, *Reader, error) {
	r, err := NewReader(source)
	if err != nil {
		return nil, nil, err
	}
	var all []got
	for {
		frame, at, device, err := r.Next()
		if err != nil {
			return all, r, err
		}
		all = append(all, got{string(frame), at, device})
	}
}

// mustRead is readAll of a capture that is sound.
func mustRead(t *testing.T, file []byte) ([]got, *Reader) {
	t.Helper()
	all, r, err := readAll(bytes.NewReader(file))
	if err != io.EOF {
		t.Fatalf("%v after %d packets, want the end of the file", err, len(all))
	}
	return all, r
}

func faultOf(t *testing.T, err error) *Fault {
	t.Helper()
	var f *Fault
	if !errors.As(err, &f) {
		t.Fatalf("%v is not a Fault", err)
	}
	return f
}

// sample is a capture written by hand, with what a reader has to say of it.
type sample struct {
	file  []byte
	want  []got
	ends  []int // offset behind each packet of want
	clean []int // offsets at which a file may end
}

func (s *sample) uint16(order binary.ByteOrder, v ...uint16) {
	for _, v := range v {
		s.file = append(s.file, 0, 0)
		order.PutUint16(s.file[len(s.file)-2:], v)
	}
}

func (s *sample) uint32(order binary.ByteOrder, v ...uint32) {
	for _, v := range v {
		s.file = append(s.file, 0, 0, 0, 0)
		order.PutUint32(s.file[len(s.file)-4:], v)
	}
}

func (s *sample) boundary() { s.clean = append(s.clean, len(s.file)) }

func (s *sample) packet(g got) {
	s.want, s.ends = append(s.want, g), append(s.ends, len(s.file))
	s.boundary()
}

// pcap writes the format of 1998.
type pcap struct {
	sample
	order binary.ByteOrder
	unit  uint64
}

func newPcap(order binary.ByteOrder, nano bool, link uint32) *pcap {
	p := &pcap{order: order, unit: 1000}
	magic := uint32(0xa1b2c3d4)
	if nano {
		magic, p.unit = 0xa1b23c4d, 1
	}
	p.uint32(order, magic)
	p.uint16(order, 2, 4)
	p.uint32(order, 0, 0, 65535, link)
	p.boundary()
	return p
}

// add writes an Ethernet frame, and expects it again.
func (p *pcap) add(at uint64, frame string) *pcap {
	p.raw(at, len(frame), frame)
	p.packet(got{frame, at, 0})
	return p
}

// raw writes a packet that claims size bytes.
func (p *pcap) raw(at uint64, size int, data string) *pcap {
	p.uint32(p.order, uint32(at/1e9), uint32(at%1e9/p.unit), uint32(size), uint32(size))
	p.file = append(p.file, data...)
	return p
}

// pcapng writes the format with blocks.
type pcapng struct {
	sample
	order binary.ByteOrder
}

func newPcapng(order binary.ByteOrder) *pcapng {
	p := &pcapng{order: order}
	return p.section(order)
}

func (p *pcapng) section(order binary.ByteOrder) *pcapng {
	p.order = order
	var body sample
	body.uint32(order, 0x1a2b3c4d)
	body.uint16(order, 1, 0)
	body.uint32(order, 0xffffffff, 0xffffffff)
	return p.block(0x0a0d0d0a, body.file)
}

func (p *pcapng) block(kind uint32, body []byte) *pcapng {
	for len(body)%4 != 0 {
		body = append(body, 0)
	}
	size := uint32(12 + len(body))
	p.uint32(p.order, kind, size)
	p.file = append(p.file, body...)
	p.uint32(p.order, size)
	p.boundary()
	return p
}

type option struct {
	code  uint16
	value []byte
}

func resolution(v byte) option { return option{9, []byte{v}} }

func (p *pcapng) offset(seconds int64) option {
	b := make([]byte, 8)
	p.order.PutUint64(b, uint64(seconds))
	return option{14, b}
}

func (p *pcapng) device(link uint16, snaplen uint32, options ...option) *pcapng {
	var body sample
	body.uint16(p.order, link, 0)
	body.uint32(p.order, snaplen)
	for _, o := range options {
		body.uint16(p.order, o.code, uint16(len(o.value)))
		body.file = append(body.file, o.value...)
		for len(body.file)%4 != 0 {
			body.file = append(body.file, 0)
		}
	}
	if len(options) > 0 {
		body.uint32(p.order, 0)
	}
	return p.block(1, body.file)
}

// enhanced writes a packet of ticks on an interface, which are at in
// nanoseconds. Device is the number that the interface has in the whole file.
func (p *pcapng) enhanced(index uint32, ticks uint64, frame string, at uint64, device int, options ...byte) *pcapng {
	var body sample
	body.uint32(p.order, index, uint32(ticks>>32), uint32(ticks), uint32(len(frame)), uint32(len(frame)))
	body.file = append(body.file, frame...)
	for len(body.file)%4 != 0 {
		body.file = append(body.file, 0)
	}
	p.block(6, append(body.file, options...))
	p.clean = p.clean[:len(p.clean)-1]
	p.packet(got{frame, at, device})
	return p
}

// simple writes a packet that had size bytes on the wire.
func (p *pcapng) simple(size uint32, frame string, at uint64, device int) *pcapng {
	var body sample
	body.uint32(p.order, size)
	p.block(3, append(body.file, frame...))
	p.clean = p.clean[:len(p.clean)-1]
	p.packet(got{frame, at, device})
	return p
}

// obsolete writes a packet in the block that came before the enhanced one.
func (p *pcapng) obsolete(index uint16, ticks uint64, frame string, at uint64, device int) *pcapng {
	var body sample
	body.uint16(p.order, index, 7) // 7 dropped
	body.uint32(p.order, uint32(ticks>>32), uint32(ticks), uint32(len(frame)), uint32(len(frame)))
	p.block(2, append(body.file, frame...))
	p.clean = p.clean[:len(p.clean)-1]
	p.packet(got{frame, at, device})
	return p
}

func compressed(file []byte) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write(file)
	z.Close()
	return b.Bytes()
}

// samples has one of everything that a sound file may have.
func samples() map[string]sample {
	const (
		arp  = "\xff\xff\xff\xff\xff\xff\x02\x00\x00\x00\x00\x01\x08\x06\x00\x01"
		ipv4 = "\x02\x00\x00\x00\x00\x02\x02\x00\x00\x00\x00\x01\x08\x00\x45\x00\x00"
		ipv6 = "\x02\x00\x00\x00\x00\x02\x02\x00\x00\x00\x00\x01\x86\xdd\x60"
		t    = uint64(1_700_000_000_123_456_000)
	)
	all := map[string]sample{}
	for name, order := range map[string]binary.ByteOrder{"little": binary.LittleEndian, "big": binary.BigEndian} {
		all["pcap_microseconds_"+name] = newPcap(order, false, 1).add(t, arp).add(t+1000, ipv4).add(t-5000, "").add(t, ipv6).sample
		all["pcap_nanoseconds_"+name] = newPcap(order, true, 1).add(t+1, arp).add(t+999, ipv4).sample
		// A comment behind a packet, statistics, an unknown block, a second
		// section in the other order.
		other := binary.ByteOrder(binary.BigEndian)
		if order == binary.BigEndian {
			other = binary.LittleEndian
		}
		p := newPcapng(order).device(1, 0).device(1, 96, option{2, []byte("eth1")}, resolution(9), option{11, []byte("\x00port 80")})
		p.enhanced(0, t/1000, arp, t, 0).enhanced(1, t+1, ipv4, t+1, 1, 0, 0, 0, 0)
		p.block(5, make([]byte, 12)).block(0x0bad, []byte("what is this?")).simple(uint32(len(ipv4)), ipv4, t+1, 0)
		p.section(other).device(1, 4, resolution(0), p.offset(-100))
		p.enhanced(0, 1100, arp, 1000e9, 2).obsolete(0, 1200, ipv6, 1100e9, 2).simple(60, arp[:4], 1100e9, 2)
		all["pcapng_"+name] = p.sample
	}
	return all
}
