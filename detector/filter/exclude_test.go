package filter

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"synoptic/bpf/watch"
)

func prefixes(texts ...string) []netip.Prefix {
	list := make([]netip.Prefix, len(texts))
	for i, s := range texts {
		list[i] = netip.MustParsePrefix(s)
	}
	return list
}

func endpoints(t *testing.T, texts ...string) []Endpoint {
	t.Helper()
	list := make([]Endpoint, len(texts))
	for i, s := range texts {
		var err error
		if list[i], err = ParseEndpoint(s); err != nil {
			t.Fatal(err)
		}
	}
	return list
}

func TestExclude(t *testing.T) {
	for _, c := range []struct {
		name      string
		sources   []netip.Prefix
		endpoints []Endpoint
		want      string
	}{
		{"nothing", nil, nil, ``},
		{"a_source", prefixes("10.1.2.3/8"), nil, `
0 src 10.0.0.0/8 reject pass`},
		{"sources_within_others_and_twice", prefixes("10.1.0.0/16", "fd00::/8", "10.0.0.0/8", "10.0.0.1/32", "fd00::1/128", "11.0.0.0/8", "10.0.0.0/8"), nil, `
0 src 10.0.0.0/8 reject 1
1 src 11.0.0.0/8 reject 2
2 src fd00::/8 reject pass`},
		{"an_endpoint", nil, endpoints(t, "10.0.0.1:53"), `
0 dst 10.0.0.1/32 1 pass
1 dport 53-53 reject pass`},
		{"ports_of_one_address", nil, endpoints(t, "[fd00::1]:80", "10.0.0.1:53", "10.0.0.1:22", "10.0.0.1:53"), `
0 dst 10.0.0.1/32 1 3
1 dport 22-22 reject 2
2 dport 53-53 reject pass
3 dst fd00::1/128 4 pass
4 dport 80-80 reject pass`},
		{"a_port_of_any_host", nil, endpoints(t, "*:53", "0.0.0.0:54", "[::]:55", "10.0.0.1:53", "10.0.0.1:80"), `
0 dport 53-53 reject 1
1 dport 54-54 reject 2
2 dport 55-55 reject 3
3 dst 10.0.0.1/32 4 pass
4 dport 80-80 reject pass`},
		{"both", prefixes("10.0.0.0/8"), endpoints(t, "*:53"), `
0 src 10.0.0.0/8 reject 1
1 dport 53-53 reject pass`},
		{"programs_write_ipv4_as_ipv6", prefixes("::ffff:10.0.0.0/104"), []Endpoint{{netip.MustParseAddr("::ffff:10.0.0.1"), 53}, {netip.MustParseAddr("::ffff:0.0.0.0"), 54}}, `
0 src 10.0.0.0/8 reject 1
1 dport 54-54 reject 2
2 dst 10.0.0.1/32 3 pass
3 dport 53-53 reject pass`},
		{"port_0_is_a_port", nil, endpoints(t, "*:0"), `
0 dport 0-0 reject pass`},
		{"invalid_prefixes_exclude_nothing", []netip.Prefix{{}}, nil, ``},
		{"an_ipv4_source_leaves_ipv6", prefixes("0.0.0.0/0", "10.0.0.0/8"), nil, `
0 src 0.0.0.0/0 reject pass`},
	} {
		t.Run(c.name, func(t *testing.T) {
			sources, endpoints := slices.Clone(c.sources), slices.Clone(c.endpoints)
			f, err := Exclude(c.sources, c.endpoints)
			if err != nil {
				t.Fatal(err)
			}
			sound(t, f)
			if got := text(f); got != strings.TrimPrefix(c.want+"\n", "\n") {
				t.Errorf("%swant%s", got, c.want)
			}
			if !slices.Equal(sources, c.sources) || !slices.Equal(endpoints, c.endpoints) {
				t.Error("the arguments were changed")
			}
		})
	}
}

