package cookie

import (
	"net/netip"
	"testing"

	"synoptic/internal/siphash"
)

func TestCookieDependsOnEveryPart(t *testing.T) {
	key := NewKey(1)
	ap := netip.MustParseAddrPort
	base := key.Of(ap("10.0.0.1:80"), ap("10.0.0.2:61000"))
	for name, other := range map[string]uint32{
		"target_address": key.Of(ap("10.0.0.3:80"), ap("10.0.0.2:61000")),
		"target_port":    key.Of(ap("10.0.0.1:81"), ap("10.0.0.2:61000")),
		"source_address": key.Of(ap("10.0.0.1:80"), ap("10.0.0.4:61000")),
		"source_port":    key.Of(ap("10.0.0.1:80"), ap("10.0.0.2:61001")),
		"direction":      key.Of(ap("10.0.0.2:61000"), ap("10.0.0.1:80")),
		"key":            NewKey(2).Of(ap("10.0.0.1:80"), ap("10.0.0.2:61000")),
		"family":         key.Of(ap("[::10.0.0.1]:80"), ap("[::10.0.0.2]:61000")),
	} {
		if other == base {
			t.Errorf("%s does not change the cookie", name)
		}
	}
}

// The layout that the kernel programs must reproduce: bytes, not Go types.
func TestCookieIsSumOfWireBytes(t *testing.T) {
	key := NewKey(7)
	got := key.Of(netip.MustParseAddrPort("10.1.2.3:443"), netip.MustParseAddrPort("172.16.0.1:61234"))
	want := uint32(siphash.Sum64(key.key, []byte{10, 1, 2, 3, 0x01, 0xbb, 172, 16, 0, 1, 0xef, 0x32}))
	if got != want {
		t.Errorf("%08x, want %08x", got, want)
	}
	got = key.Of(netip.MustParseAddrPort("[2001:db8::1]:1"), netip.MustParseAddrPort("[fd00::2]:65535"))
	want = uint32(siphash.Sum64(key.key, []byte{
		0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1,
		0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0xff, 0xff}))
	if got != want {
		t.Errorf("%08x, want %08x", got, want)
	}
}

func TestNothingAllocates(t *testing.T) {
	key := NewKey(1)
	a, b := netip.MustParseAddrPort("10.0.0.1:80"), netip.MustParseAddrPort("10.0.0.2:61000")
	if n := testing.AllocsPerRun(1000, func() { key.Of(a, b) }); n != 0 {
		t.Errorf("%v allocations per cookie", n)
	}
}

func BenchmarkCookie(b *testing.B) {
	for name, pair := range map[string][2]string{
		"family=ipv4": {"10.0.0.1:80", "10.0.0.2:61000"},
		"family=ipv6": {"[2001:db8::1]:80", "[2001:db8::2]:61000"},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			key := NewKey(1)
			target, source := netip.MustParseAddrPort(pair[0]), netip.MustParseAddrPort(pair[1])
			for b.Loop() {
				key.Of(target, source)
			}
		})
	}
}
