package scan

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"synoptic/rx"
	"synoptic/tx"
)

// keeper is a Keeper for a run that is to be killed: it keeps the last snapshot
// before the time of death, and how many records there were.
type keeper struct {
	sink    *records
	every   time.Duration
	next    time.Time
	death   time.Time // zero: never
	kill    func()
	last    *State
	records int
}

func (k *keeper) Due() bool {
	now := time.Now()
	if !k.death.IsZero() && now.After(k.death) {
		k.kill()
		return false
	}
	return !now.Before(k.next)
}

func (k *keeper) Keep(take func() *State) {
	if !k.death.IsZero() && !time.Now().Before(k.death) {
		return
	}
	k.last, k.records, k.next = take(), len(k.sink.all), time.Now().Add(k.every)
}

// throughJSON returns a state as a program would have read it from a file.
func throughJSON(t *testing.T, s *State) *State {
	t.Helper()
	if s == nil {
		return nil
	}
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	read := &State{Answers: s.Answers, Hosts: s.Hosts}
	if err := json.Unmarshal(text, read); err != nil {
		t.Fatal(err)
	}
	return read
}

// stalled is a Source that is not read for a while now and then, as by a process
// that is kept from running. What arrives meanwhile is read later.
type stalled struct {
	rx.Source
	reads int
}

func (s *stalled) Read() ([]byte, time.Time, error) {
	if s.reads++; s.reads%100 == 0 {
		time.Sleep(150 * time.Millisecond)
	}
	return s.Source.Read()
}

// A scan that is killed again and again, at any time, and resumed from its last
// snapshot, records what an undisturbed one does, and probes little more.
func TestKilledScansRecordTheSame(t *testing.T) {
	seed := time.Now().UnixNano()
	rnd := rand.New(rand.NewPCG(uint64(seed), 0))
	t.Logf("seed %d", seed)
	for i := range 40 {
		name := []string{"syn", "fin", "window"}[i%3]
		retries, repairs, conns := i%2, i/2%3, 1+i%3
		t.Run(fmt.Sprintf("%s/retries=%d/repairs=%d", name, retries, repairs), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPlan(t, "1-200", "10.0.0.0/27", "fd00:10::/124")
				cfg := config(p, name)
				cfg.Rate, cfg.Retries, cfg.Repairs, cfg.Silence = 5000, retries, repairs, Silence(i%3)
				delay := func(ap netip.AddrPort) time.Duration {
					return time.Duration(ap.Port()%20) * time.Millisecond
				}
				unreachable := netip.MustParseAddr("10.0.0.9")
				network := func(m *memory) *Network {
					n := m.network(conns)
					route := n.Route
					n.Route = func(a netip.Addr) (hop tx.Hop, ok bool) {
						if a == unreachable {
							return hop, false
						}
						return route(a)
					}
					if i%4 > 1 {
						n.Ways[0].Source = &stalled{Source: m}
					}
					return n
				}
				whole := newMemory(mixed)
				whole.delay = delay
				undisturbed := &records{}
				want, err := run(t, t.Context(), cfg, network(whole), undisturbed)
				if err != nil {
					t.Fatal(err)
				}

				sink, probes := &records{}, map[netip.AddrPort]int{}
				var state *State
				kills, sent := 0, 0
				var sum Summary
				for {
					net := newMemory(mixed)
					net.delay = delay
					ctx, cancel := context.WithCancel(t.Context())
					k := &keeper{sink: sink, every: 100 * time.Millisecond, kill: cancel, records: len(sink.all), last: state}
					if kills < 6 {
						k.death = time.Now().Add(time.Duration(rnd.IntN(1500)) * time.Millisecond)
					}
					cfg.Keeper, cfg.Resume = k, throughJSON(t, state)
					if sum, err = run(t, ctx, cfg, network(net), sink); err != nil {
						t.Fatal(err)
					}
					killed := ctx.Err() != nil
					cancel()
					sent += net.sent
					for ap, n := range net.probes {
						probes[ap] += n
					}
					if !killed {
						break
					}
					kills++
					state = k.last
					sink.all = sink.all[:k.records]
				}
				if got := sink.states(t); !maps.Equal(got, undisturbed.states(t)) {
					expect(t, got, undisturbed.states(t))
				}
				for _, ap := range all(p) {
					if n := probes[ap]; n == 0 && ap.Addr() != unreachable {
						t.Errorf("%v was never probed", ap)
					}
				}
				// 100 ms to the last snapshot, two looks, and what an answer may take.
				if most := want.Sent + uint64(kills)*cfg.overlap(); uint64(sent) > most {
					t.Errorf("%d probes for %d, %d kills", sent, want.Sent, kills)
				}
				if sum.Open != want.Open || sum.Answered != want.Answered || sum.Rejected != want.Rejected || sum.Silent != want.Silent ||
					sum.Probed != want.Probed || sum.Unreachable != want.Unreachable || sum.HostsAlive != want.HostsAlive || sum.OpenFiltered != want.OpenFiltered {
					t.Errorf("%+v\nwant %+v", sum, want)
				}
				if sum.Sent < want.Sent || sum.Sent > uint64(sent) {
					t.Errorf("the books have %d probes of %d", sum.Sent, sent)
				}
			})
		})
	}
}

