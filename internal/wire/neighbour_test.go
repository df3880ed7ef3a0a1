package wire

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

var (
	ourMAC   = [6]byte{2, 0, 0, 0, 0, 1}
	theirMAC = [6]byte{2, 0, 0, 0, 0, 9}
	our4     = netip.MustParseAddr("10.9.0.1")
	their4   = netip.MustParseAddr("10.9.0.77")
	our6     = netip.MustParseAddr("fd09::1")
	their6   = netip.MustParseAddr("fd09::ab:cd:ef12")
)

func TestARPRequest(t *testing.T) {
	for _, tt := range []struct {
		fact   string
		sender netip.Addr
		claims []byte
	}{
		{"of_an_own_address", our4, our4.AsSlice()},
		{"claiming_none_is_a_probe", netip.Addr{}, make([]byte, 4)},
	} {
		t.Run(tt.fact, func(t *testing.T) {
			b := bytes.Repeat([]byte{0xaa}, 96)
			b = b[:PutARPRequest(b, ourMAC, tt.sender, their4)]
			packet := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.Default)
			eth, _ := packet.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
			arp, _ := packet.Layer(layers.LayerTypeARP).(*layers.ARP)
			if arp == nil || len(b) != 42 {
				t.Fatalf("%x is no ARP request", b)
			}
			if eth.DstMAC.String() != "ff:ff:ff:ff:ff:ff" || !bytes.Equal(eth.SrcMAC, ourMAC[:]) {
				t.Errorf("frame from %v to %v", eth.SrcMAC, eth.DstMAC)
			}
			if arp.Operation != layers.ARPRequest || arp.AddrType != layers.LinkTypeEthernet || arp.Protocol != layers.EthernetTypeIPv4 ||
				!bytes.Equal(arp.SourceHwAddress, ourMAC[:]) || !bytes.Equal(arp.SourceProtAddress, tt.claims) ||
				!bytes.Equal(arp.DstHwAddress, make([]byte, 6)) || !bytes.Equal(arp.DstProtAddress, their4.AsSlice()) {
				t.Errorf("%+v", arp)
			}
		})
	}
}

func TestSolicitation(t *testing.T) {
	b := bytes.Repeat([]byte{0xaa}, 96)
	b = b[:PutSolicitation(b, ourMAC, our6, their6)]
	packet := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.Default)
	eth, _ := packet.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
	ip, _ := packet.Layer(layers.LayerTypeIPv6).(*layers.IPv6)
	ask, _ := packet.Layer(layers.LayerTypeICMPv6NeighborSolicitation).(*layers.ICMPv6NeighborSolicitation)
	if ask == nil || len(b) != SolicitationLen {
		t.Fatalf("%x is no solicitation", b)
	}
	if eth.DstMAC.String() != "33:33:ff:cd:ef:12" || !bytes.Equal(eth.SrcMAC, ourMAC[:]) {
		t.Errorf("frame from %v to %v", eth.SrcMAC, eth.DstMAC)
	}
	if ip.HopLimit != 255 || ip.SrcIP.String() != our6.String() || ip.DstIP.String() != "ff02::1:ffcd:ef12" || int(ip.Length) != 32 {
		t.Errorf("%+v", ip)
	}
	if ask.TargetAddress.String() != their6.String() || len(ask.Options) != 1 ||
		ask.Options[0].Type != layers.ICMPv6OptSourceAddress || !bytes.Equal(ask.Options[0].Data, ourMAC[:]) {
		t.Errorf("%+v", ask)
	}
	// The checksum of the whole, its own field included, is 0.
	icmp := b[EthernetLen+IPv6Len:]
	pseudo := append(append([]byte{}, b[EthernetLen+8:EthernetLen+40]...), 0, 0, 0, byte(len(icmp)), 0, 0, 0, ProtoICMP6)
	if sum := slowChecksum(append(pseudo, icmp...)); sum != 0 {
		t.Errorf("checksum is off by %04x", sum)
	}
}

func serialise(t testing.TB, stack ...gopacket.SerializableLayer) []byte {
	t.Helper()
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true}, stack...); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func arpFrame(t testing.TB, edit func(*layers.ARP)) []byte {
	arp := &layers.ARP{
		AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: layers.ARPReply,
		SourceHwAddress: theirMAC[:], SourceProtAddress: their4.AsSlice(), DstHwAddress: ourMAC[:], DstProtAddress: our4.AsSlice(),
	}
	edit(arp)
	return serialise(t, &layers.Ethernet{SrcMAC: theirMAC[:], DstMAC: ourMAC[:], EthernetType: layers.EthernetTypeARP}, arp)
}

