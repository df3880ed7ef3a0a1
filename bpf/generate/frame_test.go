package generate_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"lukechampine.com/uint128"

	"synoptic/bpf/generate"
	"synoptic/internal/cookie"
	"synoptic/internal/method"
	"synoptic/internal/plan"
	"synoptic/internal/target"
	"synoptic/internal/wire"
	"synoptic/tx"
)

// random returns a source whose seed is printed, and read from SEED if set.
func random(t testing.TB) *rand.Rand {
	seed, err := strconv.ParseUint(os.Getenv("SEED"), 0, 64)
	if err != nil {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// needRoot skips a test that the kernel would refuse; under CI=true it fails.
func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("BPF tests need root, and CI=true forbids to skip them")
	}
	t.Skip("BPF tests need root")
}

// scenario is a plan in words.
type scenario struct {
	targets, exclude, ports string
	shard                   plan.Shard
}

func (s scenario) plan(t testing.TB, seed uint64) *plan.Plan {
	t.Helper()
	set, _, err := target.Parse(context.Background(), target.Words(strings.Fields(s.targets)...), target.Words(strings.Fields(s.exclude)...), nil)
	if err != nil {
		t.Fatal(err)
	}
	ports, err := target.ParsePorts(s.ports)
	if err != nil {
		t.Fatal(err)
	}
	if s.shard == (plan.Shard{}) {
		s.shard = plan.Whole
	}
	p, err := plan.New(set, ports, seed, s.shard)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

var (
	hop4 = tx.Hop{MAC: [6]byte{2, 0, 0, 0, 0, 4}}
	hop6 = tx.Hop{MAC: [6]byte{2, 0, 0, 0, 0, 6}}
)

// framer is the oracle.
func framer(t testing.TB, p *plan.Plan, m *method.Method, seed uint64) *tx.Framer {
	t.Helper()
	var source [16]byte // random, so that each byte of it matters
	for i := range source {
		source[i] = byte(seed>>(i%8*8)) + byte(i)
	}
	return framerFrom(t, p, m, seed, netip.AddrFrom4([4]byte(source[:])), netip.AddrFrom16(source))
}

func framerFrom(t testing.TB, p *plan.Plan, m *method.Method, seed uint64, source4, source6 netip.Addr) *tx.Framer {
	t.Helper()
	f := tx.NewFramer(tx.Probe{
		Plan: p, Method: m, Key: cookie.NewKey(seed), SourcePort: uint16(65530 + seed%6), PortStep: uint16(seed % 2),
		Links: []tx.Link{{
			Header: wire.Ethernet, MAC: [6]byte{2, 0, 0, 0, 0, 1},
			Source4: source4, Source6: source6,
		}},
		Route: func(a netip.Addr) (tx.Hop, bool) {
			if a.Is4() {
				return hop4, true
			}
			return hop6, true
		},
	})
	return f
}

// config is what makes the generator build what the framer builds.
func config(f *tx.Framer, device, slots int) generate.Config {
	return generate.Config{
		Plan: f.Plan, Key: f.Key, CookieInAck: f.Method.CookieInAck, SourcePort: f.SourcePort, PortStep: f.PortStep,
		Frame4: f.Template(hop4, true), Frame6: f.Template(hop6, false), Device: device, Slots: slots,
	}
}

func load(t testing.TB, cfg generate.Config) *generate.Generator {
	t.Helper()
	needRoot(t)
	g, err := generate.New(cfg)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(func() { g.Close() })
	return g
}

// manyRanges returns n networks of a family with gaps between them.
func manyRanges(n int, v6 bool) string {
	var b strings.Builder
	for i := range n {
		if v6 {
			fmt.Fprintf(&b, "2001:db8:%x:%x::/%d ", i>>11, i&0x7ff*2, 90+i%38)
		} else {
			fmt.Fprintf(&b, "11.%d.%d.%d/%d ", i>>14, i>>6&255, i&63*4, 31+i%2)
		}
	}
	return b.String()
}

var scenarios = map[string]scenario{
	"one":              {targets: "10.0.0.1", ports: "80"},
	"one_of_ipv6":      {targets: "2001:db8::1", ports: "65535"},
	"one_range":        {targets: "10.0.0.0/8", ports: "1-65535"},
	"port_zero":        {targets: "255.255.255.255 0.0.0.0/31", ports: "0"},
	"ports_with_gaps":  {targets: "10.0.0.0/8", ports: "22,80,443,8000-8100"},
	"exclusions":       {targets: "10.0.0.0/16", exclude: "10.0.0.0/24 10.0.77.1 10.0.255.255 10.0.128.0/18", ports: "443"},
	"all_of_ipv4":      {targets: "0.0.0.0/0", exclude: "127.0.0.0/8 224.0.0.0/3", ports: "1-1024"},
	"one_range_ipv6":   {targets: "fd00::/65", ports: "443"},
	"ipv6_2^64":        {targets: "fd00:0:0:7::/64", ports: "443"},
	"ipv6_carry":       {targets: "fd00::ffff:ffff:ffff:fff0-fd00::1:0:0:0:10", ports: "443"},
	"mixed":            {targets: "10.0.0.0/28 10.9.0.1 2001:db8::ff00/120 fd00::1", ports: "1-3,80,65535"},
	"mixed_shard":      {targets: "10.0.0.0/12 2001:db8::/100", ports: "1-1000", shard: plan.Shard{Index: 3, Count: 7}},
	"large_shard":      {targets: "10.0.0.0/8", ports: "1-65535", shard: plan.Shard{Index: 1 << 30, Count: 1<<30 + 1}},
	"many_ranges":      {targets: manyRanges(3000, false), ports: "80,443"},
	"many_ranges_ipv6": {targets: manyRanges(3000, true), ports: "80"},
	"crowded_ranges":   {targets: "20.0.0.0/7 " + manyRanges(500, false) + "10.0.0.0/10", ports: "80"},
	"both_many":        {targets: manyRanges(100, false) + manyRanges(40, true), ports: "1-65535"},
}

func TestFramesAreTheFramers(t *testing.T) {
	rnd := random(t)
	const each = 150
	for name, s := range scenarios {
		t.Run(name, func(t *testing.T) {
			for _, m := range method.Table {
				seed := rnd.Uint64()
				compare(t, rnd, s.plan(t, seed), m, seed, each)
			}
		})
	}
}

// A million frames of one plan of every kind of target.
func TestAMillionFramesAreTheFramers(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	rnd := random(t)
	seed := rnd.Uint64()
	s := scenario{targets: "10.0.0.0/9 " + manyRanges(300, false) + manyRanges(300, true), ports: "1-1024,8080", shard: plan.Shard{Index: 2, Count: 3}}
	compare(t, rnd, s.plan(t, seed), method.Table[rnd.IntN(len(method.Table))], seed, 1_000_000)
}

// A run goes on from one position to the next without a division, by the stride of the
// shard, and looks one ahead: the frames of runs are the framer's in their order, for
// strides that are less than a row, a row, and many, and for lists.
func TestRunsGoFromPositionToPosition(t *testing.T) {
	rnd := random(t)
	for _, c := range []struct {
		targets, ports string
		shards         []uint64
	}{
		{"10.0.0.0/20", "80", []uint64{1, 2, 63, 64, 65, 100, 4095, 4096}}, // 64 columns
		{"10.0.0.0/20 10.1.0.0-10.1.0.7", "80-83,90", []uint64{1, 3, 143, 144}},
		{"10.0.0.0/24 fd00::/117", "22,443", []uint64{1, 5, 1000}},
		{"fd00::/64", "80", []uint64{1, 1<<32 - 1, 1 << 32, 1<<32 + 1, 1<<63 - 1}},
		{"10.0.0.1", "80,81,82", []uint64{1, 2, 3}},
	} {
		for _, count := range c.shards {
			seed := rnd.Uint64()
			s := scenario{targets: c.targets, ports: c.ports, shard: plan.Shard{Index: 1 + rnd.Uint64N(count), Count: count}}
			p := s.plan(t, seed)
			f := framer(t, p, method.Table[rnd.IntN(len(method.Table))], seed)
			g := load(t, config(f, 1, 1))
			last := plan.Span{From: p.Len() - min(p.Len(), 300), To: p.Len()}
			some := plan.Span{From: rnd.Uint64N(p.Len()), Try: 1}
			some.To = min(some.From+300, p.Len())
			list := plan.Span{Listed: true, Try: 2}
			for range 300 {
				list.Pending = append(list.Pending, rnd.Uint64N(p.Len()))
			}
			for _, span := range []plan.Span{last, some, list} {
				if err := g.Begin(&span, span.Len()); err != nil {
					t.Fatal(err)
				}
				want, room := make([]byte, tx.FrameCap), make([]byte, 256)
				for i := range span.Len() {
					n, _, _ := f.Build(want, span.At(i), span.Try)
					if got, err := g.Next(room); err != nil || !bytes.Equal(got, want[:n]) {
						t.Fatalf("%+v, seed %d, %d from position %d on: %v\n got %x\nwant %x", s, seed, i, span.At(0), err, got, want[:n])
					}
				}
				if got, err := g.Next(room); err == nil {
					t.Fatalf("%+v: a frame beyond the span: %x", s, got)
				}
			}
			g.Close()
		}
	}
}

// compare builds frames of first, last and random positions by both.
func compare(t *testing.T, rnd *rand.Rand, p *plan.Plan, m *method.Method, seed uint64, frames int) {
	t.Helper()
	f := framer(t, p, m, seed)
	g := load(t, config(f, 1, 1))
	defer g.Close()
	want, room := make([]byte, tx.FrameCap), make([]byte, 256)
	for i := range frames {
		pos, try := rnd.Uint64N(p.Len()), rnd.IntN(5)
		if i < 4 {
			pos = []uint64{0, p.Len() - 1, p.Len() / 2, (p.Len() - 1) / 2}[i]
		}
		n, _, _ := f.Build(want, pos, try)
		got, err := g.Build(room, pos, try)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want[:n]) {
			t.Fatalf("%s, seed %d, position %d (%v), try %d:\n got %x\nwant %x", m.Name, seed, pos, p.At(pos), try, got, want[:n])
		}
	}
}

