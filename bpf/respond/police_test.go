package respond

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"
)

// late is how much later than they are earned tokens may be credited.
const late = time.Millisecond

// offered is what a policer was offered for a time, and what became of it.
type offered struct {
	counters Counters
	elapsed  time.Duration
	// undisturbed is the part of elapsed in which the bucket cannot have been
	// full, and so no token was lost.
	undisturbed time.Duration
}

// overload offers more probes than the policer lets through until it has done
// so undisturbed for the given time, while other threads offer as many as they
// can. Both families share the bucket.
//
// The machine has other work too. If this thread has to wait for longer than the
// burst takes, tokens are lost and nobody is to blame. So each batch is timed. It
// is more than what can be in the bucket and can come meanwhile, so every batch
// empties it; and from there to the end of the next it cannot fill, if both were
// done within less than half of the burst's time.
//
// The bucket is empty at first, so that no more than rate*(elapsed+late) can pass, and
// the probe that comes to the first token.
func overload(t *testing.T, r *Responder, cfg Config, others int, want time.Duration) (o offered) {
	t.Helper()
	buf := make([]byte, 4096)
	burst := time.Duration(cfg.Burst()) * time.Second / time.Duration(cfg.Police)
	quick, batch := burst*2/5, 2*int(cfg.Burst())
	frames := [][]byte{silentFrame(t, cfg, probe{to: target4}), silentFrame(t, cfg, probe{to: target6})}
	var start time.Time
	for policed := counters(t, r).Policed; counters(t, r).Policed == policed; {
		start = time.Now()
		run(t, r, frames[0], buf)
	}
	if err := r.Reset(); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var threads sync.WaitGroup
	for range others {
		threads.Go(func() {
			for ctx.Err() == nil {
				offer(t, r, frames[0], 500_000)
			}
		})
	}
	for last := start; o.undisturbed < want; {
		for i := range batch {
			run(t, r, frames[i%2], buf)
		}
		now := time.Now()
		if took := now.Sub(last); took <= quick {
			o.undisturbed += took
		}
		last = now
		if now.Sub(start) > 30*time.Second {
			t.Errorf("only %s of %s undisturbed: batches of %d within %s are too much for this machine", o.undisturbed, now.Sub(start), batch, quick)
			break
		}
	}
	o.counters = counters(t, r)
	o.elapsed = time.Since(start)
	stop()
	threads.Wait()
	if err := counters(t, r).Check(); err != nil {
		t.Error(err)
	}
	return o
}

func TestPolicerLetsItsRatePass(t *testing.T) {
	r := load(t, nothingOpen())
	for _, c := range []struct {
		rate   uint32
		others int
	}{{100, 0}, {3000, 0}, {20_000, 0}, {20_000, 1}, {20_000, 3}} {
		t.Run(fmt.Sprintf("rate=%d/others=%d", c.rate, c.others), func(t *testing.T) {
			cfg := nothingOpen()
			cfg.Police = c.rate
			configure(t, r, cfg)
			o := overload(t, r, cfg, c.others, time.Second/2)
			passed := float64(o.counters.Silent)
			most := 1 + float64(c.rate)*(o.elapsed+late).Seconds()
			least := 0.95 * float64(c.rate) * o.undisturbed.Seconds()
			t.Logf("%d offered in %s, of which %s undisturbed: %.0f passed, at most %.1f", o.counters.Segments(), o.elapsed, o.undisturbed, passed, most)
			if passed > most || passed < least {
				t.Errorf("%.0f passed, want at least %.1f and at most %.1f", passed, least, most)
			}
			if o.counters.Policed == 0 || o.counters.PathLost != 0 || o.counters.Replies() != 0 {
				t.Errorf("counters %+v", o.counters)
			}
		})
	}
}

func TestPolicerLetsSlowerProbesPass(t *testing.T) {
	const rate, n = 10_000, 3000
	cfg := everythingOpen()
	cfg.Police = rate
	r := load(t, cfg)
	frame := probe{to: target4, flags: SYN}.bytes(t)
	buf := make([]byte, 4096)
	// Without what is left of the burst, each depends on the time before it.
	for range 2 * cfg.Burst() {
		run(t, r, frame, buf)
	}
	if err := r.Reset(); err != nil {
		t.Fatal(err)
	}
	for range n {
		for done := time.Now(); time.Since(done) < time.Second/rate; {
			runtime.Gosched()
		}
		run(t, r, frame, buf)
	}
	c := counters(t, r)
	if c.Policed != 0 || c.SynAck != n || c.Check() != nil {
		t.Errorf("counters %+v", c)
	}
}

