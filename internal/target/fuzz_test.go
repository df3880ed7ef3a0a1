package target

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func FuzzTargets(f *testing.F) {
	for _, s := range [][2]string{
		{"10.0.0.1", ""},
		{"0.0.0.0/0", "10.0.0.0/8 8.8.8.8"},
		{"10.0.0-3.1,5\n10.0.*.1", "10.0.0.-"},
		{"10.0.0.1-10.0.1.9 # comment\r\n9.0.0.5/24", "9.0.0.250-"},
		{"9.0.0,2.7/24", "9.0.0-255.1-2,3/31"},
		{"2001:db8::/126 [::1] [fe80::1]-[fe80::9]", "2001:db8::1"},
		{"::/1", "2001:db8::/32"},
		{"::/0", ""},
		{"www.example.com localhost", "intranet.example"},
		{"255.255.255.255 0.0.0.0 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ::", ""},
		{"::fffe:ffff:ffff-::1:0:0:0 9.9.9.9", ""},
		{"1-254.1-254.1-254.1", "*.*.*.*"},
	} {
		f.Add(s[0], s[1])
	}
	for _, m := range malformedWords {
		f.Add(m.word, m.word)
	}
	f.Fuzz(checkTargets)
}

// checkTargets parses two lists and checks what must hold of any outcome.
func checkTargets(t *testing.T, targets, exclusions string) {
	words, err := ReadWords(strings.NewReader(targets), "targets")
	if err != nil {
		return
	}
	excludes, err := ReadWords(strings.NewReader(exclusions), "exclusions")
	if err != nil {
		return
	}
	for _, w := range slices.Concat(words, excludes) {
		if sp, err := parseWord(w.Text); err == nil && sp.octets != nil && sp.octets.numRanges() > 1<<12 {
			t.Skip("correct but slow")
		}
	}
	resolve := func(_ context.Context, host string) ([]netip.Addr, error) {
		if _, err := netip.ParseAddr(host); err == nil || strings.ContainsAny(host, ":/%,*#[] \t") || host == "" {
			t.Errorf("%q was looked up", host)
		}
		// Whatever comes back must keep the promises of a Set.
		return []netip.Addr{netip.MustParseAddr("9.9.9.9"), netip.MustParseAddr("::ffff:10.0.0.1"), netip.MustParseAddr("2001:db8::1")}, nil
	}

	s, report, err := Parse(context.Background(), words, excludes, resolve)
	if err != nil {
		if msg := err.Error(); strings.ContainsAny(msg, "\r\n\x00") {
			t.Errorf("the error is not one line: %q", msg)
		}
		if !errors.Is(err, ErrSyntax) && !errors.Is(err, ErrEmpty) && !errors.Is(err, ErrTooLarge) {
			t.Errorf("the error is of no kind: %v", err)
		}
		return
	}
	checkSet(t, s)

	// Without exclusions there is more, by as many as the report says.
	all, reportAll, err := Parse(context.Background(), words, nil, resolve)
	if err == nil && (all.Len() != s.Len().Add(report.Excluded) || reportAll.Special != report.Special) {
		t.Errorf("%v targets and %v excluded, but %v without exclusions", s.Len(), report.Excluded, all.Len())
	}
	// An exclusion leaves nothing of itself.
	var out gather
	if err := out.addWords(excludes); err != nil {
		t.Fatal(err)
	}
	for _, r := range out.sweep.v4 {
		if s.Contains(r.lo.addr()) || s.Contains(r.hi.addr()) {
			t.Errorf("excluded %v-%v is in the set", r.lo.addr(), r.hi.addr())
		}
	}
	for _, r := range out.sweep.v6 {
		if s.Contains(r.lo.addr()) || s.Contains(r.hi.addr()) {
			t.Errorf("excluded %v-%v is in the set", r.lo.addr(), r.hi.addr())
		}
	}
	// The intervals, read again as words, are the same set. They go in as
	// exclusions do, where no block is special.
	var again gather
	if err := again.addWords(Words(ranges(s)...)); err != nil {
		t.Fatal(err)
	}
	again.sweep.normalise()
	s2, err := newSet(again.sweep)
	if err != nil || !slices.Equal(ranges(s2), ranges(s)) {
		t.Errorf("read again, %v is %v, %v", ranges(s), ranges(s2), err)
	}
}

// checkSet checks what must hold of any Set.
func checkSet(t *testing.T, s *Set) {
	if s.Len().IsZero() || s.Len().Cmp(maxLen) > 0 {
		t.Fatalf("a set of %v addresses", s.Len())
	}
	var last netip.Addr
	next := u(0)
	n := 0
	for lo, hi := range s.Ranges() {
		if n++; hi.Less(lo) || last.IsValid() && (!last.Less(lo) || last.Next() == lo) {
			t.Fatalf("after %v comes %v-%v", last, lo, hi)
		}
		if lo.Is4In6() || hi.Is4In6() || lo.Is4() != hi.Is4() {
			t.Fatalf("%v-%v", lo, hi)
		}
		i, ok := s.Rank(lo)
		if !ok || i != next || s.At(i) != lo {
			t.Fatalf("Rank(%v) = %v, %v, want %v, and At is %v", lo, i, ok, next, s.At(next))
		}
		if i, ok = s.Rank(hi); !ok || s.At(i) != hi {
			t.Fatalf("Rank(%v) = %v, %v, and At is %v", hi, i, ok, s.At(i))
		}
		next, last = i.Add64(1), hi
	}
	if next != s.Len() || n != s.NumRanges() {
		t.Fatalf("%v addresses in %d intervals, but Len and NumRanges say %v and %d", next, n, s.Len(), s.NumRanges())
	}
}

func FuzzPorts(f *testing.F) {
	for _, s := range []string{
		"22,80,8000-8100", "-", "-100", "60000-", "0", "0-", "T:80,443", "U:53", "http,ssh", "http*", "[-1024]",
		"", ",", "80,,81", "65536", "100-1", "--", " 22, T: 80", "3com-tsmux", "１",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, list string) {
		p, err := ParsePortsFunc(list, func(name string) (uint16, error) {
			if strings.Trim(name, "0123456789-") == "" || strings.ContainsAny(name, ", :*[]") {
				t.Errorf("%q was looked up", name)
			}
			return services(name)
		})
		if err != nil {
			if !errors.Is(err, ErrSyntax) || strings.ContainsAny(err.Error(), "\r\n\x00") {
				t.Errorf("the error is %q", err)
			}
			return
		}
		n := p.Len()
		if n < 1 || n > 65536 {
			t.Fatalf("%d ports", n)
		}
		for _, i := range []int{0, n / 2, n - 1} {
			if j, ok := p.Rank(p.At(i)); !ok || j != i {
				t.Fatalf("Rank(At(%d)) = %d, %v", i, j, ok)
			}
		}
		if _, ok := p.Rank(0); ok && !strings.Contains(list, "0") {
			t.Error("port 0 without being written")
		}
		again, err := ParsePorts(p.String())
		if err != nil || again.String() != p.String() || again.Len() != n {
			t.Fatalf("%q reads back as %v, %v", p, again, err)
		}
	})
}
