package tx

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"synoptic/internal/method"
	"synoptic/internal/plan"
	"synoptic/internal/wire"
)

// wholePlan hands out a plan in spans, as a scan's first pass does.
type wholePlan struct {
	mu      sync.Mutex
	next    uint64
	to      uint64
	spanLen int
	stamped int
	back    int // probes given back
	cut     *Cutter
}

func (w *wholePlan) GiveBack(s *plan.Span, unsent int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.back += unsent
}

func (w *wholePlan) Next(s *plan.Span) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	s.From = w.next
	s.To = w.next + min(uint64(w.spanLen), w.to-w.next)
	s.To = s.From + uint64(w.cut.Fit(s))
	w.next = s.To
	return s.Len() > 0
}

func (w *wholePlan) Sending(s *plan.Span, at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stamped += s.Len()
}

// memory is a Conn that remembers which targets it was given, and refuses as
// it is told.
type memory struct {
	sent   map[netip.AddrPort]int
	refuse func(call int) (take int, err error) // take: frames before the refusal
	calls  int
	times  []time.Time
}

func (m *memory) Send(b *Batch, from, to int) (int, error) {
	m.calls++
	take, err := to-from, error(nil)
	if m.refuse != nil {
		var n int
		if n, err = m.refuse(m.calls); err != nil {
			take = min(n, take-1)
		}
	}
	var p wire.Packet
	for i := from; i < from+take; i++ {
		frame, _ := b.Frame(i)
		p.Decode(frame, wire.Ethernet)
		m.sent[netip.AddrPortFrom(p.Dst, p.TCP.DstPort)]++
		m.times = append(m.times, time.Now())
	}
	return take, err
}

func (m *memory) Close() error { return nil }

func newMemory() *memory { return &memory{sent: map[netip.AddrPort]int{}} }

func run(t *testing.T, ctx context.Context, p *plan.Plan, spanLen int, pacer *Pacer, conns ...*memory) (Stats, error) {
	t.Helper()
	pr := probe(p, method.Table[0], wire.Ethernet)
	var list []Conn
	for _, c := range conns {
		list = append(list, c)
	}
	tr := New(pr, list, pacer, nil)
	err := tr.Run(ctx, &wholePlan{to: p.Len(), spanLen: spanLen})
	return tr.Stats(), err
}

func once(t *testing.T, p *plan.Plan, conns ...*memory) {
	t.Helper()
	total := map[netip.AddrPort]int{}
	for _, c := range conns {
		for ap, n := range c.sent {
			total[ap] += n
		}
	}
	if len(total) != int(p.Len()) {
		t.Errorf("%d endpoints probed of %d", len(total), p.Len())
	}
	for ap, n := range total {
		if n != 1 {
			t.Errorf("%v probed %d times", ap, n)
		}
	}
}

func TestEachEndpointIsProbedOnceByAnyNumberOfSenders(t *testing.T) {
	p := newPlan(t, "1-100", "10.0.0.0/26", "2001:db8::/122")
	for senders := 1; senders <= 3; senders++ {
		conns := []*memory{newMemory(), newMemory(), newMemory()}[:senders]
		stats, err := run(t, t.Context(), p, 17, NewPacer(0), conns...)
		if err != nil || stats != (Stats{Generated: p.Len(), Sent: p.Len()}) {
			t.Errorf("%d senders: %+v, %v", senders, stats, err)
		}
		once(t, p, conns...)
	}
}

func TestRefusedFramesAreOfferedAgainNeverSkipped(t *testing.T) {
	p := newPlan(t, "1-100", "10.0.0.0/26")
	c := newMemory()
	c.refuse = func(call int) (int, error) {
		switch call % 4 {
		case 0:
			return 0, ErrRefused
		case 1:
			return 5, ErrRefused
		}
		return 0, nil
	}
	stats, err := run(t, t.Context(), p, 128, NewPacer(0), c)
	if err != nil || stats.Sent != p.Len() || stats.Refused == 0 || stats.Generated != stats.Sent+stats.Refused {
		t.Errorf("%+v, %v", stats, err)
	}
	once(t, p, c)
}

func TestDeadDeviceEndsTheRunWithBalancedBooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlan(t, "1-100", "10.0.0.0/26")
		c := newMemory()
		c.refuse = func(call int) (int, error) {
			if call > 10 {
				return 0, ErrRefused
			}
			return 0, nil
		}
		begin := time.Now()
		stats, err := run(t, t.Context(), p, 128, NewPacer(0), c)
		if !errors.Is(err, ErrRefused) || stats.Sent != 10*128 || stats.Generated != stats.Sent+stats.Refused {
			t.Errorf("%+v, %v", stats, err)
		}
		if took := time.Since(begin); took > giveUpAfter+time.Second {
			t.Errorf("gave up after %v", took)
		}
	})
}

