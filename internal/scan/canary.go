package scan

import (
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"synoptic/internal/method"
	"synoptic/internal/plan"
)

// Bounds of the canaries.
const (
	// canaryPool is how many of them there are at most: so many prefixes.
	canaryPool = 1 << 13
	// canaryRest is how long a canary's network is left alone after an answer or
	// another canary of it.
	canaryRest = time.Second
	// Of all probes, so many are canaries; more where the rate follows them, and
	// at low rates so many a second.
	canaryShare    = 0.01
	adaptiveShare  = 0.05
	mostShare      = 0.2
	canaryPace     = 1500
	canaryPause    = 250 * time.Millisecond // after which a span of them need not be whole
	canaryPatience = 2 * steerPause         // beyond what an answer may take: the counters of drops are read by then
)

// canaries are endpoints that have answered and are probed again while the scan
// runs: what they do not answer was lost on the way. One for each network (/24,
// /48) is kept, and rests for a second between two probes, so no host gets more.
// Their probes leave in spans of their own between those of the pass, from a
// source port of their own, by which their answers are told from all others.
//
// A span of canaries is as long as those of the pass, if enough of them have
// rested. What drops packets for being too many drops the last ones of each span,
// so that a canary alone, just behind a span or long behind it, would fare far
// worse or far better than the packets that it is to tell of. And chance decides
// which ones they follow: spans leave in some rhythm, in pairs for example, of which
// the second one is dropped, and every fourteenth would always be a first one.
type canaries struct {
	try   int     // theirs; negative: there are none
	share float64 // of all probes
	told  bool    // somebody takes the outcomes

	mu       sync.Mutex
	networks map[uint64]*canary
	resting  []*canary // in the order in which they may be probed
	flying   []*flight // in the order of their probes
	byPos    map[uint64]*flight
	budget   float64
	taken    time.Time // the last span
	rnd      *rand.Rand
	settled  Canaries // in all
	recent   []outcome
	missed   int // flying without an answer yet
}

// canary is the endpoint of a network that is probed.
type canary struct {
	pos   uint64
	since time.Time // it rests
}

// flight is a canary's probe on its way.
type flight struct {
	canary   *canary
	pos      uint64
	at       time.Time // zero: not sent yet
	answered bool
	void     bool // this machine may have lost the answer
	settled  bool // its fate was known
}

// Canaries counts those whose fate is known.
type Canaries struct {
	Answered uint64 `json:"answered"`
	Lost     uint64 `json:"lost"`
}

// outcome is the fate of one canary.
type outcome struct {
	at   time.Time // when it was sent
	lost bool
}

// newCanaries returns those of a scan. Without a source port of their own, or
// where the system itself repeats what is lost, there are none.
func newCanaries(cfg Config) *canaries {
	c := &canaries{
		try: cfg.Retries + cfg.Repairs + 1, share: canaryShare, networks: map[uint64]*canary{}, byPos: map[uint64]*flight{},
		rnd: rand.New(rand.NewPCG(cfg.Seed, canaryPool)),
	}
	if cfg.Adaptive {
		c.told = true
		c.follow(firstRate)
	}
	if cfg.OnePort || cfg.Method == method.Connect {
		c.try = -1
	}
	return c
}

// offer tells of an endpoint that has answered for itself.
func (c *canaries) offer(pos uint64, target netip.Addr, now time.Time) {
	if c.try < 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	network := networkOf(target)
	if known := c.networks[network]; known != nil {
		// Now and then another one, so that a canary that has gone silent for
		// good is not asked for ever.
		if pos%8 == 0 {
			if f := c.byPos[known.pos]; f != nil && f.settled {
				delete(c.byPos, known.pos)
			}
			known.pos = pos
		}
		return
	}
	if len(c.networks) < canaryPool {
		one := &canary{pos: pos, since: now}
		c.networks[network] = one
		c.resting = append(c.resting, one)
	}
}

// networkOf returns what the /24 or /48 of an address is known by.
func networkOf(a netip.Addr) uint64 {
	if a.Is4() {
		b := a.As4()
		return uint64(b[0])<<16 | uint64(b[1])<<8 | uint64(b[2])
	}
	b := a.As16()
	return 1<<48 | uint64(b[0])<<40 | uint64(b[1])<<32 | uint64(b[2])<<24 | uint64(b[3])<<16 | uint64(b[4])<<8 | uint64(b[5])
}

