package filter

import (
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"synoptic/bpf/watch"
)

// verdict is whether a frame can be judged by tcpdump and us alike.
type verdict string

const (
	fair      verdict = "fair"
	notIP     verdict = "not IP"             // never comes to a filter of ours
	extension verdict = "extension headers"  // tcpdump does not look behind them
	broken    verdict = "not what it claims" // wrong version or header length
	cut       verdict = "cut short"          // tcpdump refuses what it cannot read, whatever the expression
)

// untagged returns a frame without its VLAN tags, and how many it had.
func untagged(frame []byte) ([]byte, int) {
	for tags := 0; ; tags++ {
		if len(frame) < 18 {
			return frame, tags
		}
		switch binary.BigEndian.Uint16(frame[12:]) {
		case 0x8100, 0x88a8, 0x9100:
			frame = append(append([]byte(nil), frame[:12]...), frame[16:]...)
		default:
			return frame, tags
		}
	}
}

// decode says what a filter is told of a frame without VLAN tags.
func decode(frame []byte) (p watch.Packet, v verdict) {
	if len(frame) < 14 {
		return p, notIP
	}
	ip := frame[14:]
	var payload []byte
	var length int // of what follows the header, as the header says
	first := true  // a whole packet or a first fragment
	switch binary.BigEndian.Uint16(frame[12:]) {
	default:
		return p, notIP
	case 0x0800: // RFC 791, 3.1
		if len(ip) < 20 {
			return p, cut
		}
		header := int(ip[0]&15) * 4
		length = int(binary.BigEndian.Uint16(ip[2:])) - header
		if ip[0]>>4 != 4 || header < 20 || length < 0 {
			return p, broken
		}
		if len(ip) < header {
			return p, cut
		}
		p.Source, p.Destination = netip.AddrFrom4([4]byte(ip[12:16])), netip.AddrFrom4([4]byte(ip[16:20]))
		p.Protocol, payload = ip[9], ip[header:]
		first = binary.BigEndian.Uint16(ip[6:])&0x1fff == 0
	case 0x86dd: // RFC 8200, 3
		if len(ip) < 40 {
			return p, cut
		}
		if ip[0]>>4 != 6 {
			return p, broken
		}
		p.Source, p.Destination = netip.AddrFrom16([16]byte(ip[8:24])), netip.AddrFrom16([16]byte(ip[24:40]))
		p.Protocol, payload = ip[6], ip[40:]
		length = int(binary.BigEndian.Uint16(ip[4:]))
		switch p.Protocol {
		case 0, 43, 44, 51, 60:
			return p, extension
		}
	}
	if p.Protocol != 6 && p.Protocol != 17 && p.Protocol != 132 || !first {
		return p, fair
	}
	if len(payload) < 4 || length < 4 {
		return p, cut
	}
	p.HasPorts = true
	p.SourcePort, p.DestinationPort = binary.BigEndian.Uint16(payload), binary.BigEndian.Uint16(payload[2:])
	return p, fair
}

// encode returns a frame that decodes to p. Ports that a packet over IPv4 does
// not have are those of a later fragment.
func encode(r *rand.Rand, p *watch.Packet) []byte {
	payload := make([]byte, 4+r.IntN(30))
	for i := range payload {
		payload[i] = byte(r.IntN(256))
	}
	if p.HasPorts {
		binary.BigEndian.PutUint16(payload, p.SourcePort)
		binary.BigEndian.PutUint16(payload[2:], p.DestinationPort)
	}
	frame := make([]byte, 12)
	if p.Source.Is6() {
		frame = append(frame, 0x86, 0xdd)
		frame = append(frame, 0x60, byte(r.IntN(256)), 0, 0, 0, byte(len(payload)), p.Protocol, 64)
		frame = append(frame, p.Source.AsSlice()...)
		frame = append(frame, p.Destination.AsSlice()...)
		return append(frame, payload...)
	}
	header := make([]byte, 20+r.IntN(2)*4*r.IntN(11))
	header[0] = 0x40 | byte(len(header)/4)
	binary.BigEndian.PutUint16(header[2:], uint16(len(header)+len(payload)))
	fragment := pick(r, []uint16{0, 0x2000, 0x4000, 0x8000}) // whole, the first of several, not to be fragmented, or with the unused bit
	if !p.HasPorts && (p.Protocol == 6 || p.Protocol == 17 || p.Protocol == 132) {
		fragment |= 1 << r.IntN(13)
	}
	binary.BigEndian.PutUint16(header[6:], fragment)
	header[8], header[9] = 64, p.Protocol
	copy(header[12:], p.Source.AsSlice())
	copy(header[16:], p.Destination.AsSlice())
	frame = append(frame, 0x08, 0x00)
	frame = append(frame, header...)
	return append(frame, payload...)
}

