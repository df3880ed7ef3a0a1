package scan

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"synoptic/internal/plan"
	"synoptic/internal/result"
	"synoptic/tx"
)

// What a scan under trouble got wrong once: each test is one such fault.

// slowDrops is a Drops that now and then takes long to be read, as when the
// kernel's lock of all interfaces is held by somebody.
type slowDrops struct {
	began  time.Time
	at     time.Duration
	pause  time.Duration
	paused bool
}

func (d *slowDrops) Count() (in, out uint64, err error) {
	if !d.paused && time.Since(d.began) > d.at {
		d.paused = true
		time.Sleep(d.pause)
	}
	return 0, 0, nil
}
func (d *slowDrops) Close() error        { return nil }
func (d *slowDrops) Late() time.Duration { return 0 }

// A look at the counters that is late must not hide a loss.
func TestALateLookHidesNoLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newMemory(func(ap netip.AddrPort) result.State { return result.Open })
		began := time.Now()
		net.delay = func(netip.AddrPort) time.Duration { return 100 * time.Millisecond }
		real := uint64(0)
		net.edit = func(reply []byte) [][]byte {
			if d := time.Since(began); d > 1241*time.Millisecond && d < 1259*time.Millisecond {
				real++
				time.AfterFunc(100*time.Millisecond, func() { net.drops.Add(1) }) // when the answer arrives
				return nil
			}
			return [][]byte{reply}
		}
		network := net.network(1)
		network.Ways[0].Drops = &slowDrops{began: began, at: time.Second, pause: 300 * time.Millisecond}
		cfg, sink := config(newPlan(t, "1-1000", "10.0.0.0/27"), "syn"), &records{}
		cfg.Rate = 10_000
		sum, err := run(t, t.Context(), cfg, network, sink)
		if err != nil || real == 0 {
			t.Fatal(err, real)
		}
		if sum.Lost < real {
			t.Errorf("%d are said to be lost, and %d are", sum.Lost, real)
		}
	})
}

// What a repair has not come to when it is interrupted is still lost.
func TestAnInterruptedRepair(t *testing.T) {
	for _, retries := range []int{0, 1} {
		t.Run(fmt.Sprint(retries), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net := newMemory(func(ap netip.AddrPort) result.State { return result.Open })
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				n := 0
				net.edit = func(reply []byte) [][]byte {
					if n++; n <= 1600 {
						net.drops.Add(1)
						return nil
					}
					if n > 1700 {
						cancel()
					}
					return [][]byte{reply}
				}
				cfg := config(newPlan(t, "1-100", "10.0.0.0/28"), "syn")
				cfg.Rate, cfg.Repairs, cfg.Retries = 1_000, 1, retries
				sum, err := run(t, ctx, cfg, net.network(1), &records{})
				if err != nil {
					t.Fatal(err)
				}
				if missing := 1600 - sum.Open; sum.Lost < missing {
					t.Errorf("%d are said to be lost, and %d are", sum.Lost, missing)
				}
			})
		})
	}
}

// A loss that needs no repair must not shorten the last wait.
func TestALossDoesNotShortenTheWait(t *testing.T) {
	for _, drop := range []bool{false, true} {
		t.Run(fmt.Sprint(drop), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				last := netip.AddrPort{}
				net := newMemory(func(ap netip.AddrPort) result.State { return result.Open })
				net.delay = func(ap netip.AddrPort) time.Duration {
					if ap == last {
						return 150 * time.Millisecond
					}
					return time.Millisecond
				}
				p := newPlan(t, "1-1000", "10.0.0.0/28")
				last = p.At(p.Len() - 1)
				n := 0
				net.edit = func(reply []byte) [][]byte {
					if n++; n == 100 && drop {
						net.drops.Add(1) // somebody else's
					}
					return [][]byte{reply}
				}
				cfg := config(p, "syn")
				cfg.Rate, cfg.Repairs = 10_000, 3
				sum, err := run(t, t.Context(), cfg, net.network(1), &records{})
				if err != nil || sum.Open != p.Len() {
					t.Errorf("drop %v: %d open of %d, %v; lost %d repairs %d", drop, sum.Open, p.Len(), err, sum.Lost, sum.Repairs)
				}
			})
		})
	}
}

