package scan

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"synoptic/internal/plan"
)

// road is a path with a policer, which lets pass so many packets a second and 5 ms
// of them at once, and drops the rest; and with a loss at any rate. It is driven
// like a real one: in spans, by a sender that the scheduler wakes late, with the
// canaries of a scan.
type road struct {
	carries float64
	loss    float64
	hits    float64       // of all probes
	rtt     time.Duration // of all answers
	machine float64       // can send so much, 0: anything
	breaks  float64       // it drops something when more is sent, 0: never
	stalls  int           // of so many times that the sender wakes, it is up to 10 ms late once; 0: never
	rhythm  time.Duration // of the sender's clock, 0: as fine as time
	rnd     *rand.Rand

	now      time.Time // of the schedule
	arrived  time.Time // the last packet
	tokens   float64
	networks uint64
	canaries *canaries
	flying   []flown
	looks    []sent
	log      []string

	asked, cut int      // canaries, and those that the policer dropped
	faults     []string // what did not come to pass
}

// flown is an answer of a canary on its way.
type flown struct {
	pos uint64
	at  time.Time
}

// sent is what became of the probes between two looks.
type sent struct {
	at            time.Time
	n, again      float64
	cut, unmended float64 // dropped by the policer; and not to be sent again
	rate          float64
}

var roadBegin = time.Unix(1e9, 0)

func newRoad(seed uint64) *road {
	r := &road{carries: 1e9, hits: 1.0 / 16, rnd: rand.New(rand.NewPCG(seed, 7)), now: roadBegin, arrived: roadBegin}
	r.canaries = newCanaries(Config{Adaptive: true})
	r.rtt = 25*time.Millisecond + time.Duration(r.rnd.IntN(125))*time.Millisecond
	return r
}

// due is as a scan has it.
func (r *road) due() time.Duration { return retryCooldown + 2*r.rtt }

// late is how late a sender wakes: a tenth of a millisecond, and now and then some.
func (r *road) late() time.Duration {
	if r.stalls > 0 && r.rnd.IntN(r.stalls) == 0 {
		return time.Duration(r.rnd.IntN(10_000)) * time.Microsecond
	}
	if r.rnd.IntN(1000) == 0 {
		return time.Duration(r.rnd.IntN(4)) * time.Millisecond
	}
	return time.Duration(r.rnd.ExpFloat64() * float64(100*time.Microsecond))
}

// passes sends so many probes at once, and returns how many pass the policer. Like
// an even pacer, it does not catch up on more than 2.5 ms.
func (r *road) passes(n int, rate float64) int {
	r.now = r.now.Add(time.Duration(float64(n) / rate * 1e9))
	if most := r.arrived.Add(-2500 * time.Microsecond); r.now.Before(most) {
		r.now = most
	}
	at := r.now.Add(r.late())
	if r.rhythm > 0 {
		at = r.now.Add(r.rhythm - r.now.Sub(roadBegin)%r.rhythm)
	}
	if at.Before(r.arrived) {
		at = r.arrived
	}
	r.tokens = min(r.tokens+at.Sub(r.arrived).Seconds()*r.carries, max(r.carries*0.005, 1))
	passed := min(n, int(r.tokens))
	r.tokens -= float64(passed)
	r.arrived = at
	return passed
}

// drive lets a controller send for a time; without one the rate stays.
func (r *road) drive(c *controller, rate float64, d time.Duration) {
	for end := r.now.Add(d); r.now.Before(end); {
		if c != nil {
			rate = c.rate
		}
		r.send(rate, r.now.Add(steerPause))
		r.canaries.settle(r.now, r.due())
		if c == nil {
			continue
		}
		o := observation{now: r.now, outcomes: r.canaries.outcomes(), sent: r.pace()}
		if r.breaks > 0 && rate > r.breaks {
			o.dropped = 1
		}
		r.look(c, o)
	}
}

