// Package method is the table of raw scan methods: which flags a probe carries,
// where its cookie goes, which answers are ours, and what each answer means.
// Transmitter, classifier and the kernel programs all read this one table; it
// is pure data and arithmetic, safe for concurrent use, and allocates nothing.
//
// The expectations follow RFC 9293 section 3.10.7: a closed port answers a
// segment without ACK by RST+ACK with ack = seq + length, where SYN and FIN
// count one each, and a segment with ACK by RST with seq = its ack.
package method

import (
	"slices"

	"synoptic/internal/result"
	"synoptic/internal/wire"
)

// Method is one way to probe a port.
type Method struct {
	Name   string // as in nmap's XML: syn, null, fin, xmas, maimon, ack, window
	Letter byte   // as in -sS
	Flags  uint8  // TCP flags of the probe

	// CookieInAck: the probe's acknowledgment number carries the cookie too,
	// and a reset brings it back in its sequence number instead of in its
	// acknowledgment.
	CookieInAck bool
	// ResetDelta are the differences between the number that a reset brings
	// back and the cookie that are accepted, the standard's own first.
	ResetDelta []uint32

	Reset   result.State // what a reset means; Window: unless its window says open
	Silence result.State // what silence after the last try means
	// ResetWindow: a reset whose window is not zero means open.
	ResetWindow bool
}

// Table holds the raw methods in the order in which they are documented.
var Table = []*Method{
	{Name: "syn", Letter: 'S', Flags: wire.SYN, ResetDelta: []uint32{1, 0}, Reset: result.Closed, Silence: result.Filtered},
	{Name: "null", Letter: 'N', Flags: 0, ResetDelta: []uint32{0, 1}, Reset: result.Closed, Silence: result.OpenFiltered},
	{Name: "fin", Letter: 'F', Flags: wire.FIN, ResetDelta: []uint32{1, 0}, Reset: result.Closed, Silence: result.OpenFiltered},
	{Name: "xmas", Letter: 'X', Flags: wire.FIN | wire.PSH | wire.URG, ResetDelta: []uint32{1, 0}, Reset: result.Closed, Silence: result.OpenFiltered},
	{Name: "maimon", Letter: 'M', Flags: wire.FIN | wire.ACK, CookieInAck: true, ResetDelta: []uint32{0, 1}, Reset: result.Closed, Silence: result.OpenFiltered},
	{Name: "ack", Letter: 'A', Flags: wire.ACK, CookieInAck: true, ResetDelta: []uint32{0}, Reset: result.Unfiltered, Silence: result.Filtered},
	{Name: "window", Letter: 'W', Flags: wire.ACK, CookieInAck: true, ResetDelta: []uint32{0}, Reset: result.Closed, Silence: result.Filtered, ResetWindow: true},
}

// Connect is the method that sends no probe of its own: the system opens a
// connection (RFC 9293 section 3.5) and says how that went. Package connect
// carries it out; it needs no privileges.
var Connect = &Method{Name: "connect", Letter: 'T', Flags: wire.SYN, Reset: result.Closed, Silence: result.Filtered}

// All returns every method: those of the Table and Connect, which stands second
// as in the manuals.
func All() []*Method {
	return slices.Insert(slices.Clone(Table), 1, Connect)
}

// ByLetter returns the method of a letter of -s, or nil.
func ByLetter(letter byte) *Method {
	for _, m := range All() {
		if m.Letter == letter {
			return m
		}
	}
	return nil
}

// ByName returns the method of a name, or nil.
func ByName(name string) *Method {
	for _, m := range All() {
		if m.Name == name {
			return m
		}
	}
	return nil
}

// SilentWhenOpen tells whether an open port keeps silent under this method, so
// that silence is the signal and needs another sign of life to mean anything.
func (m *Method) SilentWhenOpen() bool { return m.Silence == result.OpenFiltered }

// Verdict is what an answer says.
type Verdict struct {
	State   result.State
	Reason  result.Reason
	Suspect result.Suspect
}

// Segment judges a TCP answer to a probe that carried cookie. It reports false
// when the answer does not carry the cookie back, or is none at all.
func (m *Method) Segment(t *wire.TCP, cookie uint32) (Verdict, bool) {
	switch {
	case t.Flags&wire.RST != 0:
		back := t.Ack - cookie
		if m.CookieInAck {
			back = t.Seq - cookie
		} else if t.Flags&wire.ACK == 0 {
			return Verdict{}, false
		}
		if !slices.Contains(m.ResetDelta, back) {
			return Verdict{}, false
		}
		if m.ResetWindow && t.Window > 0 {
			return Verdict{State: result.Open, Reason: result.Reset}, true
		}
		return Verdict{State: m.Reset, Reason: result.Reset}, true

	case t.Flags&(wire.SYN|wire.ACK) == wire.SYN|wire.ACK:
		back := t.Ack - cookie
		if m.Flags != wire.SYN {
			// Nobody should answer so. What it acknowledges is cookie or, if
			// a FIN was counted, cookie+1.
			return Verdict{State: result.Open, Reason: result.SynAck, Suspect: result.Anomaly}, back <= 1
		}
		v := Verdict{State: result.Open, Reason: result.SynAck}
		if t.Window == 0 || !t.Options {
			v.Suspect = result.SynProxy
		}
		return v, back == 1
	}
	return Verdict{}, false
}

// ICMP judges an ICMP error that quotes a probe of ours; the caller has checked
// the quote. It reports false for errors that say nothing of the endpoint.
func ICMP(ipv6 bool, icmpType, code uint8) (Verdict, bool) {
	var reason result.Reason
	if ipv6 {
		reason = icmp6Reason(icmpType, code)
	} else {
		reason = icmp4Reason(icmpType, code)
	}
	return Verdict{State: result.Filtered, Reason: reason}, reason != result.NoReason
}

// icmp4Reason names RFC 792 and RFC 1812 section 5.2.7 codes.
func icmp4Reason(icmpType, code uint8) result.Reason {
	if icmpType == 11 {
		return result.TimeExceeded
	}
	if icmpType != 3 {
		return result.NoReason
	}
	switch code {
	case 0:
		return result.NetUnreach
	case 1:
		return result.HostUnreach
	case 2:
		return result.ProtoUnreach
	case 3:
		return result.PortUnreach
	case 9:
		return result.NetProhibited
	case 10:
		return result.HostProhibited
	case 13:
		return result.AdminProhibited
	}
	return result.NoReason
}

// icmp6Reason names RFC 4443 section 3 codes.
func icmp6Reason(icmpType, code uint8) result.Reason {
	switch icmpType {
	case 1:
		switch code {
		case 0, 2: // no route; beyond the scope of the source address
			return result.NetUnreach
		case 1, 5, 6: // prohibited; source address failed policy; reject route
			return result.AdminProhibited
		case 3:
			return result.HostUnreach
		case 4:
			return result.PortUnreach
		}
	case 3:
		return result.TimeExceeded
	case 4: // parameter problem: the target's stack did not take the packet
		return result.ProtoUnreach
	}
	return result.NoReason
}
