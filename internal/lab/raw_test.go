package lab

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"golang.org/x/sys/unix"

	"synoptic/bpf/respond"
)

// raw is a packet socket on the scanner's device.
type raw struct {
	t  testing.TB
	fd int
}

func openRaw(t testing.TB, l *Lab) *raw {
	t.Helper()
	r := &raw{t: t}
	err := l.Scanner.Do(func() (err error) {
		if err := Guard(); err != nil {
			return err
		}
		dev, err := net.InterfaceByName(ScannerDevice)
		if err != nil {
			return err
		}
		all := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_ALL))
		r.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(all))
		if err != nil {
			return err
		}
		t.Cleanup(func() { unix.Close(r.fd) })
		for option, value := range map[int]int{unix.PACKET_QDISC_BYPASS: 1, unix.PACKET_IGNORE_OUTGOING: 1} {
			if err := unix.SetsockoptInt(r.fd, unix.SOL_PACKET, option, value); err != nil {
				return err
			}
		}
		if err := unix.SetsockoptInt(r.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20); err != nil {
			return err
		}
		patience := unix.NsecToTimeval((300 * time.Millisecond).Nanoseconds())
		if err := unix.SetsockoptTimeval(r.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience); err != nil {
			return err
		}
		return unix.Bind(r.fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: dev.Index})
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// received returns frames until there have been none for a while.
func (r *raw) received() (frames [][]byte) {
	buf := make([]byte, 65536)
	for {
		n, _, err := unix.Recvfrom(r.fd, buf, 0)
		if err == unix.EAGAIN {
			return frames
		}
		if err != nil && err != unix.EINTR {
			r.t.Fatal(err)
		}
		frames = append(frames, bytes.Clone(buf[:max(n, 0)]))
	}
}

// segment builds a frame from the scanner.
func segment(t testing.TB, nextHop net.HardwareAddr, sport uint16, to netip.AddrPort, flags uint8) []byte {
	t.Helper()
	eth := &layers.Ethernet{SrcMAC: ScannerMAC, DstMAC: nextHop, EthernetType: layers.EthernetTypeIPv4}
	tcp := &layers.TCP{
		SrcPort: layers.TCPPort(sport), DstPort: layers.TCPPort(to.Port()), Seq: 0x01020304, Ack: 0x05060708, Window: 1024,
		FIN: flags&respond.FIN != 0, SYN: flags&respond.SYN != 0, RST: flags&respond.RST != 0,
		PSH: flags&respond.PSH != 0, ACK: flags&respond.ACK != 0, URG: flags&respond.URG != 0,
	}
	var ip gopacket.SerializableLayer
	if to.Addr().Is4() {
		ip4 := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: Scanner4.AsSlice(), DstIP: to.Addr().AsSlice()}
		_ = tcp.SetNetworkLayerForChecksum(ip4)
		ip = ip4
	} else {
		eth.EthernetType = layers.EthernetTypeIPv6
		ip6 := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolTCP, SrcIP: Scanner6.AsSlice(), DstIP: to.Addr().AsSlice()}
		_ = tcp.SetNetworkLayerForChecksum(ip6)
		ip = ip6
	}
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, eth, ip, tcp); err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(b.Bytes())
}

// answerIn reads an answer and the port it is for out of a frame.
func answerIn(frame []byte) (sport uint16, a respond.Answer, ok bool) {
	pkt := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.NoCopy)
	if pkt.NetworkLayer() == nil {
		return 0, a, false
	}
	from, _ := netip.AddrFromSlice(pkt.NetworkLayer().NetworkFlow().Src().Raw())
	if tcp, is := pkt.Layer(layers.LayerTypeTCP).(*layers.TCP); is {
		a.Kind = respond.Reset
		if tcp.SYN && tcp.ACK {
			a.Kind = respond.SynAck
		}
		a.Window, a.Options = tcp.Window, len(tcp.Options) > 0
		return uint16(tcp.DstPort), a, tcp.SYN || tcp.RST
	}
	a.Kind, a.From = respond.ICMP, from
	quoted := []byte(nil)
	if icmp, is := pkt.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4); is && len(icmp.Payload) >= 28 {
		a.Type, a.Code = icmp.TypeCode.Type(), icmp.TypeCode.Code()
		quoted = icmp.Payload[20:]
	}
	if icmp, is := pkt.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6); is && len(icmp.Payload) >= 4+48 {
		a.Type, a.Code = icmp.TypeCode.Type(), icmp.TypeCode.Code()
		quoted = icmp.Payload[4+40:]
	}
	if quoted == nil {
		return 0, a, false
	}
	return binary.BigEndian.Uint16(quoted), a, true
}