// frameSet is frames, what a filter is told of each, and how many of those that
// were offered it has not.
type frameSet struct {
	frames  [][]byte
	packets []watch.Packet
	left    map[verdict]int
	tagged  int // frames that lost VLAN tags
}

func (s *frameSet) offer(frame []byte) {
	frame, tags := untagged(frame)
	p, v := decode(frame)
	if v != fair {
		s.left[v]++
		return
	}
	if tags > 0 {
		s.tagged++
	}
	s.frames = append(s.frames, append([]byte(nil), frame...))
	s.packets = append(s.packets, p)
}

// values are what the frames carry, each as often as it is carried.
func (s *frameSet) values() *values {
	v := &values{}
	for _, p := range s.packets {
		if p.Source.Is4() {
			v.v4 = append(v.v4, p.Source, p.Destination)
		} else if !p.Source.Is4In6() && !p.Destination.Is4In6() {
			v.v6 = append(v.v6, p.Source, p.Destination)
		}
		if p.HasPorts {
			v.ports = append(v.ports, p.SourcePort, p.DestinationPort)
		}
		switch p.Protocol {
		case 0, 43, 44, 51, 60: // have no test for IPv6
		default:
			v.protocols = append(v.protocols, p.Protocol)
		}
	}
	return v
}

// synthesized returns frames of random packets.
func synthesized(t *testing.T, r *rand.Rand, n int) *frameSet {
	t.Helper()
	s := &frameSet{left: map[verdict]int{}}
	of := few()
	for len(s.frames) < n {
		p := of.packet(r)
		if p.Source.Is6() && !p.HasPorts && (p.Protocol == 6 || p.Protocol == 17 || p.Protocol == 132) {
			continue // takes an extension header
		}
		s.offer(encode(r, &p))
		if last := len(s.packets) - 1; last < 0 || s.packets[last] != p {
			t.Fatalf("encoding and decoding differ: %+v", p)
		}
	}
	return s
}

// captured adds the frames of every Ethernet capture beside the project, if
// they are there, and returns how many files that were.
func (s *frameSet) captured(t *testing.T) (files int) {
	t.Helper()
	for _, folder := range []string{"tcpdump", "zeek"} {
		err := filepath.WalkDir(filepath.Join("..", "..", "..", "shared", "captures", folder), func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return filepath.SkipAll
			}
			if err != nil || d.IsDir() {
				return err
			}
			f, err := os.Open(path)
			if err != nil {
				return err
			}
			defer f.Close()
			next, link, ok := openCapture(f)
			if !ok || link != layers.LinkTypeEthernet {
				return nil
			}
			files++
			for {
				frame, _, err := next.ReadPacketData()
				if err != nil { // the end, or where the capture is cut
					return nil
				}
				s.offer(frame)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return files
}

func openCapture(f io.ReadSeeker) (gopacket.PacketDataSource, layers.LinkType, bool) {
	if r, err := pcapgo.NewReader(f); err == nil {
		return r, r.LinkType(), true
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, 0, false
	}
	r, err := pcapgo.NewNgReader(f, pcapgo.DefaultNgReaderOptions)
	if err != nil {
		return nil, 0, false
	}
	return r, r.LinkType(), true
}
