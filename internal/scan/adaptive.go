package scan

import (
	"math"
	"strconv"
	"time"
)

// Numbers of the controller.
const (
	firstRate = 2500 // packets per second, before anything is known
	leastRate = 100  // that it goes down to

	rapid   = 2.0  // growth while nothing is known, as that of a young TCP connection
	careful = 1.12 // and where the path or this machine has shown a limit
	below   = 0.94 // of what the path carries: where the rate is held
	above   = 1.08 // of it: where canaries tell most about it
	roughly = 1.2
	precise = 1.08 // the highest believable P over the lowest: so well it is to be known

	holdTime  = 15 * time.Second       // before more is tried
	overTime  = time.Second            // above what the path carries, where canaries are few
	restTime  = 4 * time.Second        // between two such
	quietTime = 600 * time.Millisecond // is as good as fewCanaries
	localTime = 250 * time.Millisecond // for a cut to help, if this machine drops
	soakTime  = 60 * time.Millisecond
	paceTime  = 250 * time.Millisecond // until observation.sent tells of a new rate

	together    = 8.0
	fewCanaries = 10  // that a decision is made by
	localCut    = 0.7 // when this machine drops
	fallsShort  = 0.95
)

// controller finds the highest rate at which the results stay complete.
type controller struct {
	ceiling float64 // 0: none
	rate    float64
	path    *capacity
	past    []stretch // the last ones
	mode    mode
	until   time.Time     // the rate is held
	over    time.Duration // spent above what the path carries, in this search
	step    float64       // of growth

	changed time.Time // the rate
	n, lost float64   // canaries since then

	room  float64 // what this machine is thought to be able to send, 0: everything
	local time.Time

	last time.Time // look
	text []byte
}

// mode is what a controller is about.
type mode int

const (
	searching mode = iota
	holding        // it knows what the path carries
	resting        // it knows that roughly
)

// stretch is a time of one rate, and at most a second.
type stretch struct {
	from time.Time
	rate float64 // that was really sent
	told bool    // its probes are to be sent again

	n, lost            float64 // canaries
	learnt, learntLost float64
}

const stretchesKept = 64

func newController(ceiling float64) *controller {
	c := &controller{ceiling: ceiling, path: newCapacity(), step: rapid, past: make([]stretch, 0, stretchesKept)}
	c.rate = c.limited(firstRate)
	return c
}

// top returns the highest rate that is allowed.
func (c *controller) top() float64 {
	top := math.Inf(1)
	if c.ceiling > 0 {
		top = c.ceiling
	}
	if c.room > 0 {
		top = min(top, c.room)
	}
	return max(top, leastRate)
}

// limited keeps a rate within its bounds.
func (c *controller) limited(rate float64) float64 { return min(max(rate, leastRate), c.top()) }

// observation is what the controller is told, every samplePause.
type observation struct {
	now      time.Time
	outcomes []outcome
	dropped  uint64  // packets, by this machine, since the last one
	sent     float64 // packets per second over the last moments: less than the rate if this machine can do no more
}

func (c *controller) observe(o observation) (why string, congested time.Time) {
	if len(c.past) == 0 {
		c.set(c.rate, o.now)
		c.last = o.now
	}
	c.notePace(o)
	c.hear(o.outcomes)
	if o.dropped > 0 {
		if o.now.Sub(c.local) < localTime {
			return "", time.Time{}
		}
		c.local = o.now
		c.room, c.step = max(c.rate*localCut, leastRate), careful
		c.set(c.room, o.now)
		return "this machine dropped packets", time.Time{}
	}
	if c.room > 0 && o.now.Sub(c.local) > holdTime {
		c.room, c.mode = 0, searching
	}
	rate, why := c.decide(o)
	c.last = o.now
	if math.Abs(rate/c.rate-1) < 0.01 && rate != c.top() || rate == c.rate {
		why = ""
	} else {
		c.set(rate, o.now)
	}
	return why, c.overrun()
}

// decide returns what the rate should be.
func (c *controller) decide(o observation) (rate float64, why string) {
	low, high := c.path.bounds()
	enough := c.top() / below // to know that the path carries so much
	finite := high < enough
	low, high = min(low, enough), min(high, enough)
	middle := c.path.mean(enough)
	if c.mode != searching && o.now.After(c.until) {
		if c.mode == holding && finite {
			c.path.doubtAbove(middle)
		}
		c.mode, c.over = searching, 0
		return c.decide(o)
	}
	switch {
	case high/low <= precise:
		if c.mode != holding {
			c.mode, c.until = holding, o.now.Add(holdTime)
		}
		return c.hold(middle, finite)
	case c.mode == resting && c.rate < middle:
		return c.rate, ""
	case c.mode != searching:
		c.mode, c.over = searching, 0
	case finite && c.rate > middle:
		c.over += o.now.Sub(c.last)
	}
	if most := overTime; finite && (high/low < roughly && c.over > most || c.over > 3*most) {
		c.mode, c.until = resting, o.now.Add(restTime)
		return c.hold(middle, finite)
	}
	return c.search(o, low, middle, finite)
}

