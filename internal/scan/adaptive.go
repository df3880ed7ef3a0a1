package scan

import (
	"math"
	"strconv"
	"time"
)

// Numbers of the controller; P is what the path carries.
const (
	steerPause = 50 * time.Millisecond // between two looks at what the canaries tell

	firstRate = 2500 // packets per second, before anything is known
	leastRate = 100  // that it goes down to

	rapid   = 2.0  // growth while no limit was seen, like that of a young TCP connection
	careful = 1.12 // after one was: the first step, the next ones are longer; and the more is lost at any rate, by so much more it takes to see anything
	below   = 0.93 // of P: where the rate is held, so that a trial now and then leaves the mean below P
	above   = 1.08 // of P: where a canary tells most of it
	precise = 1.08 // the highest believable P over the lowest: so well it is to be known
	roughly = 1.2  // and so well for the time being

	holdTime = 15 * time.Second // before it is seen whether the path carries more
	overTime = time.Second      // above P, until it is known precisely; three times that until it is roughly
	restTime = 4 * time.Second  // below P, between two such times

	fewCanaries = 10                     // that a decision is made by,
	quietTime   = 600 * time.Millisecond // or so long a time
	together    = 16                     // canaries of one span are no more evidence than this: they share their fate
	soakTime    = 60 * time.Millisecond  // a policer takes after a change to forget the rate before, if it lets pass 5 ms of packets at once

	localCut  = 0.7                    // when this machine drops
	localTime = 250 * time.Millisecond // before it is cut for that again
	paceTime  = 250 * time.Millisecond // until observation.sent tells of a new rate
	shortfall = 0.95                   // of the rate that is not sent: this machine can do no more
)

// controller finds the highest rate at which the results stay complete. It has two
// parts: what is known of the path (capacity), and what is done about it.
//
//	searching   no limit is seen      grow
//	            it is not clear       send at the rate, a little above P or below
//	                                  it, at which the canaries tell most
//	holding     P is known            0.93 P for holdTime; then it is forgotten that
//	                                  the path does not carry more, and searched
//	resting     P is known roughly,   0.93 P for a while, then search again
//	            and much was lost
//
// What is sent above P is lost, so each such time is told as soon as P is known, and
// its probes are sent again; it may begin long before it is noticed, where P falls.
//
// How soon P is known depends on how many canaries there are. To know P within 5 %
// takes some 150 of them a little above P where the path loses nothing else, and
// 1000 where it loses 10 % at any rate. With 1000 a second the rate is right within
// 10 s; with 100 a second the first estimates are off by 10 % and half a minute goes
// by; with 25 nobody can know in that time, and the rate stays within 20 % of P.
//
// What this machine drops cuts the rate at the next look. The controller is plain
// arithmetic over what it is told, and reads no clock.
type controller struct {
	ceiling float64 // 0: none
	rate    float64
	path    *capacity
	mode    mode
	until   time.Time     // holding and resting end
	held    float64       // P, when it was known precisely last
	over    time.Duration // spent above P in this search
	step    float64       // of growth
	changed time.Time     // the rate
	n, lost float64       // canaries since then

	room  float64   // what this machine is trusted with, 0: everything
	local time.Time // it dropped

	last   time.Time // look
	judged time.Time // overrun said of all stretches what is known
	past   []stretch
	text   []byte
}

// mode is what a controller is about.
type mode int

const (
	searching mode = iota
	holding
	resting
)

// stretch is a time of one rate, and about a second at most.
type stretch struct {
	from    time.Time
	rate    float64 // that was really sent
	told    bool    // its probes are to be sent again
	n, lost float64 // canaries
	// Those of them that the path was not told of.
	freshN, freshLost float64
}

// stretchesKept are more than the marks of losses go back.
const stretchesKept = 64

