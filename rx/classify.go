package rx

import (
	"net/netip"
	"time"

	"synoptic/bpf/validate"
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
	answer validate.Answer
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
		r.Verdict, r.ReasonIP, r.Window, r.TTL = verdict, netip.Addr{}, p.TCP.Window, p.TTL
		return c.reply(r, target, source.Port(), ok)

	case wire.ICMPError:
		source := netip.AddrPortFrom(p.QuoteSrc, p.TCP.SrcPort)
		target := netip.AddrPortFrom(p.QuoteDst, p.TCP.DstPort)
		verdict, says := method.ICMP(p.Src.Is6(), p.ICMPType, p.ICMPCode)
		// The sender of a packet is who is told of its fate.
		if !c.ours(source) || p.Dst != source.Addr() || !says {
			return Foreign
		}
		r.Verdict, r.ReasonIP, r.Window, r.TTL = verdict, netip.Addr{}, 0, p.TTL
		if p.Src != target.Addr() {
			r.ReasonIP = p.Src
		}
		return c.reply(r, target, source.Port(), p.TCP.Seq == c.Key.Of(target, source))
	}
	return Foreign
}

// Recorded judges, as Classify does a packet, the record of one whose cookie the
// kernel's validator has found right: what is left is the plan, and what the
// method's table makes of the answer.
func (c *Classifier) Recorded(record []byte, r *Reply) Outcome {
	a := &c.answer
	if !a.Decode(record) {
		return Foreign
	}
	verdict, ok := c.Method.Segment(&a.TCP, 0) // its numbers count from the cookie
	if a.ICMPError {
		verdict, ok = method.ICMP(a.Target.Addr().Is6(), a.ICMPType, a.ICMPCode)
	}
	r.Verdict, r.ReasonIP, r.Window, r.TTL = verdict, netip.Addr{}, a.TCP.Window, a.TTL
	if a.From != a.Target.Addr() {
		r.ReasonIP = a.From
	}
	return c.reply(r, a.Target, a.Source, ok)
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

// reply completes what is known of an answer to a probe from a source port.
func (c *Classifier) reply(r *Reply, target netip.AddrPort, source uint16, cookieOK bool) Outcome {
	pos, ok := c.Plan.Position(target)
	if !ok {
		return OutOfPlan
	}
	if !cookieOK {
		return BadCookie
	}
	r.Pos, r.Target = pos, target
	r.Try, r.RTT = int(source-c.Port), 0
	return Valid
}