// slowSink is kept from working for a while, once.
type slowSink struct {
	*records
	began time.Time
	slept bool
}

func (s *slowSink) Record(r *result.Record) error {
	if !s.slept && time.Since(s.began) > time.Second {
		s.slept = true
		time.Sleep(300 * time.Millisecond)
	}
	return s.records.Record(r)
}

// A snapshot while answers wait to be entered.
func TestASnapshotBehindASlowOutput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlan(t, "1-1000", "10.0.0.0/27")
		cfg, sink := config(p, "syn"), &records{}
		cfg.Rate = 10_000
		ctx, cancel := context.WithCancel(t.Context())
		began := time.Now()
		net := newMemory(func(ap netip.AddrPort) result.State { return result.Open })
		net.delay = func(netip.AddrPort) time.Duration { return time.Millisecond }
		k := &keeper{sink: sink, every: 100 * time.Millisecond, kill: cancel, death: began.Add(1350 * time.Millisecond)}
		cfg.Keeper = k
		if _, err := run(t, ctx, cfg, net.network(1), &slowSink{records: sink, began: began}); err != nil {
			t.Fatal(err)
		}
		if k.last == nil {
			t.Fatal("no snapshot")
		}
		t.Logf("snapshot: left %v visited %d records %d", k.last.Left, k.last.Visited, k.records)
		sink.all = sink.all[:k.records]
		cfg.Resume, cfg.Keeper = throughJSON(t, k.last), nil
		net2 := newMemory(func(ap netip.AddrPort) result.State { return result.Open })
		sum, err := run(t, t.Context(), cfg, net2.network(1), sink)
		if err != nil || sum.Open != p.Len() || len(sink.states(t)) != int(p.Len()) {
			t.Errorf("%d open, %d records of %d, lost %d, %v", sum.Open, len(sink.all), p.Len(), sum.Lost, err)
		}
	})
}

// An adaptive scan goes on at its rate.
func TestAnAdaptiveScanGoesOnAtItsRate(t *testing.T) {
	cfg := config(newPlan(t, "1-1000", "10.0.0.0/27"), "syn")
	cfg.Adaptive, cfg.Rate = true, 100_000
	empty := []byte{0}
	cfg.Resume = &State{Left: []Range{{0, 32000}}, Rate: 50_000, Answers: empty, Hosts: empty}
	s, err := New(cfg, newMemory(mixed).network(1))
	if err != nil {
		t.Fatal(err)
	}
	if s.Rate() != 50_000 {
		t.Errorf("rate %v", s.Rate())
	}
}

// What ended a scan must not end the one that goes on with it at once.
func TestAScanGoesOnAfterTooManyErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlan(t, "1-1000", "10.0.0.0/27")
		cfg, sink := config(p, "syn"), &records{}
		cfg.Rate, cfg.MaxErrors = 10_000, 10
		net := newMemory(func(ap netip.AddrPort) result.State { return result.Open })
		n := 0
		net.err = func(sent int) error {
			if n++; sent > 5000 && n%2 == 0 {
				return tx.ErrRefused
			}
			return nil
		}
		k := &keeper{sink: sink, every: 100 * time.Millisecond}
		cfg.Keeper = k
		_, err := run(t, t.Context(), cfg, net.network(1), sink)
		if err == nil {
			t.Fatal("it goes on")
		}
		if c := strings.Count(err.Error(), "refused"); c != 1 {
			t.Errorf("said %d times: %v", c, err)
		}
		cfg.Resume, cfg.Keeper = throughJSON(t, k.last), nil
		sum, err := run(t, t.Context(), cfg, newMemory(func(ap netip.AddrPort) result.State { return result.Open }).network(1), sink)
		if err != nil || sum.Open != p.Len() {
			t.Errorf("resumed: %v; %d open", err, sum.Open)
		}
	})
}