func TestFailedSenderStopsTheOthersWithBalancedBooks(t *testing.T) {
	p := newPlan(t, "1-1000", "10.0.0.0/20")
	broken := errors.New("interface gone")
	bad, good := newMemory(), newMemory()
	bad.refuse = func(call int) (int, error) { return 3, broken }
	good.refuse = func(int) (int, error) { time.Sleep(50 * time.Microsecond); return 0, nil }
	stats, err := run(t, t.Context(), p, 128, NewPacer(0), good, bad)
	if !errors.Is(err, broken) || stats.Generated != stats.Sent+stats.Refused || stats.Sent == p.Len() {
		t.Errorf("%+v, %v", stats, err)
	}
}

// With the real limiter and a clock that jumps, because the scheduler is late
// every so often: any window of one second, ends included, holds at most one
// percent more than the rate, and the average keeps up with it.
func TestAnySecondStaysWithinTheRate(t *testing.T) {
	for _, tt := range []struct {
		rate    float64
		senders int
	}{{1000, 1}, {10_000, 1}, {10_000, 3}, {250_000, 2}} {
		t.Run(fmt.Sprintf("rate=%v/senders=%d", tt.rate, tt.senders), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				seconds := 3
				p := newPlan(t, fmt.Sprintf("1-%d", int(tt.rate)*seconds/64), "10.0.0.0/26")
				var conns []*memory
				for i := range tt.senders {
					c := newMemory()
					c.refuse = func(call int) (int, error) {
						if call%97 == i {
							time.Sleep(4 * time.Millisecond) // late, within the burst
						}
						return 0, nil
					}
					conns = append(conns, c)
				}
				begin := time.Now()
				if _, err := run(t, t.Context(), p, plan.SpanLen(tt.rate, tt.senders, plan.MaxSpan), NewPacer(tt.rate), conns...); err != nil {
					t.Fatal(err)
				}
				took := time.Since(begin).Seconds()
				if rate := float64(p.Len()) / took; rate < tt.rate*0.99 || rate > tt.rate*1.01 {
					t.Errorf("average %.0f packets a second, want %.0f", rate, tt.rate)
				}
				checkWindows(t, tt.rate, conns)
			})
		})
	}
}

// All senders of a slow scan stalled at once, as on a machine that pauses: what
// they held back may not go out in a burst.
func TestAPauseIsNotMadeUpInABurst(t *testing.T) {
	for _, rate := range []float64{100, 1000, 7000, 100_000} {
		t.Run(fmt.Sprintf("rate=%v", rate), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				senders := plan.Senders(rate, 7)
				resume := time.Now().Add(1100 * time.Millisecond)
				var conns []*memory
				for range senders {
					c := newMemory()
					c.refuse = func(int) (int, error) {
						if now := time.Now(); now.After(resume.Add(-100*time.Millisecond)) && now.Before(resume) {
							time.Sleep(resume.Sub(now))
						}
						return 0, nil
					}
					conns = append(conns, c)
				}
				p := newPlan(t, fmt.Sprintf("1-%d", max(int(rate)*3/64, 5)), "10.0.0.0/26")
				if _, err := run(t, t.Context(), p, plan.SpanLen(rate, senders, plan.MaxSpan), NewPacer(rate), conns...); err != nil {
					t.Fatal(err)
				}
				checkWindows(t, rate, conns)
			})
		})
	}
}

// A policer lets pass what it carries in a few milliseconds at once, and no more.
func TestAnEvenPacerMakesNoBurst(t *testing.T) {
	const rate = 20_000
	synctest.Test(t, func(t *testing.T) {
		c := newMemory()
		c.refuse = func(call int) (int, error) {
			if call%100 == 99 {
				time.Sleep(20 * time.Millisecond)
			}
			return 0, nil
		}
		p := newPlan(t, "1-1000", "10.0.0.0/26")
		pacer := NewEvenPacer(rate)
		pacer.sleep = time.Sleep // of this bubble
		if _, err := run(t, t.Context(), p, plan.SpanLen(rate, 1, plan.MaxSpan), pacer, c); err != nil {
			t.Fatal(err)
		}
		for i, from := range c.times {
			n := 0
			for _, at := range c.times[i:] {
				if at.Sub(from) > time.Millisecond {
					break
				}
				n++
			}
			if most := rate * 5 / 1000; n > most { // of 2.5 ms, the millisecond's own, and a span before and after
				t.Fatalf("%d packets in a millisecond, after %v", n, from.Sub(c.times[0]))
			}
		}
	})
}