// Everybody may be trusted; then the table rejects all, and the empty one, which
// would pass all, is not it.
func TestExcludeEverybody(t *testing.T) {
	r := seeded(t)
	f, err := Exclude(prefixes("0.0.0.0/0", "::/0"), nil)
	if err != nil || len(f) == 0 {
		t.Fatalf("%v, %v", f, err)
	}
	for range 100 {
		if p := few().packet(r); f.Match(&p) {
			t.Fatalf("%+v passes", p)
		}
	}
}

func TestExcludeTooMany(t *testing.T) {
	var sources []netip.Prefix
	for i := range 70000 {
		sources = append(sources, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32))
	}
	if f, err := Exclude(sources[:watch.MaxNodes], nil); err != nil || len(f) != watch.MaxNodes {
		t.Errorf("%d tests, %v", len(f), err)
	}
	for _, n := range []int{watch.MaxNodes + 1, len(sources)} {
		_, err := Exclude(sources[:n], nil)
		if want := fmt.Sprintf("filter: %d tests, and 256 is the most: use networks and port ranges", n); err == nil || err.Error() != want {
			t.Errorf("%d sources: %v", n, err)
		}
	}
	same := slices.Repeat(endpoints(t, "10.0.0.1:53"), 5*watch.MaxNodes)
	if f, err := Exclude(nil, same); err != nil || len(f) != 2 {
		t.Errorf("an endpoint many times: %d tests, %v", len(f), err)
	}
	if f, err := Exclude(append(sources, prefixes("10.0.0.0/8")...), nil); err != nil || len(f) != 1 {
		t.Errorf("a network of them all: %d tests, %v", len(f), err)
	}
}

func TestExcludeDecidesAsTheListsSay(t *testing.T) {
	r := seeded(t)
	v := few()
	passed, rejected := 0, 0
	for range 1000 {
		var sources []netip.Prefix
		for range r.IntN(6) {
			a := pick(r, append(v.v4, v.v6...))
			sources = append(sources, netip.PrefixFrom(a, a.BitLen()-r.IntN(20)))
		}
		var ends []Endpoint
		for range r.IntN(6) {
			ends = append(ends, Endpoint{pick(r, append(addrs("::", "0.0.0.0"), append(v.v4, v.v6...)...)), pick(r, v.ports)})
		}
		f, err := Exclude(sources, ends)
		if err != nil {
			t.Fatal(err)
		}
		sound(t, f)
		for range 100 {
			p := v.packet(r)
			want := true
			for _, s := range sources {
				want = want && !s.Contains(p.Source)
			}
			for _, e := range ends {
				want = want && !(p.HasPorts && p.DestinationPort == e.Port && (e.Addr.IsUnspecified() || e.Addr == p.Destination))
			}
			if got := f.Match(&p); got != want {
				t.Fatalf("without %v and %v, %+v: %t, want %t\n%s", sources, ends, p, got, want, text(f))
			}
			if want {
				passed++
			} else {
				rejected++
			}
		}
	}
	if passed < 10_000 || rejected < 10_000 {
		t.Errorf("%d passed, %d rejected", passed, rejected)
	}
}

func TestParseEndpoint(t *testing.T) {
	for s, want := range map[string]Endpoint{
		"10.0.0.1:53":   {netip.MustParseAddr("10.0.0.1"), 53},
		"[fd00::1]:443": {netip.MustParseAddr("fd00::1"), 443},
		"*:65535":       {netip.Addr{}, 65535},
		"0.0.0.0:0":     {netip.MustParseAddr("0.0.0.0"), 0},
	} {
		if got, err := ParseEndpoint(s); err != nil || got != want {
			t.Errorf("%q: %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "*", "*:", "*:65536", "*:-1", "*:dns", "10.0.0.1", ":53", "fd00::1:53", "[fe80::1%eth0]:53", "10.0.0.1:65536", "10.0.0.1:dns", "host:53", "*:53 "} {
		if e, err := ParseEndpoint(s); err == nil || e != (Endpoint{}) || !strings.HasPrefix(err.Error(), fmt.Sprintf("parse %q: ", s)) {
			t.Errorf("%q: %v, %v", s, e, err)
		}
	}
}
