package tx

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"synoptic/internal/method"
	"synoptic/internal/plan"
	"synoptic/internal/wire"
)

// departures notes when frames left, by network.
type departures struct {
	mu    sync.Mutex
	times map[netip.Prefix][]time.Time
}

func (d *departures) note(targets ...netip.Addr) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.times == nil {
		d.times = map[netip.Prefix][]time.Time{}
	}
	for _, a := range targets {
		d.times[networkOf(a)] = append(d.times[networkOf(a)], time.Now())
	}
}

// networkOf says by itself what prefixOf packs.
func networkOf(a netip.Addr) netip.Prefix {
	bits := 48
	if a.Is4() {
		bits = 24
	}
	return netip.PrefixFrom(a, bits).Masked()
}

// worst returns the most frames of one network in a second, ends included.
func (d *departures) worst() (most int, all int) {
	for _, times := range d.times {
		all += len(times)
		slices.SortFunc(times, time.Time.Compare)
		first := 0
		for last, at := range times {
			for at.Sub(times[first]) > time.Second {
				first++
			}
			most = max(most, last-first+1)
		}
	}
	return most, all
}

// someone returns one of so many networks' addresses, of either family.
func someone(r *rand.Rand, networks int) netip.Addr {
	n, host := uint32(r.IntN(networks)), byte(r.Uint32())
	if n%2 == 0 {
		a := [4]byte{10, 0, 0, host}
		a[1], a[2] = byte(n>>8), byte(n)
		return netip.AddrFrom4(a)
	}
	a := [16]byte{0: 0xfd, 6: host, 15: host}
	binary.BigEndian.PutUint32(a[2:], n)
	return netip.AddrFrom16(a)
}

