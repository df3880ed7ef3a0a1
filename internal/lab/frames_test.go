package lab

import (
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// Forged frames are as good as real ones: another library finds their checksums
// right, and the sources differ.
func TestForgedFramesAreWhole(t *testing.T) {
	l := New(t, Config{})
	h := l.MustAddHost(t, HostConfig{Place: OwnLink})
	flags := h.Segment(netip.AddrPortFrom(h.Neighbour(1), 40000), netip.AddrPortFrom(h.Addr4, 80), 0)
	makers := map[string]func(uint64, *[1514]byte) int{
		"walk": h.Walk(h.Neighbour(50), 100), "storm": h.Storm(1, 0), "one_port": h.Storm(1, 80),
		"flags": func(n uint64, buf *[1514]byte) int {
			flags.SetPort(uint16(n))
			flags.SetFlags(uint8(n))
			return copy(buf[:], flags[:])
		},
	}
	for name, frame := range makers {
		seen := map[string]bool{}
		for n := range uint64(1000) {
			var buf [1514]byte
			size := frame(n, &buf)
			p := gopacket.NewPacket(buf[:size], layers.LayerTypeEthernet, gopacket.Default)
			ip, _ := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
			tcp, _ := p.Layer(layers.LayerTypeTCP).(*layers.TCP)
			if ip == nil || tcp == nil {
				t.Fatalf("%s: frame %d: %v", name, n, p)
			}
			had, hadIP := tcp.Checksum, ip.Checksum
			if err := tcp.SetNetworkLayerForChecksum(ip); err != nil {
				t.Fatal(err)
			}
			b := gopacket.NewSerializeBuffer()
			if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{ComputeChecksums: true}, ip, tcp); err != nil {
				t.Fatal(err)
			}
			if tcp.Checksum != had || ip.Checksum != hadIP {
				t.Fatalf("%s: frame %d: checksums %#x and %#x, want %#x and %#x", name, n, hadIP, had, ip.Checksum, tcp.Checksum)
			}
			seen[p.NetworkLayer().NetworkFlow().String()+p.TransportLayer().TransportFlow().String()] = true
		}
		if len(seen) < 990 {
			t.Errorf("%s: %d of 1000 frames are different", name, len(seen))
		}
	}
}
