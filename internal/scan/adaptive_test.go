package scan

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"strconv"
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
	machine float64       // what it can send, 0: anything
	drops   bool          // and whether it drops the rest
	rnd     *rand.Rand

	now            time.Time // of the schedule
	arrived        time.Time // the last packet
	tokens         float64
	networks       uint64
	canaries       *canaries
	flying         []flown
	looks          []sent
	log            []string
	nc, lc, no, lo int
	blind          bool
}

// flown is an answer of a canary on its way.
type flown struct {
	pos uint64
	at  time.Time
}

// sent is what became of the probes between two looks.
type sent struct {
	at                 time.Time
	n, again, unmended float64
	rate               float64
}

var roadBegin = time.Unix(1e9, 0)

func newRoad(seed uint64) *road {
	return &road{carries: 1e9, hits: 1.0 / 16, rtt: 50 * time.Millisecond, rnd: rand.New(rand.NewPCG(seed, 7)),
		now: roadBegin, arrived: roadBegin, canaries: newCanaries(Config{Adaptive: true})}
}

// due is as a scan has it.
func (r *road) due() time.Duration { return retryCooldown + 2*r.rtt }

// late is how late a sender wakes: a tenth of a millisecond, and now and then some.
func (r *road) late() time.Duration {
	if r.rnd.IntN(1000) == 0 {
		return time.Duration(r.rnd.IntN(4)) * time.Millisecond
	}
	return time.Duration(r.rnd.ExpFloat64() * float64(100*time.Microsecond))
}

// passes sends so many probes at once, and returns how many pass the policer.
func (r *road) passes(n int, rate float64) int {
	r.now = r.now.Add(time.Duration(float64(n) / rate * 1e9))
	at := r.now.Add(r.late())
	if at.Before(r.arrived) {
		at = r.arrived
	}
	r.tokens = min(r.tokens+at.Sub(r.arrived).Seconds()*r.carries, max(r.carries*0.005, 1))
	passed := min(n, int(r.tokens))
	r.tokens -= float64(passed)
	r.arrived = at
	return passed
}

// drive lets a controller send for a time.
func (r *road) drive(c *controller, d time.Duration) {
	span := plan.Span{}
	for end := r.now.Add(d); r.now.Before(end); {
		look := sent{at: r.now, rate: c.rate}
		rate := c.rate
		if r.machine > 0 {
			rate = min(rate, r.machine)
		}
		r.canaries.follow(c.rate)
		room := plan.SpanLen(c.rate, 1)
		found := 0.0
		for next := r.now.Add(samplePause); r.now.Before(next); {
			if r.canaries.take(&span, room, r.now) {
				n := len(span.Pending)
				passed := r.passes(n, rate)
				r.canaries.sending(&span, r.arrived)
				for k, pos := range span.Pending {
					if k < passed && r.rnd.Float64() >= r.loss {
						r.flying = append(r.flying, flown{pos, r.arrived.Add(r.rtt)})
					}
				}
				look.n += float64(n)
				r.nc, r.lc = r.nc+n, r.lc+n-passed
				continue
			}
			passed := r.passes(room, rate)
			look.n += float64(room)
			look.unmended += float64(room - passed)
			found += float64(passed) * r.hits * (1 - r.loss)
			r.no, r.lo = r.no+room, r.lo+room-passed
		}
		r.looks = append(r.looks, look)
		for found += r.rnd.Float64(); found >= 1 && r.networks < canaryPool; found-- {
			r.networks++
			r.canaries.offer(r.networks, netip.AddrFrom4([4]byte{1, byte(r.networks >> 8), byte(r.networks), 1}), r.now.Add(r.rtt))
		}
		for len(r.flying) > 0 && !r.flying[0].at.After(r.now) {
			r.canaries.heard(r.flying[0].pos, r.flying[0].at.UnixNano())
			r.flying = r.flying[1:]
		}
		r.canaries.settle(r.now, r.due())
		o := observation{now: r.now, outcomes: r.canaries.outcomes(), sent: r.pace()}
		if r.drops && r.machine > 0 && c.rate > r.machine {
			o.dropped = 1
		}
		if !r.blind {
			r.look(c, o)
		}
	}
}