// hold returns the rate for a path that carries so much.
func (c *controller) hold(carries float64, finite bool) (rate float64, why string) {
	if !finite {
		return c.top(), "the path carries all that is allowed"
	}
	c.step = careful
	c.text = append(c.text[:0], "the path carries about "...)
	c.text = strconv.AppendInt(c.text, int64(carries), 10)
	return c.limited(below * carries), string(append(c.text, " a second"...))
}

// search returns the rate that tells most.
func (c *controller) search(o observation, low, middle float64, finite bool) (rate float64, why string) {
	few := c.n < fewCanaries
	if few && o.now.Sub(c.changed) < quietTime {
		return c.rate, ""
	}
	down, up, why := c.limited(below*max(low, c.rate/8)), c.rate, "finding out what the path carries"
	carried := low >= 0.98*c.rate
	switch {
	case finite:
		up = c.limited(above * middle)
	case o.sent < 0.9*c.rate: // it would mean nothing
	case carried || few && c.lost == 0 || c.step == rapid && low >= 0.6*c.rate:
		up, why = c.limited(max(c.rate, low)*c.step), "no limit is seen"
		if carried && !few {
			c.step = min(c.step*c.step, rapid)
		}
	}
	if c.path.tells(down) > c.path.tells(up) {
		return down, "loss: seeing whether less helps"
	}
	return up, why
}

// set changes the rate.
func (c *controller) set(rate float64, now time.Time) {
	c.rate, c.changed, c.n, c.lost = c.limited(rate), now, 0, 0
	c.begin(c.rate, now)
}

// begin begins a stretch.
func (c *controller) begin(rate float64, now time.Time) {
	if len(c.past) == stretchesKept {
		copy(c.past, c.past[1:])
		c.past = c.past[:stretchesKept-1]
	}
	c.past = append(c.past, stretch{from: now, rate: rate})
}

// notePace sees to it that the last stretch has the rate that is really sent.
func (c *controller) notePace(o observation) {
	last := &c.past[len(c.past)-1]
	pace := c.rate
	if o.now.Sub(c.changed) < paceTime {
		return
	}
	if o.sent < fallsShort*c.rate {
		pace = o.sent
	}
	switch differs := math.Abs(pace/last.rate-1) > 0.02; {
	case differs && last.from.Equal(c.changed):
		last.rate = pace
	case differs || o.now.Sub(last.from) > time.Second:
		c.begin(pace, o.now)
	}
}

// hear enters the outcomes, each at the rate of its time.
func (c *controller) hear(outcomes []outcome) {
	for len(outcomes) > 0 {
		at, n, lost := outcomes[0].at, 0.0, 0.0
		for len(outcomes) > 0 && outcomes[0].at.Equal(at) {
			n++
			if outcomes[0].lost {
				lost++
			}
			outcomes = outcomes[1:]
		}
		i := len(c.past) - 1
		for i > 0 && c.past[i].from.After(at) {
			i--
		}
		s := &c.past[i]
		if i > 0 && s.rate != c.past[i-1].rate && at.Sub(s.from) < soakTime {
			continue
		}
		share := min(1, together/n)
		n, lost = n*share, lost*share
		s.n, s.lost = s.n+n, s.lost+lost
		if !at.Before(c.changed) {
			c.n, c.lost = c.n+n, c.lost+lost
		}
	}
	for i := range c.past {
		if s := &c.past[i]; s.n > s.learnt {
			c.path.learn(s.rate, s.n-s.lost-(s.learnt-s.learntLost), s.lost-s.learntLost)
			s.learnt, s.learntLost = s.n, s.lost
		}
	}
	c.path.settle()
}

// overrun returns since when too much was sent, if that was not told.
func (c *controller) overrun() (since time.Time) {
	if c.mode == searching {
		return since
	}
	middle := c.path.mean(math.Inf(1))
	for i := len(c.past) - 1; i >= 0; i-- {
		s := &c.past[i]
		if s.told || s.rate < 1.01*middle {
			continue
		}
		if c.path.acquits(s.rate, s.n-s.lost, s.lost) {
			break
		}
		s.told = true
		since = c.past[max(i-1, 0)].from
	}
	return since
}