func newController(ceiling float64) *controller {
	c := &controller{ceiling: ceiling, path: newCapacity(), step: rapid, past: make([]stretch, 0, stretchesKept)}
	c.rate = c.limited(firstRate)
	return c
}

// most returns the highest rate that is allowed.
func (c *controller) most() float64 {
	most := math.Inf(1)
	if c.ceiling > 0 {
		most = c.ceiling
	}
	if c.room > 0 {
		most = min(most, c.room)
	}
	return most
}

// limited keeps a rate within its bounds.
func (c *controller) limited(rate float64) float64 { return min(max(rate, leastRate), c.most()) }

// observation is what the controller is told, every steerPause.
type observation struct {
	now      time.Time
	outcomes []outcome
	dropped  uint64  // packets, by this machine, since the last one
	sent     float64 // packets per second over the last moments: less than the rate if this machine can do no more
}

// observe returns why the rate was changed, or "", and since when too much was
// sent for the path, if it has found that out now.
func (c *controller) observe(o observation) (why string, congested time.Time) {
	if len(c.past) == 0 {
		c.set(c.rate, o.now)
		c.last = o.now
	}
	c.pace(o)
	c.hear(o.outcomes)
	defer func() { c.last = o.now }()
	if o.dropped > 0 {
		if o.now.Sub(c.local) < localTime {
			return "", time.Time{}
		}
		c.local, c.room, c.step = o.now, max(c.rate*localCut, leastRate), careful
		c.set(c.room, o.now)
		return "this machine dropped packets", time.Time{}
	}
	if c.room > 0 && o.now.Sub(c.local) > holdTime {
		c.room, c.mode = 0, searching
	}
	rate, why := c.decide(o)
	if rate == c.rate || math.Abs(rate/c.rate-1) < 0.01 && rate != c.most() {
		why = ""
	} else {
		c.set(rate, o.now)
	}
	if c.mode != searching {
		c.judged = o.now
		congested = c.overrun(c.path.mean(math.Inf(1)))
	}
	return why, congested
}

// decide returns what the rate should be.
func (c *controller) decide(o observation) (rate float64, why string) {
	enough := c.most() / below // a path that carries so much is as good as any
	low, high := c.path.bounds()
	finite := high < enough
	middle := c.path.mean(enough)
	spread := min(high, enough) / min(low, enough)
	if c.mode != searching && o.now.After(c.until) {
		if c.mode == holding && finite {
			c.path.doubtAbove()
		}
		c.mode, c.over = searching, 0
		return c.decide(o)
	}
	switch {
	case spread <= precise || spread < roughly && low < c.held && c.held < high:
		if c.mode != holding {
			c.mode, c.until = holding, o.now.Add(holdTime)
		}
		if spread <= precise {
			c.held = middle
		}
		return c.settled(c.held, finite)
	case c.mode == resting && c.rate < middle:
		return c.rate, ""
	case c.mode != searching:
		c.mode, c.over = searching, 0
	case finite && c.rate > middle:
		c.over += o.now.Sub(c.last)
	}
	if finite && (c.over > 3*overTime || c.over > overTime && spread < roughly) {
		c.mode, c.until = resting, o.now.Add(restTime)
		return c.settled(middle, finite)
	}
	return c.search(o, low, middle, finite)
}

// settled returns the rate for a path that carries so much.
func (c *controller) settled(carries float64, finite bool) (rate float64, why string) {
	if !finite {
		return c.most(), "the path carries all that is allowed"
	}
	c.step = careful
	rate = c.limited(below * carries)
	if math.Abs(rate/c.rate-1) < 0.01 {
		return rate, "" // and no text for nothing
	}
	c.text = append(c.text[:0], "the path carries about "...)
	c.text = strconv.AppendInt(c.text, int64(carries), 10)
	return rate, string(append(c.text, " a second"...))
}