func (r *road) pace() float64 {
	n := 0.0
	looks := r.looks[max(0, len(r.looks)-3):]
	for _, l := range looks {
		n += l.n
	}
	return n / r.now.Sub(looks[0].at).Seconds()
}

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
		r.log = append(r.log, fmt.Sprintf("%.2f: %.0f %s %v", r.now.Sub(roadBegin).Seconds(), c.rate, why, !congested.IsZero()))
	}
}

// mean returns the mean rate in a window.
func (r *road) mean(from, to time.Duration) float64 {
	sum, n := 0.0, 0.0
	for _, l := range r.looks {
		if t := l.at.Sub(roadBegin); t >= from && t < to {
			sum += l.rate
			n++
		}
	}
	return sum / n
}

// settled says what is wrong with the mean of any 5 s between two times.
func (r *road) settled(from, to time.Duration, low, high float64) string {
	for ; from+5*time.Second <= to; from += 250 * time.Millisecond {
		if m := r.mean(from, from+5*time.Second); m < low || m > high {
			return fmt.Sprintf("from %v on: %.0f, not %.0f to %.0f", from, m, low, high)
		}
	}
	return ""
}

// unmended is the share of the probes that the policer dropped and nobody knows of.
func (r *road) unmended() float64 {
	n, u := 0.0, 0.0
	for _, l := range r.looks {
		n, u = n+l.n, u+l.unmended
	}
	return u / n
}

// again is the share of the probes that are sent again because of it.
func (r *road) again() float64 {
	n, u := 0.0, 0.0
	for _, l := range r.looks {
		n, u = n+l.n, u+l.again
	}
	return u / n
}

func TestX(t *testing.T) {
	seeds := 20
	if s := os.Getenv("SEEDS"); s != "" {
		seeds, _ = strconv.Atoi(s)
	}
	type key struct {
		p, b, h float64
	}
	for _, p := range []float64{5000, 20_000, 150_000} {
		for _, b := range []float64{0, 0.01, 0.1} {
			for _, h := range []float64{1.0 / 16, 1.0 / 200} {
				t.Run(fmt.Sprintf("%v/%v/%.3f", p, b, h), func(t *testing.T) {
					t.Parallel()
					bad, badAbove, worst, mended := 0, 0, 0.0, 0
					var shown bool
					var over, over1 float64
					for seed := range uint64(seeds) {
						r := newRoad(seed)
						r.carries, r.loss, r.hits = p, b, h
						r.rtt = time.Duration(25+r.rnd.IntN(125)) * time.Millisecond
						c := newController(16 * p)
						r.drive(c, 30*time.Second)
						over1 += r.again()
						msg := r.settled(10*time.Second, 30*time.Second, 0.9*p, p)
						if msg != "" {
							bad++
						}
						r.carries /= 4
						r.drive(c, 25*time.Second)
						msg2 := r.settled(40*time.Second, 55*time.Second, 0.9*p/4, p/4)
						if msg2 != "" {
							badAbove++
						}
						u := r.unmended()
						over += r.again()
						worst = max(worst, u)
						if u > 0.001 {
							mended++
						}
						if (msg != "" || msg2 != "" || u > 0.001) && !shown {
							shown = true
							t.Logf("seed %d rtt %v %s %s %.4f", seed, r.rtt, msg, msg2, u)
							for _, l := range r.log {
								t.Log(l)
							}
						}
					}
					t.Logf("RESULT "+t.Name()+" bad %d above %d unmended %d worst %.4f again %.3f %.3f", bad, badAbove, mended, worst, over1/float64(seeds), over/float64(seeds))
				})
			}
		}
	}
}

func TestBias(t *testing.T) {
	for _, p := range []float64{1250, 5000, 20000, 150000} {
		for _, h := range []float64{1. / 16, 1. / 200} {
			for _, over := range []float64{1.03, 1.08, 1.5, 4} {
				r := newRoad(1)
				r.carries, r.hits = p, h
				r.blind = true
				c := newController(0)
				c.rate = p * over
				r.drive(c, 15*time.Second)
				t.Logf("%6.0f %.2f canaries %.4f others %.4f %d", p, over, float64(r.lc)/float64(r.nc), float64(r.lo)/float64(r.no), r.nc)
			}
		}
	}
}
