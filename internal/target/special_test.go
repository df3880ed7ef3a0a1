package target

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// isSpecial is the rule of the table by itself: the longest entry that holds
// the address decides.
func isSpecial(a netip.Addr) bool {
	longest, leftOut := -1, false
	for _, b := range specialTable {
		p := netip.MustParsePrefix(b.prefix)
		if holds(p, a) && p.Bits() > longest {
			longest, leftOut = p.Bits(), !b.scan
		}
	}
	return leftOut
}

// holds is Prefix.Contains, which treats IPv4-mapped addresses as IPv4, without
// that exception.
func holds(p netip.Prefix, a netip.Addr) bool {
	lo, hi := bounds(p)
	return a.BitLen() == lo.BitLen() && !a.Less(lo) && !hi.Less(a)
}

func TestSpecialTableEntriesAreCanonical(t *testing.T) {
	seen := map[string]bool{}
	for _, b := range specialTable {
		p, err := netip.ParsePrefix(b.prefix)
		if err != nil || p.Masked() != p || p.String() != b.prefix && b.prefix != mappedBlock {
			t.Errorf("%s is not canonical: %v, %v", b.prefix, p, err)
		}
		if seen[b.prefix] || b.rfc == "" || b.use == "" {
			t.Errorf("%s is listed twice or without its RFC and use", b.prefix)
		}
		seen[b.prefix] = true
	}
}

func TestEdgesOfEverySpecialBlockAreLeftOutAsTheTableSays(t *testing.T) {
	s := newSpecial()
	out, err := newSet(s.out)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range specialTable {
		lo, hi := bounds(netip.MustParsePrefix(b.prefix))
		for _, a := range []netip.Addr{lo, hi, lo.Prev(), hi.Next()} {
			if a.IsValid() && out.Contains(a) != isSpecial(a) {
				t.Errorf("%v, an edge of %s: left out is %v, want %v", a, b.prefix, out.Contains(a), isSpecial(a))
			}
		}
	}
}

func TestSpecialBlocksAreLeftOutUnlessNamedOutright(t *testing.T) {
	tests := []struct {
		name, words, want string
		leftOut           uint64
	}{
		{"private_block", "10.1.0.0/16", "10.1.0.0-10.1.255.255", 0},
		{"whole_private_block", "10.0.0.0/8", "10.0.0.0-10.255.255.255", 0},
		{"private_block_as_range", "10.0.0.0-10.255.255.255", "10.0.0.0-10.255.255.255", 0},
		{"octet_list_inside_a_private_block", "10.0-1.0.1", "10.0.0.1 10.1.0.1", 0},
		{"loopback_address", "127.0.0.1", "127.0.0.1", 0},
		{"benchmark_block", "198.18.0.0/15", "198.18.0.0-198.19.255.255", 0},
		{"documentation_ipv6", "2001:db8::/126", "2001:db8::-2001:db8::3", 0},
		{"link_local_ipv6", "fe80::1", "fe80::1", 0},
		{"larger_than_a_block", "10.0.0.0/7", "11.0.0.0-11.255.255.255", 1 << 24},
		{"across_the_edge_of_a_block", "9.255.255.254-10.0.0.9", "9.255.255.254-9.255.255.255", 10},
		{"around_a_block", "203.0.112.0-203.0.114.255", "203.0.112.0-203.0.112.255 203.0.114.0-203.0.114.255", 256},
		{"octet_list_across_a_block", "9-11.0.0.1", "9.0.0.1 11.0.0.1", 1},
		{"ipv6_around_documentation", "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff-2001:db8::4", "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", 5},
		{"one_word_names_what_another_leaves_out", "9.0.0.0-10.255.255.255 10.0.0.0/8", "9.0.0.0-10.255.255.255", 0},
		{"one_word_names_some_of_it", "9.255.255.255-10.0.0.9 10.0.0.4/31", "9.255.255.255 10.0.0.4-10.0.0.5", 8},
		{"left_out_twice_counts_once", "10.0.0.0/7 8.0.0.0/6", "8.0.0.0-9.255.255.255 11.0.0.0-11.255.255.255", 1 << 24},
		{"reachable_address_of_a_special_block", "192.0.0.9", "192.0.0.9", 0},
		{"reachable_addresses_stay", "191.255.255.255-192.0.0.11", "191.255.255.255 192.0.0.9-192.0.0.10", 10},
		{"named_block_keeps_its_nested_entries", "192.0.0.0/24", "192.0.0.0-192.0.0.255", 0},
		{"globally_reachable_block_in_a_sweep", "192.31.195.0-192.31.197.255", "192.31.195.0-192.31.197.255", 0},
		{"deprecated_relay_anycast", "192.88.98.0-192.88.100.255", "192.88.98.0-192.88.98.255 192.88.100.0-192.88.100.255", 256},
		{"teredo_and_6to4_stay", "2001::/126 2002::/126", "2001::-2001::3 2002::-2002::3", 0},
		{"nat64_stays", "64:ff9b::-64:ff9b::9", "64:ff9b::-64:ff9b::9", 0},
		{"unallocated_ipv6_stays", "4000::/126", "4000::-4000::3", 0},
		{"mapped_addresses_go_even_from_a_sweep", "::fffe:ffff:fffe-::1:0:0:1", "::fffe:ffff:fffe-::fffe:ffff:ffff ::1:0:0:0-::1:0:0:1", 1 << 32},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, report, err := Parse(context.Background(), Words(strings.Fields(tt.words)...), nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(ranges(s), " "); got != tt.want {
				t.Errorf("%s is %s, want %s", tt.words, got, tt.want)
			}
			if report.Special != u(tt.leftOut) || !report.Excluded.IsZero() {
				t.Errorf("%v left out and %v excluded, want %d and 0", report.Special, report.Excluded, tt.leftOut)
			}
		})
	}
}

func TestInternetSweep(t *testing.T) {
	s, report, err := Parse(context.Background(), Words("0.0.0.0/0"), Words("8.8.8.0/24", "10.0.0.0/8"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if report.Excluded != u(256) {
		t.Errorf("%v excluded, want 256: an exclusion of what is left out anyway takes nothing away", report.Excluded)
	}
	if sum := s.Len().Add(report.Special).Add(report.Excluded); sum != u(1<<32) {
		t.Errorf("targets, left out and excluded come to %v, want 2^32", sum)
	}
	if first, last := s.At(u(0)).String(), s.At(s.Len().Sub64(1)).String(); first != "1.0.0.0" || last != "223.255.255.255" {
		t.Errorf("the sweep goes from %v to %v", first, last)
	}
	got := ranges(s)
	for _, r := range []string{"172.32.0.0-191.255.255.255", "192.0.0.9-192.0.0.10", "192.0.1.0-192.0.1.255", "192.88.100.0-192.167.255.255"} {
		if !slices.Contains(got, r) {
			t.Errorf("%s is not among the intervals %v", r, got)
		}
	}
}
