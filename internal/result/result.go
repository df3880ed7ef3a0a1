// Package result holds what a scan says of an endpoint: a Record with its
// State and Reason. The words are nmap's, so that every reader of scan results
// already knows them. Values are small and comparable; nothing here allocates.
package result

import (
	"net/netip"
	"slices"
	"time"
)

// State is what a scan concludes about one port. The order is the order of
// preference: when two answers disagree, the larger state wins, because an
// answer beats silence and an open port beats everything.
type State uint8

const (
	// Unknown is the zero value: not probed, or not yet decided.
	Unknown State = iota
	// OpenFiltered: silence, from a host that is alive, to a probe that an
	// open port would not answer either.
	OpenFiltered
	// Filtered: silence to a probe that any port would answer, or an ICMP
	// error from on the way.
	Filtered
	// Closed: the host answered with a reset.
	Closed
	// Unfiltered: the host answered, which for an ACK probe says only that
	// nothing stands in between.
	Unfiltered
	// Open: something listens.
	Open
)

var stateNames = [...]string{"unknown", "open|filtered", "filtered", "closed", "unfiltered", "open"}

// String returns nmap's word for the state.
func (s State) String() string { return stateNames[s] }

// Valid tells whether the state is one of those above, Unknown included.
func (s State) Valid() bool { return int(s) < len(stateNames) }

// ParseState returns the state of a word; Unknown is none.
func ParseState(word string) (State, bool) {
	i := slices.Index(stateNames[:], word)
	return State(max(i, 0)), i > 0
}

// Reason is the evidence for a State.
type Reason uint8

const (
	NoReason Reason = iota
	NoResponse
	SynAck
	Reset
	ConnRefused // of the system's own connection: a reset, of which no more is known
	PortUnreach
	HostUnreach
	NetUnreach
	ProtoUnreach
	AdminProhibited
	HostProhibited
	NetProhibited
	TimeExceeded
)

var reasonNames = [...]string{"", "no-response", "syn-ack", "reset", "conn-refused", "port-unreach", "host-unreach", "net-unreach",
	"proto-unreach", "admin-prohibited", "host-prohibited", "net-prohibited", "time-exceeded"}

// String returns nmap's word for the reason.
func (r Reason) String() string { return reasonNames[r] }

// Valid tells whether the reason is one of those above, NoReason included.
func (r Reason) Valid() bool { return int(r) < len(reasonNames) }

// ParseReason returns the reason of a word.
func ParseReason(word string) (Reason, bool) {
	i := slices.Index(reasonNames[:], word)
	return Reason(max(i, 0)), i > 0
}

// Suspect marks an answer that is valid but should not be taken at face value.
type Suspect uint8

const (
	NotSuspect Suspect = iota
	// SynProxy: a SYN+ACK with window 0 or without any TCP option, as
	// middleboxes send on behalf of ports that may not exist.
	SynProxy
	// Anomaly: a SYN+ACK to a probe that carried no SYN.
	Anomaly
)

var suspectNames = [...]string{"", "syn-proxy", "anomaly"}

// String returns the label used in the outputs, empty for NotSuspect.
func (s Suspect) String() string { return suspectNames[s] }

// Valid tells whether the suspicion is one of those above, NotSuspect included.
func (s Suspect) Valid() bool { return int(s) < len(suspectNames) }

// ParseSuspect returns the suspicion of a label, NotSuspect of "".
func ParseSuspect(label string) (Suspect, bool) {
	i := slices.Index(suspectNames[:], label)
	return Suspect(max(i, 0)), i >= 0
}

// Record is the decided state of one endpoint.
type Record struct {
	Time     time.Time      // when the deciding packet arrived, or when silence was concluded
	Addr     netip.AddrPort // the endpoint that was probed
	Host     string         // the name of its address, in letters, digits and -._ only; "": not known
	State    State
	Reason   Reason
	Suspect  Suspect
	TTL      uint8         // TTL or hop limit of the answer; 0 when there was none, or only the system saw it
	Window   uint16        // TCP window of the answer; valid iff Reason is SynAck or Reset, and TTL is known
	Method   string        // the scan method's name, "syn"
	RTT      time.Duration // from the probe's span to the answer; 0 when unknown
	ReasonIP netip.Addr    // who sent the ICMP error; invalid when the target itself answered
}

// MaybeOpen tells whether a record is good news: what --open shows. An
// unfiltered port is one of which an ACK probe cannot say more, and a suspect
// answer is never hidden.
func (r *Record) MaybeOpen() bool {
	switch r.State {
	case Open, OpenFiltered, Unfiltered:
		return true
	}
	return r.Suspect != NotSuspect
}