// overlap is how much a resumed run of the test above may send again: probes of
// 100 ms, of two looks at the clock, of a stall, and of the second for which an
// answer is waited for as long as none has come.
func (c *Config) overlap() uint64 { return uint64(c.Rate * 1.5) }

// A scan that is killed again where nothing answers, as in its last pass, still knows
// from its first run how long an answer may take, and sends no more again than before.
func TestAResumedScanKnowsHowLongAnswersTake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const lag = 5 * time.Millisecond
		cfg := config(newPlan(t, "1-200", "10.0.0.0/27", "fd00:10::/124"), "syn")
		cfg.Rate, cfg.Retries = 2000, 1
		var state *State
		var want Summary
		sent := 0
		for _, life := range []time.Duration{0, 5400 * time.Millisecond, 900 * time.Millisecond, 0} {
			net, sink := newMemory(mixed), &records{}
			net.delay = func(netip.AddrPort) time.Duration { return lag }
			ctx, cancel := context.WithCancel(t.Context())
			k := &keeper{sink: sink, every: 100 * time.Millisecond, kill: cancel, last: state}
			if life > 0 {
				k.death = time.Now().Add(life)
			}
			cfg.Keeper, cfg.Resume = k, throughJSON(t, state)
			sum, err := run(t, ctx, cfg, net.network(1), sink)
			if err != nil || (ctx.Err() != nil) != (life > 0) {
				t.Fatalf("%+v, %v, was to live %v", sum, err, life)
			}
			cancel()
			if want.Sent == 0 { // undisturbed
				want = sum
				continue
			}
			sent += net.sent
			if state = k.last; state.Try != 1 || state.RTT != lag {
				t.Errorf("killed in pass %d, the largest round trip %v, want pass 1 and %v", state.Try, state.RTT, lag)
			}
		}
		// Two kills: 100 ms to the last snapshot, what an answer may take, and looks: at
		// the time for each of both, at how far the pass is, and at what has been read.
		most := want.Sent + 2*uint64(cfg.Rate*(100*time.Millisecond+Patience(lag, cfg.Wait)+4*samplePause).Seconds())
		if uint64(sent) > most {
			t.Errorf("%d probes for %d, want at most %d", sent, want.Sent, most)
		}
	})
}

// A scan that is resumed on a slower network waits as long as one that begins there.
func TestAResumedScanWaitsForASlowerNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config(newPlan(t, "1-10", "10.0.0.0/30"), "syn")
		cfg.Retries = 0
		k := &keeper{sink: &records{}}
		cfg.Keeper = k
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // before anything is sent
		if _, err := run(t, ctx, cfg, newMemory(mixed).network(1), k.sink); err != nil {
			t.Fatal(err)
		}
		fast := throughJSON(t, k.last)
		fast.RTT = time.Millisecond
		var found [2]*records
		for i, resume := range []*State{nil, fast} {
			net := newMemory(mixed)
			net.delay = func(netip.AddrPort) time.Duration { return 600 * time.Millisecond }
			cfg.Keeper, cfg.Resume, found[i] = nil, resume, &records{}
			if _, err := run(t, t.Context(), cfg, net.network(1), found[i]); err != nil {
				t.Fatal(err)
			}
		}
		if want := found[0].states(t); len(want) == 0 || !maps.Equal(found[1].states(t), want) {
			t.Errorf("%v, want what a scan from the beginning finds: %v", found[1].states(t), want)
		}
	})
}

// There is a snapshot before anything is sent, of a resumed scan the state that it
// began with.
func TestTheFirstSnapshotIsTheBeginning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config(newPlan(t, "1-10", "10.0.0.0/30"), "syn")
		for _, want := range []Range{{0, 40}, {7, 40}} {
			ctx, cancel := context.WithCancel(t.Context())
			cancel() // before anything is sent
			k := &keeper{sink: &records{}}
			cfg.Keeper = k
			if _, err := run(t, ctx, cfg, newMemory(mixed).network(1), k.sink); err != nil {
				t.Fatal(err)
			}
			if k.last == nil || len(k.last.Left) != 1 || k.last.Left[0] != want {
				t.Fatalf("the state is %+v, want left %v", k.last, want)
			}
			cfg.Resume = throughJSON(t, k.last)
			cfg.Resume.Left, cfg.Resume.Visited = []Range{{7, 40}}, 7
		}
	})
}

// A state whose positions the plan does not have is another scan's.
func TestAnotherScansStateIsRefused(t *testing.T) {
	cfg := config(newPlan(t, "1-10", "10.0.0.0/30"), "syn")
	for _, r := range []State{
		{Visited: 41}, {Left: []Range{{0, 41}}}, {Left: []Range{{3, 2}}}, {Local: []Range{{0, 1 << 40}}}, {Path: []Range{{0, 41}}},
	} {
		cfg.Resume = &r
		if _, err := New(cfg, newMemory(mixed).network(1)); err == nil || err.Error() != "its positions are not those of this scan" {
			t.Errorf("%+v: %v", r, err)
		}
	}
}