// seeded prints the seed of a random test; PREFIXES_SEED chooses it.
func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	if s := os.Getenv("PREFIXES_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("PREFIXES_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// stroll sends random batches by several senders, each of which is late by a
// random time between Wait and the frames, and again until Left.
func stroll(p *Prefixes, r *rand.Rand, senders, frames, networks, batch int, late time.Duration) *departures {
	var d departures
	var running sync.WaitGroup
	for range senders {
		r := rand.New(rand.NewPCG(r.Uint64(), 0))
		pause := func() {
			if late > 0 && r.IntN(4) == 0 {
				time.Sleep(time.Duration(r.Int64N(int64(late))))
			}
		}
		running.Go(func() {
			var c Claim
			for left := frames / senders; left > 0; {
				counts := map[netip.Prefix]int{}
				var targets []netip.Addr
				for range min(left, 1+r.IntN(batch)) {
					a := someone(r, networks)
					if counts[networkOf(a)]++; counts[networkOf(a)] > p.burst {
						break
					}
					targets = append(targets, a)
					c.Add(a)
				}
				left -= len(targets)
				if p.Wait(context.Background(), &c) != nil {
					panic("not ended")
				}
				pause()
				half := r.IntN(len(targets) + 1)
				d.note(targets[:half]...)
				pause()
				d.note(targets[half:]...)
				p.Left(&c)
			}
		})
	}
	running.Wait()
	return &d
}

// Any second, ends included, whatever the senders are late by: the rate and the
// burst are the bound, and the map of buckets stays small meanwhile.
func TestNoNetworkGetsMoreThanRateAndBurst(t *testing.T) {
	for _, tt := range []struct {
		rate     float64
		senders  int
		networks int
		late     time.Duration
	}{
		{200, 1, 1, 0}, {200, 3, 1, 30 * time.Millisecond}, {200, 4, 5, 3 * time.Second}, {0.5, 3, 40, 2 * time.Second},
		{3.7, 2, 3, 200 * time.Millisecond}, {5000, 4, 3, 2 * time.Millisecond}, {5000, 2, 40, time.Second}, {1000, 5, 2000, 10 * time.Millisecond},
	} {
		t.Run(fmt.Sprintf("rate=%v/senders=%d/networks=%d/late=%v", tt.rate, tt.senders, tt.networks, tt.late), func(t *testing.T) {
			r := seeded(t)
			synctest.Test(t, func(t *testing.T) {
				p := NewPrefixes(tt.rate)
				p.sweepAt = 16
				frames := min(int(tt.rate*3)*tt.networks+200, 20_000)
				d := stroll(p, r, tt.senders, frames, tt.networks, 24, tt.late)
				worst, all := d.worst()
				if float64(worst) > tt.rate+float64(p.burst) {
					t.Errorf("a second with %d packets to one network, %v + %d are allowed", worst, tt.rate, p.burst)
				}
				if all != frames/tt.senders*tt.senders {
					t.Errorf("%d frames left of %d", all, frames)
				}
			})
		})
	}
}

// One network alone gets its rate, when nobody is late: the bound is no tighter
// than it says.
func TestANetworkGetsItsRate(t *testing.T) {
	for _, rate := range []float64{0.2, 200, 5000} {
		synctest.Test(t, func(t *testing.T) {
			begin := time.Now()
			p, frames := NewPrefixes(rate), max(int(rate*5), 5)
			worst, _ := stroll(p, seeded(t), 2, 2*frames, 1, 1, 0).worst()
			if got := float64(2*frames) / time.Since(begin).Seconds(); got < rate*0.99 || got > rate*1.3 {
				t.Errorf("%.2f packets a second, want %v", got, rate)
			}
			if want := int(rate) + p.burst; rate > 1 && worst != want {
				t.Errorf("the fullest second has %d packets, want %d", worst, want)
			}
		})
	}
}

// Full buckets are dropped, so that there are never more than the bound, and the
// promise holds while that happens: with room for few, at any rate of growth.
func TestBucketsAreBoundedAndDroppingKeepsThePromise(t *testing.T) {
	for _, tt := range []struct {
		rate            float64
		few, most, nets int
	}{{2, 8, 64, 500}, {200, 8, 16, 300}, {100, 32, 200, 5000}} {
		t.Run(fmt.Sprint(tt.rate, " ", tt.most), func(t *testing.T) {
			r := seeded(t)
			synctest.Test(t, func(t *testing.T) {
				p := NewPrefixes(tt.rate)
				p.sweepAt, p.most = tt.few, tt.most
				done, largest := make(chan struct{}), 0
				var watch sync.WaitGroup
				watch.Go(func() {
					for {
						select {
						case <-done:
							return
						case <-time.After(100 * time.Microsecond):
						}
						p.mu.Lock()
						largest = max(largest, len(p.buckets))
						p.mu.Unlock()
					}
				})
				d := stroll(p, r, 3, 6000, tt.nets, 4, 20*time.Millisecond)
				close(done)
				watch.Wait()
				worst, all := d.worst()
				if float64(worst) > tt.rate+float64(p.burst) || all != 6000 {
					t.Errorf("a second with %d packets to one network, %v + %d are allowed; %d left", worst, tt.rate, p.burst, all)
				}
				if largest > tt.most || largest < 2*tt.few { // or nothing had to be dropped
					t.Errorf("%d buckets at most, want up to %d", largest, tt.most)
				}
			})
		})
	}
}

// What is kept when a wide scan passes by: not the networks that it has left.
func TestAWideScanKeepsFewBuckets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPrefixes(200)
		var c Claim
		for n := range uint32(100_000) {
			var a [4]byte
			binary.BigEndian.PutUint32(a[:], n<<8)
			c.Add(netip.AddrFrom4(a))
			if err := p.Wait(t.Context(), &c); err != nil {
				t.Fatal(err)
			}
			p.Left(&c)
			if n%100 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
		if len(p.buckets) > fewBuckets {
			t.Errorf("%d buckets are kept", len(p.buckets))
		}
		if took := c.buckets[:cap(c.buckets)]; slices.ContainsFunc(took, func(b *bucket) bool { return b != nil }) {
			t.Error("a claim keeps a bucket alive")
		}
	})
}

