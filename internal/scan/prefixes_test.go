package scan

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"synoptic/bpf/respond"
	"synoptic/internal/lab"
	"synoptic/internal/ledger"
	"synoptic/internal/method"
	"synoptic/internal/netif"
	"synoptic/internal/plan"
	"synoptic/internal/result"
	"synoptic/tx"
)

// visits are when each network was visited: a /24, or a /48.
type visits struct {
	mu    sync.Mutex
	times map[netip.Prefix][]time.Time
}

func (v *visits) note(a netip.Addr, at time.Time) {
	bits := 48
	if a.Is4() {
		bits = 24
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	network := netip.PrefixFrom(a, bits).Masked()
	v.times[network] = append(v.times[network], at)
}

// fullest returns the most visits to one network in a second, ends included.
func (v *visits) fullest() (most int, all uint64) {
	for _, times := range v.times {
		all += uint64(len(times))
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

// noting is a Conn that notes what has left, and when.
type noting struct {
	tx.Conn
	left *visits
}

func (n noting) Send(b *tx.Batch, from, to int) (int, error) {
	taken, err := n.Conn.Send(b, from, to)
	now := time.Now()
	for i := from; i < from+taken; i++ {
		_, dst := b.Frame(i)
		n.left.note(dst, now)
	}
	return taken, err
}

// A dense network beside thousands with one address each, and one of IPv6: none
// gets more than its rate and a percent in any second, by the frames that leave
// and by the kernel's times of their answers, over both passes, at a rate that
// would be done in a fraction of the time; and everything is found.
func TestNoNetworkGetsMoreThanItsRate(t *testing.T) {
	lab.NeedRoot(t)
	if !lab.InNamespace(t) {
		return
	}
	const perPrefix, burst = 200, 2
	cfg := respond.DefaultConfig()
	cfg.Open, cfg.Closed = respond.Fraction(1, 4), respond.Fraction(3, 4)
	cfg.LoseShare, cfg.LoseTries, cfg.LossEndpoints = respond.Whole, 1, 1<<17
	l := lab.New(t, lab.Config{Here: true, Respond: &cfg})
	for name, lost := range map[string]uint32{"all_answer": 0, "all_answer_the_retry": 1} {
		t.Run(name, func(t *testing.T) {
			cfg.LoseTries = lost
			if err := l.Responder.Configure(cfg); err != nil {
				t.Fatal(err)
			}
			p := newPlan(t, "1-3", "10.0.0.0/24", "10.64-95.0-255.7", "fd00:10::/121")
			routes, err := netif.Resolve(t.Context(), p.Targets(), netif.Options{})
			if err != nil {
				t.Fatal(err)
			}
			port, err := netif.SourcePorts(Ports(1, 0), 1)
			if err != nil {
				t.Fatal(err)
			}
			network, err := Dial(t.Context(), Options{Routes: routes, SourcePort: port, Ports: uint16(Ports(1, 0)), Senders: 2, Probes: 2 * p.Len()})
			if err != nil {
				t.Fatal(err)
			}
			defer network.Close()
			left, answered := &visits{times: map[netip.Prefix][]time.Time{}}, &visits{times: map[netip.Prefix][]time.Time{}}
			for i := range network.Conns {
				network.Conns[i] = noting{network.Conns[i], left}
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			sink := &records{}
			sum, err := run(t, ctx, Config{
				Plan: p, Method: method.Table[0], Seed: 1, Retries: 1, Rate: 100_000, RatePerPrefix: perPrefix, Wait: time.Second, Silence: SilenceOfAll,
			}, network, sink)
			if err != nil {
				t.Fatal(err)
			}
			want := map[netip.AddrPort]result.State{}
			for pos, state := range truthOf(t, p, method.Table[0], cfg.Truth()) {
				want[p.At(uint64(pos))] = state
			}
			expect(t, sink.states(t), want)
			for i := range sink.all {
				answered.note(sink.all[i].Addr.Addr(), sink.all[i].Time)
			}
			probes := p.Len()*uint64(lost+1) + sum.Repeated // canaries have a bound too
			for what, v := range map[string]*visits{"probes": left, "answers": answered} {
				fullest, all := v.fullest()
				t.Logf("%d %s, %d in the fullest second, in %.1f s", all, what, fullest, sum.Elapsed)
				// More than half, or nothing was put to the test.
				if fullest > perPrefix+burst || fullest < perPrefix/2 {
					t.Errorf("a second with %d %s of one network, %d+%d are allowed", fullest, what, perPrefix, burst)
				}
				if what == "probes" && (all != probes || all != sum.Sent) {
					t.Errorf("%d probes left, %d were sent, want %d", all, sum.Sent, probes)
				}
			}
		})
	}
}

// The spans of every pass are cut so that each goes to no network more often than
// its burst, and still hand out what is owed, once.
func TestSpansOfABoundedScanAreCut(t *testing.T) {
	const perPrefix, burst = 300, 3
	p := newPlan(t, "1-50", "10.0.0.0/28", "10.1-9.0.0")
	cfg := config(p, "syn")
	cfg.Rate, cfg.RatePerPrefix = 0, perPrefix
	s, err := New(cfg, newMemory(mixed).network(1))
	if err != nil {
		t.Fatal(err)
	}
	for try := range 2 {
		handed, spans := map[uint64]bool{}, 0
		pass := s.newPass(try, ranges{{0, p.Len()}})
		for span := (plan.Span{}); pass.Next(&span); spans++ {
			counts := map[netip.Prefix]int{}
			for i := range span.Len() {
				pos := span.At(i)
				if handed[pos] || pos < span.From || pos >= span.To {
					t.Fatalf("try %d: position %d is out of place in %+v", try, pos, span)
				}
				handed[pos] = true
				network := netip.PrefixFrom(p.At(pos).Addr(), 24).Masked()
				if counts[network]++; counts[network] > burst {
					t.Fatalf("try %d: %d to %v in %+v", try, counts[network], network, span)
				}
			}
		}
		want := 0 // and of a retry, what has no answer
		for pos := range p.Len() {
			if try == 0 || pos%3 > 0 {
				want++
			} else if handed[pos] {
				t.Errorf("position %d is tried again", pos)
			}
		}
		if len(handed) != want || spans < want/plan.MaxSpan*4 || s.cursor.Load() != p.Len() {
			t.Errorf("try %d: %d positions in %d spans, want %d", try, len(handed), spans, want)
		}
		for pos := uint64(0); pos < p.Len(); pos += 3 {
			s.answers.Put(pos, ledger.Answered)
		}
	}
}
