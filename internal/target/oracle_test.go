package target

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"lukechampine.com/uint128"
)

var seedFlag = flag.Uint64("seed", 0, "seed of the random tests; 0 takes one from the clock")

// seeded returns a source of random numbers and prints how to get it again.
func seeded(t *testing.T) *rand.Rand {
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("go test -run '^%s$' -seed=%d", t.Name(), seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// universe is a few neighbouring addresses, small enough to try every one.
type universe []netip.Addr

func newUniverse(first string, n int) universe {
	u := make(universe, n)
	u[0] = netip.MustParseAddr(first)
	for i := 1; i < n; i++ {
		u[i] = u[i-1].Next()
	}
	return u
}

// word makes up a random word and says by itself which addresses it means.
func (un universe) word(r *rand.Rand) (text string, means []bool) {
	means = make([]bool, len(un))
	n := len(un)
	kinds := 3
	if un[0].Is4() && n <= 1024 && octetOf(un[0], 1) == octetOf(un[n-1], 1) {
		kinds = 4
	}
	a := r.IntN(n)
	switch r.IntN(kinds) {
	case 0:
		means[a] = true
		return un[a].String(), means
	case 1:
		b := a + r.IntN(min(n-a, 1<<r.IntN(10)))
		for i := a; i <= b; i++ {
			means[i] = true
		}
		return un[a].String() + "-" + un[b].String(), means
	case 2:
		p := netip.PrefixFrom(un[a], un[a].BitLen()-r.IntN(9)) // at most 256, and universes are aligned to that
		for i, x := range un {
			means[i] = p.Contains(x)
		}
		return p.String(), means
	}
	third := randomOctet(r, octetOf(un[0], 2), octetOf(un[n-1], 2))
	fourth := randomOctet(r, 0, 255)
	mask := ""
	free := 0
	if r.IntN(3) == 0 {
		free = r.IntN(9)
		mask = "/" + strconv.Itoa(32-free)
	}
	for i := range un {
		for j := i &^ (1<<free - 1); j <= i|(1<<free-1); j++ {
			means[i] = means[i] || third.means[octetOf(un[j], 2)] && fourth.means[octetOf(un[j], 3)]
		}
	}
	return fmt.Sprintf("%d.%d.%s.%s%s", octetOf(un[0], 0), octetOf(un[0], 1), third.text, fourth.text, mask), means
}

func octetOf(a netip.Addr, k int) int { return int(a.AsSlice()[k]) }

type randomOctets struct {
	text  string
	means [256]bool
}

// randomOctet makes up one octet of a list with values from lo to hi.
func randomOctet(r *rand.Rand, lo, hi int) (o randomOctets) {
	if r.IntN(8) == 0 && lo == 0 && hi == 255 {
		for v := range o.means {
			o.means[v] = true
		}
		o.text = []string{"*", "-", "0-255"}[r.IntN(3)]
		return o
	}
	var items []string
	for range 1 + r.IntN(3) {
		a := lo + r.IntN(hi-lo+1)
		b := a + r.IntN(hi-a+1)
		item := fmt.Sprintf("%d-%d", a, b)
		switch r.IntN(4) {
		case 0:
			b, item = a, strconv.Itoa(a)
		case 1:
			if hi == 255 {
				b, item = 255, fmt.Sprintf("%d-", a)
			}
		}
		for v := a; v <= b; v++ {
			o.means[v] = true
		}
		items = append(items, item)
	}
	o.text = strings.Join(items, ",")
	return o
}

// namedOutright says whether some block of the table that is left out holds
// every address that is meant.
func (un universe) namedOutright(means []bool) bool {
	for _, b := range specialTable {
		all := !b.scan
		for i, a := range un {
			all = all && (!means[i] || holds(netip.MustParsePrefix(b.prefix), a))
		}
		if all {
			return true
		}
	}
	return false
}

func TestParseAgreesWithAddressByAddressReckoning(t *testing.T) {
	r := seeded(t)
	universes := map[string]universe{
		"ordinary":                newUniverse("9.9.8.0", 1024),
		"around_documentation":    newUniverse("203.0.112.0", 1024),
		"protocol_assignments":    newUniverse("191.255.255.0", 768),
		"into_multicast":          newUniverse("223.255.254.0", 1024),
		"bottom":                  newUniverse("0.0.0.0", 512),
		"multicast_into_reserved": newUniverse("239.255.255.0", 512),
		"top":                     newUniverse("255.255.252.0", 1024),
		"ipv6":                    newUniverse("2001:470::fe00", 1024),
		"ipv6_bottom":             newUniverse("::", 512),
		"ipv6_into_documentation": newUniverse("2001:db7:ffff:ffff:ffff:ffff:ffff:fe00", 1024),
		"ipv6_top":                newUniverse("ffff:ffff:ffff:ffff:ffff:ffff:ffff:fc00", 1024),
		"ipv6_across_64_bits":     newUniverse("2001:470:0:1:ffff:ffff:ffff:fe00", 1024),
	}
	for name, un := range universes {
		special := make([]bool, len(un))
		for i, a := range un {
			special[i] = isSpecial(a)
		}
		t.Run(name, func(t *testing.T) {
			for range 150 {
				checkAgainst(t, r, un, special)
			}
		})
	}
}

func checkAgainst(t *testing.T, r *rand.Rand, un universe, special []bool) {
	asked, kept, excluded := make([]bool, len(un)), make([]bool, len(un)), make([]bool, len(un))
	var words, excludes []string
	for range 1 + r.IntN(12) {
		text, means := un.word(r)
		words = append(words, text)
		named := un.namedOutright(means)
		for i := range un {
			asked[i] = asked[i] || means[i]
			kept[i] = kept[i] || means[i] && (named || !special[i])
		}
	}
	for range r.IntN(8) {
		text, means := un.word(r)
		excludes = append(excludes, text)
		for i := range un {
			excluded[i] = excluded[i] || means[i]
		}
	}

	s, report, err := Parse(context.Background(), Words(words...), Words(excludes...), nil)
	if errors.Is(err, ErrEmpty) {
		s, err = new(Set), nil
	}
	if err != nil {
		t.Fatalf("Parse(%q, %q): %v", words, excludes, err)
	}
	var n, leftOut, away, runs uint64
	last := -2
	for i, a := range un {
		if asked[i] && !kept[i] {
			leftOut++
		}
		if kept[i] && excluded[i] {
			away++
		}
		rank, ok := s.Rank(a)
		if want := kept[i] && !excluded[i]; ok != want {
			t.Fatalf("Parse(%q, %q): %v is a target: %v, want %v", words, excludes, a, ok, want)
		}
		if !ok {
			continue
		}
		if rank != u(n) || s.At(rank) != a {
			t.Fatalf("Parse(%q, %q): Rank(%v) = %v, want %d, and At is %v", words, excludes, a, rank, n, s.At(rank))
		}
		if last != i-1 {
			runs++
		}
		n, last = n+1, i
	}
	if s.Len() != u(n) || report.Special != u(leftOut) || report.Excluded != u(away) {
		t.Fatalf("Parse(%q, %q): %v targets, %v special, %v excluded, want %d, %d, %d",
			words, excludes, s.Len(), report.Special, report.Excluded, n, leftOut, away)
	}
	if uint64(s.NumRanges()) != runs {
		t.Fatalf("Parse(%q, %q): %d intervals, want the fewest, %d", words, excludes, s.NumRanges(), runs)
	}
}

func TestAtAndRankAreInverseOnRandomSets(t *testing.T) {
	r := seeded(t)
	for range 200 {
		var raw spans
		for range r.IntN(300) {
			// Ranges of very different sizes, so that the guides are filled unevenly.
			lo := addr4(r.Uint32()) >> r.IntN(32)
			raw.v4 = append(raw.v4, span[addr4]{lo, lo + min(addr4(r.Uint32())>>(8+r.IntN(24)), ^lo)})
		}
		for range r.IntN(30) {
			lo := addr6{Hi: r.Uint64() >> (1 + r.IntN(63)), Lo: r.Uint64()}
			raw.v6 = append(raw.v6, span[addr6]{lo, lo.plus(addr6{Lo: r.Uint64() >> r.IntN(64)})})
		}
		raw.normalise()
		s, err := newSet(raw)
		if err != nil {
			t.Fatal(err)
		}
		next := u(0)
		for lo, hi := range s.Ranges() {
			if i, ok := s.Rank(lo); !ok || i != next {
				t.Fatalf("Rank(%v) = %v, %v, want %v", lo, i, ok, next)
			}
			next, _ = s.Rank(hi)
			if s.At(next) != hi {
				t.Fatalf("At(%v) = %v, want %v", next, s.At(next), hi)
			}
			next = next.Add64(1)
			for _, a := range []netip.Addr{lo.Prev(), hi.Next()} {
				if a.IsValid() && s.Contains(a) {
					t.Fatalf("%v is next to an interval and in the set", a)
				}
			}
		}
		if next != s.Len() {
			t.Fatalf("Len() = %v, want %v", s.Len(), next)
		}
		for range 1000 {
			if next.IsZero() {
				break
			}
			_, i := random128(r).QuoRem(next)
			if j, ok := s.Rank(s.At(i)); !ok || j != i {
				t.Fatalf("Rank(At(%v)) = %v, %v", i, j, ok)
			}
		}
	}
}

func random128(r *rand.Rand) uint128.Uint128 { return uint128.New(r.Uint64(), r.Uint64()) }