// TestAnswersToEveryFlagSet sends all 64 to ports of all kinds, of kernels and
// of simulated hosts alike: what they answer is what the truth says. For the
// Linux of the day this is where the personality "standard" is proven.
func TestAnswersToEveryFlagSet(t *testing.T) {
	cfg := respond.DefaultConfig()
	cfg.Open, cfg.Closed, cfg.Rejected = respond.Fraction(1, 4), respond.Fraction(1, 4), respond.Fraction(1, 4)
	l := New(t, Config{Respond: &cfg})
	hosts := realHosts(t, l, pastTheGate)
	truth := l.MustTruth(t)
	r := openRaw(t, l)

	type destination struct {
		mac  net.HardwareAddr
		addr netip.Addr
	}
	destinations := []destination{{GateMAC, netip.MustParseAddr("10.9.8.7")}, {GateMAC, netip.MustParseAddr("fd00:10::abc")}}
	for i, h := range hosts {
		next := GateMAC
		if link4.Contains(h.Addr4) && h.Addr4 != Gate4 {
			next = mac(1, byte(i+1))
		}
		destinations = append(destinations, destination{next, h.Addr4}, destination{next, h.Addr6})
		// So that addresses are resolved and no answer waits.
		dialAll(t, l, []attempt{{netip.AddrPortFrom(h.Addr4, 80), nil}, {netip.AddrPortFrom(h.Addr6, 80), nil}})
	}
	r.received()

	type key struct {
		flags uint8
		to    netip.AddrPort
	}
	probes := map[uint16]key{}
	sport := uint16(20000)
	for _, d := range destinations {
		for _, port := range []uint16{80, 81, 22, 45, 50, 69, 70} {
			for flags := range uint8(64) {
				to := netip.AddrPortFrom(d.addr, port)
				probes[sport] = key{flags, to}
				if err := unix.Send(r.fd, segment(t, d.mac, sport, to, flags), 0); err != nil {
					t.Fatal(err)
				}
				sport++
			}
		}
	}
	got := map[uint16]respond.Answer{}
	for _, f := range r.received() {
		port, a, ok := answerIn(f)
		if _, again := got[port]; !ok || again { // a SYN+ACK may come again
			continue
		}
		got[port] = a
	}
	wrong := 0
	for port, p := range probes {
		want, have := truth.Answer(p.flags, p.to), got[port]
		if want.Window > 0 && have.Window > 0 {
			have.Window = want.Window // whatever a kernel chooses
		}
		if have.Kind == respond.SynAck {
			want.Options = true
		}
		if have != want {
			if wrong++; wrong < 20 {
				t.Errorf("%s to %s (%s): %+v, want %+v", respond.FlagNames(p.flags), p.to, truth.State(p.to), have, want)
			}
		}
	}
	t.Logf("%d probes, %d answers, %d wrong", len(probes), len(got), wrong)
}

// TestEveryProbeIsSeenOrRefused: what the sender was told is what the
// responder counted, at the highest rate that a plain socket reaches.
func TestEveryProbeIsSeenOrRefused(t *testing.T) {
	l := New(t, Config{})
	r := openRaw(t, l)
	frame := segment(t, GateMAC, 20000, netip.MustParseAddrPort("10.0.0.1:80"), respond.SYN)
	frame = frame[:54] // without gopacket's padding
	const n = 200_000
	var sent, refused uint64
	start := time.Now()
	for i := range uint32(n) {
		binary.BigEndian.PutUint32(frame[30:], 10<<24|i)
		fixChecksums(frame)
		switch err := unix.Send(r.fd, frame, 0); err {
		case nil:
			sent++
		case unix.ENOBUFS:
			refused++
		default:
			t.Fatal(err)
		}
	}
	rate := float64(n) / time.Since(start).Seconds()
	var c respond.Counters
	for range 100 {
		var err error
		if c, err = l.Responder.Counters(); err != nil {
			t.Fatal(err)
		}
		if c.TCP[respond.SYN] >= sent {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	probes, replies, err := l.Overruns()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%.0f frames a second; %d sent, %d refused; link refused %d probes, %d replies", rate, sent, refused, probes, replies)
	if c.TCP[respond.SYN] != sent || c.BadChecksum+c.Malformed+c.NonTCP != 0 {
		t.Errorf("%d probes sent, counters %+v", sent, c)
	}
	if probes != refused {
		t.Errorf("%d probes refused, the link says %d", refused, probes)
	}
	if err := c.Check(); err != nil {
		t.Error(err)
	}
}
