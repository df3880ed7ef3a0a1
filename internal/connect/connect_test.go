package connect

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"synoptic/internal/method"
	"synoptic/internal/plan"
	"synoptic/internal/result"
	"synoptic/internal/scan"
	"synoptic/internal/target"
)

type records []result.Record

func (r *records) Record(rec *result.Record) error {
	*r = append(*r, *rec)
	return nil
}

func (r *records) Flush() error { return nil }

func newPlan(t testing.TB, ports string, words ...string) *plan.Plan {
	t.Helper()
	set, _, err := target.Parse(t.Context(), target.Words(words...), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	list, err := target.ParsePorts(ports)
	if err != nil {
		t.Fatal(err)
	}
	p, err := plan.New(set, list, 1, plan.Whole)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func run(t testing.TB, cfg scan.Config, o Options) (map[netip.AddrPort]result.Record, scan.Summary) {
	t.Helper()
	o.IPv4, o.IPv6 = cfg.Plan.Targets().Has4(), cfg.Plan.Targets().Has6()
	o.Senders = max(o.Senders, 1)
	prober, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	defer prober.Close()
	cfg.Method, cfg.Seed, cfg.Silence = method.Connect, 1, scan.SilenceOfAll
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var all records
	sum, err := scan.New(cfg, prober).Run(ctx, &all)
	if err != nil {
		t.Fatal(err)
	}
	found := map[netip.AddrPort]result.Record{}
	for _, r := range all {
		found[r.Addr] = r
	}
	return found, sum
}

func TestLoopback(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "127.1.2.3", "::1"} {
		t.Run(host, func(t *testing.T) {
			listener, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
			if err != nil {
				t.Fatal(err)
			}
			defer listener.Close()
			open := listener.Addr().(*net.TCPAddr).AddrPort()
			found, sum := run(t, scan.Config{Plan: newPlan(t, "1-65535", host), Wait: time.Second}, Options{})
			t.Logf("%+v", sum)
			if got := found[open]; got.State != result.Open || got.Reason != result.SynAck || got.RTT == 0 {
				t.Errorf("the open port is %+v", got)
			}
			if len(found) != 65535 {
				t.Errorf("%d records", len(found))
			}
		})
	}
}