// Spans of an even pacer leave at their time: none waits for the next millisecond, to
// have one just behind it. This is about the kernel's clock and no other, on a machine
// that may have more to do: one of some attempts is enough, and timers would fail each.
func TestAnEvenPacerKeepsItsTime(t *testing.T) {
	const rate, n, attempts = 20_000, 400, 10
	pause := time.Second * time.Duration(plan.SpanLen(rate, 1, plan.MaxSpan)) / rate
	var gap time.Duration
	for range attempts {
		pacer := NewEvenPacer(rate)
		var gaps []time.Duration
		for last := time.Now(); len(gaps) < n; {
			if err := pacer.Wait(t.Context(), plan.SpanLen(rate, 1, plan.MaxSpan)); err != nil {
				t.Fatal(err)
			}
			now := time.Now()
			gaps, last = append(gaps, now.Sub(last)), now
		}
		slices.Sort(gaps)
		if gap = gaps[n/2]; gap < pause*105/100 && gaps[n/20] > pause/2 {
			return
		}
	}
	t.Errorf("half of the spans leave more than %v behind another, and are due every %v", gap, pause)
}

func checkWindows(t *testing.T, rate float64, conns []*memory) {
	t.Helper()
	perMicrosecond := map[int64]int{}
	last := int64(0)
	var origin time.Time
	for _, c := range conns {
		if len(c.times) > 0 && (origin.IsZero() || c.times[0].Before(origin)) {
			origin = c.times[0]
		}
	}
	for _, c := range conns {
		for _, at := range c.times {
			us := at.Sub(origin).Microseconds()
			perMicrosecond[us]++
			last = max(last, us)
		}
	}
	worst, window := 0, 0
	for us := int64(0); us <= last; us++ {
		window += perMicrosecond[us]
		window -= perMicrosecond[us-1_000_001]
		worst = max(worst, window)
	}
	t.Attr("busiest-second/rate", fmt.Sprint(float64(worst)/rate))
	// One packet in the bucket and one held by a sender, if the percent is less.
	if float64(worst) > rate+max(rate/100, 2) {
		t.Errorf("a second with %d packets at a rate of %.0f", worst, rate)
	}
}

func TestInterruptLeavesNoSpanHalfSent(t *testing.T) {
	p := newPlan(t, "1-100", "10.0.0.0/20")
	ctx, cancel := context.WithCancel(t.Context())
	c := newMemory()
	c.refuse = func(call int) (int, error) {
		if call == 50 {
			cancel()
		}
		return 0, nil
	}
	tr := New(probe(p, method.Table[0], wire.Ethernet), []Conn{c}, NewPacer(1e6), nil)
	spans := &wholePlan{to: p.Len(), spanLen: 100}
	if err := tr.Run(ctx, spans); err != nil {
		t.Fatal(err)
	}
	if s := tr.Stats(); s.Sent+uint64(spans.back) != spans.next || s.Sent == p.Len() || spans.stamped != int(s.Sent) {
		t.Errorf("%+v, %d handed out, %d stamped, %d given back", s, spans.next, spans.stamped, spans.back)
	}
}

// At one packet in five seconds, ten packets take 45: nobody waits for a turn
// that is not used.
func TestSlowRatesWasteNoTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		_, err := run(t, t.Context(), newPlan(t, "1-10", "10.0.0.1"), 1, NewPacer(0.2), newMemory(), newMemory(), newMemory())
		if took := time.Since(begin); err != nil || took < 44*time.Second || took > 46*time.Second {
			t.Errorf("took %v, %v", took, err)
		}
	})
}

// The rate changes while the scan runs, by keys or by itself: from then on that
// one holds, for spans too that were made for a higher one.
func TestARateThatChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pacer := NewPacer(1000)
		wait := func(n, packets int) time.Duration {
			begin := time.Now()
			for range packets / n {
				if err := pacer.Wait(t.Context(), n); err != nil {
					t.Fatal(err)
				}
			}
			return time.Since(begin)
		}
		for _, tt := range []struct {
			rate float64
			span int
		}{{1000, 1}, {100_000, 64}, {100, 128}, {0, 128}, {2048, 2}} {
			pacer.SetRate(tt.rate)
			want := time.Duration(0) // for 1024 packets, of which a burst may go at once
			if tt.rate > 0 {
				want = time.Duration(1024 / tt.rate * float64(time.Second))
			}
			if got := wait(tt.span, 1024); got > want || got < want-want/100-5*time.Millisecond {
				t.Errorf("at %v packets a second 1024 took %v, want %v", tt.rate, got, want)
			}
			if got := pacer.Rate(); got != tt.rate {
				t.Errorf("the rate is %v, want %v", got, tt.rate)
			}
		}
		// Who waits for a turn of a slow rate hears of a faster one.
		pacer.SetRate(0.01)
		wait(1, 1)
		time.AfterFunc(time.Second, func() { pacer.SetRate(1000) })
		if got := wait(1, 1); got > 1010*time.Millisecond {
			t.Errorf("waited %v for a rate that was raised after a second", got)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for _, rate := range []float64{0, 100} {
			pacer.SetRate(rate)
			if pacer.Wait(ctx, 128) == nil {
				t.Errorf("at %v nobody notices the end", rate)
			}
		}
	})
}