// send sends until a time.
func (r *road) send(rate float64, until time.Time) {
	look := sent{at: r.now, rate: rate}
	room := plan.SpanLen(rate, 1, plan.MaxSpan)
	if r.machine > 0 {
		rate = min(rate, r.machine)
	}
	r.canaries.follow(rate)
	found, span := r.rnd.Float64(), plan.Span{}
	for r.now.Before(until) {
		if r.canaries.take(&span, room, r.now) {
			n := len(span.Pending)
			passed := r.passes(n, rate)
			r.canaries.sending(&span, r.arrived)
			for _, pos := range span.Pending[:passed] {
				if r.rnd.Float64() >= r.loss {
					r.flying = append(r.flying, flown{pos, r.arrived.Add(r.rtt)})
				}
			}
			look.n += float64(n)
			r.asked, r.cut = r.asked+n, r.cut+n-passed
			continue
		}
		passed := r.passes(room, rate)
		look.n += float64(room)
		look.unmended += float64(room - passed)
		look.cut += float64(room - passed)
		found += float64(passed) * r.hits * (1 - r.loss)
	}
	r.looks = append(r.looks, look)
	for ; found >= 1 && r.networks < canaryPool; found-- {
		r.networks++
		network := netip.AddrFrom4([4]byte{1, byte(r.networks >> 8), byte(r.networks), 1})
		r.canaries.offer(r.networks, network, r.now.Add(r.rtt))
	}
	for len(r.flying) > 0 && !r.flying[0].at.After(r.now) {
		r.canaries.heard(r.flying[0].pos, r.flying[0].at.UnixNano())
		r.flying = r.flying[1:]
	}
}

// pace is as a scan has it.
func (r *road) pace() float64 {
	n := 0.0
	looks := r.looks[max(0, len(r.looks)-3):]
	for _, l := range looks {
		n += l.n
	}
	return n / r.now.Sub(looks[0].at).Seconds()
}

// look lets the controller look, and mends what it says.
func (r *road) look(c *controller, o observation) {
	before := c.rate
	why, congested := c.observe(o)
	if !congested.IsZero() {
		for i := range r.looks {
			if !r.looks[i].at.Before(congested.Add(-r.due())) {
				r.looks[i].unmended, r.looks[i].again = 0, r.looks[i].n
			}
		}
	}
	if c.rate != before {
		r.log = append(r.log, fmt.Sprintf("%.2f: %.0f %s", r.time().Seconds(), c.rate, why))
	}
}

// time is since the beginning.
func (r *road) time() time.Duration { return r.now.Sub(roadBegin) }

// mean returns the mean rate of 5 s.
func (r *road) mean(from time.Duration) float64 {
	sum, n := 0.0, 0.0
	for _, l := range r.looks {
		if t := l.at.Sub(roadBegin); t >= from && t < from+5*time.Second {
			sum, n = sum+l.rate, n+1
		}
	}
	return sum / n
}

// settled enters a fault unless the mean rate of all 5 s since a time is 90 to 100 %
// of what the path carries.
func (r *road) settled(from time.Duration) {
	if at, m, ok := r.settles(from); !ok {
		r.fault("from %v on: %.0f of %.0f, round trip %v", at, m, r.carries, r.rtt)
	}
}

// settles tells whether it does so, and if not, when and how much was sent.
func (r *road) settles(from time.Duration) (at time.Duration, mean float64, ok bool) {
	for ; from+5*time.Second <= r.time(); from += 250 * time.Millisecond {
		if mean = r.mean(from); mean < 0.9*r.carries || mean > r.carries {
			return from, mean, false
		}
	}
	return 0, 0, true
}

// mended enters a fault if what the policer dropped, and will not be sent again, is
// more than a thousandth.
func (r *road) mended() {
	if u := r.share(func(l sent) float64 { return l.unmended }); u > 0.001 {
		r.fault("%.2f%% were dropped and not noticed", 100*u)
	}
}

func (r *road) fault(format string, a ...any) { r.faults = append(r.faults, fmt.Sprintf(format, a...)) }

// explain logs the last changes of the rate.
func (r *road) explain(t *testing.T) {
	t.Helper()
	t.Logf("the rate: %s", strings.Join(r.log[max(0, len(r.log)-20):], "; "))
}

// share returns what share of all probes a part of them is.
func (r *road) share(part func(sent) float64) float64 {
	n, some := 0.0, 0.0
	for _, l := range r.looks {
		n, some = n+l.n, some+part(l)
	}
	return some / n
}

// seeds is how many roads of a kind are tried.
var seeds = flag.Int("seeds", 50, "random paths of each kind to try the adaptive rate on")

// roads runs a test for each seed; those of a kind run beside other kinds. What
// canaries tell is a matter of chance, so one road in so many may have faults.
func roads(t *testing.T, name string, oneIn int, test func(*testing.T, *road)) {
	t.Run(name, func(t *testing.T) {
		t.Parallel()
		unlucky := 0
		for seed := range uint64(*seeds) {
			r := newRoad(seed)
			t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) { test(t, r) })
			if len(r.faults) > 0 {
				unlucky++
				t.Logf("seed %d: %s", seed, strings.Join(r.faults, "; "))
				r.explain(t)
			}
		}
		if unlucky > *seeds/oneIn {
			t.Errorf("%d of %d roads have faults, at most one in %d may", unlucky, *seeds, oneIn)
		}
	})
}

