package validate

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"synoptic/internal/wire"
)

// Answer is a valid answer to a probe of ours.
type Answer struct {
	Target netip.AddrPort
	Source uint16 // the port that the probe came from
	TTL    uint8
	From   netip.Addr // who sent the answer

	// ICMPError says that it is one, of a type and code.
	ICMPError          bool
	ICMPType, ICMPCode uint8
	// TCP is of the segment otherwise: of its flags SYN, RST and ACK, whether it
	// has options, and its window. In place of its sequence and acknowledgment
	// numbers, both, is how far beyond the cookie is what it brings back.
	TCP wire.TCP
}

// Sizes of the two kinds of records, and where their fields are.
const (
	recordLen     = int(unsafe.Sizeof(bpfAnswerFrom{}.Answer))
	recordFromLen = int(unsafe.Sizeof(bpfAnswerFrom{}))

	atTime   = int(unsafe.Offsetof(bpfAnswerFrom{}.Answer.Time))
	atTarget = int(unsafe.Offsetof(bpfAnswerFrom{}.Answer.Target))
	atPort   = int(unsafe.Offsetof(bpfAnswerFrom{}.Answer.Port))
	atSource = int(unsafe.Offsetof(bpfAnswerFrom{}.Answer.SourcePort))
	atWindow = int(unsafe.Offsetof(bpfAnswerFrom{}.Answer.Window))
	atTTL    = int(unsafe.Offsetof(bpfAnswerFrom{}.Answer.Ttl))
	atWhat   = int(unsafe.Offsetof(bpfAnswerFrom{}.Answer.What))
	atFrom   = int(unsafe.Offsetof(bpfAnswerFrom{}.From))
)

// ANSWER_* in maps.bpf.h.
const (
	whatIPv6    = 0x01
	whatNext    = 0x08
	whatOptions = 0x20
	whatICMP    = 0x40
)

// Decode reads a record as Read returns it. It reports false for anything else.
func (a *Answer) Decode(record []byte) bool {
	if len(record) != recordLen && len(record) != recordFromLen {
		return false
	}
	what := record[atWhat]
	target := address(record[atTarget:], what)
	a.Target = netip.AddrPortFrom(target, binary.NativeEndian.Uint16(record[atPort:]))
	a.Source = binary.NativeEndian.Uint16(record[atSource:])
	a.TTL = record[atTTL]
	if a.From = target; len(record) == recordFromLen {
		a.From = address(record[atFrom:], what)
	}
	window := binary.NativeEndian.Uint16(record[atWindow:])
	if a.ICMPError = what&whatICMP != 0; a.ICMPError {
		a.ICMPType, a.ICMPCode, a.TCP = uint8(window>>8), uint8(window), wire.TCP{}
		return true
	}
	a.ICMPType, a.ICMPCode = 0, 0
	a.TCP = wire.TCP{
		SrcPort: a.Target.Port(), DstPort: a.Source, Window: window,
		Flags: what & (wire.SYN | wire.RST | wire.ACK), Options: what&whatOptions != 0,
	}
	if what&whatNext != 0 {
		a.TCP.Seq, a.TCP.Ack = 1, 1
	}
	return true
}

func address(b []byte, what byte) netip.Addr {
	if what&whatIPv6 != 0 {
		return netip.AddrFrom16([16]byte(b))
	}
	return netip.AddrFrom4([4]byte(b))
}