// As many ranges as there may be, all but the last of them in one slot of the guide,
// so that nothing but the search is left; and one more.
func TestTheMostRanges(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	rnd := random(t)
	var b strings.Builder
	for i := range generate.MaxRanges - 1 {
		fmt.Fprintf(&b, "fd00::%x:%x ", i>>15, i<<1&0xffff)
	}
	p := scenario{targets: b.String() + "fd01::/65", ports: "80"}.plan(t, 4)
	if n := p.Targets().NumRanges(); n != generate.MaxRanges {
		t.Fatalf("%d ranges", n)
	}
	f := framer(t, p, method.Table[0], 4)
	g := load(t, config(f, 1, 1))
	want, room := make([]byte, tx.FrameCap), make([]byte, 256)
	for i := range 20_000 {
		// Nearly all addresses are in the large range: look for the others.
		rank := rnd.Uint64N(generate.MaxRanges)
		if i < 2 {
			rank = []uint64{0, generate.MaxRanges - 2}[i]
		}
		pos, ok := p.Position(netip.AddrPortFrom(p.Targets().At(uint128.From64(rank)), 80))
		if !ok {
			t.Fatalf("rank %d has no position", rank)
		}
		n, _, _ := f.Build(want, pos, 0)
		if got, err := g.Build(room, pos, 0); err != nil || !bytes.Equal(got, want[:n]) {
			t.Fatalf("rank %d: %v\n got %x\nwant %x", rank, err, got, want[:n])
		}
	}
	cfg := config(f, 1, 1)
	cfg.Plan = scenario{targets: b.String() + "fd01::/65 fd02::", ports: "80"}.plan(t, 4)
	if _, err := generate.New(cfg); !errors.As(err, new(generate.Unsupported)) {
		t.Errorf("one more range: %v, want an Unsupported", err)
	}
}