// mostRoads tests what is a matter of luck: that it comes to pass in nine of ten.
func mostRoads(t *testing.T, name string, test func(*testing.T, *road) bool) {
	t.Run(name, func(t *testing.T) {
		t.Parallel()
		n := 0
		for seed := range uint64(*seeds) {
			if r := newRoad(seed); test(t, r) && len(r.faults) == 0 {
				n++
			}
		}
		if t.Logf("%d of %d", n, *seeds); n < *seeds*9/10 {
			t.Errorf("%d of %d, nine of ten are asked for", n, *seeds)
		}
	})
}

// From below and from above, with and without a loss that no rate mends, the rate is
// 90 to 100 % of what the path carries after 10 s, and what was lost on the way
// there is sent again.
func TestTheRateSettlesWhereThePathCarriesIt(t *testing.T) {
	for _, carries := range []float64{5000, 20_000, 150_000} {
		for _, loss := range []float64{0, 0.01, 0.1} {
			roads(t, fmt.Sprintf("carries=%v/loss=%v", carries, loss), 50, func(t *testing.T, r *road) {
				r.carries, r.loss = carries, loss*(0.8+0.4*r.rnd.Float64())
				c := newController(16 * carries)
				r.drive(c, 0, 30*time.Second)
				r.settled(10 * time.Second)
				if carries >= 20_000 {
					r.carries /= 4
					r.drive(c, 0, 30*time.Second)
					r.settled(40 * time.Second)
				}
				r.mended()
			})
		}
	}
}

// A sender that is late now and then is no reason to stay below that.
func TestTheRateSettlesWhereTheSenderIsLate(t *testing.T) {
	for _, loss := range []float64{0, 0.01} {
		roads(t, fmt.Sprintf("loss=%v", loss), 50, func(t *testing.T, r *road) {
			r.carries, r.loss, r.stalls = 20_000, loss, 200
			c := newController(80_000)
			r.drive(c, 0, 25*time.Second)
			r.settled(10 * time.Second)
			r.mended()
		})
	}
}

// Where one probe in 200 is answered there are too few canaries for that at first.
func TestTheRateSettlesLaterWhereFewAnswer(t *testing.T) {
	for _, carries := range []float64{5000, 20_000, 150_000} {
		for _, loss := range []float64{0, 0.01, 0.1} {
			oneIn := 50
			if loss >= 0.1 {
				oneIn = 10
			}
			roads(t, fmt.Sprintf("carries=%v/loss=%v", carries, loss), oneIn, func(t *testing.T, r *road) {
				r.carries, r.loss, r.hits = carries, loss, 1.0/200
				c := newController(16 * carries)
				r.drive(c, 0, 50*time.Second)
				r.settled(30 * time.Second)
				r.mended()
			})
		}
	}
}

// A path that carries everything is used up to the ceiling, whatever it loses.
func TestTheCeilingIsReached(t *testing.T) {
	for _, loss := range []float64{0, 0.001, 0.02, 0.1, 0.3} {
		roads(t, fmt.Sprintf("loss=%v", loss), 50, func(t *testing.T, r *road) {
			r.loss = loss
			c := newController(50_000)
			r.drive(c, 0, 60*time.Second)
			for at := 40 * time.Second; at <= 55*time.Second; at += time.Second {
				if m := r.mean(at); m < 0.95*50_000 {
					t.Errorf("from %v on: %.0f", at, m)
					r.explain(t)
					break
				}
			}
		})
	}
}

// When the path carries four times as much, that is used within 30 s, or with bad
// luck and a loss at any rate later.
func TestMoreIsUsedWhenThePathCarriesMore(t *testing.T) {
	for _, loss := range []float64{0, 0.01, 0.1} {
		mostRoads(t, fmt.Sprintf("loss=%v", loss), func(t *testing.T, r *road) bool {
			r.carries, r.loss = 10_000, loss
			c := newController(1_000_000)
			r.drive(c, 0, 20*time.Second+time.Duration(r.rnd.IntN(15_000))*time.Millisecond)
			r.carries *= 4
			changed := r.time()
			r.drive(c, 0, 50*time.Second)
			r.mended()
			_, _, ok := r.settles(changed + 30*time.Second)
			return ok
		})
	}
}

