package respond

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// XDP verdicts, enum xdp_action in <linux/bpf.h>.
const (
	xdpDrop = 1
	xdpPass = 2
	xdpTX   = 3
)

var (
	scannerMAC = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	gateMAC    = net.HardwareAddr{2, 0, 0, 0, 0, 2}
	scanner4   = netip.MustParseAddr("172.16.0.1")
	scanner6   = netip.MustParseAddr("fd00:172:16::1")
)

// load loads a responder for the time of the test. The kernel wants root; a
// laptop without skips, CI must not.
func load(t testing.TB, cfg Config) *Responder {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("BPF tests need root, and CI=true forbids to skip them")
		}
		t.Skip("BPF tests need root")
	}
	r, err := Load(cfg)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func configure(t testing.TB, r *Responder, cfg Config) {
	t.Helper()
	if err := r.Configure(cfg); err != nil {
		t.Fatal(err)
	}
}

func counters(t testing.TB, r *Responder) Counters {
	t.Helper()
	c, err := r.Counters()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// run puts a frame through the program: verdict and the frame afterwards. buf
// is scratch space that the returned frame points into.
func run(t testing.TB, r *Responder, frame, buf []byte) (verdict uint32, out []byte) {
	t.Helper()
	opts := ebpf.RunOptions{Data: frame, DataOut: buf[:cap(buf)]}
	verdict, err := r.prog.Run(&opts)
	if err != nil {
		t.Fatalf("run %x: %v", frame, err)
	}
	return verdict, opts.DataOut
}

// probe describes a segment towards the range.
type probe struct {
	to      netip.AddrPort
	flags   uint8
	seq     uint32
	ack     uint32
	options []byte // IPv4 header options, a multiple of 4 bytes
	mss     bool
	payload string
}

const probePort = 40000

func (p probe) String() string {
	return fmt.Sprintf("%s to %s, %d bytes of data", FlagNames(p.flags), p.to, len(p.payload))
}

// bytes has gopacket build the frame.
func (p probe) bytes(t testing.TB) []byte {
	t.Helper()
	eth := &layers.Ethernet{SrcMAC: scannerMAC, DstMAC: gateMAC, EthernetType: layers.EthernetTypeIPv4}
	tcp := &layers.TCP{
		SrcPort: probePort, DstPort: layers.TCPPort(p.to.Port()), Seq: p.seq, Ack: p.ack, Window: 1024,
		FIN: p.flags&FIN != 0, SYN: p.flags&SYN != 0, RST: p.flags&RST != 0,
		PSH: p.flags&PSH != 0, ACK: p.flags&ACK != 0, URG: p.flags&URG != 0,
		ECE: p.flags&0x40 != 0, CWR: p.flags&0x80 != 0,
	}
	if p.mss {
		tcp.Options = []layers.TCPOption{{OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: []byte{5, 0xb4}}}
	}
	var ip gopacket.SerializableLayer
	if p.to.Addr().Is4() {
		ip4 := &layers.IPv4{Version: 4, TTL: 61, Id: 54321, Protocol: layers.IPProtocolTCP, SrcIP: scanner4.AsSlice(), DstIP: p.to.Addr().AsSlice()}
		for i := 0; i < len(p.options); i++ { // single bytes: no-operation or end of list
			ip4.Options = append(ip4.Options, layers.IPv4Option{OptionType: p.options[i], OptionLength: 1})
		}
		tcp.SetNetworkLayerForChecksum(ip4)
		ip = ip4
	} else {
		eth.EthernetType = layers.EthernetTypeIPv6
		ip6 := &layers.IPv6{Version: 6, HopLimit: 61, NextHeader: layers.IPProtocolTCP, SrcIP: scanner6.AsSlice(), DstIP: p.to.Addr().AsSlice()}
		tcp.SetNetworkLayerForChecksum(ip6)
		ip = ip6
	}
	b := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, eth, ip, tcp, gopacket.Payload(p.payload))
	if err != nil {
		t.Fatal(err)
	}
	frame := b.Bytes()
	size := 14 + int(binary.BigEndian.Uint16(frame[16:]))
	if p.to.Addr().Is6() {
		size = 54 + int(binary.BigEndian.Uint16(frame[18:]))
	}
	return bytes.Clone(frame[:size]) // gopacket pads to the 60 bytes of a real wire
}

// onesSum is RFC 1071 taken literally, two bytes at a time.
func onesSum(parts ...[]byte) uint16 {
	all := bytes.Join(parts, nil)
	if len(all)%2 == 1 {
		all = append(all, 0)
	}
	var sum uint32
	for i := 0; i < len(all); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(all[i:]))
		if sum > 0xffff {
			sum -= 0xffff
		}
	}
	return uint16(sum)
}

