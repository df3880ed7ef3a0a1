package scan

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"synoptic/bpf/respond"
	"synoptic/bpf/validate"
	"synoptic/internal/cookie"
	"synoptic/internal/lab"
	"synoptic/internal/method"
	"synoptic/internal/netif"
	"synoptic/internal/result"
	"synoptic/rx"
)

// narrow puts a validator with a ring of so many bytes in the place of a network's.
func narrow(t *testing.T, n *Network, m *method.Method, seed uint64, ring int) *validate.Validator {
	t.Helper()
	way := &n.Ways[0]
	if err := way.Source.Close(); err != nil {
		t.Fatal(err)
	}
	v, err := validate.New(validate.Config{
		Method: m, Key: cookie.NewKey(seed), Source4: way.Match.Source4, Source6: way.Match.Source6, Port: way.Match.Port, Ports: way.Match.Ports, Ring: ring,
	})
	if err != nil {
		t.Fatalf("%+v", err)
	}
	way.Source = rx.NewKernel(v)
	if _, err := v.Attach(way.index, validate.Auto); err != nil {
		t.Fatal(err)
	}
	return v
}

// Every endpoint answers, at whatever speed the generator has with two senders. What is
// lost, by the lab's cable or by a ring that is far too small, is in the books, and
// those say no less than is missing; with repairs nothing is.
func TestAnswersAtFullSpeedAreFoundOrOwned(t *testing.T) {
	lab.NeedRoot(t)
	if !lab.InNamespace(t) {
		return
	}
	cfg := respond.DefaultConfig()
	cfg.Open, cfg.Closed = respond.Whole, 0
	l := lab.New(t, lab.Config{Here: true, Respond: &cfg})
	page := os.Getpagesize()
	for _, c := range []struct {
		ring    int // 0: as it comes
		ports   string
		repairs int
	}{
		{0, "1-8", 0}, {0, "1-8", 4},
		{page, "1", 0}, {16 * page, "1", 0}, {16 * page, "1", 8},
	} {
		for family, words := range map[string]string{"ipv4": "10.0.0.0/15", "ipv6": "fd00:10::/111"} {
			t.Run(fmt.Sprintf("ring=%d/repairs=%d/%s", c.ring, c.repairs, family), func(t *testing.T) {
				if err := l.Responder.Reset(); err != nil {
					t.Fatal(err)
				}
				p, m := newPlan(t, c.ports, words), method.ByName("syn")
				routes, err := netif.Resolve(t.Context(), p.Targets(), netif.Options{})
				if err != nil {
					t.Fatal(err)
				}
				ports := Ports(0, c.repairs)
				port, err := netif.SourcePorts(ports, 1)
				if err != nil {
					t.Fatal(err)
				}
				network, err := Dial(t.Context(), Options{Routes: routes, SourcePort: port, Ports: uint16(ports), Senders: 2,
					Kernel: Kernel{Path: KernelPath, Plan: p, Method: m, Seed: 1}})
				if err != nil {
					t.Fatal(err)
				}
				defer network.Close()
				var v *validate.Validator
				if c.ring > 0 {
					v = narrow(t, network, m, 1, c.ring)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				sink := &found{plan: p, states: make([]result.State, p.Len())}
				sum, err := run(t, ctx, Config{Plan: p, Method: m, Seed: 1, Repairs: c.repairs, Wait: 2 * time.Second}, network, sink)
				if err != nil {
					t.Fatal(err)
				}
				missing := uint64(0)
				for _, s := range sink.states {
					if s != result.Open {
						missing++
					}
				}
				t.Logf("%.0f packets/s; %d answers missing, %d may be lost; the ring dropped %d, the kernel %d; %d repairs",
					sum.Rate, missing, sum.Lost, sum.Dropped, sum.KernelDropped, sum.Repairs)
				counted, err := l.Responder.Counters()
				if err != nil {
					t.Fatal(err)
				}
				if sum.Paths.Transmit != "kernel" || counted.TCP[m.Flags] != sum.Sent || sink.twice+sink.alien > 0 || sum.BadCookie+sum.OutOfPlan > 0 ||
					sum.Generated != sum.Sent+sum.Refused || sum.Open != p.Len()-missing {
					t.Errorf("%d probes seen, %d twice, %d extra; %+v", counted.TCP[m.Flags], sink.twice, sink.alien, sum)
				}
				if missing > sum.Lost || missing > sum.Dropped+sum.KernelDropped {
					t.Errorf("%d are missing, but %d dropped and %d said to be lost", missing, sum.Dropped+sum.KernelDropped, sum.Lost)
				}
				if c.repairs > 0 && missing+sum.Lost > 0 {
					t.Errorf("%d are missing after %d repairs, %d may be lost", missing, sum.Repairs, sum.Lost)
				}
				if v == nil {
					return
				}
				judged, err := v.Counters()
				if err != nil {
					t.Fatal(err)
				}
				if judged.Full == 0 || judged.Full != sum.Dropped {
					t.Errorf("%d answers found no room, the summary says %d", judged.Full, sum.Dropped)
				}
				// Each that was in nobody's way has one of two ends.
				if judged.Valid+judged.Duplicate+judged.Full+sum.KernelDropped < counted.SynAck {
					t.Errorf("%d SYN+ACKs were sent, of which the validator knows %+v", counted.SynAck, judged)
				}
			})
		}
	}
}
