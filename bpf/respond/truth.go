package respond

import (
	"net/netip"

	"synoptic/internal/siphash"
)

// Truth is what a simulated network is: the state of each of its ports, and
// what comes back to a probe. It is a pure function of the Config, small, and
// safe for concurrent use.
type Truth struct{ cfg Config }

// Answer is what comes back to a probe. The zero Answer is nothing.
type Answer struct {
	Kind    Kind
	Window  uint16     // TCP window; valid iff Kind is SynAck or Reset
	Options bool       // the segment carries TCP options; valid iff Kind is SynAck
	Type    uint8      // ICMP or ICMPv6 type; valid iff Kind is ICMP, as are Code and From
	Code    uint8      // ICMP or ICMPv6 code
	From    netip.Addr // who sent the ICMP error
}

// Config returns what the truth was made of.
func (t Truth) Config() Config { return t.cfg }

// Contains tells whether the address is one of the simulated ones.
func (t Truth) Contains(a netip.Addr) bool {
	return t.cfg.Prefix4.Contains(a) || t.cfg.Prefix6.Contains(a)
}

// hash is SipHash-2-4 over the 4 or 16 bytes of the address and the 2 of the
// port, both in network byte order. The low half decides the state, the high
// half the loss.
func (t Truth) hash(ap netip.AddrPort) uint64 {
	var msg [18]byte
	n := 4
	if ap.Addr().Is4() {
		a := ap.Addr().As4()
		copy(msg[:], a[:])
	} else {
		a := ap.Addr().As16()
		n = copy(msg[:], a[:])
	}
	msg[n], msg[n+1] = byte(ap.Port()>>8), byte(ap.Port())
	return siphash.Sum64(t.cfg.Key, msg[:n+2])
}

// State returns the state of a port. An IPv4 address mapped into IPv6 is
// Outside, as no packet carries it.
func (t Truth) State(ap netip.AddrPort) State {
	if !t.Contains(ap.Addr()) {
		return Outside
	}
	n := Share(uint32(t.hash(ap)))
	switch c := t.cfg; {
	case n < c.Open:
		return Open
	case n < c.Open+c.Closed:
		return Closed
	case n < c.Open+c.Closed+c.Rejected:
		return Rejected
	}
	return Silent
}

// Losses returns how many answers of an endpoint are lost before the first
// that arrives. That is all of a network's loss that is known beforehand: of
// [Config.Loss] and [Config.Police] the counters tell afterwards.
func (t Truth) Losses(ap netip.AddrPort) int {
	if !t.cfg.loses() || !t.Contains(ap.Addr()) || Share(t.hash(ap)>>32) >= t.cfg.LoseShare {
		return 0
	}
	return int(t.cfg.LoseTries)
}

// Answer returns what comes back to a probe with this TCP flags byte, loss
// left aside. A probe is not part of a connection: it acknowledges nothing that
// the port has sent.
func (t Truth) Answer(flags uint8, ap netip.AddrPort) Answer {
	a := t.cfg.Personality.Reply(t.State(ap), flags)
	if a.Kind != ICMP {
		return a
	}
	return t.cfg.Error.answer(ap.Addr(), t.cfg.Router4, t.cfg.Router6)
}

// answer is the error as the target or, where valid, the router sends it.
func (e ICMPError) answer(target, router4, router6 netip.Addr) Answer {
	a := Answer{Kind: ICMP, From: target, Type: e.Type6, Code: e.Code6}
	router := router6
	if target.Is4() {
		a.Type, a.Code = e.Type4, e.Code4
		router = router4
	}
	if router.IsValid() {
		a.From = router
	}
	return a
}