// The permutation through whole plans: every position of small ones, so that each
// endpoint has its one frame and no excluded address has any.
func TestEachEndpointHasOneFrame(t *testing.T) {
	for _, s := range []scenario{
		{targets: "10.0.0.1", ports: "80"},
		{targets: "10.0.0.1", ports: "80,81"},
		{targets: "10.0.0.0/30", exclude: "10.0.0.3", ports: "80"},
		{targets: "10.0.0.0/22", exclude: "10.0.0.0 10.0.0.128/25 10.0.2.0/24 10.0.3.255", ports: "80-83,90"},
		{targets: "10.0.0.0/24 fd00::/120", exclude: "fd00::80/121 10.0.0.7", ports: "80,443"},
	} {
		p := s.plan(t, 7)
		g := load(t, config(framer(t, p, method.Table[0], 7), 1, 1))
		seen := map[netip.AddrPort]bool{}
		room := make([]byte, 256)
		for pos := range p.Len() {
			frame, err := g.Build(room, pos, 0)
			if err != nil {
				t.Fatal(err)
			}
			to := endpoint(frame)
			if !p.Targets().Contains(to.Addr()) || seen[to] {
				t.Fatalf("%v: %v is no target, or had a frame before", s, to)
			}
			seen[to] = true
		}
		if want := p.Total().Lo; uint64(len(seen)) != want {
			t.Errorf("%v: %d endpoints, want %d", s, len(seen), want)
		}
	}
}

