package watch

import "net/netip"

// MaxProbes is how many distinct ports of a source are remembered: enough to
// decide a line that 22 ports of the smallest weight cross.
const MaxProbes = 22

// Kind is what a probe was, by its protocol and TCP flags. PSH and URG matter
// only where the table says so; ECE and CWR never do.
type Kind uint8

const (
	SYN       Kind        = iota // SYN without ACK, FIN, RST; with no more options than a raw scanner sends
	SystemSYN                    // the same with the options that operating systems send: 32 or more bytes of header
	NULL                         // no flag at all
	FIN                          // FIN alone
	XMAS                         // FIN, PSH and URG
	Odd                          // other flags without ACK and RST, and SYN+FIN+ACK
	Maimon                       // FIN and ACK, no SYN; no socket knows the connection
	ACK                          // ACK without SYN and FIN; no socket knows the connection
	SYNACK                       // SYN and ACK; no socket knows the connection
	UDP                          // a datagram that no socket waits for
	Tiny                         // a first fragment that ends before the TCP flags
	Kinds     = int(iota)        // how many there are
)

// String returns a word for it.
func (k Kind) String() string {
	words := [Kinds]string{"syn", "system-syn", "null", "fin", "xmas", "odd", "maimon", "ack", "syn-ack", "udp", "tiny-fragment"}
	if int(k) >= len(words) {
		return "unknown"
	}
	return words[k]
}

// Class is what a port is to the policies' weights.
type Class uint8

const (
	High     Class = iota // TCP ports from 1024
	Low                   // TCP ports below 1024
	Trap                  // TCP ports that nothing should ask for, Rules.Traps
	Datagram              // UDP, whatever the port
	Classes  = int(iota)
)

// Probe is one distinct (protocol, port) that a source has probed.
type Probe struct {
	Time uint64 // of the latest probe to it; nanoseconds on the observations' clock
	Port uint16
	Kind Kind // of the latest probe; the protocol is UDP iff it is UDP, else TCP
}

// Ref names a source's place in the table. A place may have been given to
// another source since: compare Source and Born.
type Ref uint32

// Snapshot is all that is remembered of a source, at one packet.
//
// Times are nanoseconds on the clock of the observations: the kernel's
// monotonic clock, or a capture's time since 1970. They never run backwards
// for a source: a packet that is older than the source's last counts as of the
// same time.
type Snapshot struct {
	Ref    Ref
	Source netip.Prefix // /32, or Rules.V6Bits of an IPv6 address
	From   netip.Addr   // the address that sent this packet
	To     netip.Addr   // and the one it was sent to
	Device int          // index of the interface it came in by; 0 in replay

	Time         uint64 // of this packet
	Probed       bool   // this packet was a probe; else it only counts for a policy over packets
	Born         uint64 // the time of the source's first packet that is remembered
	Last         uint64 // of the last probe, this one included
	Before       uint64 // of the last probe before this packet; 0: none
	LastPacket   uint64 // as Last and Before, of any TCP packet; 0 unless Rules.Packets is on
	BeforePacket uint64

	// Chain is when the present chain of new ports began: a probe that comes
	// more than Rules.Gap.Span after the last new port begins another. A port
	// is of the chain iff it was probed since.
	Chain uint64

	Probes  []Probe // the last distinct ones, in the order of their times, at most MaxProbes
	Packets []Probe // the last TCP packets of any flags (Kind has no meaning), at most MaxProbes; only if Rules.Packets is on

	// Since Born.
	Classes    [Classes]uint32
	Kinds      [Kinds]uint32
	Handshakes uint32 // connections of the source that a listener of ours saw completed

	First, Latest netip.Addr // destinations of the first and the latest probe
	Hosts         int        // how many destinations, an estimate above 1
	SourcePort    uint16     // of this packet
	MinTTL        uint8      // or hop limit
	MaxTTL        uint8
}
