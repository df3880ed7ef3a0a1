package twin

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"synoptic/bpf/watch"
)

// Frames that gopacket builds are read as it built them: every stack of tags,
// both families, TCP with any flags and options, UDP, ICMP, SCTP.
func TestFramesByGopacketAreReadAsBuilt(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 5000 {
		frame, want := build(t, r)
		var got Frame
		Decode(frame, &got)
		if got != want {
			t.Fatalf("% x:\ngot  %+v\nwant %+v", frame, got, want)
		}
	}
}

func build(t *testing.T, r *rand.Rand) ([]byte, Frame) {
	t.Helper()
	var stack []gopacket.SerializableLayer
	types := []layers.EthernetType{layers.EthernetTypeDot1Q, layers.EthernetTypeQinQ, 0x9100}
	tags := make([]layers.EthernetType, r.IntN(3))
	for i := range tags {
		tags[i] = types[r.IntN(len(types))]
	}
	six := r.IntN(2) == 0
	innermost := layers.EthernetTypeIPv4
	if six {
		innermost = layers.EthernetTypeIPv6
	}
	tags = append(tags, innermost)
	stack = append(stack, &layers.Ethernet{SrcMAC: make(net.HardwareAddr, 6), DstMAC: make(net.HardwareAddr, 6), EthernetType: tags[0]})
	for _, tag := range tags[1:] {
		stack = append(stack, &layers.Dot1Q{VLANIdentifier: uint16(r.IntN(4096)), Type: tag})
	}

	p := Frame{TTL: uint8(r.IntN(256))}
	p.SourcePort, p.DestinationPort, p.HasPorts = uint16(r.Uint32()), uint16(r.Uint32()), true
	var upper gopacket.SerializableLayer
	switch r.IntN(5) {
	case 0, 1:
		p.Class, p.Protocol, p.Flags = TCP, protoTCP, uint8(r.Uint32())
		f := func(bit uint8) bool { return p.Flags&bit != 0 }
		tcp := &layers.TCP{SrcPort: layers.TCPPort(p.SourcePort), DstPort: layers.TCPPort(p.DestinationPort), Seq: r.Uint32(), Ack: r.Uint32(),
			FIN: f(FIN), SYN: f(SYN), RST: f(RST), PSH: f(PSH), ACK: f(ACK), URG: f(URG), ECE: f(0x40), CWR: f(0x80)}
		n := r.IntN(10)
		for range n {
			tcp.Options = append(tcp.Options, layers.TCPOption{OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: []byte{5, 180}})
		}
		p.HeaderLen = uint8(20 + 4*n)
		upper = tcp
	case 2:
		p.Class, p.Protocol = UDP, protoUDP
		upper = &layers.UDP{SrcPort: layers.UDPPort(p.SourcePort), DstPort: layers.UDPPort(p.DestinationPort)}
	case 3:
		p.Class, p.Protocol = Other, protoSCTP
		upper = &layers.SCTP{SrcPort: layers.SCTPPort(p.SourcePort), DstPort: layers.SCTPPort(p.DestinationPort)}
	case 4:
		p.Class, p.Protocol, p.SourcePort, p.DestinationPort, p.HasPorts = ICMP, protoICMP, 0, 0, false
		upper = &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(8, 0)}
		if six {
			p.Protocol = protoICMP6
			upper = &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(128, 0)}
		}
	}
	var a, b [16]byte
	for i := range a {
		a[i], b[i] = byte(r.Uint32()), byte(r.Uint32())
	}
	if six {
		p.Source, p.Destination = netip.AddrFrom16(a), netip.AddrFrom16(b)
		ip := &layers.IPv6{Version: 6, HopLimit: p.TTL, NextHeader: layers.IPProtocol(p.Protocol), SrcIP: a[:], DstIP: b[:]}
		if r.IntN(3) == 0 {
			ip.NextHeader = layers.IPProtocolIPv6Destination
			options := &layers.IPv6Destination{Options: []*layers.IPv6DestinationOption{{OptionType: 1, OptionData: make([]byte, 4+8*r.IntN(4))}}}
			options.NextHeader = layers.IPProtocol(p.Protocol)
			stack = append(stack, ip, options)
		} else {
			stack = append(stack, ip)
		}
	} else {
		p.Source, p.Destination = netip.AddrFrom4([4]byte(a[:])), netip.AddrFrom4([4]byte(b[:]))
		ip := &layers.IPv4{Version: 4, TTL: p.TTL, Protocol: layers.IPProtocol(p.Protocol), SrcIP: a[:4], DstIP: b[:4], Id: uint16(r.Uint32())}
		for range r.IntN(3) {
			ip.Options = append(ip.Options, layers.IPv4Option{OptionType: 1, OptionLength: 1})
		}
		stack = append(stack, ip)
	}
	stack = append(stack, upper, gopacket.Payload(make([]byte, r.IntN(20))))
	buffer := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buffer, gopacket.SerializeOptions{FixLengths: true}, stack...); err != nil {
		t.Fatal(err)
	}
	return buffer.Bytes(), p
}