// More than the burst for one network in a batch is not refused, and what it
// costs is paid off before the next.
func TestABatchOfOneNetworkIsNotRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, begin := NewPrefixes(100), time.Now()
		var c Claim
		for range 3 {
			for range 50 {
				c.Add(netip.MustParseAddr("10.0.0.1"))
			}
			if err := p.Wait(t.Context(), &c); err != nil {
				t.Fatal(err)
			}
			p.Left(&c)
		}
		if took := time.Since(begin); took < time.Second || took > 1010*time.Millisecond {
			t.Errorf("150 frames took %v, want 1s: the last 50 leave on credit", took)
		}
	})
}

// An ended wait holds nothing: neither who has the turn nor who waits for it.
func TestAnEndedWaitHoldsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPrefixes(0.001)
		a := netip.MustParseAddr("2001:db8::1")
		var first Claim
		first.Add(a)
		if err := p.Wait(t.Context(), &first); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var waiting sync.WaitGroup
		for range 3 {
			waiting.Go(func() {
				var c Claim
				c.Add(a)
				if err := p.Wait(ctx, &c); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("ended by %v", err)
				}
				if len(c.prefixes)+len(c.buckets) > 0 {
					t.Error("the claim still asks")
				}
			})
		}
		waiting.Wait()
		b := p.buckets[prefixOf(a)]
		if b.held != 1 || b.asked != 0 {
			t.Errorf("%d held, %d asked for, want 1 and 0", b.held, b.asked)
		}
		p.Left(&first)
		begin := time.Now()
		first.Add(a)
		if err := p.Wait(t.Context(), &first); err != nil || time.Since(begin).Round(time.Millisecond) != 1000*time.Second {
			t.Errorf("after %v, %v", time.Since(begin), err)
		}
	})
}

// Senders of a transmitter keep the bound and the pacer's, give back what an end
// kept from leaving, and without a bound nothing is asked.
func TestTransmitterKeepsTheBoundOfEachNetwork(t *testing.T) {
	p := newPlan(t, "1-4", "10.0.0.0/24", "10.1.0.0/23", "2001:db8::/119")
	for _, senders := range []int{1, 3} {
		synctest.Test(t, func(t *testing.T) {
			const perPrefix = 400
			var d departures
			var conns []Conn
			for range senders {
				conns = append(conns, &leaving{d: &d})
			}
			prefixes := NewPrefixes(perPrefix)
			tr := New(probe(p, method.Table[0], wire.Ethernet), conns, NewPacer(1e6), prefixes)
			spans := &wholePlan{to: p.Len(), spanLen: 128, cut: NewCutter(p, perPrefix)}
			if err := tr.Run(t.Context(), spans); err != nil {
				t.Fatal(err)
			}
			worst, all := d.worst()
			if worst > perPrefix+prefixes.burst || worst < perPrefix/2 || all != int(p.Len()) || tr.Stats().Sent != p.Len() {
				t.Errorf("a second with %d packets to one network, %d in all", worst, all)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		tr := New(probe(p, method.Table[0], wire.Ethernet), []Conn{newMemory(), newMemory()}, NewPacer(0), NewPrefixes(10))
		spans := &wholePlan{to: p.Len(), spanLen: 128, cut: NewCutter(p, 10)}
		if err := tr.Run(ctx, spans); err != nil {
			t.Fatal(err)
		}
		if s := tr.Stats(); s.Sent == 0 || s.Sent+uint64(spans.back) != spans.next || spans.stamped != int(s.Sent) {
			t.Errorf("%+v, %d handed out, %d stamped, %d given back", s, spans.next, spans.stamped, spans.back)
		}
	})
	if NewPrefixes(0) != nil || NewCutter(p, 0) != nil {
		t.Error("no bound costs something")
	}
}

// leaving is a Conn that notes when frames leave, some of them refused at first.
type leaving struct {
	d     *departures
	calls int
}

func (l *leaving) Send(b *Batch, from, to int) (int, error) {
	if l.calls++; l.calls%5 == 0 {
		return 0, ErrRefused
	}
	if l.calls%7 == 0 {
		time.Sleep(3 * time.Millisecond)
	}
	for i := from; i < to; i++ {
		_, dst := b.Frame(i)
		l.d.note(dst)
	}
	return to - from, nil
}

func (l *leaving) Close() error { return nil }

// What the doc comment says of the rate of all: N/s with one dense network; with
// many equally dense ones the burst decides.
func TestRateOfAllUnderTheBound(t *testing.T) {
	for _, tt := range []struct {
		words     []string
		perPrefix float64
		least     float64 // of all
		most      float64
	}{
		{[]string{"10.0.0.0/24"}, 100, 99, 101},
		{[]string{"10.0.0.0/24"}, 1000, 990, 1011},
		{[]string{"10.0.0.0/24", "10.1-16.0-255.7"}, 1000, 16_000, 17_500},     // 16 others for each of the dense one's
		{[]string{"10.0.0.0/24", "10.1.0.0/24"}, 100, 145, 155},                // every second one of the same
		{[]string{"10.1.0.0-10.1.255.255"}, 100, 1900, 2100},                   // sqrt(pi*256/2)*100 = 2005
		{[]string{"10.1.0.0-10.1.255.255"}, 2000, 410_000, 512_000},            // a burst of 20, of 256*2000
		{[]string{"10.1.0.0-10.1.255.255", "10.2.0.0/20"}, 1e9, 900e3, 1.15e6}, // the pacer's, and its burst
	} {
		t.Run(fmt.Sprint(tt.words, tt.perPrefix), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPlan(t, "1-4", tt.words...)
				tr := New(probe(p, method.Table[0], wire.Ethernet), []Conn{newMemory()}, NewPacer(1e6), NewPrefixes(tt.perPrefix))
				begin := time.Now()
				if err := tr.Run(t.Context(), &wholePlan{to: min(p.Len(), 40_000), spanLen: 128, cut: NewCutter(p, tt.perPrefix)}); err != nil {
					t.Fatal(err)
				}
				got := float64(tr.Stats().Sent) / time.Since(begin).Seconds()
				t.Logf("%.0f packets/s", got)
				if got < tt.least || got > tt.most {
					t.Errorf("%.0f packets a second, want %v to %v", got, tt.least, tt.most)
				}
			})
		})
	}
}