// TestPolicerLetsABurstPass: after a pause, Burst probes pass at once. There is
// no rate so low that it is less than eight.
func TestPolicerLetsABurstPass(t *testing.T) {
	for rate, want := range map[uint32]uint32{0: 0, 1: 8, 1600: 8, 1799: 8, 1800: 9, 200_000: 1000, math.MaxUint32: 21_474_836} {
		if got := (Config{Police: rate}).Burst(); got != want {
			t.Errorf("burst of %d a second is %d, want %d", rate, got, want)
		}
	}
	r := load(t, nothingOpen())
	buf := make([]byte, 4096)
	for _, rate := range []uint32{1, 10_000} {
		cfg := nothingOpen()
		cfg.Police = rate
		configure(t, r, cfg)
		frame := silentFrame(t, cfg, probe{to: target6})
		for range 3 {
			time.Sleep(10 * time.Millisecond) // the rate of 1 has been full from the beginning
			if err := r.Reset(); err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			for range 2 * cfg.Burst() {
				run(t, r, frame, buf)
			}
			most := float64(cfg.Burst()) + float64(rate)*(time.Since(start)+late).Seconds()
			c := counters(t, r)
			t.Logf("rate %d: %d passed of %d, at most %.1f", rate, c.Silent, c.Segments(), most)
			if float64(c.Silent) > most || c.Silent < uint64(cfg.Burst()) {
				t.Errorf("rate %d: %d passed, want %d and at most %.1f", rate, c.Silent, cfg.Burst(), most)
			}
			if rate == 1 { // the next burst is eight seconds away
				break
			}
		}
	}
}

// TestPolicerTakesABurstForAMoment: bursts that take longer, as those do whose
// packets are answered, pass no better than others.
func TestPolicerTakesABurstForAMoment(t *testing.T) {
	const (
		burst, bursts = 32, 1000
		// The kernel's tick may take so long that a burst is two to the policer, so it
		// comes at another place in each.
		each = 1370 * time.Microsecond
	)
	cfg := nothingOpen()
	cfg.Police = 15_000 // of 23,358
	r := load(t, cfg)
	frame := silentFrame(t, cfg, probe{to: target4})
	buf := make([]byte, 4096)
	var passed [2][]int // by each; a few are interrupted, and let others have what they miss
	for i, begin := 0, time.Now(); i < bursts; i++ {
		for time.Since(begin) < time.Duration(i)*each {
		}
		before := counters(t, r)
		for range burst {
			run(t, r, frame, buf)
			for work := time.Now(); i%2 == 1 && time.Since(work) < 8*time.Microsecond; {
			}
		}
		passed[i%2] = append(passed[i%2], int(counters(t, r).Silent-before.Silent))
	}
	slices.Sort(passed[0])
	slices.Sort(passed[1])
	quick, slow := passed[0][bursts/4], passed[1][bursts/4]
	t.Logf("of a quick burst %d passed, of a slow one %d", quick, slow)
	if slow < quick-2 || slow > quick+2 {
		t.Errorf("%d of a slow burst passed and %d of a quick one", slow, quick)
	}
}

// TestPolicerComesBeforeChance: what passes the policer is lost by chance, and
// what it drops is not.
func TestPolicerComesBeforeChance(t *testing.T) {
	cfg := nothingOpen()
	cfg.Police, cfg.Loss = 20_000, Fraction(1, 10)
	r := load(t, cfg)
	o := overload(t, r, cfg, 0, time.Second/2)
	passed := o.counters.PathLost + o.counters.Silent
	if most := 1 + float64(cfg.Police)*(o.elapsed+late).Seconds(); float64(passed) > most {
		t.Errorf("%d passed, want at most %.1f", passed, most)
	}
	if least := 0.95 * float64(cfg.Police) * o.undisturbed.Seconds(); float64(passed) < least {
		t.Errorf("%d passed, want at least %.1f", passed, least)
	}
	checkChance(t, "lost of those that passed", int(o.counters.PathLost), int(passed), probability(cfg.Loss))
}

// TestPolicerIsConfiguredWhileItRuns: each rate holds from its Configure on.
func TestPolicerIsConfiguredWhileItRuns(t *testing.T) {
	r := load(t, nothingOpen())
	frame := silentFrame(t, nothingOpen(), probe{to: target4})
	buf := make([]byte, 4096)
	ctx, stop := context.WithCancel(context.Background())
	var other sync.WaitGroup
	other.Go(func() {
		for ctx.Err() == nil {
			run(t, r, frame, buf)
		}
	})
	defer other.Wait()
	defer stop()
	// more waits until the program has run so many times more.
	more := func(n uint64) (c Counters) {
		for c = counters(t, r); counters(t, r).Segments() < c.Segments()+n; {
			time.Sleep(time.Millisecond)
		}
		return counters(t, r)
	}
	for _, rate := range []uint32{0, 50_000, math.MaxUint32, 100, 0, 100_000} {
		cfg := nothingOpen()
		cfg.Police = rate
		configure(t, r, cfg)
		start := time.Now()
		time.Sleep(late) // of the burst under way, to which nothing is credited
		past := more(2)  // the one that was under way had read the config before
		total := more(20_000)
		elapsed := time.Since(start)
		passed, policed := total.Silent-past.Silent, total.Policed-past.Policed
		most := float64(cfg.Burst()) + float64(rate)*(elapsed+late).Seconds()
		t.Logf("rate %d: %d passed, %d dropped, in %s", rate, passed, policed, elapsed)
		switch rate {
		case 0, math.MaxUint32: // that many cannot be offered
			if policed > 0 {
				t.Errorf("rate %d: %d of %d dropped", rate, policed, passed+policed)
			}
		default:
			if float64(passed) > most || policed == 0 {
				t.Errorf("rate %d: %d passed and %d dropped, want at most %.1f", rate, passed, policed, most)
			}
		}
	}
	stop()
	other.Wait()
	if err := counters(t, r).Check(); err != nil {
		t.Error(err)
	}
}
