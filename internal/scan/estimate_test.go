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

// Of a hundred runs so many intervals must contain the truth. A hundred that fall
// short by chance, which an exact interval of 95 % may, are told from a wrong one by
// two hundred more: then as large a share of all is asked for.
const (
	estimates   = 100
	moreIfShort = 200
	mustContain = 0.93
)

// coverage counts the intervals that contain the truth.
type coverage struct{ runs, paths, tries, canaries int }

// The simulated network loses a known share of all probes. In at least 93 of 100
// scans the interval that the canaries tell contains it; and so does that of the
// two tries, over all shares.
func TestTheEstimatesContainTheTruth(t *testing.T) {
	lab.NeedRoot(t)
	if !lab.InNamespace(t) {
		return
	}
	base := respond.DefaultConfig()
	// Of closed ports, whose resets this machine does not answer.
	base.Open, base.Closed = 0, respond.Fraction(1, 8)
	l := lab.New(t, lab.Config{Here: true, Respond: &base})
	shares := []float64{0.001, 0.01, 0.1}
	found := make([]coverage, len(shares))
	for _, runs := range []int{estimates, moreIfShort} {
		var all coverage
		short := false
		for i, share := range shares {
			cfg := base
			cfg.Loss = respond.Share(share * float64(respond.Whole))
			if err := l.Responder.Configure(cfg); err != nil {
				t.Fatal(err)
			}
			c := &found[i]
			c.add(t, runs, share)
			t.Logf("loss of %v: %d of %d intervals by canaries (%d of them in a scan), %d by two tries", share, c.paths, c.runs, c.canaries/c.runs, c.tries)
			if c.canaries/c.runs < 100 {
				t.Errorf("only %d canaries in a scan", c.canaries/c.runs)
			}
			short = short || float64(c.paths) < mustContain*float64(c.runs)
			all.runs, all.tries = all.runs+c.runs, all.tries+c.tries
		}
		if short = short || float64(all.tries) < mustContain*float64(all.runs); !short {
			return
		}
	}
	t.Errorf("less than %v of the intervals contain the truth: %+v", mustContain, found)
}

// add runs scans of a network that loses a share, four at a time.
func (c *coverage) add(t *testing.T, runs int, share float64) {
	const beside = 4
	for range runs / beside {
		var running sync.WaitGroup
		var sums [beside]Summary
		var errs [beside]error
		for i := range beside {
			network, run, err := lossyScan(t, i, uint64(c.runs+i))
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
			if contains(sum.Path.Loss, share) {
				c.paths++
			}
			if contains(sum.Tries.Loss, share) {
				c.tries++
			}
			c.canaries += int(sum.Path.Answered + sum.Path.Lost)
			c.runs++
		}
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
