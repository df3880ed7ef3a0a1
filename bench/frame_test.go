package bench

import (
	"net"
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"synoptic/bpf/respond"
	"synoptic/internal/lab"
)

// segmentLen is the length of a frame of IPv4 and TCP without options.
const segmentLen = 54

// segment is such a frame, with its checksums.
func segment(t testing.TB, nextHop net.HardwareAddr, from, to netip.AddrPort, flags uint8) []byte {
	t.Helper()
	eth := &layers.Ethernet{SrcMAC: lab.ScannerMAC, DstMAC: nextHop, EthernetType: layers.EthernetTypeIPv4}
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: from.Addr().AsSlice(), DstIP: to.Addr().AsSlice()}
	tcp := &layers.TCP{SrcPort: layers.TCPPort(from.Port()), DstPort: layers.TCPPort(to.Port()), Window: 1024,
		SYN: flags&respond.SYN != 0, RST: flags&respond.RST != 0, ACK: flags&respond.ACK != 0}
	_ = tcp.SetNetworkLayerForChecksum(ip)
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, eth, ip, tcp); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()[:segmentLen] // gopacket pads it
}
