package scan

import (
	"context"
	"testing"
	"time"

	"synoptic/bpf/respond"
	"synoptic/internal/lab"
	"synoptic/internal/method"
	"synoptic/internal/netif"
	"synoptic/internal/result"
	"synoptic/rx"
)

// starved is a Source whose reader is kept from running now and then, as on a core
// that others use.
type starved struct {
	rx.Source
	reads int
}

func (s *starved) Read() ([]byte, time.Time, error) {
	if s.reads++; s.reads%200 == 0 {
		time.Sleep(4 * time.Millisecond)
	}
	return s.Source.Read()
}

// A receiver with a tiny ring on a slow core, while every probe is answered, loses
// most answers. What is said to be lost is never less than what is; and with
// repairs nothing is.
func TestAStarvedReceiverSaysWhatItLost(t *testing.T) {
	lab.NeedRoot(t)
	if !lab.InNamespace(t) {
		return
	}
	cfg := respond.DefaultConfig()
	cfg.Open, cfg.Closed = respond.Fraction(1, 4), respond.Fraction(1, 4)
	lab.New(t, lab.Config{Here: true, Respond: &cfg})
	for _, repairs := range []int{0, 1, 3} {
		for _, name := range []string{"syn", "fin"} {
			p, m := newPlan(t, "1-4", "10.0.0.0/16"), method.ByName(name)
			routes, err := netif.Resolve(t.Context(), p.Targets(), netif.Options{})
			if err != nil {
				t.Fatal(err)
			}
			ports := Ports(0, repairs)
			port, err := netif.SourcePorts(ports, 1)
			if err != nil {
				t.Fatal(err)
			}
			network, err := Dial(t.Context(), Options{Routes: routes, SourcePort: port, Ports: uint16(ports), Senders: 1, RingBlocks: 16})
			if err != nil {
				t.Fatal(err)
			}
			defer network.Close()
			for i := range network.Ways {
				network.Ways[i].Source = &starved{Source: network.Ways[i].Source}
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			sink := &found{plan: p, states: make([]result.State, p.Len())}
			sum, err := run(t, ctx, Config{Plan: p, Method: m, Seed: 1, Repairs: repairs, Wait: 4 * time.Second}, network, sink)
			if err != nil {
				t.Fatal(err)
			}
			missing := uint64(0)
			for pos, want := range truthOf(t, p, m, cfg.Truth()) {
				if (want == result.Open || want == result.Closed) && sink.states[pos] != want {
					missing++
				}
			}
			t.Logf("%s, %d repairs: %d missing, %d lost, %d sent, %d dropped in %.1f s", name, repairs, missing, sum.Lost, sum.Sent, sum.Dropped+sum.KernelDropped+sum.DeviceDropped, sum.Elapsed)
			if sum.Lost < missing {
				t.Errorf("%d are lost, and %d are said to be", missing, sum.Lost)
			}
			switch {
			case repairs == 0 && missing < p.Len()/50:
				t.Errorf("only %d are missing: the receiver was not starved", missing)
			case repairs == 3 && missing+sum.Lost > 0:
				t.Errorf("%d are missing, %d said to be lost, after %d repairs: %+v", missing, sum.Lost, sum.Repairs, sum)
			}
		}
	}
}