func advertFrame(t testing.TB, edit func(*layers.IPv6, *layers.ICMPv6, *layers.ICMPv6NeighborAdvertisement)) []byte {
	eth := &layers.Ethernet{SrcMAC: []byte{2, 2, 2, 2, 2, 2}, DstMAC: ourMAC[:], EthernetType: layers.EthernetTypeIPv6}
	ip := &layers.IPv6{Version: 6, HopLimit: 255, NextHeader: layers.IPProtocolICMPv6, SrcIP: their6.AsSlice(), DstIP: our6.AsSlice()}
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(136, 0)}
	told := &layers.ICMPv6NeighborAdvertisement{Flags: 0x60, TargetAddress: their6.AsSlice(), Options: layers.ICMPv6Options{
		{Type: layers.ICMPv6OptMTU, Data: []byte{0, 0, 0, 0, 5, 220}}, {Type: layers.ICMPv6OptTargetAddress, Data: theirMAC[:]},
	}}
	edit(ip, icmp, told)
	return serialise(t, eth, ip, icmp, told)
}

type (
	header6  = layers.IPv6
	message6 = layers.ICMPv6
	advert   = layers.ICMPv6NeighborAdvertisement
)

func TestNeighbourAnswers(t *testing.T) {
	none := Neighbour{}
	for _, tt := range []struct {
		fact  string
		frame []byte
		want  Neighbour
	}{
		{"arp_reply", arpFrame(t, func(*layers.ARP) {}), Neighbour{their4, theirMAC, our4}},
		{"arp_request_is_no_answer", arpFrame(t, func(a *layers.ARP) { a.Operation = layers.ARPRequest }), none},
		{"arp_of_another_protocol", arpFrame(t, func(a *layers.ARP) { a.Protocol = layers.EthernetTypeIPv6 }), none},
		{"arp_cut_short", arpFrame(t, func(*layers.ARP) {})[:40], none},
		{"advertisement", advertFrame(t, func(*header6, *message6, *advert) {}), Neighbour{their6, theirMAC, our6}},
		{"advertisement_without_option_means_the_sender", advertFrame(t, func(_ *header6, _ *message6, a *advert) { a.Options = nil }), Neighbour{their6, [6]byte{2, 2, 2, 2, 2, 2}, our6}},
		{"unsolicited_advertisement", advertFrame(t, func(_ *header6, _ *message6, a *advert) { a.Flags = 0x20 }), none},
		{"advertisement_from_beyond_the_link", advertFrame(t, func(ip *header6, _ *message6, _ *advert) { ip.HopLimit = 254 }), none},
		{"solicitation_is_no_answer", advertFrame(t, func(_ *header6, i *message6, _ *advert) { i.TypeCode = layers.CreateICMPv6TypeCode(135, 0) }), none},
		{"advertisement_cut_short", advertFrame(t, func(*header6, *message6, *advert) {})[:EthernetLen+IPv6Len+20], none},
		{"nothing", nil, none},
	} {
		t.Run(tt.fact, func(t *testing.T) {
			var n Neighbour
			if ok := n.Decode(tt.frame); ok != (tt.want != none) || ok && n != tt.want {
				t.Errorf("%+v, %v; want %+v", n, ok, tt.want)
			}
		})
	}
}

// An option of length 0 would never end (RFC 4861 section 4.6).
func TestAdvertisementWithAnEmptyOptionIsRefused(t *testing.T) {
	b := advertFrame(t, func(*header6, *message6, *advert) {})
	b[EthernetLen+IPv6Len+24+1] = 0
	if new(Neighbour).Decode(b) {
		t.Error("it is accepted")
	}
}

// FuzzNeighbour holds the decoder to gopacket's: who has which address.
func FuzzNeighbour(f *testing.F) {
	f.Add(arpFrame(f, func(*layers.ARP) {}))
	f.Add(advertFrame(f, func(*header6, *message6, *advert) {}))
	f.Fuzz(func(t *testing.T, data []byte) {
		var n Neighbour
		if !n.Decode(data) {
			return
		}
		packet := gopacket.NewPacket(data, layers.LayerTypeEthernet, gopacket.NoCopy)
		if arp, ok := packet.Layer(layers.LayerTypeARP).(*layers.ARP); ok {
			if arp.Operation != layers.ARPReply || !bytes.Equal(arp.SourceProtAddress, n.Addr.AsSlice()) ||
				!bytes.Equal(arp.SourceHwAddress, n.MAC[:]) || !bytes.Equal(arp.DstProtAddress, n.To.AsSlice()) {
				t.Fatalf("%+v is read as %+v", arp, n)
			}
			return
		}
		if told, ok := packet.Layer(layers.LayerTypeICMPv6NeighborAdvertisement).(*layers.ICMPv6NeighborAdvertisement); ok {
			if told.TargetAddress.String() != n.Addr.String() && !n.Addr.Is4In6() {
				t.Fatalf("%+v is read as %+v", told, n)
			}
		}
	})
}

func TestNeighboursDoNotAllocate(t *testing.T) {
	b, frame := make([]byte, 96), advertFrame(t, func(*header6, *message6, *advert) {})
	var n Neighbour
	if got := testing.AllocsPerRun(100, func() {
		PutARPRequest(b, ourMAC, our4, their4)
		PutSolicitation(b, ourMAC, our6, their6)
		n.Decode(frame)
	}); got != 0 {
		t.Errorf("%v allocations", got)
	}
}
