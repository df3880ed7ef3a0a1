package scan

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"synoptic/bpf/respond"
	"synoptic/internal/estimate"
	"synoptic/internal/lab"
	"synoptic/internal/method"
	"synoptic/internal/netif"
)

// Coverage of a 95 % interval that a hundred runs must show at least.
const (
	estimates   = 100
	mustContain = 93
)

// The simulated network loses a known share of all probes. In at least 93 of 100
// scans the interval that the canaries tell contains it, and so does that of the
// two tries.
func TestTheEstimatesContainTheTruth(t *testing.T) {
	lab.NeedRoot(t)
	if !lab.InNamespace(t) {
		return
	}
	const beside = 4 // scans at a time
	base := respond.DefaultConfig()
	// Of closed ports, whose resets this machine does not answer.
	base.Open, base.Closed = 0, respond.Fraction(1, 8)
	l := lab.New(t, lab.Config{Here: true, Respond: &base})
	for _, percent := range []float64{0.1, 1, 10} {
		t.Run(fmt.Sprintf("%v%%", percent), func(t *testing.T) {
			cfg := base
			cfg.Loss = respond.Share(percent / 100 * float64(respond.Whole))
			if err := l.Responder.Configure(cfg); err != nil {
				t.Fatal(err)
			}
			var paths, tries int
			var canaries float64
			for round := range estimates / beside {
				var running sync.WaitGroup
				var sums [beside]Summary
				var errs [beside]error
				for i := range beside {
					seed := uint64(round*beside + i)
					network, run, err := lossyScan(t, i, seed)
					if err != nil {
						t.Fatal(err)
					}
					defer network.Close()
					running.Go(func() { sums[i], errs[i] = run() })
				}
				running.Wait()
				for i, sum := range sums {
					if errs[i] != nil || sum.Lost > 0 || sum.Path == nil || sum.Tries == nil {
						t.Fatalf("%+v, %v", sum, errs[i])
					}
					if contains(sum.Path.Loss, percent/100) {
						paths++
					}
					if contains(sum.Tries.Loss, percent/100) {
						tries++
					}
					canaries += float64(sum.Path.Answered + sum.Path.Lost)
				}
			}
			t.Logf("%d of %d intervals by canaries (%.0f of them in a scan), %d by two tries", paths, estimates, canaries/estimates, tries)
			if paths < mustContain || tries < mustContain {
				t.Errorf("%d and %d of %d contain the truth, %d must", paths, tries, estimates, mustContain)
			}
			if canaries/estimates < 100 {
				t.Errorf("only %.0f canaries in a scan", canaries/estimates)
			}
		})
	}
}

func contains(i estimate.Interval, share float64) bool { return i.Low <= share && share <= i.High }

// lossyScan prepares one of some scans that run at a time.
func lossyScan(t *testing.T, i int, seed uint64) (*Network, func() (Summary, error), error) {
	p, m := newPlan(t, "1", fmt.Sprintf("10.%d.0.0/17", 10*i)), method.ByName("syn")
	routes, err := netif.Resolve(t.Context(), p.Targets(), netif.Options{})
	if err != nil {
		return nil, nil, err
	}
	ports := Ports(1, 0)
	port, err := netif.SourcePorts(ports, uint64(i))
	if err != nil {
		return nil, nil, err
	}
	network, err := Dial(t.Context(), Options{Routes: routes, SourcePort: port, Ports: uint16(ports), Senders: 1, Probes: 2 * p.Len()})
	if err != nil {
		return nil, nil, err
	}
	s, err := New(Config{Plan: p, Method: m, Seed: seed, Rate: 20_000, Retries: 1, Wait: 2 * time.Second}, network)
	if err != nil {
		return network, nil, err
	}
	return network, func() (Summary, error) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		return s.Run(ctx, &records{})
	}, nil
}
