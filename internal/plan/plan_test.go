package plan

import (
	"context"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"net/netip"
	"testing"

	"lukechampine.com/uint128"

	"synoptic/internal/permute"
	"synoptic/internal/target"
)

func set(t testing.TB, words ...string) *target.Set {
	t.Helper()
	s, _, err := target.Parse(context.Background(), target.Words(words...), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func ports(t testing.TB, list string) target.Ports {
	t.Helper()
	p, err := target.ParsePorts(list)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func mustNew(t testing.TB, s *target.Set, p target.Ports, seed uint64, shard Shard) *Plan {
	t.Helper()
	plan, err := New(s, p, seed, shard)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// Every endpoint exactly once over all shards, each at the position that
// Position gives back, in its own shard only.
func TestShardsPartitionThePlan(t *testing.T) {
	for _, words := range [][]string{
		{"10.0.0.7"}, {"10.0.0.0/24"}, {"10.0.0.1-10.0.0.3", "10.0.1.0/29", "2001:db8::/121"},
	} {
		for _, list := range []string{"80", "22,80,443", "1-1000"} {
			for _, count := range []uint64{1, 2, 4, 7, 1500} {
				t.Run(fmt.Sprintf("%v/%s/%d", words, list, count), func(t *testing.T) {
					targets, ports := set(t, words...), ports(t, list)
					total := targets.Len().Lo * uint64(ports.Len())
					seen := make(map[netip.AddrPort]bool, total)
					shards := make([]*Plan, 0, count)
					for i := range count {
						shards = append(shards, mustNew(t, targets, ports, 5, Shard{i + 1, count}))
					}
					for i, p := range shards {
						for pos := range p.Len() {
							ap := p.At(pos)
							if seen[ap] {
								t.Fatalf("%v visited twice", ap)
							}
							seen[ap] = true
							if back, ok := p.Position(ap); !ok || back != pos {
								t.Fatalf("Position(At(%d)) = %d, %v", pos, back, ok)
							}
							other := shards[(i+1)%len(shards)]
							if _, ok := other.Position(ap); ok != (len(shards) == 1) {
								t.Fatalf("%v belongs to shard %d and to the next", ap, i+1)
							}
						}
					}
					if uint64(len(seen)) != total {
						t.Errorf("%d endpoints visited of %d", len(seen), total)
					}
				})
			}
		}
	}
}

func TestPositionOfStrangers(t *testing.T) {
	p := mustNew(t, set(t, "10.0.0.0/24", "2001:db8::/64"), ports(t, "80,443"), 1, Whole)
	for _, s := range []string{"10.0.1.0:80", "10.0.0.1:81", "[2001:db8:0:1::]:80", "[::ffff:10.0.0.1]:80", "127.0.0.1:80", "[::]:443"} {
		if pos, ok := p.Position(netip.MustParseAddrPort(s)); ok {
			t.Errorf("%s has position %d", s, pos)
		}
	}
	if _, ok := p.Position(netip.AddrPort{}); ok {
		t.Error("the zero endpoint has a position")
	}
}

// Plans beyond 64 bits: positions stay 64-bit and invert.
func TestHugePlans(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	for _, words := range [][]string{{"2001:db8::/32"}, {"2a00::/12"}, {"0.0.0.0/0"}, {"2001:db8::/64", "10.0.0.0/8"}} {
		for _, shard := range []Shard{Whole, {2, 3}, {1 << 30, 1 << 30}} {
			p, err := New(set(t, words...), ports(t, "80,443,8000-8100"), 11, shard)
			if err != nil {
				t.Fatal(err)
			}
			for range 200 {
				pos := rng.Uint64N(p.Len())
				if back, ok := p.Position(p.At(pos)); !ok || back != pos {
					t.Fatalf("%v shard %v: position %d comes back as %d, %v", words, shard, pos, back, ok)
				}
			}
		}
	}
	if _, err := New(set(t, "::/1"), ports(t, "80"), 0, Whole); err != nil {
		t.Errorf("2^127 minus the special ranges: %v", err)
	}
	if _, err := New(set(t, "2000::/3"), ports(t, "1-10"), 0, Whole); err == nil {
		t.Error("2^125 x 10 endpoints are accepted")
	}
}

// Products whose low words overflow: position times shards in At, rank times
// ports in Position. Compared with big integers.
func TestCarriesIntoTheUpperWord(t *testing.T) {
	targets, list := set(t, "2001:db8::/32"), ports(t, "1-7")
	order := permute.New(targets.Len().Mul64(7), 11)
	for _, shard := range []Shard{{3, 3}, {math.MaxUint64, math.MaxUint64}, {1 << 63, 1<<63 + 1}} {
		p := mustNew(t, targets, list, 11, shard)
		for _, pos := range []uint64{0, 1, 2, math.MaxUint64 / 3, math.MaxUint64/3 + 1, math.MaxUint64/3*2 + 1, 1 << 62} {
			if pos >= p.Len() {
				continue
			}
			global := new(big.Int).Mul(new(big.Int).SetUint64(pos), new(big.Int).SetUint64(shard.Count))
			global.Add(global, new(big.Int).SetUint64(shard.Index-1))
			index := order.Shuffle(uint128.FromBig(global))
			rank, port := index.QuoRem64(7)
			want := netip.AddrPortFrom(targets.At(rank), list.At(int(port)))
			if got := p.At(pos); got != want {
				t.Errorf("shard %v: At(%d) = %v, want %v", shard, pos, got, want)
			}
			if back, ok := p.Position(want); !ok || back != pos {
				t.Errorf("shard %v: Position(At(%d)) = %d, %v", shard, pos, back, ok)
			}
		}
	}
	// Ranks just around where rank*7 leaves the low word.
	whole := mustNew(t, targets, list, 11, Whole)
	border := uint64(math.MaxUint64 / 7)
	for d := range uint64(5) {
		for port := range 7 {
			rank := uint128.From64(border - 2 + d)
			ap := netip.AddrPortFrom(targets.At(rank), list.At(port))
			want := order.Unshuffle(rank.Mul64(7).Add64(uint64(port)))
			if pos, ok := whole.Position(ap); ok != (want.Hi == 0) || ok && pos != want.Lo {
				t.Errorf("Position(%v) = %d, %v, want %v", ap, pos, ok, want)
			}
		}
	}
}

func TestShardOutsideItsCountIsAnError(t *testing.T) {
	for _, shard := range []Shard{{0, 1}, {2, 1}, {1, 0}, {0, 0}, {math.MaxUint64, 3}} {
		if _, err := New(set(t, "10.0.0.1"), ports(t, "80"), 0, shard); err == nil {
			t.Errorf("shard %v is accepted", shard)
		}
	}
	if p := mustNew(t, set(t, "10.0.0.1"), ports(t, "80"), 0, Shard{2, 2}); p.Len() != 0 {
		t.Errorf("the second shard of one endpoint has %d", p.Len())
	}
}

func TestSeedAndTargetsDecideTheOrder(t *testing.T) {
	a := mustNew(t, set(t, "10.0.0.0/16"), ports(t, "80"), 1, Whole)
	b := mustNew(t, set(t, "10.0.128.0/17", "10.0.0.0/17"), ports(t, "80"), 1, Whole)
	c := mustNew(t, set(t, "10.0.0.0/16"), ports(t, "80"), 2, Whole)
	differ := 0
	for pos := range a.Len() {
		if a.At(pos) != b.At(pos) {
			t.Fatalf("the same set written otherwise is visited otherwise")
		}
		if a.At(pos) != c.At(pos) {
			differ++
		}
	}
	if differ < 1<<15 {
		t.Errorf("another seed moves only %d of 65536 endpoints", differ)
	}
}

func TestSpanLenIsAboutAMillisecond(t *testing.T) {
	for _, tt := range []struct {
		rate    float64
		senders int
		want    int
	}{{0, 1, MaxSpan}, {0.5, 1, 1}, {10_000, 1, 10}, {10_000, 4, 2}, {1e9, 2, MaxSpan}} {
		if got := SpanLen(tt.rate, tt.senders, MaxSpan); got != tt.want {
			t.Errorf("SpanLen(%v, %d) = %d, want %d", tt.rate, tt.senders, got, tt.want)
		}
	}
}

func TestNothingAllocates(t *testing.T) {
	for _, words := range [][]string{{"10.0.0.0/8"}, {"2001:db8::/32"}} {
		p := mustNew(t, set(t, words...), ports(t, "80,443"), 1, Shard{1, 2})
		var pos uint64
		if n := testing.AllocsPerRun(1000, func() { p.Position(p.At(pos)); pos++ }); n != 0 {
			t.Errorf("%v: %v allocations per probe and reply", words, n)
		}
	}
}

func BenchmarkAt(b *testing.B) {
	for name, words := range map[string]string{"family=ipv4": "10.0.0.0/8", "family=ipv6": "2001:db8::/64"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			p := mustNew(b, set(b, words), ports(b, "80,443"), 1, Whole)
			var pos uint64
			for b.Loop() {
				p.At(pos & 0xffffff)
				pos++
			}
		})
	}
}

func BenchmarkPosition(b *testing.B) {
	b.ReportAllocs()
	p := mustNew(b, set(b, "10.0.0.0/8"), ports(b, "80,443"), 1, Whole)
	ap := netip.MustParseAddrPort("10.3.4.5:443")
	for b.Loop() {
		p.Position(ap)
	}
}
