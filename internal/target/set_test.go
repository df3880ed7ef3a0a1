package target

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"unsafe"

	"lukechampine.com/uint128"
)

// parse is Parse without names and exclusions, for words that must be good.
func parse(t testing.TB, words ...string) *Set {
	t.Helper()
	s, _, err := Parse(context.Background(), Words(words...), nil, nil)
	if err != nil {
		t.Fatalf("Parse(%q): %v", words, err)
	}
	return s
}

// ranges writes a set as one string for each interval: its ends, or the address
// that is both.
func ranges(s *Set) []string {
	var out []string
	for lo, hi := range s.Ranges() {
		if lo == hi {
			out = append(out, lo.String())
		} else {
			out = append(out, lo.String()+"-"+hi.String())
		}
	}
	return out
}

func u(n uint64) uint128.Uint128 { return uint128.From64(n) }

func TestSetNumbersAddressesInAscendingOrder(t *testing.T) {
	s := parse(t, "2001:4860::8-2001:4860::9", "9.9.9.9", "9.9.8.254/31", "1.1.1.1", "2001:470::1")
	want := []string{"1.1.1.1", "9.9.8.254", "9.9.8.255", "9.9.9.9", "2001:470::1", "2001:4860::8", "2001:4860::9"}
	if s.Len() != u(uint64(len(want))) {
		t.Fatalf("Len() = %v, want %d", s.Len(), len(want))
	}
	for i, w := range want {
		if a := s.At(u(uint64(i))); a.String() != w {
			t.Errorf("At(%d) = %v, want %v", i, a, w)
		}
		if n, ok := s.Rank(netip.MustParseAddr(w)); !ok || n != u(uint64(i)) {
			t.Errorf("Rank(%v) = %v, %v, want %d, true", w, n, ok, i)
		}
	}
	if !s.Has4() || !s.Has6() || s.NumRanges() != 5 {
		t.Errorf("Has4, Has6, NumRanges = %v, %v, %d, want true, true, 5", s.Has4(), s.Has6(), s.NumRanges())
	}
}

func TestSetReachesTheEndsOfBothFamilies(t *testing.T) {
	tests := []struct {
		word        string
		first, last string
		len         uint128.Uint128
	}{
		{"0.0.0.0", "0.0.0.0", "0.0.0.0", u(1)},
		{"255.255.255.255", "255.255.255.255", "255.255.255.255", u(1)},
		{"::", "::", "::", u(1)},
		{"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", u(1)},
		{"240.0.0.0/4", "240.0.0.0", "255.255.255.255", u(1 << 28)},
		{"0.0.0.0/8", "0.0.0.0", "0.255.255.255", u(1 << 24)},
		{"ff00::/8", "ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", u(1).Lsh(120)},
		{"2000::/3", "2000::", "3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", uint128.Uint128{}},
	}
	for _, tt := range tests {
		t.Run(tt.word, func(t *testing.T) {
			s := parse(t, tt.word)
			if !tt.len.IsZero() && s.Len() != tt.len {
				t.Fatalf("Len() = %v, want %v", s.Len(), tt.len)
			}
			end := s.Len().Sub64(1)
			if first, last := s.At(u(0)), s.At(end); first.String() != tt.first || last.String() != tt.last {
				t.Errorf("from %v to %v, want from %v to %v", first, last, tt.first, tt.last)
			}
			if i, ok := s.Rank(netip.MustParseAddr(tt.last)); !ok || i != end {
				t.Errorf("Rank(%v) = %v, %v, want %v, true", tt.last, i, ok, end)
			}
		})
	}
}

func TestWholeFamiliesInOneSet(t *testing.T) {
	// Every IPv4 address, which no words ask for without the special blocks, so
	// that counts meet 2^32.
	s, err := newSet(spans{v4: []span[addr4]{{0, ^addr4(0)}}})
	if err != nil {
		t.Fatal(err)
	}
	if s.Len() != u(1<<32) {
		t.Errorf("Len() = %v, want 2^32", s.Len())
	}
	if a := s.At(u(1<<32 - 1)); a != netip.MustParseAddr("255.255.255.255") {
		t.Errorf("the last address is %v", a)
	}
	if i, ok := s.Rank(netip.MustParseAddr("255.255.255.255")); !ok || i != u(1<<32-1) {
		t.Errorf("its rank is %v, %v", i, ok)
	}
}

func TestRankRefusesWhatIsNotInTheSet(t *testing.T) {
	s := parse(t, "1.0.0.0/30", "1.0.0.8/30", "9.0.0.0/8", "2001:470::/64", "2001:471::/64")
	for _, a := range []string{
		"0.0.0.0", "0.255.255.255", "1.0.0.4", "1.0.0.7", "1.0.0.12", "8.255.255.255", "10.0.0.0", "255.255.255.255",
		"::", "2001:46f:ffff:ffff:ffff:ffff:ffff:ffff", "2001:470:0:1::", "2001:470:ffff::", "2001:471:0:1::", "ffff::",
		"::ffff:1.0.0.1", "::1.0.0.1", "2001:470::1%eth0", "::ffff:1.0.0.1%1",
	} {
		if i, ok := s.Rank(netip.MustParseAddr(a)); ok || !i.IsZero() {
			t.Errorf("Rank(%v) = %v, %v, want 0, false", a, i, ok)
		}
	}
	if s.Contains(netip.Addr{}) {
		t.Error("the set contains the zero Addr")
	}
}