// Outcomes that nobody takes.
func TestOutcomesNobodyTakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newMemory(func(ap netip.AddrPort) result.State { return result.Open })
		cfg := config(newPlan(t, "1-100", "10.0.0.0/18"), "syn")
		cfg.Rate, cfg.MaxProbes = 10_000, 200_000
		s, err := New(cfg, net.network(1))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Run(t.Context(), &records{}); err != nil {
			t.Fatal(err)
		}
		if n := len(s.canaries.outcomes()); n > 100 {
			t.Errorf("%d outcomes kept", n)
		}
	})
}

// A slow bookkeeper is no loss on the way.
func TestASlowOutputIsNoLossOnTheWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newMemory(func(ap netip.AddrPort) result.State { return result.Open })
		net.delay = func(netip.AddrPort) time.Duration { return time.Millisecond }
		cfg := config(newPlan(t, "1-100", "10.0.0.0/18"), "syn")
		cfg.Rate, cfg.MaxProbes = 10_000, 50_000
		sum, err := run(t, t.Context(), cfg, net.network(1), &slowSink{records: &records{}, began: time.Now().Add(time.Second)})
		if err != nil {
			t.Fatal(err)
		}
		if sum.Path == nil || sum.Path.Lost > 0 {
			t.Errorf("%+v", sum.Path)
		}
	})
}

// Books of a resumed first pass that is interrupted.
func TestUnreachableOnesAreWithheldOnce(t *testing.T) {
	cfg := config(newPlan(t, "1-100", "10.0.0.0/24"), "syn")
	cfg.Rate = 0
	empty := []byte{0}
	cfg.Resume = &State{Left: []Range{{0, 25600}}, Visited: 1000, Answers: empty, Hosts: empty}
	s, err := New(cfg, newMemory(mixed).network(2))
	if err != nil {
		t.Fatal(err)
	}
	p := s.firstPass()
	var a, b plan.Span
	p.Next(&a) // a slow sender
	for range 7 {
		p.Next(&b)
		b.Unreachable = b.Len()
	}
	p.GiveBack(&a, a.Len())
	p.GiveBack(&b, 0)
	s.missing.Store(p.unreached())
	p.unvisited()
	t.Logf("cursor %d withheld %d missing %d", s.cursor.Load(), s.withheld.Load(), s.missing.Load())
	if s.probed() < s.missing.Load() {
		t.Errorf("%d probed, %d unreachable", s.probed(), s.missing.Load())
	}
}

// A canary's answer that is late tells no round trip of 0.
func TestALateCanaryHasNoRoundTrip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newMemory(func(ap netip.AddrPort) result.State { return result.Open })
		net.delay = func(ap netip.AddrPort) time.Duration {
			net.mu.Lock()
			defer net.mu.Unlock()
			if net.probes[ap] > 1 {
				return 300 * time.Millisecond
			}
			return 10 * time.Millisecond
		}
		cfg := config(newPlan(t, "1-100", "10.0.0.0/18"), "syn")
		cfg.Rate, cfg.MaxProbes = 10_000, 50_000
		s, err := New(cfg, net.network(1))
		if err != nil {
			t.Fatal(err)
		}
		sum, err := s.Run(t.Context(), &records{})
		if err != nil {
			t.Fatal(err)
		}
		if z := s.rtt.buckets[0]; z > 0 {
			t.Errorf("%d round trips of 0; %+v", z, sum.Path)
		}
	})
}

// A slow host's answer comes after a kill.
func TestASlowHostIsFoundAfterAKill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlan(t, "1-1000", "10.0.0.0/27")
		began := time.Now()
		var slow netip.AddrPort
		net := newMemory(func(ap netip.AddrPort) result.State { return result.Open })
		net.delay = func(ap netip.AddrPort) time.Duration {
			if ap == slow {
				return 240 * time.Millisecond
			}
			return time.Millisecond
		}
		slow = p.At(4500)
		cfg, sink := config(p, "syn"), &records{}
		cfg.Rate = 10_000
		ctx, cancel := context.WithCancel(t.Context())
		k := &keeper{sink: sink, every: 10 * time.Millisecond, kill: cancel, death: began.Add(600 * time.Millisecond)}
		cfg.Keeper = k
		if _, err := run(t, ctx, cfg, net.network(1), sink); err != nil {
			t.Fatal(err)
		}
		sink.all = sink.all[:k.records]
		cfg.Resume, cfg.Keeper = throughJSON(t, k.last), nil
		net2 := newMemory(func(ap netip.AddrPort) result.State { return result.Open })
		net2.delay = net.delay
		sum, err := run(t, t.Context(), cfg, net2.network(1), sink)
		if err != nil || sum.Open != p.Len() {
			t.Errorf("%d open of %d, %v", sum.Open, p.Len(), err)
		}
	})
}

