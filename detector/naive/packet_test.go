package naive

import (
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"synoptic/bpf/watch"
)

// What gopacket reads in a frame is the packet.
func TestFramesAreOfTheirKind(t *testing.T) {
	type flags struct{ fin, syn, rst, psh, ack, urg bool }
	for _, tt := range []struct {
		name   string
		packet Packet
		want   flags
		header int // bytes; 0: it is not TCP that can be decoded
	}{
		{"syn", Packet{Probe: true, Kind: watch.SYN}, flags{syn: true}, 20},
		{"system_syn", Packet{Probe: true, Kind: watch.SystemSYN}, flags{syn: true}, 32},
		{"null", Packet{Probe: true, Kind: watch.NULL}, flags{}, 20},
		{"fin", Packet{Probe: true, Kind: watch.FIN}, flags{fin: true}, 20},
		{"xmas", Packet{Probe: true, Kind: watch.XMAS}, flags{fin: true, psh: true, urg: true}, 20},
		{"odd", Packet{Probe: true, Kind: watch.Odd}, flags{fin: true, syn: true}, 20},
		{"maimon", Packet{Probe: true, Kind: watch.Maimon}, flags{fin: true, ack: true}, 20},
		{"ack", Packet{Probe: true, Kind: watch.ACK}, flags{ack: true}, 20},
		{"synack", Packet{Probe: true, Kind: watch.SYNACK}, flags{syn: true, ack: true}, 20},
		{"reset", Packet{}, flags{rst: true}, 20},
		{"handshake", Packet{Handshake: true}, flags{ack: true}, 20},
		{"udp", Packet{Probe: true, Kind: watch.UDP}, flags{}, 0},
		{"tiny", Packet{Probe: true, Kind: watch.Tiny}, flags{}, 0},
	} {
		for _, source := range []string{"198.51.100.9", "2001:db8:1::9"} {
			t.Run(tt.name+"/"+source, func(t *testing.T) {
				p := tt.packet
				p.Source, p.Port = netip.MustParseAddr(source), 4660
				frame := gopacket.NewPacket(p.Frame(), layers.LayerTypeEthernet, gopacket.Default)
				from, _ := netip.AddrFromSlice(frame.NetworkLayer().NetworkFlow().Src().Raw())
				if from != p.Source {
					t.Errorf("it is from %v", from)
				}
				fragment, protocol, rest := false, layers.IPProtocol(0), 0
				switch l := frame.NetworkLayer().(type) {
				case *layers.IPv4:
					fragment, protocol, rest = l.Flags&layers.IPv4MoreFragments != 0, l.Protocol, int(l.Length)-20-len(l.Payload)
				case *layers.IPv6:
					protocol, rest = l.NextHeader, int(l.Length)-len(l.Payload)
					if f, ok := frame.Layer(layers.LayerTypeIPv6Fragment).(*layers.IPv6Fragment); ok {
						fragment, protocol = f.MoreFragments && f.FragmentOffset == 0, f.NextHeader
					}
				}
				if rest != 0 {
					t.Errorf("its length is wrong by %d", rest)
				}
				if p.Probe && p.Kind == watch.Tiny {
					data := p.Frame()
					if port := int(data[len(data)-6])<<8 | int(data[len(data)-5]); !fragment || protocol != layers.IPProtocolTCP || port != 4660 {
						t.Errorf("fragment: %v, protocol %v, port %d", fragment, protocol, port)
					}
					return
				}
				if fragment {
					t.Error("it is a fragment")
				}
				if p.udp() {
					if u, ok := frame.TransportLayer().(*layers.UDP); !ok || u.DstPort != 4660 || u.SrcPort != SourcePort || u.Length != 8 {
						t.Errorf("it is %+v", frame.TransportLayer())
					}
					return
				}
				h, ok := frame.TransportLayer().(*layers.TCP)
				if !ok || h.DstPort != 4660 || h.SrcPort != SourcePort || int(h.DataOffset)*4 != tt.header || len(h.Payload) != 0 {
					t.Fatalf("it is %+v", frame.TransportLayer())
				}
				if got := (flags{h.FIN, h.SYN, h.RST, h.PSH, h.ACK, h.URG}); got != tt.want {
					t.Errorf("its flags are %+v", got)
				}
			})
		}
	}
}