// search returns the rate that tells most.
func (c *controller) search(o observation, low, middle float64, finite bool) (rate float64, why string) {
	few := c.n < fewCanaries
	if few && o.now.Sub(c.changed) < quietTime {
		return c.rate, ""
	}
	carried := low >= 0.98*c.rate
	down, up, why := c.limited(below*max(low, c.rate/8)), c.rate, "finding out what the path carries"
	switch {
	case finite:
		up = c.limited(above * middle)
	case o.sent < shortfall*c.rate: // more would mean nothing
	case carried || few && c.lost == 0 || c.step == rapid && low >= 0.6*c.rate:
		up, why = c.limited(max(c.rate, low)*c.step), "no limit is seen"
		if carried && !few {
			c.step = min(c.step*c.step, rapid)
		}
	}
	if c.path.tells(down) > c.path.tells(up) {
		return down, "seeing whether less is lost at a lower rate"
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

// pace sees to it that the last stretch has the rate that is really sent.
func (c *controller) pace(o observation) {
	if o.now.Sub(c.changed) < paceTime {
		return
	}
	last, rate := &c.past[len(c.past)-1], c.rate
	if o.sent < shortfall*c.rate {
		rate = max(o.sent, leastRate)
	}
	switch differs := math.Abs(rate/last.rate-1) > 0.02; {
	case differs && last.from.Equal(c.changed):
		last.rate = rate
	case differs || o.now.Sub(last.from) > time.Second:
		c.begin(rate, o.now)
	}
}

// hear enters the outcomes, each at the rate of its time.
func (c *controller) hear(outcomes []outcome) {
	if len(outcomes) == 0 {
		return
	}
	for len(outcomes) > 0 {
		at, n, lost := outcomes[0].at, 0.0, 0.0
		for ; len(outcomes) > 0 && outcomes[0].at.Equal(at); outcomes = outcomes[1:] {
			n++
			if outcomes[0].lost {
				lost++
			}
		}
		i := len(c.past) - 1
		for i > 0 && c.past[i].from.After(at) {
			i--
		}
		s := &c.past[i]
		if i > 0 && s.rate != c.past[i-1].rate && at.Sub(s.from) < soakTime {
			continue
		}
		weight := min(1, together/n)
		s.freshN += n * weight
		s.freshLost += lost * weight
		if !at.Before(c.changed) {
			c.n += n * weight
			c.lost += lost * weight
		}
	}
	for i := range c.past {
		if s := &c.past[i]; s.freshN > 0 {
			c.path.learn(s.rate, s.freshN-s.freshLost, s.freshLost)
			s.n, s.lost = s.n+s.freshN, s.lost+s.freshLost
			s.freshN, s.freshLost = 0, 0
		}
	}
	c.path.settle()
}

// overrun returns since when more was sent than the path carries, as far as that
// has not been told. It goes back as far as the canaries do not speak against it.
// What went on since the last time that this was known is measured by low.
func (c *controller) overrun(low float64) (since time.Time) {
	mean := c.path.mean(math.Inf(1))
	for i := len(c.past) - 1; i >= 0; i-- {
		s, carries := &c.past[i], mean
		if i == len(c.past)-1 || c.past[i+1].from.After(c.judged) {
			carries = low
		}
		if s.told || s.rate < 1.01*carries {
			continue
		}
		if c.path.acquits(carries, s.rate, s.n, s.lost) {
			if i+1 < len(c.past) && since.Equal(c.past[i+1].from) {
				since = s.from // in it the path may have begun to carry less
			}
			break
		}
		s.told, since = true, s.from
	}
	return since
}

// ended says that a pass is over, and returns since when more may have been sent
// than the path carries. For the last moments that is by the lowest estimate: no
// more will be known of them.
func (c *controller) ended(outcomes []outcome) (congested time.Time) {
	if len(c.past) == 0 {
		return congested
	}
	c.hear(outcomes)
	low, _ := c.path.bounds()
	congested = c.overrun(low)
	c.past = c.past[:0]
	return congested
}