// follow has the share of the canaries follow an adaptive rate, which needs some
// number of them a second whatever it is.
func (c *canaries) follow(rate float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.share = min(max(canaryPace/rate, adaptiveShare), mostShare)
}

// take makes a span of canaries if it is their turn beside so many other probes.
func (c *canaries) take(s *plan.Span, others int, now time.Time) bool {
	if c.try < 0 {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	// What could not be spent, for want of canaries, is not saved up. Spans of a
	// generator are longer than those that fill a queue.
	size := min(others, plan.MaxSpan)
	more := c.share * float64(others)
	c.budget = min(c.budget+more, float64(size))
	switch {
	case c.rested(size, now):
		if c.rnd.Float64()*float64(size) >= more {
			return false
		}
	case now.Sub(c.taken) < canaryPause:
		return false
	default:
		size = int(c.budget)
	}
	s.Pending = s.Pending[:0]
	for len(s.Pending) < size && c.rested(1, now) {
		one := c.resting[0]
		c.resting = c.resting[1:]
		if f := c.byPos[one.pos]; f != nil && !f.settled { // its answer is a second late
			one.since = now
			c.resting = append(c.resting, one)
			break
		}
		f := &flight{canary: one, pos: one.pos}
		c.flying = append(c.flying, f)
		c.byPos[one.pos] = f
		c.missed++
		c.budget--
		s.Pending = append(s.Pending, one.pos)
	}
	if len(s.Pending) == 0 {
		return false
	}
	s.Try, s.Listed, c.taken = c.try, true, now
	return true
}

// rested reports whether so many may be probed.
func (c *canaries) rested(n int, now time.Time) bool {
	return len(c.resting) >= n && now.Sub(c.resting[n-1].since) >= canaryRest
}

// sending notes when a span of canaries leaves.
func (c *canaries) sending(s *plan.Span, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, pos := range s.Pending {
		f := c.byPos[pos]
		f.at, f.canary.since = at, at
		c.resting = append(c.resting, f.canary)
	}
}

// unsent says that a span of canaries did not leave, or not whole.
func (c *canaries) unsent(s *plan.Span) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, pos := range s.Pending {
		c.byPos[pos].void = true
	}
}

// finish says that a sender has finished a span. A canary that was not sent, for want
// of a way to it, tells nothing.
func (c *canaries) finish(s *plan.Span) {
	if c.try < 0 || s.Try != c.try {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, pos := range s.Pending {
		if f := c.byPos[pos]; f != nil && f.at.IsZero() {
			f.void = true
		}
	}
}

// heard enters the answer of a canary, and returns its round trip, or 0. One that was
// taken for lost is not.
func (c *canaries) heard(pos uint64, at int64) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.byPos[pos]
	if f == nil || f.answered || f.at.IsZero() {
		return 0
	}
	f.answered = true
	switch {
	case !f.settled:
		c.missed--
	case !f.void:
		c.settled.Lost--
		c.settled.Answered++
	}
	return max(time.Duration(at-f.at.UnixNano()), time.Microsecond)
}

// discard passes over the canaries sent since a time: this machine lost packets,
// and with them perhaps answers.
func (c *canaries) discard(since time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.flying {
		if !f.at.Before(since) {
			f.void = true
		}
	}
}

// settle decides on the canaries whose answers were due.
func (c *canaries) settle(now time.Time, due time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.flying) > 0 {
		f := c.flying[0]
		if f.at.IsZero() && !f.void || now.Sub(f.at) < due+canaryPatience {
			return
		}
		c.flying = c.flying[1:]
		if f.settled = true; f.answered {
			delete(c.byPos, f.pos)
		} else {
			c.missed-- // and known, should it come late
		}
		switch {
		case f.void:
			continue
		case f.answered:
			c.settled.Answered++
		default:
			c.settled.Lost++
		}
		if c.told {
			c.recent = append(c.recent, outcome{f.at, !f.answered})
		}
	}
}

// outcomes returns those that were settled since it was called last.
func (c *canaries) outcomes() []outcome {
	c.mu.Lock()
	defer c.mu.Unlock()
	recent := c.recent
	c.recent = nil
	return recent
}

// count returns how many are settled in all, and how many answers may still come.
func (c *canaries) count() (Canaries, int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.settled, c.missed
}
