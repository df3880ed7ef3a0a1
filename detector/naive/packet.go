// Package naive is a detector without memory limits, for the tests of those that
// have them: a Scorer that keeps every packet and decides from the policies'
// definitions, a generator of packets that aim at the definitions' edges, and the
// frames that those packets arrive in. It shares only package watch's words with
// what it tests, and nothing that is shipped imports it.
package naive

import (
	"encoding/binary"
	"net/netip"

	"synoptic/bpf/watch"
)

// Packet is what a policy may need of a packet, after the frame has been read
// and the world has been asked whether it knows the conversation.
type Packet struct {
	Time   uint64 // nanoseconds; not 0
	Source netip.Addr
	Port   uint16 // destination
	// Probe is set for what may be a probe: TCP without RST, and if it has ACK
	// without a conversation, and datagrams without one. Any other Packet is of
	// TCP: of a conversation, or a reset.
	Probe bool
	Kind  watch.Kind // valid iff Probe
	// Handshake is set for the ACK that completes a connection of the source to
	// a listener; Probe is not.
	Handshake bool
}

func (p *Packet) udp() bool { return p.Probe && p.Kind == watch.UDP }

// Where Frames go, and the port they come from.
var (
	Host4 = netip.AddrFrom4([4]byte{192, 0, 2, 1})
	Host6 = netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 15: 1})
)

// SourcePort is the source port of every Frame.
const SourcePort = 40000

// Frame returns the Packet as an Ethernet frame to Host4 or Host6, without
// checksums. A Packet that is no Probe is a reset, or the ACK of its handshake;
// it is the caller's to have those with ACK and the datagrams known or unknown.
func (p *Packet) Frame() []byte {
	segment := p.segment()
	fragment := p.Probe && p.Kind == watch.Tiny
	protocol := byte(6)
	if p.udp() {
		protocol = 17
	}
	frame := append(make([]byte, 0, 14+48+len(segment)), 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2)
	if p.Source.Is4() {
		source, host := p.Source.As4(), Host4.As4()
		header := [20]byte{0: 0x45, 8: 64, 9: protocol}
		binary.BigEndian.PutUint16(header[2:], uint16(20+len(segment)))
		if fragment {
			header[6] = 0x20 // MF (RFC 791, 3.1)
		}
		copy(header[12:], source[:])
		copy(header[16:], host[:])
		return append(append(append(frame, 0x08, 0x00), header[:]...), segment...)
	}
	source, host := p.Source.As16(), Host6.As16()
	var extension []byte
	next := protocol
	if fragment {
		extension = []byte{protocol, 0, 0, 1, 0, 0, 0, 1} // M (RFC 8200, 4.5)
		next = 44
	}
	header := [40]byte{0: 0x60, 6: next, 7: 64}
	binary.BigEndian.PutUint16(header[4:], uint16(len(extension)+len(segment)))
	copy(header[8:], source[:])
	copy(header[24:], host[:])
	return append(append(append(append(frame, 0x86, 0xdd), header[:]...), extension...), segment...)
}

// segment returns what is behind the IP header.
func (p *Packet) segment() []byte {
	header := make([]byte, 20, 32)
	binary.BigEndian.PutUint16(header[0:], SourcePort)
	binary.BigEndian.PutUint16(header[2:], p.Port)
	if p.udp() {
		binary.BigEndian.PutUint16(header[4:], 8)
		return header[:8]
	}
	if p.Probe && p.Kind == watch.Tiny {
		return header[:8]
	}
	header[13] = p.flags()
	if p.Probe && p.Kind == watch.SystemSYN {
		header = header[:32]
	}
	header[12] = byte(len(header) / 4 << 4)
	return header
}

// TCP flags (RFC 9293, 3.1).
const (
	fin = 1 << iota
	syn
	rst
	psh
	ack
	urg
)

func (p *Packet) flags() byte {
	switch {
	case p.Handshake:
		return ack
	case !p.Probe:
		return rst
	}
	return [watch.Kinds]byte{
		watch.SYN: syn, watch.SystemSYN: syn, watch.NULL: 0, watch.FIN: fin, watch.XMAS: fin | psh | urg,
		watch.Odd: syn | fin, watch.Maimon: fin | ack, watch.ACK: ack, watch.SYNACK: syn | ack,
	}[p.Kind]
}