// Real traffic, much of it broken on purpose, runs through: every frame is
// counted once, and where gopacket finds ports behind plain IP, Decode finds the
// same. The captures lie beside the project and are not part of it.
func TestCapturesRunThrough(t *testing.T) {
	root := filepath.Join("..", "..", "..", "shared", "captures")
	if _, err := os.Stat(root); errors.Is(err, fs.ErrNotExist) {
		t.Skip("there are no captures beside the project")
	}
	files, frames, compared, events := 0, uint64(0), 0, uint64(0)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		next, ethernet := openCapture(f)
		if next == nil {
			return nil
		}
		files++
		w := newTwin(t, Config{Sets: 4}, withPackets())
		ran := uint64(0)
		for {
			data, info, err := next.ReadPacketData()
			if err != nil { // the end, or a capture that is itself cut
				break
			}
			w.Run(data, uint64(max(info.Timestamp.UnixNano(), 1)), watch.Context(ran%3))
			ran++
			if ethernet && compareWithGopacket(t, filepath.Base(path), data) {
				compared++
			}
		}
		counters, err := w.Counters()
		if err != nil || counters.Frames() != ran {
			t.Errorf("%s: %d frames, %d are counted (%v)", filepath.Base(path), ran, counters.Frames(), err)
		}
		if n := inOrder(t, w); n != counters.Events {
			t.Errorf("%s: %d snapshots, %d are counted", filepath.Base(path), n, counters.Events)
		}
		frames += ran
		events += counters.Events
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 1000 || compared < 5000 || events == 0 {
		t.Errorf("only %d files with %d frames were read, %d compared, %d events", files, frames, compared, events)
	}
	t.Logf("%d files, %d frames, %d compared, %d events", files, frames, compared, events)
}

// openCapture returns nil for what is no capture. Frames of other links than
// Ethernet are as good as random bytes.
func openCapture(f io.ReadSeeker) (next gopacket.PacketDataSource, ethernet bool) {
	if r, err := pcapgo.NewReader(f); err == nil {
		return r, r.LinkType() == layers.LinkTypeEthernet
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, false
	}
	if r, err := pcapgo.NewNgReader(f, pcapgo.DefaultNgReaderOptions); err == nil {
		return r, r.LinkType() == layers.LinkTypeEthernet
	}
	return nil, false
}

func compareWithGopacket(t *testing.T, name string, data []byte) bool {
	t.Helper()
	var p Frame
	Decode(data, &p)
	oracle := gopacket.NewPacket(data, layers.LayerTypeEthernet, gopacket.DecodeOptions{NoCopy: true, Lazy: true})
	if oracle.ErrorLayer() != nil { // it gave up on something, perhaps where Decode does not look
		return false
	}
	// The outermost IP header, and the first layer behind it that is no extension header.
	var source, destination netip.Addr
	tags := 0
	for _, layer := range oracle.Layers() {
		switch l := layer.(type) {
		case *layers.Dot1Q:
			if tags++; tags > 2 {
				return false
			}
			continue
		case *layers.Ethernet, *layers.IPv6HopByHop, *layers.IPv6Routing, *layers.IPv6Destination, *layers.IPSecAH:
			continue
		case *layers.IPv4:
			if source.IsValid() { // a tunnel
				return false
			}
			source, destination = addr(l.SrcIP.To4()), addr(l.DstIP.To4())
			if l.Contents[2]|l.Contents[3] == 0 || l.FragOffset != 0 || l.Version != 4 {
				return false // gopacket guesses the length, reads fragments as if they were whole, believes any version
			}
			continue
		case *layers.IPv6:
			if source.IsValid() {
				return false
			}
			source, destination = addr(l.SrcIP), addr(l.DstIP)
			continue
		case *layers.TCP:
			flags := uint8(0)
			for i, set := range []bool{l.FIN, l.SYN, l.RST, l.PSH, l.ACK, l.URG, l.ECE, l.CWR} {
				if set {
					flags |= 1 << i
				}
			}
			want := Frame{Class: TCP, Packet: watch.Packet{Source: source, Destination: destination, Protocol: protoTCP,
				SourcePort: uint16(l.SrcPort), DestinationPort: uint16(l.DstPort), HasPorts: true}, TTL: p.TTL, Flags: flags, HeaderLen: l.DataOffset * 4}
			if p != want {
				t.Errorf("%s: got  %+v, gopacket says %+v", name, p, want)
			}
			return true
		case *layers.UDP:
			want := Frame{Class: UDP, Packet: watch.Packet{Source: source, Destination: destination, Protocol: protoUDP,
				SourcePort: uint16(l.SrcPort), DestinationPort: uint16(l.DstPort), HasPorts: true}, TTL: p.TTL}
			if p != want {
				t.Errorf("%s: got  %+v, gopacket says %+v", name, p, want)
			}
			return true
		}
		return false
	}
	return false
}

func addr(b []byte) netip.Addr {
	a, _ := netip.AddrFromSlice(b)
	return a
}

// inOrder reads all snapshots and checks what must hold of each.
func inOrder(t *testing.T, w *Twin) (n uint64) {
	t.Helper()
	must(t, w.Read(func(s *watch.Snapshot) {
		n++
		if err := orderly(s); err != nil {
			t.Errorf("%v: %+v", err, s)
		}
	}))
	must(t, w.Sources(func(s *watch.Snapshot) {
		if err := orderly(s); err != nil {
			t.Errorf("%v: %+v", err, s)
		}
	}))
	return n
}

func orderly(s *watch.Snapshot) error {
	if s.Time != max(s.Last, s.LastPacket) {
		return fmt.Errorf("the packet at %d is not the last", s.Time)
	}
	if s.Before > s.Last || s.BeforePacket > s.LastPacket || s.Chain > s.Last {
		return errors.New("times run backwards")
	}
	for _, list := range [][]watch.Probe{s.Probes, s.Packets} {
		for i, p := range list {
			if i > 0 && list[i-1].Time > p.Time || p.Time > s.Time {
				return fmt.Errorf("port %d is out of order", p.Port)
			}
		}
	}
	if len(s.Probes) > watch.MaxProbes || len(s.Packets) > watch.MaxProbes {
		return errors.New("too many ports")
	}
	if s.From.IsValid() && s.From.Is4() == s.Source.Addr().Is4() && s.Source.Contains(s.From) == false {
		return fmt.Errorf("%v is not of %v", s.From, s.Source)
	}
	return nil
}
