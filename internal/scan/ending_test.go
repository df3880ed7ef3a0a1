package scan

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"synoptic/internal/plan"
	"synoptic/internal/result"
	"synoptic/tx"
)

func TestEndsAsSoonAsAllIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newMemory(func(netip.AddrPort) result.State { return result.Closed })
		net.delay = func(netip.AddrPort) time.Duration { return 3 * time.Millisecond }
		cfg := config(newPlan(t, "1-100", "10.0.0.1"), "syn")
		cfg.Retries = 3
		begin := time.Now()
		sum, err := run(t, t.Context(), cfg, net.network(1), &records{})
		if took := time.Since(begin); err != nil || took > 30*time.Millisecond || sum.Answered != 100 {
			t.Errorf("%v, %+v, %v", took, sum, err)
		}
	})
}

func TestCooldownIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tt := range []struct {
			fact        string
			rtt         time.Duration // of one host; the other is silent. 0: both
			wait        time.Duration
			least, most time.Duration
		}{
			{"nothing_answers_waits_a_second", 0, 8 * time.Second, time.Second, 1100 * time.Millisecond},
			{"nothing_answers_and_wait_is_shorter", 0, 100 * time.Millisecond, 100 * time.Millisecond, 150 * time.Millisecond},
			{"fast_answers_wait_briefly", time.Millisecond, 8 * time.Second, 250 * time.Millisecond, 300 * time.Millisecond},
			{"slow_answers_wait_longer", 600 * time.Millisecond, 8 * time.Second, 1400 * time.Millisecond, 1500 * time.Millisecond},
			{"wait_bounds_slow_answers", 600 * time.Millisecond, time.Second, time.Second, 1100 * time.Millisecond},
		} {
			net := newMemory(func(ap netip.AddrPort) result.State {
				if tt.rtt > 0 && ap.Port() == 1 {
					return result.Open
				}
				return result.Unknown
			})
			net.delay = func(netip.AddrPort) time.Duration { return tt.rtt }
			cfg := config(newPlan(t, "1-2", "10.0.0.1"), "syn")
			cfg.Wait = tt.wait
			begin := time.Now()
			_, err := run(t, t.Context(), cfg, net.network(1), &records{})
			if took := time.Since(begin); err != nil || took < tt.least || took > tt.most {
				t.Errorf("%s: took %v, %v", tt.fact, took, err)
			}
		}
	})
}

// With one source port for all tries nothing is known of a late answer's round
// trip, and then the scan waits as if nothing had come.
func TestASharedPortWaitsLongEnough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newMemory(func(netip.AddrPort) result.State { return result.Open })
		net.delay = func(netip.AddrPort) time.Duration { return 900 * time.Millisecond }
		net.lose = func(ap netip.AddrPort, try int) bool { return ap.Port() == 2 && try == 1 }
		network := net.network(1)
		network.Ways[0].Ports = 1
		cfg := config(newPlan(t, "1-2", "10.0.0.1"), "syn")
		cfg.OnePort = true
		cfg.Retries = 1
		sum, err := run(t, t.Context(), cfg, network, &records{})
		if err != nil || sum.Open != 2 {
			t.Errorf("%+v, %v", sum, err)
		}
	})
}

// A target that sends its answer again and again does not keep the scan.
func TestATarpitDoesNotHoldTheScan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newMemory(func(ap netip.AddrPort) result.State {
			if ap.Port() == 1 {
				return result.Open
			}
			return result.Unknown
		})
		over := make(chan struct{})
		defer close(over)
		net.edit = func(reply []byte) [][]byte {
			go func() {
				for {
					select {
					case <-over:
						return
					case <-time.After(time.Millisecond):
						net.replies <- arrival{time.Now(), reply}
					}
				}
			}()
			return [][]byte{reply}
		}
		begin := time.Now()
		sum, err := run(t, t.Context(), config(newPlan(t, "1-2", "10.0.0.1"), "syn"), net.network(1), &records{})
		if took := time.Since(begin); err != nil || sum.Open != 1 || took > time.Second {
			t.Errorf("%v, %+v, %v", took, sum, err)
		}
	})
}

func TestInterruptWaitsForAnswersAndConcludesOnlyWhatWasProbed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newMemory(mixed)
		net.delay = func(netip.AddrPort) time.Duration { return 50 * time.Millisecond }
		cfg := config(newPlan(t, "1-100", "10.0.0.0/24"), "syn")
		cfg.Rate, cfg.Silence, cfg.Retries = 1000, SilenceOfAll, 3
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(2*time.Second, cancel)
		sink := &records{}
		begin := time.Now()
		sum, err := run(t, ctx, cfg, net.network(2), sink)
		if err != nil || !sum.Interrupted || sum.Probed != uint64(len(net.probes)) || sum.Sent != uint64(net.sent) || sum.Probed < 1900 || sum.Probed > 2100 {
			t.Fatalf("%+v, sent %d, %v", sum, net.sent, err)
		}
		if took := time.Since(begin); took > 3*time.Second {
			t.Errorf("took %v", took)
		}
		want := map[netip.AddrPort]result.State{}
		for ap := range net.probes {
			if want[ap] = mixed(ap); want[ap] == result.Unknown {
				want[ap] = result.Filtered
			}
		}
		expect(t, sink.states(t), want)
	})
}

