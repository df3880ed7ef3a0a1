package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"synoptic/internal/plan"
	"synoptic/internal/target"
)

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

func TestPrintEndpointsIsThePlan(t *testing.T) {
	p := newPlan(t, "1-7", "127.0.0.0/24", "::1/120")
	var out bytes.Buffer
	n, err := printEndpoints(t.Context(), &out, p, p.Len())
	if err != nil || n != p.Len() {
		t.Fatalf("%d of %d lines, %v", n, p.Len(), err)
	}
	pos := uint64(0)
	for line := range strings.Lines(out.String()) {
		if want := p.At(pos).String() + "\n"; line != want {
			t.Fatalf("line %d: %q, want %q", pos, line, want)
		}
		pos++
	}
	if pos != p.Len() {
		t.Errorf("%d lines of %d", pos, p.Len())
	}
}

func TestPrintEndpointsAllocatesNothingPerLine(t *testing.T) {
	p := newPlan(t, "1-1000", "127.0.0.0/24", "::1")
	allocs := func(lines uint64) float64 {
		return testing.AllocsPerRun(10, func() { printEndpoints(t.Context(), io.Discard, p, lines) })
	}
	if few, many := allocs(1), allocs(20000); many > few {
		t.Errorf("%v allocations for one line, %v for 20,000", few, many)
	}
}

func TestPrintEndpointsStops(t *testing.T) {
	p := newPlan(t, "-", "127.0.0.0/24")
	ctx, cancel := context.WithCancel(t.Context())
	var lines int
	n, err := printEndpoints(ctx, writer(func(b []byte) (int, error) {
		lines += bytes.Count(b, []byte("\n"))
		cancel()
		return len(b), nil
	}), p, p.Len())
	if err != nil || n != uint64(lines) || n == p.Len() {
		t.Errorf("after the end of the context: %d lines, %d seen, %v", n, lines, err)
	}
	full := errors.New("full")
	if _, err := printEndpoints(t.Context(), writer(func([]byte) (int, error) { return 0, full }), p, p.Len()); !errors.Is(err, full) {
		t.Errorf("error %v", err)
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

func BenchmarkDryRun(b *testing.B) {
	for _, bc := range []struct{ name, words string }{{"targets=ipv4", "0.0.0.0/0"}, {"targets=ipv6", "2000::/16"}} {
		b.Run(bc.name, func(b *testing.B) {
			p := newPlan(b, "80", bc.words)
			const lines = 100_000
			b.ReportAllocs()
			for b.Loop() {
				if _, err := printEndpoints(b.Context(), io.Discard, p, lines); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(lines)*float64(b.N)/b.Elapsed().Seconds(), "lines/s")
		})
	}
}
