package twin

import (
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"synoptic/bpf/watch"
)

// start is when the tests begin, in nanoseconds.
const start = uint64(1e12)

// defaults are the rules of the published policies.
func defaults() watch.Rules {
	return watch.Rules{
		Window: watch.Line{On: true, Span: 300 * time.Millisecond, Threshold: 21, High: 1, Low: 3, Trap: 10},
		Gap:    watch.Line{On: true, Span: 3 * time.Second, Threshold: 21, Reaches: true, High: 1, Low: 3},
		Traps:  []uint16{11, 12, 13, 2000},
		V6Bits: 64,
	}
}

// withPackets are those with the literal reading too.
func withPackets() watch.Rules {
	r := defaults()
	r.Packets = watch.Line{On: true, Span: 300 * time.Millisecond, Threshold: 21, High: 1, Low: 3, Trap: 10}
	return r
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newTwin(t testing.TB, c Config, r watch.Rules) *Twin {
	t.Helper()
	w, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.SetRules(r); err != nil {
		t.Fatal(err)
	}
	return w
}

// stand is a Twin with one set, so that all sources meet.
type stand struct {
	t *testing.T
	*Twin
}

func newStand(t *testing.T, r watch.Rules) *stand {
	t.Helper()
	return &stand{t, newTwin(t, Config{Sets: 1}, r)}
}

// run sends p at a time since start, from a conversation that nobody knows
// unless told otherwise, and returns what is told of it.
func (s *stand) run(at time.Duration, p testPacket, c ...watch.Context) []watch.Snapshot {
	s.t.Helper()
	context := watch.Unknown
	if len(c) > 0 {
		context = c[0]
	}
	s.Run(p.frame(), start+uint64(at), context)
	var told []watch.Snapshot
	must(s.t, s.Read(func(v *watch.Snapshot) {
		if err := orderly(v); err != nil {
			s.t.Errorf("at %v: %v: %+v", at, err, v)
		}
		told = append(told, clone(v))
	}))
	return told
}

// quiet sends p, of which nothing may be told.
func (s *stand) quiet(at time.Duration, p testPacket, c ...watch.Context) {
	s.t.Helper()
	if told := s.run(at, p, c...); len(told) != 0 {
		s.t.Errorf("at %v: port %d is told: %+v", at, p.port, told)
	}
}

// told sends p, of which one snapshot must be told.
func (s *stand) told(at time.Duration, p testPacket, c ...watch.Context) watch.Snapshot {
	s.t.Helper()
	told := s.run(at, p, c...)
	if len(told) != 1 {
		s.t.Fatalf("at %v: port %d: %d snapshots, want 1", at, p.port, len(told))
	}
	return told[0]
}

func clone(v *watch.Snapshot) watch.Snapshot {
	c := *v
	c.Probes, c.Packets = slices.Clone(v.Probes), slices.Clone(v.Packets)
	return c
}

// lookUp returns what is remembered of an address.
func (s *stand) lookUp(addr string) (_ watch.Snapshot, found bool) {
	s.t.Helper()
	a := netip.MustParseAddr(addr)
	var ref watch.Ref
	must(s.t, s.Sources(func(v *watch.Snapshot) {
		if v.Source.Contains(a) {
			found, ref = true, v.Ref
		}
	}))
	if !found {
		return watch.Snapshot{}, false
	}
	v, ok := s.Source(ref)
	if !ok || !v.Source.Contains(a) {
		s.t.Fatalf("Sources has %v at place %d, Source has %v there (%v)", a, ref, v.Source, ok)
	}
	return v, true
}

// remembered is lookUp of an address that must be there.
func (s *stand) remembered(addr string) watch.Snapshot {
	s.t.Helper()
	v, ok := s.lookUp(addr)
	if !ok {
		s.t.Fatalf("%s is not remembered", addr)
	}
	return v
}

// counts compares the counters, but for those of the frames' classes and of the
// events.
func (s *stand) counts(want watch.Counters) {
	s.t.Helper()
	got, err := s.Counters()
	must(s.t, err)
	got.NotIP, got.Malformed, got.TooDeep = 0, 0, 0
	got.TCP = [64]uint64{}
	got.UDP, got.ICMP, got.Other, got.Fragments, got.Tiny = 0, 0, 0, 0, 0
	got.Events = 0
	if got != want {
		s.t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// times are those of the remembered ports, in order, since start.
func times(list []watch.Probe) (ports []uint16, at []time.Duration) {
	for _, p := range list {
		ports = append(ports, p.Port)
		at = append(at, since0(p.Time))
	}
	return ports, at
}

// since0 is a time since start.
func since0(t uint64) time.Duration { return time.Duration(t - start) }

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// mapped is the key of an IPv4 address.
func (s *stand) mapped(addr string) address { return netip.MustParseAddr(addr).As16() }

// same compares two snapshots.
func same(t *testing.T, want, got watch.Snapshot) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}