// A repair must be slower than what the machine did, not than what it was asked for.
func TestARepairIsSlowerThanThePass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newMemory(func(ap netip.AddrPort) result.State { return result.Open })
		net.err = func(int) error { time.Sleep(100 * time.Microsecond); return nil } // at most 10,000 a second
		n := 0
		net.edit = func(reply []byte) [][]byte {
			if n++; n%10 == 0 && n < 16000 {
				net.drops.Add(1)
				return nil
			}
			return [][]byte{reply}
		}
		cfg := config(newPlan(t, "1-1000", "10.0.0.0/28"), "syn")
		cfg.Rate, cfg.Repairs = 1_000_000, 1
		s, err := New(cfg, net.network(1))
		if err != nil {
			t.Fatal(err)
		}
		sum, err := s.Run(t.Context(), &records{})
		if err != nil || sum.Repairs != 1 {
			t.Fatal(err, sum)
		}
		if s.Rate() > 10_000 {
			t.Errorf("repaired at %v", s.Rate())
		}
	})
}

// lateCounter is of a device whose driver looks at its hardware once a second, as
// ixgbe and i40e do every one or two.
type lateCounter struct {
	device
	began time.Time
}

func (d *lateCounter) drop() {
	left := time.Second - time.Since(d.began)%time.Second
	time.AfterFunc(left, func() { d.in.Add(1) })
}

func (d *lateCounter) Late() time.Duration { return time.Second }

func TestADriverThatCountsLate(t *testing.T) {
	for _, at := range []time.Duration{500 * time.Millisecond, 10600 * time.Millisecond} { // and at the end
		t.Run(at.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dev := &lateCounter{began: time.Now()}
				net := newMemory(func(ap netip.AddrPort) result.State { return result.Open })
				net.delay = func(netip.AddrPort) time.Duration { return 10 * time.Millisecond }
				real := uint64(0)
				net.edit = func(reply []byte) [][]byte {
					if d := time.Since(dev.began); d > at && d < at+20*time.Millisecond {
						real++
						dev.drop()
						return nil
					}
					return [][]byte{reply}
				}
				network := net.network(1)
				network.Ways[0].Drops = dev
				cfg := config(newPlan(t, "1-1000", "10.0.0.0/27"), "syn")
				cfg.Rate = 3000
				sum, err := run(t, t.Context(), cfg, network, &records{})
				if err != nil || real == 0 || sum.Lost < real {
					t.Errorf("%d are said to be lost, and %d are, %v", sum.Lost, real, err)
				}
			})
		})
	}
}

// A rate that rises during a retry makes its spans longer.
func TestSpansOfARetryGrowWithTheRate(t *testing.T) {
	p := newPlan(t, "1-1000", "10.0.0.0/28")
	cfg := config(p, "syn")
	cfg.Retries, cfg.Rate = 1, 5000
	s, err := New(cfg, newMemory(mixed).network(1))
	if err != nil {
		t.Fatal(err)
	}
	pass := s.newPass(1, ranges{{0, p.Len()}})
	var span plan.Span
	for _, rate := range []float64{5000, 20_000, 1000, 100_000} {
		s.SetRate(rate)
		if want := plan.SpanLen(rate, 1, plan.MaxSpan); !pass.Next(&span) || span.Len() != want {
			t.Errorf("%d probes at %v packets a second, want %d", span.Len(), rate, want)
		}
	}
}
