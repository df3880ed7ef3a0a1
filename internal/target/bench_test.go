package target

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"lukechampine.com/uint128"
)

// scatteredWords returns n addresses spread over the IPv4 unicast space, no two
// of them neighbours.
func scatteredWords(n int) []Word {
	r := rand.New(rand.NewPCG(1, 2))
	words := make([]Word, n)
	step := uint32(0xdf000000-0x01000000) / uint32(n)
	for k := range words {
		words[k].Text = addr4(0x01000000 + uint32(k)*step + r.Uint32N(step-1)).addr().String()
	}
	r.Shuffle(n, func(i, j int) { words[i], words[j] = words[j], words[i] })
	return words
}

// scattered returns the IPv4 unicast space less n scattered exclusions.
func scattered(t testing.TB, n int) *Set {
	t.Helper()
	s, _, err := Parse(context.Background(), Words("0.0.0.0/0"), scatteredWords(n), nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

type namedSet struct {
	name string
	*Set
}

// benchmarkSets are the shapes of sets that cost differently. ranges=10000 is
// an Internet sweep with as many exclusions, give or take a hundred.
func benchmarkSets(b *testing.B) []namedSet {
	var words []string
	for k := range 10000 {
		words = append(words, addr6{Hi: 0x2001_0470_0000_0000 + uint64(k)<<8, Lo: 1}.addr().String())
	}
	return []namedSet{
		{"ranges=1", parse(b, "9.0.0.0/8")},
		{"ranges=10000", scattered(b, 10000)},
		{"ranges=10000/crowded=true", crowded(b, 10000)},
		{"ranges=1/family=ipv6", parse(b, "2001:470::/64")},
		{"ranges=10000/family=ipv6", parse(b, words...)},
	}
}

// crowded puts all its intervals but two into one corner of the space, where
// the guide over addresses is no help.
func crowded(b *testing.B, n int) *Set {
	words := []string{"1.0.0.0", "223.255.255.255"}
	for k := range n {
		words = append(words, addr4(9<<24+3*k).addr().String())
	}
	return parse(b, words...)
}

// numPicks is enough that no branch predictor learns the order by heart, and few
// enough that they do not push the set out of the cache. It is a power of 2.
const numPicks = 1 << 13

// picks returns random addresses of a set and their numbers.
func picks(s *Set) (numbers []uint128.Uint128, addrs []netip.Addr) {
	r := rand.New(rand.NewPCG(3, 4))
	for range numPicks {
		_, i := random128(r).QuoRem(s.Len())
		numbers = append(numbers, i)
		addrs = append(addrs, s.At(i))
	}
	return numbers, addrs
}

func BenchmarkAt(b *testing.B) {
	for _, s := range benchmarkSets(b) {
		numbers, _ := picks(s.Set)
		b.Run(s.name, func(b *testing.B) {
			b.ReportAllocs()
			k := 0
			for b.Loop() {
				s.At(numbers[k&(numPicks-1)])
				k++
			}
		})
	}
}

func BenchmarkRank(b *testing.B) {
	for _, s := range benchmarkSets(b) {
		_, addrs := picks(s.Set)
		b.Run(s.name, func(b *testing.B) {
			b.ReportAllocs()
			k := 0
			for b.Loop() {
				s.Rank(addrs[k&(numPicks-1)])
				k++
			}
		})
	}
}

func BenchmarkBuild(b *testing.B) {
	for _, n := range []int{0, 10000, 1000000} {
		excludes := scatteredWords(max(n, 1))[:n]
		b.Run(fmt.Sprintf("exclusions=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := Parse(context.Background(), Words("0.0.0.0/0"), excludes, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("octet_ranges=4161536", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, _, err := Parse(context.Background(), Words("1-127.*.1-128.7"), nil, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
}