func TestAFailedSinkStopsTheScanAndBalancesTheBooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		full := errors.New("no space left on device")
		net := newMemory(func(netip.AddrPort) result.State { return result.Open })
		cfg := config(newPlan(t, "1-1000", "10.0.0.0/24"), "syn")
		cfg.Rate = 10_000
		sink := &records{fail: func(n int) error {
			if n == 500 {
				return full
			}
			return nil
		}}
		begin := time.Now()
		sum, err := run(t, t.Context(), cfg, net.network(2), sink)
		if !errors.Is(err, full) || sum.Interrupted || len(sink.all) != 500 {
			t.Errorf("%d records, %+v, %v", len(sink.all), sum, err)
		}
		if took := time.Since(begin); took > time.Second || sum.Sent > 2000 {
			t.Errorf("went on for %v and %d probes", took, sum.Sent)
		}
	})
}

func TestABrokenNetworkStopsTheScan(t *testing.T) {
	gone := errors.New("interface gone")
	for name, breakIt := range map[string]func(*memory){
		"sending": func(m *memory) {
			m.err = func(sent int) error {
				if sent == 1000 {
					return gone
				}
				return nil
			}
		},
		"receiving": func(m *memory) { time.AfterFunc(100*time.Millisecond, func() { m.fail <- gone }) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net := newMemory(func(netip.AddrPort) result.State { return result.Open })
				breakIt(net)
				cfg := config(newPlan(t, "1-1000", "10.0.0.0/24"), "fin")
				cfg.Rate = 10_000
				sink := &records{}
				sum, err := run(t, t.Context(), cfg, net.network(2), sink)
				if !errors.Is(err, gone) || sum.Sent >= 5000 {
					t.Errorf("%+v, %v", sum, err)
				}
				for _, r := range sink.all {
					if r.Reason == result.NoResponse {
						t.Fatalf("%v is called %v although the network broke", r.Addr, r.State)
					}
				}
			})
		})
	}
}

func TestAFailedSenderCountsOnlyWhatItSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newMemory(func(netip.AddrPort) result.State { return result.Unknown })
		net.err = func(sent int) error {
			if sent == 1000 {
				return errors.New("interface gone")
			}
			return nil
		}
		network := net.network(1)
		network.Route = func(a netip.Addr) (tx.Hop, bool) { return tx.Hop{}, a.As4()[3] > 9 }
		sum, err := run(t, t.Context(), config(newPlan(t, "1-100", "10.0.0.0/24"), "syn"), network, &records{})
		if err == nil || sum.Sent != 1000 || sum.Probed != 1000 || sum.Silent != 1000 || sum.Unreachable == 0 {
			t.Errorf("%+v, %v", sum, err)
		}
	})
}

func TestMaxProbesStopsTheFirstPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newMemory(func(netip.AddrPort) result.State { return result.Open })
		cfg := config(newPlan(t, "80", "2001:db8::/32"), "syn")
		cfg.MaxProbes = 1234
		sum, err := run(t, t.Context(), cfg, net.network(2), &records{})
		if err != nil || sum.Sent != 1234 || sum.Open != 1234 || sum.HostsAlive != 1234 {
			t.Errorf("%+v, %v", sum, err)
		}
	})
}

func TestAShardBeyondTheLastEndpointIsDoneAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlan(t, "80", "10.0.0.1")
		empty, err := plan.New(p.Targets(), p.Ports(), 1, plan.Shard{Index: 2, Count: 2})
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		sum, err := run(t, t.Context(), config(empty, "syn"), newMemory(mixed).network(2), &records{})
		if err != nil || sum.Sent+sum.Silent+sum.Planned > 0 || time.Since(begin) > 50*time.Millisecond {
			t.Errorf("%+v, %v after %v", sum, err, time.Since(begin))
		}
	})
}

// A router that looks for a host in vain for three seconds, as they do, is no
// reason to wait six for everybody.
func TestARoutersPatienceIsNotOurs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newMemory(func(ap netip.AddrPort) result.State {
			return map[uint16]result.State{1: result.Closed, 2: result.Filtered}[ap.Port()]
		})
		net.delay = func(ap netip.AddrPort) time.Duration {
			return map[uint16]time.Duration{1: time.Millisecond, 2: 3 * time.Second}[ap.Port()]
		}
		cfg := config(newPlan(t, "1-3", "10.0.0.1"), "syn")
		cfg.Rate, cfg.Wait = 0.5, 20*time.Second // the last probe leaves after four seconds
		begin := time.Now()
		sum, err := run(t, t.Context(), cfg, net.network(1), &records{})
		if err != nil || sum.Answered != 1 || sum.Probed != 3 {
			t.Errorf("%+v, %v", sum, err)
		}
		if took := time.Since(begin); took > 6*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// Before a retry a scan waits briefly; when it is interrupted there, or while it
// sends, there is no retry, and late answers have their time.
func TestAnInterruptBeforeARetryStillWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newMemory(func(netip.AddrPort) result.State { return result.Open })
		net.delay = func(ap netip.AddrPort) time.Duration {
			if ap.Port() == 3 {
				return 200 * time.Millisecond
			}
			return time.Millisecond
		}
		net.lose = func(ap netip.AddrPort, _ int) bool { return ap.Port() == 2 }
		cfg := config(newPlan(t, "1-3", "10.0.0.1"), "syn")
		cfg.Retries = 5
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(5*time.Millisecond, cancel) // all was sent, and no retry begun
		sink := &records{}
		sum, err := run(t, ctx, cfg, net.network(1), sink)
		if err != nil || sum.Sent != 3 || sum.Open != 2 || !sum.Interrupted {
			t.Errorf("%+v, %v", sum, err)
		}
	})
}