func TestZeroSetIsEmpty(t *testing.T) {
	var s Set
	if !s.Len().IsZero() || s.NumRanges() != 0 || s.Has4() || s.Has6() {
		t.Error("the zero Set is not empty")
	}
	for _, a := range []string{"0.0.0.0", "::", "255.255.255.255"} {
		if s.Contains(netip.MustParseAddr(a)) {
			t.Errorf("the zero Set contains %v", a)
		}
	}
}

func TestAtPanicsOutOfRange(t *testing.T) {
	both := parse(t, "9.9.9.9", "2001:470::1")
	only4 := parse(t, "9.9.9.0/24")
	tests := []struct {
		name string
		set  *Set
		i    uint128.Uint128
	}{
		{"empty", new(Set), u(0)},
		{"ipv4_len", only4, u(256)},
		{"ipv4_max", only4, uint128.Max},
		{"both_len", both, u(2)},
		{"both_2^64", both, u(1).Lsh(64)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("At did not panic")
				}
			}()
			tt.set.At(tt.i)
		})
	}
}

func TestTooManyAddressesIsAnError(t *testing.T) {
	tests := []struct {
		name    string
		words   []string
		tooMany bool
	}{
		{"half_of_ipv6_less_the_special_blocks_fits", []string{"::/1"}, false},
		{"half_of_ipv6_and_more_does_not", []string{"::/1", "8000::/2"}, true},
		{"all_of_ipv6_does_not", []string{"::/0"}, true},
		{"all_of_everything_does_not", []string{"::/0", "0.0.0.0/0", "fc00::/7", "fe80::/10", "ff00::/8"}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := Parse(context.Background(), Words(tt.words...), nil, nil)
			if errors.Is(err, ErrTooLarge) != tt.tooMany {
				t.Errorf("Parse(%q): %v", tt.words, err)
			}
		})
	}
	// The largest that fits, and one more. 2^127 is not reached by words.
	half := span[addr6]{addr6{Hi: 1 << 63}, addr6{Hi: ^uint64(0), Lo: ^uint64(0)}}
	if _, err := newSet(spans{v6: []span[addr6]{half}}); err != nil {
		t.Errorf("2^127 addresses: %v", err)
	}
	if _, err := newSet(spans{v4: []span[addr4]{{1, 1}}, v6: []span[addr6]{half}}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("2^127+1 addresses: %v", err)
	}
	// Both families in full come to 2^128, which as a count looks like nothing.
	all := spans{
		v4: []span[addr4]{{0, ^addr4(0)}},
		v6: []span[addr6]{{addr6{}, addr6{Hi: ^uint64(0), Lo: ^uint64(0) - 1<<32}}},
	}
	if !all.size().IsZero() {
		t.Fatalf("size() = %v, want 2^128 as 0", all.size())
	}
	if _, err := newSet(all); !errors.Is(err, ErrTooLarge) {
		t.Errorf("2^128 addresses: %v", err)
	}
}

func TestRangesStopsWhenAsked(t *testing.T) {
	s := parse(t, "1.1.1.1", "9.9.9.9", "2001:470::1", "2001:471::1")
	for stop := 1; stop <= 4; stop++ {
		n := 0
		for range s.Ranges() {
			if n++; n == stop {
				break
			}
		}
		if n != stop {
			t.Errorf("%d intervals, want %d", n, stop)
		}
	}
}

func TestLookupsDoNotAllocate(t *testing.T) {
	for name, s := range map[string]*Set{"one_range": parse(t, "9.0.0.0/8"), "many": scattered(t, 1000), "ipv6": parse(t, "2001:470::/32", "2001:472::/32")} {
		t.Run(name, func(t *testing.T) {
			i := s.Len().Rsh(1)
			if n := testing.AllocsPerRun(100, func() { s.At(i) }); n != 0 {
				t.Errorf("At allocates %v times", n)
			}
			a, zoned := s.At(i), netip.MustParseAddr("fe80::1%eth0")
			if n := testing.AllocsPerRun(100, func() { s.Rank(a); s.Rank(zoned); s.Contains(a) }); n != 0 {
				t.Errorf("Rank allocates %v times", n)
			}
		})
	}
}

func TestTenThousandExclusionsCostKilobytes(t *testing.T) {
	s := scattered(t, 10000)
	if s.NumRanges() < 9900 { // some exclusions fall into special blocks
		t.Fatalf("%d intervals, want about 10000", s.NumRanges())
	}
	size := cap(s.v4.ranges)*int(unsafe.Sizeof(range4{})) + 4*cap(s.v4.byIndex.slots) + 4*cap(s.v4.byAddr.slots)
	if size > 300<<10 {
		t.Errorf("the set takes %d bytes, want at most 300 KiB", size)
	}
}

// The guides of table4 must not matter when all intervals share a slot of one
// and spread over the slots of the other.
func TestIntervalsCrowdedTogether(t *testing.T) {
	words := []string{"1.0.0.0", "223.255.255.255"}
	for k := range 2000 {
		words = append(words, addr4(9<<24+3*k).addr().String())
	}
	s := parse(t, words...)
	var got []addr4
	for i := range s.Len().Lo {
		a := s.At(u(i))
		if n, ok := s.Rank(a); !ok || n.Lo != i {
			t.Fatalf("Rank(At(%d)) = %v, %v", i, n, ok)
		}
		if s.Contains(a.Next()) || s.Contains(a.Prev()) {
			t.Fatalf("a neighbour of %v is in the set", a)
		}
		got = append(got, point4(a))
	}
	if len(got) != len(words) || !slices.IsSorted(got) {
		t.Errorf("%d addresses, want %d in order", len(got), len(words))
	}
}