// A loss that comes later, and at any rate, does not keep the rate down, but for bad
// luck.
func TestALossAtAnyRateIsPutUpWith(t *testing.T) {
	for _, loss := range []float64{0.01, 0.05, 0.2} {
		mostRoads(t, fmt.Sprintf("loss=%v", loss), func(t *testing.T, r *road) bool {
			r.carries = 20_000
			c := newController(320_000)
			r.drive(c, 0, 20*time.Second)
			r.loss = loss
			r.drive(c, 0, 30*time.Second)
			r.mended()
			_, _, ok := r.settles(30 * time.Second)
			return ok
		})
	}
}

// This machine drops what is sent above a rate: it is found, and hardly ever
// exceeded.
func TestTheRateStaysWhereThisMachineDropsNothing(t *testing.T) {
	roads(t, "all", 50, func(t *testing.T, r *road) {
		r.breaks = 30_000
		c := newController(0)
		r.drive(c, 0, 60*time.Second)
		above := r.share(func(l sent) float64 {
			if l.rate > r.breaks {
				return l.n
			}
			return 0
		})
		if m := r.mean(50 * time.Second); m < 0.5*r.breaks || above > 0.03 {
			t.Errorf("%.0f of %.0f, and %.1f%% above", m, r.breaks, 100*above)
			r.explain(t)
		}
	})
}

// A rate that this machine does not reach tells nothing of the path: neither is it
// raised further, nor is it thought to be carried.
func TestWhatIsNotSentTellsNothing(t *testing.T) {
	roads(t, "all", 50, func(t *testing.T, r *road) {
		r.carries, r.machine = 100_000, 30_000
		c := newController(0)
		r.drive(c, 0, 20*time.Second)
		if c.rate < r.machine || c.rate > 2.1*r.machine {
			t.Errorf("%.0f, and %.0f are sent", c.rate, r.machine)
		}
		if low, _ := c.path.bounds(); low > 1.1*r.machine {
			t.Errorf("the path is believed to carry %.0f, and %.0f were sent", low, r.machine)
			r.explain(t)
		}
		r.machine = 0
		r.drive(c, 0, 30*time.Second)
		r.settled(40 * time.Second)
	})
}

// What this machine drops cuts the rate at the next look, and not twice for one
// trouble.
func TestLocalDropsCutAtOnce(t *testing.T) {
	c := newController(100_000)
	c.rate = 100_000
	now := roadBegin
	if why, _ := c.observe(observation{now: now, dropped: 5, sent: c.rate}); why == "" || c.rate != 100_000*localCut {
		t.Errorf("%v %q", c.rate, why)
	}
	if c.observe(observation{now: now.Add(steerPause), dropped: 5, sent: c.rate}); c.rate != 100_000*localCut {
		t.Errorf("%v", c.rate)
	}
	if c.observe(observation{now: now.Add(2 * localTime), dropped: 5, sent: c.rate}); c.rate != 100_000*localCut*localCut {
		t.Errorf("%v", c.rate)
	}
}

// Without a canary the rate still grows, and never beyond what this machine can
// send.
func TestGrowthWithoutCanaries(t *testing.T) {
	c := newController(0)
	now := roadBegin
	for range 100 * 20 {
		now = now.Add(steerPause)
		c.observe(observation{now: now, sent: min(c.rate, 40_000)})
	}
	if c.rate < 40_000 || c.rate > 40_000*rapid {
		t.Errorf("%v", c.rate)
	}
}

// A pass that ends before it is known what the path carries is told of by the lowest
// estimate.
func TestAnOverrunAtTheEndOfAPassIsTold(t *testing.T) {
	roads(t, "all", 50, func(t *testing.T, r *road) {
		r.carries = 8000
		c := newController(0)
		for c.rate < 9000 && r.time() < 5*time.Second {
			r.drive(c, 0, steerPause)
		}
		above := r.now
		r.drive(nil, c.rate, 300*time.Millisecond)
		r.now = r.now.Add(2 * time.Second) // the cooldown
		for _, f := range r.flying {
			r.canaries.heard(f.pos, f.at.UnixNano())
		}
		r.canaries.settle(r.now, r.due())
		since := c.ended(r.canaries.outcomes())
		if since.IsZero() || since.After(above) {
			t.Errorf("since %v, and the path was overrun after %v at the latest", since.Sub(roadBegin), above.Sub(roadBegin))
			r.explain(t)
		}
		if again := c.ended(nil); !again.IsZero() {
			t.Errorf("told again, since %v", again.Sub(roadBegin))
		}
	})
}

