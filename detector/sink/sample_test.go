package sink

import (
	"go/ast"
	"go/parser"
	"go/token"
	"net/netip"
	"slices"
	"strconv"
	"testing"
	"time"

	"synoptic/detector"
)

// sample is an alert by the sophos policy: eight low ports.
func sample() *detector.Alert {
	at := time.Date(2026, 11, 25, 4, 0, 0, 123456789, time.UTC)
	a := &detector.Alert{
		Policy: detector.Sophos, Threshold: 21, Span: 300 * time.Millisecond, Points: 24,
		Kind: detector.SYN, Direction: detector.Vertical, Episode: 7,
		Time: at, Begin: at.Add(-21 * time.Millisecond),
		Source: netip.MustParseAddr("192.0.2.7"), Prefix: netip.MustParsePrefix("192.0.2.7/32"), Destination: netip.MustParseAddr("10.0.0.1"),
		SourcePort: 40000, DestinationPort: 443, Protocol: "TCP", Interface: "eth0",
		Hosts: 1, Probes: 8, MinTTL: 64, MaxTTL: 64,
	}
	for i, port := range []uint16{23, 22, 21, 80, 53, 110, 111, 443} {
		a.Proof = append(a.Proof, detector.Point{Time: a.Begin.Add(time.Duration(i) * 3 * time.Millisecond), Port: port, Points: 3})
	}
	return a
}

// summary is what became of it.
func summary() *detector.Alert {
	a := sample()
	a.Summary = true
	a.Time = a.Begin.Add(12340 * time.Millisecond)
	a.Kind, a.Direction, a.Hosts, a.Probes, a.Handshakes, a.MinTTL = detector.Connect, detector.Block, 3, 1000, 12, 60
	return a
}

// datagrams is an alert by the scanlogd policy, of a network, without an
// interface.
func datagrams() *detector.Alert {
	a := sample()
	a.Policy, a.Reaches, a.Span, a.Points = detector.Scanlogd, true, 3*time.Second, 21
	a.Kind, a.Protocol, a.Interface = detector.UDP, "UDP", ""
	a.Source, a.Prefix, a.Destination = netip.MustParseAddr("2001:db8::7"), netip.MustParsePrefix("2001:db8::/64"), netip.MustParseAddr("fd00::1")
	for i := range a.Proof {
		a.Proof[i].UDP = i > 0
	}
	return a
}

// kinds returns every Kind that package detector declares.
func kinds(t *testing.T) (all []detector.Kind) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "../alert.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok {
			if name, ok := spec.Type.(*ast.Ident); ok && name.Name == "Kind" {
				for _, v := range spec.Values {
					text, err := strconv.Unquote(v.(*ast.BasicLit).Value)
					if err != nil {
						t.Fatal(err)
					}
					all = append(all, detector.Kind(text))
				}
			}
		}
		return true
	})
	if len(all) < 10 || !slices.Contains(all, detector.Tiny) {
		t.Fatalf("these are not all kinds: %v", all)
	}
	return all
}

// in runs a test in a time zone.
func in(t *testing.T, zone string, seconds int) {
	t.Helper()
	old := time.Local
	time.Local = time.FixedZone(zone, seconds)
	t.Cleanup(func() { time.Local = old })
}

// event is an alert of an episode.
func event(n int) *detector.Alert {
	a := sample()
	a.Episode = uint64(n)
	return a
}
