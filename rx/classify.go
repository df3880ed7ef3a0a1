package rx

import (
	"net/netip"
	"time"

	"synoptic/internal/cookie"
	"synoptic/internal/method"
	"synoptic/internal/plan"
	"synoptic/internal/wire"
)

// Reply is a received packet that answers one of our probes.
type Reply struct {
	Time   int64 // when the packet arrived, ns since the epoch
	Pos    uint64
	Try    int // which try it answers; 0 if all tries share a source port
	Target netip.AddrPort
	method.Verdict
	TTL      uint8         // 0: the system saw the answer, we did not
	Window   uint16        // valid iff the answer is a TCP segment and TTL is known
	ReasonIP netip.Addr    // the sender of an ICMP error, if it is not the target
	RTT      time.Duration // measured by the receive side itself; 0: see the span's send time
}

// NoRTT is the RTT of an answer that tells none.
const NoRTT = time.Duration(-1)

// Outcome says what a received packet was to the scan.
type Outcome uint8

const (
	Valid     Outcome = iota // an answer to a probe of ours
	BadCookie                // looks like one, but does not carry our cookie
	OutOfPlan                // of an endpoint that this scan does not probe
	Foreign                  // nothing that could answer a probe, or malformed
	outcomes
)

// Classifier tells answers from everything else. It shares the plan and the
// cookie key with the transmit side and nothing more. It is not safe for
// concurrent use; nothing allocates.
type Classifier struct {
	Plan   *plan.Plan
	Method *method.Method
	Key    cookie.Key
	Match
	packet wire.Packet
}

// Classify judges one packet. The Reply is valid iff the outcome is Valid; its
// Time is left to the caller.
func (c *Classifier) Classify(data []byte, r *Reply) Outcome {
	p := &c.packet
	p.Decode(data, c.Link)
	switch p.Kind {
	case wire.Segment:
		source := netip.AddrPortFrom(p.Dst, p.TCP.DstPort)
		target := netip.AddrPortFrom(p.Src, p.TCP.SrcPort)
		if !c.ours(source) || !answers(p.TCP.Flags) {
			return Foreign
		}
		verdict, ok := c.Method.Segment(&p.TCP, c.Key.Of(target, source))
		r.Verdict, r.ReasonIP, r.Window = verdict, netip.Addr{}, p.TCP.Window
		return c.reply(r, target, source, ok)

	case wire.ICMPError:
		source := netip.AddrPortFrom(p.QuoteSrc, p.TCP.SrcPort)
		target := netip.AddrPortFrom(p.QuoteDst, p.TCP.DstPort)
		verdict, says := method.ICMP(p.Src.Is6(), p.ICMPType, p.ICMPCode)
		// The sender of a packet is who is told of its fate.
		if !c.ours(source) || p.Dst != source.Addr() || !says {
			return Foreign
		}
		r.Verdict, r.ReasonIP, r.Window = verdict, netip.Addr{}, 0
		if p.Src != target.Addr() {
			r.ReasonIP = p.Src
		}
		return c.reply(r, target, source, p.TCP.Seq == c.Key.Of(target, source))
	}
	return Foreign
}

// answers tells whether a stack answers a probe with these flags: RST, or SYN
// and ACK.
func answers(flags uint8) bool {
	return flags&wire.RST != 0 || flags&(wire.SYN|wire.ACK) == wire.SYN|wire.ACK
}

// ours tells whether the scan sends from this endpoint.
func (c *Classifier) ours(ap netip.AddrPort) bool {
	return ap.Port()-c.Port < c.Ports && (ap.Addr() == c.Source4 || ap.Addr() == c.Source6)
}

func (c *Classifier) reply(r *Reply, target, source netip.AddrPort, cookieOK bool) Outcome {
	pos, ok := c.Plan.Position(target)
	if !ok {
		return OutOfPlan
	}
	if !cookieOK {
		return BadCookie
	}
	r.Pos, r.Target, r.TTL = pos, target, c.packet.TTL
	r.Try, r.RTT = int(source.Port()-c.Port), 0
	return Valid
}