// What was long thought to be carried is not sent again because the pass ends while
// the lowest estimate is below it.
func TestOnlyTheLastMomentsAreJudgedByTheLowestEstimate(t *testing.T) {
	c := newController(0)
	now := roadBegin
	for range 30 {
		c.begin(9850, now)
		now = now.Add(time.Second)
	}
	c.judged = now.Add(-time.Second / 2)
	c.path.learn(9850, 200, 0)
	c.path.learn(11_100, 118, 16)
	c.path.settle()
	low, _ := c.path.bounds()
	if mean := c.path.mean(math.Inf(1)); low*1.01 > 9850 || mean*1.01 < 9850 {
		t.Fatalf("the path carries between %.0f and about %.0f, which tests nothing", low, mean)
	}
	if since := c.ended(nil); !since.Equal(now.Add(-time.Second)) {
		t.Errorf("since %v, and the last stretch began after %v", since.Sub(roadBegin), now.Add(-time.Second).Sub(roadBegin))
	}
}

// What is known precisely is not given up for a trial that tells less and does not
// speak against it.
func TestATrialThatTellsLittleChangesNothing(t *testing.T) {
	r := newRoad(1)
	r.carries = 20_000
	c := newController(0)
	r.drive(c, 0, 12*time.Second)
	held := c.held
	c.path.doubtAbove()
	c.path.learn(1.04*held, 150, 1)
	c.path.learn(1.2*held, 85, 15)
	c.path.settle()
	low, high := c.path.bounds()
	if middle := c.path.mean(math.Inf(1)); high/low <= precise || high/low >= roughly || held < low || held > high || middle < 1.02*held {
		t.Fatalf("between %.0f and %.0f, about %.0f, and %.0f before, which tests nothing", low, high, middle, held)
	}
	if rate, _ := c.decide(observation{now: r.now}); math.Abs(rate/(below*held)-1) > 0.01 {
		t.Errorf("the rate is %.0f, and %.0f was known to be carried", rate, held)
	}
}

// Canaries fare as the probes that they stand for, also where a sender's clock makes
// bunches of spans.
func TestCanariesFareLikeTheOthers(t *testing.T) {
	for _, carries := range []float64{1250, 5000, 20_000, 150_000} {
		for _, over := range []float64{1.03, 1.08, 1.5, 4} {
			for _, rhythm := range []time.Duration{0, 2 * time.Millisecond, 4 * time.Millisecond} {
				t.Run(fmt.Sprintf("carries=%v/sent=%v/rhythm=%v", carries, carries*over, rhythm), func(t *testing.T) {
					t.Parallel()
					r := newRoad(1)
					r.carries, r.rhythm = carries, rhythm
					r.drive(nil, carries*over, 20*time.Second)
					cut, others := 0.0, -float64(r.asked)
					for _, l := range r.looks {
						cut, others = cut+l.cut, others+l.n
					}
					cut /= others
					most := 0.01
					if rhythm > 0 {
						most = 0.04 // spans share their fate, and there are some 600 of canaries
					}
					if got := float64(r.cut) / float64(r.asked); math.Abs(got-cut) > most || r.asked < 3000 {
						t.Errorf("of %d canaries %.3f were dropped, of the other probes %.3f", r.asked, got, cut)
					}
				})
			}
		}
	}
}

// The same path makes the same decisions.
func TestTheControllerIsDeterministic(t *testing.T) {
	var logs [2][]string
	for i := range logs {
		r := newRoad(3)
		r.carries, r.loss = 20_000, 0.05
		r.drive(newController(0), 0, 20*time.Second)
		logs[i] = r.log
	}
	if !slices.Equal(logs[0], logs[1]) || len(logs[0]) < 5 {
		t.Errorf("%q\n%q", logs[0], logs[1])
	}
}

// busy returns a controller in the middle of a scan, and looks with more canaries
// than there ever are.
func busy() (*controller, func() observation) {
	r := newRoad(1)
	r.carries, r.loss = 100_000, 0.01
	c := newController(0)
	r.drive(c, 0, 30*time.Second)
	outcomes := make([]outcome, 500)
	return c, func() observation {
		r.now = r.now.Add(steerPause)
		for i := range outcomes {
			outcomes[i] = outcome{r.now.Add(time.Duration(i/100-5) * time.Millisecond), r.rnd.Float64() < 0.01}
		}
		return observation{now: r.now, outcomes: outcomes, sent: c.rate}
	}
}

func TestALookAllocatesOnceAtMost(t *testing.T) {
	c, next := busy()
	for range 1000 {
		o := next()
		if n := testing.AllocsPerRun(1, func() { c.observe(o) }); n > 1 {
			t.Fatalf("%v allocations", n)
		}
	}
}

func BenchmarkObserve(b *testing.B) {
	c, next := busy()
	b.ReportAllocs()
	for b.Loop() {
		c.observe(next())
	}
}
