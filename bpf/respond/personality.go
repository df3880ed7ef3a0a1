package respond

import (
	"fmt"
	"strings"

	"synoptic/internal/wire"
)

// TCP flags, the low six bits of the flags byte.
const (
	FIN = wire.FIN
	SYN = wire.SYN
	RST = wire.RST
	PSH = wire.PSH
	ACK = wire.ACK
	URG = wire.URG
)

// State is the truth about one port.
type State uint8

const (
	// Outside: not an address of the range; the responder says nothing of it.
	Outside State = iota
	Silent
	Open
	Closed
	// Rejected: a firewall answers in the port's stead, with an ICMP error.
	Rejected
)

func (s State) String() string {
	return [...]string{"outside", "silent", "open", "closed", "rejected"}[s]
}

// Personality is how a kind of host answers when RFC 9293 leaves it a choice,
// or when it does not care for the choice.
type Personality uint8

const (
	// Standard answers as RFC 9293 3.10.7 says and Linux does.
	Standard = Personality(bpfPersonalityPERSONALITY_STANDARD)
	// Windows sends an RST from an open port to whatever is not a SYN.
	Windows = Personality(bpfPersonalityPERSONALITY_WINDOWS)
	// BSD says nothing to a FIN+ACK at an open port (Maimon, Phrack 49), gives
	// its RST from an open port a window, and takes a SYN+FIN for a SYN.
	BSD = Personality(bpfPersonalityPERSONALITY_BSD)
	// SynProxy answers a SYN to any port with a bare SYN+ACK of window 0, as a
	// middlebox does before it knows; the rest is Standard.
	SynProxy = Personality(bpfPersonalityPERSONALITY_SYNPROXY)
	// Reject is Standard behind a firewall that rejects what would be closed.
	Reject = Personality(bpfPersonalityPERSONALITY_REJECT)
)

var personalityNames = [...]string{"standard", "windows", "bsd", "synproxy", "reject"}

func (p Personality) String() string { return personalityNames[p] }

// ParsePersonality reads a name as String returns it.
func ParsePersonality(name string) (Personality, error) {
	for i, n := range personalityNames {
		if n == name {
			return Personality(i), nil
		}
	}
	return 0, fmt.Errorf("personality %q: want one of %s", name, strings.Join(personalityNames[:], ", "))
}

// Set makes Personality a flag value.
func (p *Personality) Set(name string) error {
	v, err := ParsePersonality(name)
	if err == nil {
		*p = v
	}
	return err
}

// Type names the flag's argument in help texts.
func (p *Personality) Type() string { return "name" }

// Kind is the kind of packet that answers a probe.
type Kind uint8

const (
	NoAnswer Kind = iota
	SynAck
	Reset
	ICMP
)

func (k Kind) String() string {
	return [...]string{"none", "syn-ack", "reset", "icmp"}[k]
}

// The windows of answers that have one.
const (
	windowSynAck   = 65535
	windowBSDReset = 16384
)

// Reply tells what comes back from a port in the given state to a first
// segment with the given TCP flags byte, of which ECE and CWR do not matter.
// Who sends an ICMP error, and which, is left zero.
func (p Personality) Reply(s State, flags uint8) Answer {
	opening := flags & (SYN | ACK | FIN)
	switch {
	case s == Outside, flags&RST != 0:
		return Answer{}
	case p == SynProxy && opening == SYN:
		return Answer{Kind: SynAck}
	case s == Silent:
		return Answer{}
	case s == Rejected, s == Closed && p == Reject:
		return Answer{Kind: ICMP}
	case s == Closed:
		return Answer{Kind: Reset}
	}

	// An open port, the LISTEN state of RFC 9293 3.10.7.2.
	reset := Answer{Kind: Reset}
	accept := Answer{Kind: SynAck, Window: windowSynAck, Options: true}
	switch {
	case p == Windows && opening == SYN:
		return accept
	case p == Windows:
		return reset
	case p == BSD && opening == FIN|ACK:
		return Answer{}
	case p == BSD && flags&ACK != 0:
		reset.Window = windowBSDReset
		return reset
	case p == BSD && flags&SYN != 0:
		return accept
	case flags&ACK != 0:
		return reset
	case opening == SYN: // Linux drops SYN+FIN, tcp_rcv_state_process()
		return accept
	}
	return Answer{}
}
