package scan

import (
	"sync"
	"time"

	"synoptic/internal/plan"
	"synoptic/tx"
)

// pass hands out the spans of one try: all positions first, then, of what is
// still owed, those that the ledger misses. It implements tx.Spans.
//
// What it knows of its own course is a reach: everything below low was sent, and
// nothing from high on. That is what a loss of this machine is told by (losses)
// and where a killed scan goes on (State).
type pass struct {
	scan  *Scan
	try   int
	want  ranges // what is to be sent, as it was at the beginning
	owed  ranges // and of it, what this machine may have lost before
	start reach
	// Below it the first pass, too, visits only what has no answer: a killed run
	// has been there.
	visited uint64

	cut   *tx.Cutter
	begun tally
	took  time.Duration // for sending, once it is over

	mu     sync.Mutex
	left   ranges                // of want
	next   uint64                // position; that of left's first, or the end of want
	inHand map[*plan.Span]uint64 // where the span begins that a sender has not finished
	holes  []hole                // of finished spans above low
	reach
}

// reach is how far a pass has come.
type reach struct {
	low, high uint64
	missing   uint64 // of the positions below low, in the first pass: those without a way to their target
}

// hole are the positions without a way to their target of a finished span.
type hole struct{ from, missing uint64 }

// newPass begins a try over positions.
func (s *Scan) newPass(try int, want ranges) *pass {
	p := &pass{
		scan: s, try: try, want: want, left: want, inHand: map[*plan.Span]uint64{}, cut: tx.NewCutter(s.cfg.Plan, s.cfg.RatePerPrefix),
	}
	if len(want) > 0 {
		p.next = want[0].From
	}
	p.low, p.high = p.next, p.next
	p.start = p.reach
	s.times.begin(try)
	return p
}

// Next implements tx.Spans. That a sender asks for a span says that it has
// finished the one before.
func (p *pass) Next(s *plan.Span) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.finish(s)
	p.scan.canaries.finish(s)
	room := plan.SpanLen(p.scan.Rate(), p.scan.senders, p.scan.maxSpan)
	if cap(s.Pending) < room { // it has been cut to what a lower rate needs
		s.Pending = make([]uint64, 0, p.scan.maxSpan)
	}
	if p.scan.canaries.take(s, room, time.Now()) {
		return true
	}
	return p.take(s, room)
}

// take hands out at most so many probes.
func (p *pass) take(s *plan.Span, room int) bool {
	for len(p.left) > 0 {
		end := p.left[0].To
		s.Try, s.From, s.Listed = p.try, p.next, p.try > 0 || p.next < p.visited
		switch {
		case !s.Listed:
			s.To = p.next + min(uint64(room), end-p.next)
		case p.try == 0:
			s.Pending, s.To = p.scan.answers.Pending(p.next, min(end, p.visited), s.Pending[:0:room])
		default:
			s.Pending, s.To = p.scan.answers.Pending(p.next, end, s.Pending[:0:room])
		}
		if n := p.cut.Fit(s); n < s.Len() {
			s.To = s.At(n-1) + 1
			s.Pending = s.Pending[:min(n, len(s.Pending))]
		}
		if p.next = s.To; !s.Listed {
			p.scan.cursor.Store(p.next)
		}
		if p.next == p.left[0].To {
			if p.left = p.left[1:]; len(p.left) > 0 {
				p.next = p.left[0].From
			}
		}
		p.high = max(p.high, s.To)
		if s.Len() > 0 {
			s.Serial = p.scan.times.take(s.From)
			p.inHand[s] = s.From
			return true
		}
	}
	p.advance()
	return false
}

// finish enters that a sender has sent its span.
func (p *pass) finish(s *plan.Span) {
	from, ok := p.inHand[s]
	if !ok {
		return
	}
	delete(p.inHand, s)
	if s.Unreachable > 0 && p.try == 0 {
		p.holes = append(p.holes, hole{from, uint64(s.Unreachable)})
	}
	p.advance()
}

// advance moves low to where the first unfinished span begins.
func (p *pass) advance() {
	p.low = p.high
	for _, from := range p.inHand {
		p.low = min(p.low, from)
	}
	above := p.holes[:0]
	for _, h := range p.holes {
		if h.from < p.low {
			p.missing += h.missing
		} else {
			above = append(above, h)
		}
	}
	p.holes = above
}

// reached returns how far the pass has come.
func (p *pass) reached() reach {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.reach
}

// end returns the position after the last one.
func (p *pass) end() uint64 {
	if len(p.want) == 0 {
		return 0
	}
	return p.want[len(p.want)-1].To
}

// unreached returns how many positions of finished spans had no way to their
// target.
func (p *pass) unreached() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.missing
	for _, h := range p.holes {
		n += h.missing
	}
	return n
}

// Sending implements tx.Spans.
func (p *pass) Sending(s *plan.Span, at time.Time) {
	if s.Try == p.scan.canaries.try {
		p.scan.canaries.sending(s, at)
		return
	}
	p.scan.times.stamp(s.Serial, at.UnixNano())
}

// GiveBack implements tx.Spans. The run is over, so nobody takes the span again,
// and it stays unfinished; in the first pass what was not sent of it counts as
// not probed.
func (p *pass) GiveBack(s *plan.Span, unsent int) {
	if s.Try == p.scan.canaries.try {
		p.scan.canaries.unsent(s)
		return
	}
	if s.Listed {
		return // see unvisited
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.holes = append(p.holes, hole{s.From, uint64(s.Unreachable)})
	p.scan.returned = append(p.scan.returned, *s)
	p.scan.withheld.Add(uint64(unsent))
}

// unvisited enters what an interrupted first pass has not come to of the positions
// that a killed run had been handed, and perhaps not sent. It is for after the
// pass.
func (p *pass) unvisited() {
	if p.try > 0 || p.low >= p.visited || p.low == p.high && len(p.left) == 0 {
		return
	}
	p.scan.returned = append(p.scan.returned, plan.Span{From: p.low, To: p.visited})
	p.scan.withheld.Add(ranges{{p.low, p.visited}}.pending(&p.scan.answers))
	// Those without a link address among them are withheld, and counted once.
	missing := p.missing
	for _, h := range p.holes {
		if h.from >= p.visited {
			missing += h.missing
		}
	}
	p.scan.missing.Store(missing)
}

// wasProbed reports whether a position was sent at least once (or had no link
// address). It is for after the passes.
func (s *Scan) wasProbed(pos uint64) bool {
	if pos >= s.cursor.Load() {
		return false
	}
	for _, span := range s.returned { // at most one per sender, and one more
		if span.From <= pos && pos < span.To {
			return false
		}
	}
	return true
}