// endpoint reads where a frame goes.
func endpoint(frame []byte) netip.AddrPort {
	if frame[12] == 8 {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(frame[30:])), uint16(frame[36])<<8|uint16(frame[37]))
	}
	return netip.AddrPortFrom(netip.AddrFrom16([16]byte(frame[38:])), uint16(frame[56])<<8|uint16(frame[57]))
}

// A template may be any probe: what differs between probes is written anew.
func TestAWholeFrameIsATemplate(t *testing.T) {
	p := scenario{targets: "10.0.0.0/28 fd00::/124", ports: "80,443"}.plan(t, 3)
	for _, m := range []*method.Method{method.ByName("syn"), method.ByName("ack")} {
		f := framer(t, p, m, 3)
		cfg := config(f, 1, 1)
		buf, want, room := make([]byte, tx.FrameCap), make([]byte, tx.FrameCap), make([]byte, 256)
		for pos := range p.Len() {
			if n, a, _ := f.Build(buf, pos, 1); a.Is4() {
				cfg.Frame4 = bytes.Clone(buf[:n])
			} else {
				cfg.Frame6 = bytes.Clone(buf[:n])
			}
		}
		g := load(t, cfg)
		for pos := range p.Len() {
			n, _, _ := f.Build(want, pos, 0)
			if got, err := g.Build(room, pos, 0); err != nil || !bytes.Equal(got, want[:n]) {
				t.Fatalf("%s, position %d: %v\n got %x\nwant %x", m.Name, pos, err, got, want[:n])
			}
		}
	}
}

func TestWhatIsUnsupported(t *testing.T) {
	p := scenario{targets: "10.0.0.0/24 fd00::/120", ports: "80"}.plan(t, 1)
	f := framer(t, p, method.Table[0], 1)
	for name, change := range map[string]func(*generate.Config){
		"more_than_2^64": func(c *generate.Config) { c.Plan = scenario{targets: "fd00::/63", ports: "80"}.plan(t, 1) },
		"no_source4":     func(c *generate.Config) { c.Frame4 = nil },
		"no_source6":     func(c *generate.Config) { c.Frame6 = nil },
		"raw_ip":         func(c *generate.Config) { c.Frame4 = c.Frame4[14:] },
		"other_family":   func(c *generate.Config) { c.Frame4 = c.Frame6 },
		"more_options":   func(c *generate.Config) { c.Frame4 = append(bytes.Clone(c.Frame4), 0, 0, 0, 0) },
		"threads":        func(c *generate.Config) { c.Slots = generate.MaxSlots + 1 },
	} {
		cfg := config(f, 1, 1)
		change(&cfg)
		g, err := generate.New(cfg)
		if u := generate.Unsupported(""); !errors.As(err, &u) {
			t.Errorf("%s: %v, want an Unsupported", name, err)
		}
		if err == nil {
			g.Close()
		}
	}
}
