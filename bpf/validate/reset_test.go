package validate_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"synoptic/internal/method"
	"synoptic/internal/wire"
)

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

// checkReset says what is wrong with the reset that a SYN+ACK was turned into, as
// gopacket decodes it.
func checkReset(synAck, reset []byte) error {
	var was wire.Packet
	was.Decode(synAck, wire.Ethernet)
	p := gopacket.NewPacket(reset, layers.LayerTypeEthernet, gopacket.DecodeOptions{NoCopy: true})
	if p.ErrorLayer() != nil {
		return p.ErrorLayer().Error()
	}
	eth := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
	if !bytes.Equal(eth.SrcMAC, synAck[:6]) || !bytes.Equal(eth.DstMAC, synAck[6:12]) || eth.EthernetType != layers.EthernetType(binary.BigEndian.Uint16(synAck[12:])) {
		return fmt.Errorf("%s -> %s, %v", eth.SrcMAC, eth.DstMAC, eth.EthernetType)
	}
	header, keep := 20, 60
	switch ip := p.NetworkLayer().(type) {
	case *layers.IPv4:
		if ip.Length != 40 || ip.IHL != 5 || ip.TTL != 64 || ip.Id != 0 || ip.TOS != 0 || ip.Flags != layers.IPv4DontFragment || ip.FragOffset != 0 || ip.Protocol != layers.IPProtocolTCP {
			return fmt.Errorf("IPv4 header %+v", ip)
		}
		if s := onesSum(reset[14:34]); s != 0xffff {
			return fmt.Errorf("IPv4 header sums to %#x", s)
		}
	case *layers.IPv6:
		header, keep = 40, 74
		if ip.Length != 20 || ip.HopLimit != 64 || ip.TrafficClass != 0 || ip.FlowLabel != 0 || ip.NextHeader != layers.IPProtocolTCP {
			return fmt.Errorf("IPv6 header %+v", ip)
		}
	default:
		return fmt.Errorf("no IP header")
	}
	flow := p.NetworkLayer().NetworkFlow()
	if !bytes.Equal(flow.Src().Raw(), was.Dst.AsSlice()) || !bytes.Equal(flow.Dst().Raw(), was.Src.AsSlice()) {
		return fmt.Errorf("%v", flow)
	}
	tcp, ok := p.TransportLayer().(*layers.TCP)
	if !ok {
		return fmt.Errorf("no TCP header")
	}
	if uint16(tcp.SrcPort) != was.TCP.DstPort || uint16(tcp.DstPort) != was.TCP.SrcPort || tcp.Seq != was.TCP.Ack || tcp.Ack != 0 ||
		tcp.Contents[13] != wire.RST || tcp.DataOffset != 5 || tcp.Window != 0 || tcp.Urgent != 0 || len(tcp.Options) > 0 || len(tcp.Payload) > 0 {
		return fmt.Errorf("TCP header %+v", tcp)
	}
	ip, l4 := reset[14:14+header], reset[14+header:14+header+20]
	addrs := ip[header-len(was.Src.AsSlice())*2:]
	if s := onesSum(addrs, []byte{0, 6, 0, 20}, l4); s != 0xffff {
		return fmt.Errorf("TCP segment sums to %#x", s)
	}
	if len(reset) != min(len(synAck), keep) {
		return fmt.Errorf("%d bytes, made of %d", len(reset), len(synAck))
	}
	if padding := reset[14+header+20:]; !bytes.Equal(padding, make([]byte, len(padding))) {
		return fmt.Errorf("padding %x", padding)
	}
	return nil
}

