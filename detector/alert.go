package detector

import (
	"net/netip"
	"time"
)

// Kind is what kind of scan an episode is.
type Kind string

const (
	Connect Kind = "connect" // handshakes complete, or the SYNs are an operating system's
	SYN     Kind = "syn"     // half-open
	NULL    Kind = "null"
	FIN     Kind = "fin"
	XMAS    Kind = "xmas"
	Maimon  Kind = "maimon"
	ACK     Kind = "ack" // ACK and Window scans send the same
	UDP     Kind = "udp"
	Tiny    Kind = "tiny-fragment"
	Mixed   Kind = "mixed" // no kind dominates, or the flags are none of these
)

// Direction is what was scanned: many ports of a host, one port of many hosts,
// or several ports of several hosts.
type Direction string

const (
	Vertical   Direction = "vertical"
	Horizontal Direction = "horizontal"
	Block      Direction = "block"
)

// Point is a port of the proof.
type Point struct {
	Time   time.Time
	Port   uint16
	UDP    bool
	Points int
}

// Alert tells of an episode: at its beginning, with the proof, and at its end,
// with what became of it.
type Alert struct {
	Summary bool // at the end; Proof is then that of the beginning

	Policy    string // its name
	Threshold int
	Reaches   bool // the line is crossed at Threshold, not above it
	Span      time.Duration
	Points    int // that were reached
	Proof     []Point

	Kind      Kind
	Direction Direction
	Episode   uint64 // the same number in an episode's alert and summary

	Time  time.Time // of the packet that crossed the line, or of the episode's end: its last probe
	Begin time.Time // of the first probe in the proof

	Source          netip.Addr   // who sent the packet that crossed the line
	Prefix          netip.Prefix // what counts as one source
	Destination     netip.Addr   // of that packet
	SourcePort      uint16
	DestinationPort uint16
	Protocol        string // "TCP" or "UDP"
	Interface       string // where it came in; empty in replay

	Hosts          int    // destinations, an estimate above 1
	Probes         uint64 // by the source since it is remembered
	Handshakes     uint64
	MinTTL, MaxTTL uint8
}
