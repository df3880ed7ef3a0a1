package scan

import (
	"sync"
	"time"

	"synoptic/internal/plan"
	"synoptic/tx"
)

// pass hands out the spans of one try over the plan: all positions first, then
// what the ledger still misses. It implements tx.Spans.
type pass struct {
	scan *Scan
	try  int
	mu   sync.Mutex
	next uint64 // position
	to   uint64
	cut  *tx.Cutter
}

func (s *Scan) newPass(try int) *pass {
	p := &pass{scan: s, try: try, to: s.limit, cut: tx.NewCutter(s.cfg.Plan, s.cfg.RatePerPrefix)}
	if try > 0 {
		p.to = s.cursor.Load()
	}
	s.times.begin(try)
	return p
}

// Next implements tx.Spans.
func (p *pass) Next(s *plan.Span) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.Try, s.From = p.try, p.next
	spanLen := plan.SpanLen(p.scan.Rate(), p.scan.senders)
	if p.try == 0 {
		s.To = p.next + min(uint64(spanLen), p.to-p.next)
	} else {
		if s.Pending == nil {
			s.Pending = make([]uint64, 0, plan.MaxSpan)
		}
		s.Pending, s.To = p.scan.answers.Pending(p.next, p.to, s.Pending[:0:spanLen])
	}
	if s.Len() == 0 {
		p.next = s.To
		return false
	}
	if n := p.cut.Fit(s); n < s.Len() {
		s.To = s.At(n-1) + 1
		if p.try > 0 {
			s.Pending = s.Pending[:n]
		}
	}
	p.next = s.To
	if p.try == 0 {
		p.scan.cursor.Store(p.next)
	}
	s.Serial = p.scan.times.take(s.From)
	return true
}

// Sending implements tx.Spans.
func (p *pass) Sending(s *plan.Span, at time.Time) { p.scan.times.stamp(s.Serial, at.UnixNano()) }

// GiveBack implements tx.Spans. The run is over, so nobody takes the span again;
// in the first pass what was not sent of it counts as not probed.
func (p *pass) GiveBack(s *plan.Span, unsent int) {
	if p.try > 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.scan.returned = append(p.scan.returned, *s)
	p.scan.withheld.Add(uint64(unsent))
}

// wasProbed reports whether a position was sent at least once (or had no link
// address). It is for after the passes.
func (s *Scan) wasProbed(pos uint64) bool {
	if pos >= s.cursor.Load() {
		return false
	}
	for _, span := range s.returned { // at most one per sender
		if span.From <= pos && pos < span.To {
			return false
		}
	}
	return true
}