// serialised is a SYN+ACK as gopacket builds it.
func serialised(t *testing.T, from, to netip.AddrPort, change func(*layers.TCP), upper ...gopacket.SerializableLayer) []byte {
	t.Helper()
	tcp := &layers.TCP{SrcPort: layers.TCPPort(from.Port()), DstPort: layers.TCPPort(to.Port()), SYN: true, ACK: true, Seq: 7, Ack: key.Of(from, to) + 1, Window: 29200}
	change(tcp)
	eth := &layers.Ethernet{DstMAC: macs[:6], SrcMAC: macs[6:], EthernetType: layers.EthernetTypeIPv4}
	stack := []gopacket.SerializableLayer{eth}
	if from.Addr().Is4() {
		ip := &layers.IPv4{Version: 4, TTL: ttl, TOS: 3, Id: 77, Protocol: layers.IPProtocolTCP, SrcIP: from.Addr().AsSlice(), DstIP: to.Addr().AsSlice()}
		tcp.SetNetworkLayerForChecksum(ip)
		stack = append(stack, ip)
	} else {
		eth.EthernetType = layers.EthernetTypeIPv6
		ip := &layers.IPv6{Version: 6, HopLimit: ttl, FlowLabel: 77, NextHeader: layers.IPProtocolTCP, SrcIP: from.Addr().AsSlice(), DstIP: to.Addr().AsSlice()}
		tcp.SetNetworkLayerForChecksum(ip)
		stack = append(stack, ip)
	}
	b := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, append(append(stack, tcp), upper...)...)
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestSynAckIsTurnedIntoAReset(t *testing.T) {
	v := load(t, config(method.ByName("syn")))
	quiet := config(method.ByName("syn"))
	quiet.NoReset = true
	silent := load(t, quiet)
	mss := []layers.TCPOption{{OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: []byte{5, 180}}}
	for _, at := range []struct{ from, to netip.AddrPort }{
		{netip.AddrPortFrom(host4, 80), netip.AddrPortFrom(source4, port)}, {netip.AddrPortFrom(host6, 80), netip.AddrPortFrom(source6, port+2)},
	} {
		for fact, frame := range map[string][]byte{
			"bare":            segment{from: at.from, to: at.to, flags: wire.SYN | wire.ACK, ack: key.Of(at.from, at.to) + 1}.bytes(),
			"padded":          serialised(t, at.from, at.to, func(*layers.TCP) {}),
			"with_options":    serialised(t, at.from, at.to, func(t *layers.TCP) { t.Options = mss }),
			"with_data":       serialised(t, at.from, at.to, func(t *layers.TCP) { t.Options = mss }, gopacket.Payload(bytes.Repeat([]byte("data"), 300))),
			"with_ip_options": segment{from: at.from, to: at.to, flags: wire.SYN | wire.ACK, ack: key.Of(at.from, at.to) + 1, ip: shape{options: 40, extensions: []byte{0, 60, 43}}}.bytes(),
		} {
			t.Run(fmt.Sprintf("%s/%s", fact, at.from.Addr()), func(t *testing.T) {
				v.Forget()
				silent.Forget()
				verdict, after := run(t, v, frame, make([]byte, 4096))
				if verdict != xdpTX {
					t.Fatalf("verdict %d", verdict)
				}
				if err := checkReset(frame, after); err != nil {
					t.Errorf("%v: %x", err, after)
				}
				verdict, same := runAs(t, v, true, frame, make([]byte, 4096))
				if verdict != xdpTX || !bytes.Equal(same, after) {
					t.Errorf("tcx: verdict %d, %x", verdict, same)
				}
				// A SYN+ACK that comes again had no reset that arrived.
				if verdict, _ = run(t, v, frame, make([]byte, 4096)); verdict != xdpTX {
					t.Errorf("verdict %d when it comes again", verdict)
				}
				verdict, after = run(t, silent, frame, make([]byte, 4096))
				if verdict != xdpDrop || !bytes.Equal(after, frame) {
					t.Errorf("verdict %d without resets", verdict)
				}
				if read(t, silent) == nil {
					t.Error("no record without resets")
				}
			})
		}
	}
	if c := counters(t, silent); c.Resets+c.Unreset > 0 {
		t.Errorf("%+v", c)
	}
}