// A span's beginning that fits, against counting by hand.
func TestCutterCutsBeforeOneTooMany(t *testing.T) {
	p := newPlan(t, "80", "10.0.0.0/22", "2001:db8::/118")
	for _, rate := range []float64{1, 1000, 1e6} {
		c := NewCutter(p, rate)
		for from := uint64(0); from < p.Len(); {
			s := plan.Span{From: from, To: min(from+plan.MaxSpan, p.Len())}
			counts, want := map[netip.Prefix]int{}, 0
			for ; want < s.Len(); want++ {
				key := networkOf(p.At(s.At(want)).Addr())
				if counts[key]++; counts[key] > c.burst {
					break
				}
			}
			if got := c.Fit(&s); got != want || got == 0 {
				t.Fatalf("rate %v: %d fit at %d, want %d", rate, got, from, want)
			}
			from += uint64(want)
		}
	}
}

func TestPrefixIsTheNetwork(t *testing.T) {
	r, seen := seeded(t), map[prefix]netip.Prefix{}
	for range 20_000 {
		a := someone(r, 1<<16)
		if of, ok := seen[prefixOf(a)]; ok && of != networkOf(a) {
			t.Fatalf("%v and %v are one", of, networkOf(a))
		}
		seen[prefixOf(a)] = networkOf(a)
	}
	for _, same := range [][2]string{{"10.1.2.0", "10.1.2.255"}, {"2001:db8:1::", "2001:db8:1:ffff::1"}} {
		if prefixOf(netip.MustParseAddr(same[0])) != prefixOf(netip.MustParseAddr(same[1])) {
			t.Errorf("%v are two", same)
		}
	}
	for _, other := range [][2]string{{"10.1.2.0", "10.1.3.0"}, {"2001:db8:1::", "2001:db8:2::"}, {"1.2.3.4", "0:1:203::"}} {
		if prefixOf(netip.MustParseAddr(other[0])) == prefixOf(netip.MustParseAddr(other[1])) {
			t.Errorf("%v are one", other)
		}
	}
}
