package scan

import (
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"synoptic/internal/result"
	"synoptic/tx"
)

// A scan ends when its canaries show that the path loses more than it may, and not
// for less.
func TestTooMuchLossEndsAScan(t *testing.T) {
	for _, tt := range []struct {
		lost  uint32 // of 100
		ended bool
	}{{0, false}, {5, false}, {50, true}} {
		synctest.Test(t, func(t *testing.T) {
			net := newMemory(func(netip.AddrPort) result.State { return result.Open })
			// Each packet by itself: of 256 networks each canary comes several times.
			rnd := rand.New(rand.NewPCG(5, 0))
			net.lose = func(netip.AddrPort, int) bool { return rnd.Uint32N(100) < tt.lost }
			cfg := config(newPlan(t, "1-200", "10.0-255.7.1"), "syn")
			cfg.Rate, cfg.MaxLoss = 5000, 0.2
			sum, err := run(t, t.Context(), cfg, net.network(1), &records{})
			if ended := err != nil; ended != tt.ended || sum.Path == nil {
				t.Fatalf("%d %% lost: %v, %+v", tt.lost, err, sum)
			}
			if tt.ended && (!strings.Contains(err.Error(), "lost on the way, more than --max-loss 20%") || sum.Probed > 30_000) {
				t.Errorf("%v, %+v", err, sum)
			}
			// Of a scan that ends for its loss, the estimate is no sample.
			if got := sum.Path.Loss; !tt.ended && (got.Low > float64(tt.lost)/100 || got.High < float64(tt.lost)/100) {
				t.Errorf("%d %% are lost, and the estimate is %+v", tt.lost, got)
			}
		})
	}
}

func TestTooManyRefusalsEndAScan(t *testing.T) {
	for _, most := range []uint64{0, 100} {
		synctest.Test(t, func(t *testing.T) {
			net := newMemory(func(netip.AddrPort) result.State { return result.Unknown })
			calls := 0
			net.err = func(int) error {
				if calls++; calls%2 == 0 {
					return tx.ErrRefused
				}
				return nil
			}
			cfg := config(newPlan(t, "1-100", "10.0.0.0/24"), "syn")
			cfg.Rate, cfg.MaxErrors = 10_000, most
			sum, err := run(t, t.Context(), cfg, net.network(1), &records{})
			switch {
			case most == 0 && (err != nil || sum.Probed != 25_600):
				t.Errorf("%v, %+v", err, sum)
			case most > 0 && (err == nil || !strings.Contains(err.Error(), "more than --max-errors 100") || sum.Probed > 2000):
				t.Errorf("%v, %+v", err, sum)
			}
		})
	}
}

// A host gets no more than one canary in a second, and none before a second has
// passed since it answered.
func TestCanariesRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newMemory(func(netip.AddrPort) result.State { return result.Open })
		type visit struct {
			at     time.Time
			canary bool
		}
		visits := map[netip.Addr][]visit{}
		began := time.Now()
		seen := map[netip.AddrPort]bool{}
		net.lose = func(ap netip.AddrPort, try int) bool {
			visits[ap.Addr()] = append(visits[ap.Addr()], visit{time.Now(), seen[ap]})
			seen[ap] = true
			return false
		}
		cfg := config(newPlan(t, "1-2000", "10.0-9.1.1-2"), "syn")
		cfg.Rate = 4000
		sum, err := run(t, t.Context(), cfg, net.network(1), &records{})
		if err != nil || sum.Repeated < 50 || sum.Repeated != sum.Sent-sum.Probed || sum.Path.Lost != 0 {
			t.Fatalf("%v, %+v", err, sum)
		}
		for a, list := range visits {
			var last time.Time
			for _, v := range list {
				if !v.canary {
					continue
				}
				if v.at.Sub(last) < canaryRest || v.at.Sub(began) < canaryRest {
					t.Errorf("%v got a canary at %v and %v", a, last.Sub(began), v.at.Sub(began))
				}
				last = v.at
			}
		}
	})
}
