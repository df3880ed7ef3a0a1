package scan

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"synoptic/internal/lab"
	"synoptic/internal/method"
	"synoptic/internal/netif"
	"synoptic/internal/plan"
	"synoptic/internal/result"
)

// overSockets runs a scan over real sockets, as a program would.
func overSockets(t *testing.T, p *plan.Plan, name string, retries int) ([]result.Record, Summary) {
	t.Helper()
	return overSocketsOf(t, p, name, retries, p.Len()*uint64(retries+1))
}

// by runs a SYN scan by a path.
func by(t *testing.T, path Pathway, p *plan.Plan) ([]result.Record, Summary) {
	t.Helper()
	return dialled(t, p, "syn", 0, Options{Kernel: Kernel{Path: path, Plan: p, Method: method.ByName("syn"), Seed: 1}})
}

// overSocketsOf runs it on the sockets of so many probes, 0 for many.
func overSocketsOf(t *testing.T, p *plan.Plan, name string, retries int, probes uint64) ([]result.Record, Summary) {
	t.Helper()
	return dialled(t, p, name, retries, Options{Probes: probes})
}

func dialled(t *testing.T, p *plan.Plan, name string, retries int, o Options) ([]result.Record, Summary) {
	t.Helper()
	routes, err := netif.Resolve(t.Context(), p.Targets(), netif.Options{})
	if err != nil {
		t.Fatal(err)
	}
	port, err := netif.SourcePorts(Ports(retries, 0), 1)
	if err != nil {
		t.Fatal(err)
	}
	o.Routes, o.SourcePort, o.Ports, o.Senders = routes, port, uint16(Ports(retries, 0)), 2
	network, err := Dial(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer network.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	sink := &records{}
	sum, err := run(t, ctx, Config{
		Plan: p, Method: method.ByName(name), Seed: 1, Retries: retries, Wait: time.Second, Silence: SilenceOfAll,
	}, network, sink)
	if err != nil {
		t.Fatal(err)
	}
	return sink.all, sum
}

// Every raw method works on loopback, against this machine's own kernel.
func TestLoopback(t *testing.T) {
	lab.NeedRoot(t)
	for _, host := range []string{"127.0.0.1", "127.1.2.3", "::1"} {
		addr := netip.MustParseAddr(host)
		listener, err := net.Listen("tcp", netip.AddrPortFrom(addr, 0).String())
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		open := listener.Addr().(*net.TCPAddr).AddrPort()
		for _, m := range method.Table {
			t.Run(m.Name+"/"+host, func(t *testing.T) {
				p := newPlan(t, "1-65535", host)
				all, sum := overSockets(t, p, m.Name, 1)
				states := (&records{all: all}).states(t)
				if len(states) != 65535 {
					t.Fatalf("%d ports have a state: %+v", len(states), sum)
				}
				want := map[string]result.State{"syn": result.Open, "null": result.OpenFiltered, "fin": result.OpenFiltered,
					"xmas": result.OpenFiltered, "maimon": result.Closed, "ack": result.Unfiltered, "window": result.Closed}[m.Name]
				if got := states[open]; got != want {
					t.Errorf("the open port is %v, want %v", got, want)
				}
				shut := netip.AddrPortFrom(addr, 1)
				if got := states[shut]; got != m.Reset {
					t.Errorf("a closed port is %v, want %v", got, m.Reset)
				}
				if sum.BadCookie+sum.OutOfPlan > 0 || sum.Dropped > 0 {
					t.Errorf("%+v", sum)
				}
			})
		}
	}
}

// A broadcast address among the targets is left out, and nothing else.
func TestLoopbackBroadcastIsLeftOut(t *testing.T) {
	lab.NeedRoot(t)
	all, sum := overSockets(t, newPlan(t, "1-5", "127.255.255.252/30"), "syn", 0)
	if len(all) != 15 || sum.Probed != 15 || sum.Unreachable != 5 || sum.Answered != 15 {
		t.Errorf("%d records, %+v", len(all), sum)
	}
}