// checkSums verifies all checksums of a frame without options or extension
// headers, slowly.
func checkSums(frame []byte) error {
	ip := frame[14:]
	if ip[0]>>4 == 4 {
		if s := onesSum(ip[:20]); s != 0xffff {
			return fmt.Errorf("IPv4 header sums to %#x", s)
		}
		l4 := ip[20:]
		pseudo := append(bytes.Clone(ip[12:20]), 0, ip[9], byte(len(l4)>>8), byte(len(l4)))
		if ip[9] == 1 { // ICMP has no pseudo-header
			pseudo = nil
		}
		if s := onesSum(pseudo, l4); s != 0xffff {
			return fmt.Errorf("IPv4 payload sums to %#x", s)
		}
		return nil
	}
	l4 := ip[40:]
	pseudo := append(bytes.Clone(ip[8:40]), 0, 0, byte(len(l4)>>8), byte(len(l4)), 0, 0, 0, ip[6])
	if s := onesSum(pseudo, l4); s != 0xffff {
		return fmt.Errorf("IPv6 payload sums to %#x", s)
	}
	return nil
}

// checkReply compares a reply to a probe frame with the expected answer.
func checkReply(p probe, sent, got []byte, want Answer, quote int) error {
	if err := checkSums(got); err != nil {
		return err
	}
	pkt := gopacket.NewPacket(got, layers.LayerTypeEthernet, gopacket.Default)
	eth := pkt.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
	if !bytes.Equal(eth.SrcMAC, gateMAC) || !bytes.Equal(eth.DstMAC, scannerMAC) {
		return fmt.Errorf("MACs %s -> %s", eth.SrcMAC, eth.DstMAC)
	}
	from, scanner, length, ttl := netip.Addr{}, scanner4, 0, uint8(0)
	switch ip := pkt.NetworkLayer().(type) {
	case *layers.IPv4:
		from, _ = netip.AddrFromSlice(ip.SrcIP.To4())
		length, ttl = int(ip.Length), ip.TTL
	case *layers.IPv6:
		from, _ = netip.AddrFromSlice(ip.SrcIP)
		length, ttl, scanner = int(ip.Length)+40, ip.HopLimit, scanner6
	default:
		return fmt.Errorf("no IP in %x", got)
	}
	if to, _ := netip.AddrFromSlice(pkt.NetworkLayer().NetworkFlow().Dst().Raw()); to != scanner {
		return fmt.Errorf("sent to %s", to)
	}
	if length != len(got)-14 || ttl != 64 {
		return fmt.Errorf("IP length %d in a frame of %d, TTL %d", length, len(got), ttl)
	}
	if want.Kind == ICMP {
		return checkError(p, sent, got, want, from, quote)
	}
	if from != p.to.Addr() {
		return fmt.Errorf("sent by %s", from)
	}
	tcp, ok := pkt.Layer(layers.LayerTypeTCP).(*layers.TCP)
	if !ok {
		return fmt.Errorf("no TCP in %x", got)
	}
	return checkSegment(p, tcp, want)
}

// checkSegment follows RFC 9293 3.10.7.1: sequence numbers of resets.
func checkSegment(p probe, tcp *layers.TCP, want Answer) error {
	var flags uint8
	seq, ack := tcp.Seq, p.seq+1
	if want.Kind == SynAck {
		flags = SYN | ACK
	} else if p.flags&ACK != 0 {
		flags, seq, ack = RST, p.ack, 0
	} else {
		flags, seq, ack = RST|ACK, 0, p.seq+uint32(len(p.payload))
		if p.flags&SYN != 0 {
			ack++
		}
		if p.flags&FIN != 0 {
			ack++
		}
	}
	if got := tcp.Contents[13]; got != flags {
		return fmt.Errorf("flags %s, want %s", FlagNames(got), FlagNames(flags))
	}
	if tcp.Seq != seq || tcp.Ack != ack {
		return fmt.Errorf("seq %d ack %d, want %d and %d", tcp.Seq, tcp.Ack, seq, ack)
	}
	if tcp.SrcPort != layers.TCPPort(p.to.Port()) || tcp.DstPort != probePort {
		return fmt.Errorf("ports %d -> %d", tcp.SrcPort, tcp.DstPort)
	}
	if tcp.Window != want.Window || len(tcp.Options) > 0 != want.Options || len(tcp.Payload) > 0 {
		return fmt.Errorf("window %d, options %v, %d bytes of data", tcp.Window, tcp.Options, len(tcp.Payload))
	}
	if want.Options && tcp.Options[0].OptionType != layers.TCPOptionKindMSS {
		return fmt.Errorf("option %v, want MSS", tcp.Options[0])
	}
	return nil
}

func checkError(p probe, sent, got []byte, want Answer, from netip.Addr, quote int) error {
	if from != want.From {
		return fmt.Errorf("ICMP sent by %s, want %s", from, want.From)
	}
	ip, icmp := sent[14:], got[14+20:]
	header, proto := int(ip[0]&15)*4, byte(1)
	if p.to.Addr().Is6() {
		icmp, header, proto = got[14+40:], 40, 58
	}
	if (p.to.Addr().Is4() && got[23] != proto) || (p.to.Addr().Is6() && got[20] != proto) {
		return fmt.Errorf("not ICMP: %x", got)
	}
	if icmp[0] != want.Type || icmp[1] != want.Code {
		return fmt.Errorf("type %d code %d, want %d and %d", icmp[0], icmp[1], want.Type, want.Code)
	}
	quoted := ip[:header+min(quote, int(ip[header+12]>>4)*4)]
	if !bytes.Equal(icmp[4:8], make([]byte, 4)) || !bytes.Equal(icmp[8:], quoted) {
		return fmt.Errorf("quotes %x of %x", icmp[4:], quoted)
	}
	return nil
}
