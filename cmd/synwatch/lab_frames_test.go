package main_test

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"synoptic/internal/lab"
)

// mac returns a device's link address.
func mac(t *testing.T, ns *lab.Namespace, device string) (a net.HardwareAddr) {
	t.Helper()
	err := ns.Do(func() error {
		dev, err := net.InterfaceByName(device)
		if err == nil {
			a = dev.HardwareAddr
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// near is the scanner's address on a host's own link.
func near(h *lab.Host) netip.Addr { return neighbour(h, 1) }

// neighbour is an address on a host's own link, which nobody needs to have.
func neighbour(h *lab.Host, last byte) netip.Addr {
	a := h.Addr4.As4()
	a[3] = last
	return netip.AddrFrom4(a)
}

// template is a TCP segment to a host, with 40 bytes of headers behind those of
// Ethernet and right checksums.
func template(t *testing.T, h *lab.Host, from, to netip.AddrPort, flags uint8) []byte {
	t.Helper()
	eth := &layers.Ethernet{SrcMAC: net.HardwareAddr{2, 0, 0, 0, 9, 9}, DstMAC: mac(t, h.Namespace, h.Far), EthernetType: layers.EthernetTypeIPv4}
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: from.Addr().AsSlice(), DstIP: to.Addr().AsSlice()}
	tcp := &layers.TCP{
		SrcPort: layers.TCPPort(from.Port()), DstPort: layers.TCPPort(to.Port()), Seq: 0x01020304, Window: 1024,
		FIN: flags&fin != 0, SYN: flags&syn != 0, RST: flags&rst != 0, PSH: flags&psh != 0, ACK: flags&ack != 0, URG: flags&urg != 0,
	}
	if err := tcp.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, eth, ip, tcp); err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(b.Bytes()[:14+40])
}

// Where a template has what.
const (
	atIPSum  = 14 + 10
	atSource = 14 + 12
	atPorts  = 14 + 20
	atFlags  = 14 + 20 + 13
	atTCPSum = 14 + 20 + 16
)

// put16 writes a field and keeps a checksum over it right (RFC 1624).
func put16(b []byte, at int, v uint16, sums ...int) {
	old := binary.BigEndian.Uint16(b[at:])
	binary.BigEndian.PutUint16(b[at:], v)
	for _, sum := range sums {
		s := uint32(^binary.BigEndian.Uint16(b[sum:])) + uint32(^old) + uint32(v)
		s = s&0xffff + s>>16
		s = s&0xffff + s>>16
		binary.BigEndian.PutUint16(b[sum:], ^uint16(s))
	}
}

// setSource forges the source.
func setSource(b []byte, a uint32) {
	put16(b, atSource, uint16(a>>16), atIPSum, atTCPSum)
	put16(b, atSource+2, uint16(a), atIPSum, atTCPSum)
}

// walk makes SYNs from one source to one port after the other.
func walk(t *testing.T, h *lab.Host, source netip.Addr, first uint16) func(uint64, *[1514]byte) int {
	t.Helper()
	frame := template(t, h, netip.AddrPortFrom(source, 40000), netip.AddrPortFrom(h.Addr4, first), syn)
	return func(n uint64, buf *[1514]byte) int {
		size := copy(buf[:], frame)
		put16(buf[:], atPorts+2, first+uint16(n), atTCPSum)
		return size
	}
}

// forged is the n-th forged source of a seed: an address of the unicast range
// outside the lab's own and loopback's, almost always another one.
func forged(seed, n uint64) uint32 {
	x := seed + n*0x9e3779b97f4a7c15 // SplitMix64
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	x ^= x >> 31
	return 128<<24 + uint32(x%(40<<24)) // 128.0.0.0 to 167.255.255.255
}

// storm makes SYNs, each from another forged source, to ports below 1024, or to
// port only.
func storm(t *testing.T, h *lab.Host, seed uint64, port uint16) func(uint64, *[1514]byte) int {
	t.Helper()
	frame := template(t, h, netip.AddrPortFrom(near(h), 40000), netip.AddrPortFrom(h.Addr4, max(port, 1)), syn)
	return func(n uint64, buf *[1514]byte) int {
		size := copy(buf[:], frame)
		setSource(buf[:], forged(seed, n))
		if port == 0 {
			put16(buf[:], atPorts+2, 1+uint16(n*2654435761>>16)%1023, atTCPSum)
		}
		return size
	}
}

// Forged frames are as good as real ones: another library finds their checksums
// right, and the sources differ.
func TestForgedFramesAreWhole(t *testing.T) {
	lab.NeedRoot(t)
	l := lab.New(t, lab.Config{})
	h := l.MustAddHost(t, lab.HostConfig{Place: lab.OwnLink})
	makers := map[string]func(uint64, *[1514]byte) int{
		"walk": walk(t, h, neighbour(h, 50), 100), "storm": storm(t, h, 1, 0), "one_port": storm(t, h, 1, 80), "backscatter": backscatter(t, h),
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
