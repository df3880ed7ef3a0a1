package plan

import "time"

// Span is the part [From, To) of a plan that is sent in one go: the unit of
// pacing, of loss accounting and of the send-time index.
type Span struct {
	// Serial counts the spans of a scan in the order in which they are taken.
	Serial uint64
	// Try counts the passes over the plan: 0 for the first.
	Try      int
	From, To uint64
	// Pending lists the positions of the span that are to be probed, in ascending
	// order; valid iff Listed. Without it they are all.
	Pending []uint64
	Listed  bool
	// Unreachable is how many of its probes had no way to their target. Who sends
	// the span writes it.
	Unreachable int
}

// Len returns the number of probes in the span.
func (s *Span) Len() int {
	if s.Listed {
		return len(s.Pending)
	}
	return int(s.To - s.From)
}

// At returns the position of the span's i-th probe.
func (s *Span) At(i int) uint64 {
	if s.Listed {
		return s.Pending[i]
	}
	return s.From + uint64(i)
}

// MaxSpan is the most probes in a span that is sent by a system call: few enough
// that it is on the wire within a millisecond, enough to share the call among.
const MaxSpan = 128

// Senders returns how many of at most so many senders a rate in packets per
// second (0: unlimited) has use for: each at least a packet a millisecond. Each
// sender may hold back a span while others go on, and a span is at least one
// packet, so more of them would make slow rates uneven.
func Senders(rate float64, most int) int {
	if rate <= 0 {
		return most
	}
	return int(min(max(rate*time.Millisecond.Seconds(), 1), float64(most)))
}

// SpanLen returns the number of probes per span at a rate in packets per second
// (0: unlimited) shared by a number of senders: about a millisecond's worth, and
// not more than most.
func SpanLen(rate float64, senders, most int) int {
	if rate <= 0 {
		return most
	}
	perMillisecond := rate * time.Millisecond.Seconds() / float64(senders)
	return int(min(max(perMillisecond, 1), float64(most)))
}
