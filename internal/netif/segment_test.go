package netif

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// The definition: the answer for an address is what the longest prefix says,
// asked for every single target. walk asks once per segment and must agree.
func TestWalkAgreesWithAskingForEveryAddress(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	address := func(i uint32) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}) }
	for range 200 {
		var prefixes []netip.Prefix
		starts := []netip.Addr{netip.IPv4Unspecified()}
		for range rnd.IntN(8) {
			p := netip.PrefixFrom(address(rnd.Uint32()), 16+rnd.IntN(17))
			prefixes = append(prefixes, p)
			starts = addStarts(starts, p)
		}
		slices.SortFunc(starts, netip.Addr.Compare)
		starts = slices.Compact(starts)
		truth := func(a netip.Addr) answer {
			ans := answer{class: gateway, link: 1}
			bits := -1
			for i, p := range prefixes {
				if p.Contains(a) && p.Bits() > bits {
					bits = p.Bits()
					ans = answer{class: class(i % 4), link: 2 + i%3}
				}
			}
			return ans
		}
		var s set
		for at := uint32(0); at < 1<<16; {
			first := at + rnd.Uint32N(1<<13)
			last := first + rnd.Uint32N(1<<12)
			if last >= 1<<16 {
				break
			}
			s = append(s, [2]netip.Addr{address(first), address(last)})
			at = last + 1
		}
		asked := 0
		got, err := walk(s, func(bool) ([]netip.Addr, error) { return starts, nil },
			func(a netip.Addr) (answer, error) { asked++; return truth(a), nil })
		if err != nil {
			t.Fatal(err)
		}
		if asked > len(starts) {
			t.Fatalf("asked %d times for %d starts", asked, len(starts))
		}
		i, counts := 0, make([]uint64, len(got))
		var link []netip.Addr
		for _, r := range s {
			for a := r[0]; !r[1].Less(a); a = a.Next() {
				for got[i].last.Less(a) {
					i++
				}
				counts[i]++
				want := truth(a)
				if got[i].answer != want || a.Less(got[i].first) {
					t.Fatalf("%s: segment %+v, want %+v", a, got[i], want)
				}
				if want.class == direct {
					link = append(link, a)
				}
			}
		}
		for i, seg := range got {
			if seg.targets != counts[i] {
				t.Fatalf("segment %s-%s counts %d targets, has %d", seg.first, seg.last, seg.targets, counts[i])
			}
		}
		var listed []netip.Addr
		for seg, part := range cut(got, s) {
			for a := part.First; seg.class == direct && !part.Last.Less(a); a = a.Next() {
				listed = append(listed, a)
			}
		}
		if !slices.Equal(listed, link) {
			t.Fatal("cut lists other targets")
		}
	}
}

func TestWalkKeepsFamiliesApart(t *testing.T) {
	same := answer{class: gateway, link: 1}
	got, err := walk(targets("255.255.255.0-255.255.255.255", "::-::5"), func(is4 bool) ([]netip.Addr, error) {
		if is4 {
			return []netip.Addr{netip.IPv4Unspecified()}, nil
		}
		return []netip.Addr{netip.IPv6Unspecified()}, nil
	}, func(netip.Addr) (answer, error) { return same, nil })
	if err != nil || len(got) != 2 || got[0].targets != 256 || got[1].targets != 6 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestCountSaturates(t *testing.T) {
	for _, c := range []struct {
		first, last string
		want        uint64
	}{
		{"10.0.0.1", "10.0.0.1", 1}, {"0.0.0.0", "255.255.255.255", 1 << 32},
		{"fd00::ffff:ffff:ffff:ffff", "fd00:0:0:1::", 2}, {"fd00::1", "fd00::ffff:ffff:ffff:ffff", math.MaxUint64},
		{"fd00::", "fd00::ffff:ffff:ffff:ffff", math.MaxUint64}, {"::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", math.MaxUint64},
	} {
		if got := count(netip.MustParseAddr(c.first), netip.MustParseAddr(c.last)); got != c.want {
			t.Errorf("count(%s, %s) = %d, want %d", c.first, c.last, got, c.want)
		}
	}
}

func TestStartsOfAPrefix(t *testing.T) {
	for prefix, want := range map[string]string{
		"10.1.2.3/24": "[10.1.2.0 10.1.3.0]", "255.0.0.0/8": "[255.0.0.0]", "0.0.0.0/0": "[0.0.0.0]",
		"10.0.0.1/32": "[10.0.0.1 10.0.0.2]", "ff00::/8": "[ff00::]", "fe80::/10": "[fe80:: fec0::]",
	} {
		if got := fmt.Sprint(addStarts(nil, netip.MustParsePrefix(prefix))); got != want {
			t.Errorf("%s: %s, want %s", prefix, got, want)
		}
	}
}

func TestNearestName(t *testing.T) {
	names := []string{"lo", "eth0", "eth1", "wlan0"}
	for word, want := range map[string]string{"et0": "eth0", "ehh1": "eth1", "wlan1": "wlan0", "br-lan": "", "l0": "lo", "x": "", "": ""} {
		if got := nearest(word, names); got != want {
			t.Errorf("nearest(%q) = %q, want %q", word, got, want)
		}
	}
}
