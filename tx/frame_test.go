package tx

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"synoptic/internal/cookie"
	"synoptic/internal/method"
	"synoptic/internal/plan"
	"synoptic/internal/target"
	"synoptic/internal/wire"
)

var (
	source4 = netip.MustParseAddr("172.16.0.1")
	source6 = netip.MustParseAddr("fd00:172:16::1")
	key     = cookie.NewKey(1)
)

func newPlan(t testing.TB, list string, words ...string) *plan.Plan {
	t.Helper()
	set, _, err := target.Parse(context.Background(), target.Words(words...), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	ports, err := target.ParsePorts(list)
	if err != nil {
		t.Fatal(err)
	}
	p, err := plan.New(set, ports, 1, plan.Whole)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func probe(p *plan.Plan, m *method.Method, link wire.Link) Probe {
	return Probe{
		Plan: p, Method: m, Key: key, SourcePort: 61000, PortStep: 1,
		Links: []Link{{Header: link, MAC: [6]byte{2, 0, 0, 0, 0, 1}, Source4: source4, Source6: source6}},
		Route: func(a netip.Addr) (Hop, bool) { return Hop{MAC: [6]byte{2, 0, 0, 0, 0, byte(a.BitLen())}}, true },
	}
}

// gopacket decodes every frame: right addresses, ports, flags, cookie, option
// and lengths, and checksums that a slow sum over the bytes confirms.
func TestFramesDecodeAsProbes(t *testing.T) {
	p := newPlan(t, "1-3,80,65535", "10.0.0.0/28", "255.255.255.255", "2001:db8::ff00/120", "fd00::1")
	for _, m := range method.Table {
		for _, link := range []wire.Link{wire.Ethernet, wire.Raw} {
			t.Run(fmt.Sprintf("%s/link=%d", m.Name, link), func(t *testing.T) {
				f := NewFramer(probe(p, m, link))
				buf := make([]byte, FrameCap)
				for pos := range p.Len() {
					for try := range 3 {
						n, addr, _ := f.Build(buf, pos, try)
						checkFrame(t, f, buf[:n], p.At(pos), try)
						if addr != p.At(pos).Addr() {
							t.Fatalf("target %v, want %v", addr, p.At(pos))
						}
					}
				}
			})
		}
	}
}

func checkFrame(t *testing.T, f *Framer, frame []byte, target netip.AddrPort, try int) {
	t.Helper()
	is4 := target.Addr().Is4()
	first := gopacket.Decoder(layers.LayerTypeEthernet)
	if f.Links[0].Header == wire.Raw {
		first = layers.LayerTypeIPv4
		if !is4 {
			first = layers.LayerTypeIPv6
		}
	}
	packet := gopacket.NewPacket(frame, first, gopacket.Default)
	if e := packet.ErrorLayer(); e != nil {
		t.Fatalf("%v: %v", target, e.Error())
	}
	if eth, ok := packet.Layer(layers.LayerTypeEthernet).(*layers.Ethernet); ok != (f.Links[0].Header == wire.Ethernet) {
		t.Fatalf("Ethernet header: %v", ok)
	} else if ok && (eth.DstMAC[5] != byte(target.Addr().BitLen()) || eth.SrcMAC[5] != 1) {
		t.Fatalf("link addresses %v -> %v", eth.SrcMAC, eth.DstMAC)
	}
	var src, dst netip.Addr
	var ipLen int
	if is4 {
		ip := packet.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
		src, dst, ipLen = netip.AddrFrom4([4]byte(ip.SrcIP.To4())), netip.AddrFrom4([4]byte(ip.DstIP.To4())), int(ip.Length)-20
		if sum := naiveSum(nil, ip.Contents); sum != 0xffff {
			t.Fatalf("%v: IP checksum is off: sum %04x", target, sum)
		}
		if ip.TTL != 64 || ip.Flags != layers.IPv4DontFragment {
			t.Fatalf("TTL %d flags %v", ip.TTL, ip.Flags)
		}
	} else {
		ip := packet.Layer(layers.LayerTypeIPv6).(*layers.IPv6)
		src, dst, ipLen = netip.AddrFrom16([16]byte(ip.SrcIP)), netip.AddrFrom16([16]byte(ip.DstIP)), int(ip.Length)
	}
	tcp := packet.Layer(layers.LayerTypeTCP).(*layers.TCP)
	if dst != target.Addr() || uint16(tcp.DstPort) != target.Port() || int(tcp.SrcPort) != 61000+try || src.Is4() != is4 {
		t.Fatalf("%v:%d -> %v:%d, want target %v", src, tcp.SrcPort, dst, tcp.DstPort, target)
	}
	if len(tcp.Contents) != ipLen || len(tcp.Payload) != 0 {
		t.Fatalf("TCP header of %d bytes in an IP payload of %d", len(tcp.Contents), ipLen)
	}
	pseudo := append(src.AsSlice(), dst.AsSlice()...)
	pseudo = binary.BigEndian.AppendUint32(append(pseudo, 0, 0, 0, 6), uint32(ipLen))
	if sum := naiveSum(pseudo, tcp.Contents); sum != 0xffff {
		t.Fatalf("%v: TCP checksum is off: sum %04x", target, sum)
	}
	if got := tcp.Contents[13]; got != f.Method.Flags {
		t.Fatalf("flags %02x, want %02x", got, f.Method.Flags)
	}
	want := key.Of(target, netip.AddrPortFrom(src, uint16(61000+try)))
	if tcp.Seq != want || f.Method.CookieInAck && tcp.Ack != want || !f.Method.CookieInAck && tcp.Ack != 0 {
		t.Fatalf("seq %08x ack %08x, want cookie %08x", tcp.Seq, tcp.Ack, want)
	}
	if syn := f.Method.Flags == wire.SYN; syn != (len(tcp.Options) == 1 && tcp.Options[0].OptionType == layers.TCPOptionKindMSS) {
		t.Fatalf("options %v", tcp.Options)
	}
}

// naiveSum is the ones' complement sum as RFC 1071 writes it.
func naiveSum(parts ...[]byte) uint16 {
	var sum uint32
	for _, b := range parts {
		for i := 0; i < len(b); i += 2 {
			sum += uint32(b[i])<<8 | uint32(b[i+1])
			if sum > 0xffff {
				sum -= 0xffff
			}
		}
	}
	return uint16(sum)
}

func TestTargetWithoutLinkAddressHasNoFrame(t *testing.T) {
	p := probe(newPlan(t, "80", "10.0.0.1"), method.Table[0], wire.Ethernet)
	p.Route = func(netip.Addr) (Hop, bool) { return Hop{}, false }
	f := NewFramer(p)
	if n, _, _ := f.Build(make([]byte, FrameCap), 0, 0); n != 0 {
		t.Errorf("a frame of %d bytes", n)
	}
}

func TestFamilyWithoutSourceHasNoFrame(t *testing.T) {
	p := probe(newPlan(t, "80", "2001:db8::1"), method.Table[0], wire.Ethernet)
	p.Links[0].Source6 = netip.Addr{}
	f := NewFramer(p)
	if n, _, _ := f.Build(make([]byte, FrameCap), 0, 0); n != 0 {
		t.Errorf("a frame of %d bytes", n)
	}
}

func TestNothingAllocates(t *testing.T) {
	for _, words := range []string{"10.0.0.0/8", "2001:db8::/64"} {
		f := NewFramer(probe(newPlan(t, "80,443", words), method.ByName("maimon"), wire.Ethernet))
		buf := make([]byte, FrameCap)
		var pos uint64
		if n := testing.AllocsPerRun(1000, func() { f.Build(buf, pos, 0); pos++ }); n != 0 {
			t.Errorf("%s: %v allocations per probe", words, n)
		}
	}
}

func BenchmarkFrame(b *testing.B) {
	for _, m := range []*method.Method{method.ByName("syn"), method.ByName("maimon")} {
		for family, words := range map[string]string{"ipv4": "10.0.0.0/8", "ipv6": "2001:db8::/64"} {
			b.Run(fmt.Sprintf("method=%s/family=%s", m.Name, family), func(b *testing.B) {
				b.ReportAllocs()
				f := NewFramer(probe(newPlan(b, "80,443", words), m, wire.Ethernet))
				buf := make([]byte, FrameCap)
				var pos uint64
				for b.Loop() {
					f.Build(buf, pos&0xffffff, 0)
					pos++
				}
			})
		}
	}
}
