package tx

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"synoptic/internal/cookie"
	"synoptic/internal/method"
	"synoptic/internal/plan"
	"synoptic/internal/wire"
)

// mss is the only option a SYN carries: 1460, what Ethernet's 1500 bytes leave
// for IPv4. Zakir et al. measured a hit rate of 1.328 % with it against 1.305 %
// without options ("Ten Years of ZMap", IMC 2024), and the frame still fits the
// minimum Ethernet size.
const mss = 1460

// Probe says how the probes of a scan look. The same Probe and Plan always give
// the same bytes.
type Probe struct {
	Plan   *plan.Plan
	Method *method.Method
	Key    cookie.Key

	// SourcePort is the source port of the first try; try k sends from
	// SourcePort+k*PortStep, so that an answer tells which try it answers.
	// PortStep is 0 or 1.
	SourcePort, PortStep uint16
	// TTL of the probes; 0 means 64.
	TTL uint8

	// Links are the ways out, and Route gives that of each target. It reports
	// false for a target that no probe can go to, and must not allocate.
	Links []Link
	Route func(netip.Addr) (Hop, bool)
}

// Link is one way out: an interface, as frames see it.
type Link struct {
	Header wire.Link // in front of IP
	MAC    [6]byte   // the sender, on Ethernet
	// Source4 and Source6 are the source addresses; without one, no probe of
	// its family can go this way.
	Source4, Source6 netip.Addr
}

// Hop is where a probe goes.
type Hop struct {
	Link int     // index into the Probe's Links
	MAC  [6]byte // the receiver, on Ethernet
}

// FrameCap is the most bytes a frame takes: Ethernet, IPv6, TCP and the option
// are 78.
const FrameCap = 96

// Framer builds frames: the template of each family once, with everything that
// does not change, then per probe only addresses, ports, cookie and the
// checksums, which are sums over the template plus what was patched in
// (RFC 1071). It is not safe for concurrent use; every sender has its own.
type Framer struct {
	Probe
	links []templates
	mixed bool // there are frames for several sockets
}

// templates are those of a link.
type templates struct{ v4, v6 template }

// template is a whole frame whose patched fields are zero.
type template struct {
	frame  []byte
	ip     int    // offset of the IP header
	tcp    int    // offset of the TCP header
	ipSum  uint32 // over the IPv4 header
	tcpSum uint32 // over pseudo header and TCP header
	source netip.Addr
}

// NewFramer prepares the templates of the families the plan needs.
func NewFramer(p Probe) (*Framer, error) {
	if p.TTL == 0 {
		p.TTL = 64
	}
	f := &Framer{Probe: p, links: make([]templates, len(p.Links))}
	targets := p.Plan.Targets()
	f.mixed = len(p.Links) > 1 || targets.Has4() && targets.Has6()
	for i, link := range p.Links {
		var err error
		if link.Source4.Is4() {
			if f.links[i].v4, err = p.template(&link, link.Source4); err != nil {
				return nil, err
			}
		}
		if link.Source6.Is6() {
			if f.links[i].v6, err = p.template(&link, link.Source6); err != nil {
				return nil, err
			}
		}
	}
	return f, nil
}

func (p *Probe) template(link *Link, source netip.Addr) (template, error) {
	var stack []gopacket.SerializableLayer
	t := template{source: source}
	etherType, ipLen := layers.EthernetTypeIPv4, wire.IPv4Len
	if source.Is6() {
		etherType, ipLen = layers.EthernetTypeIPv6, wire.IPv6Len
	}
	if link.Header == wire.Ethernet {
		t.ip = wire.EthernetLen
		stack = append(stack, &layers.Ethernet{SrcMAC: link.MAC[:], DstMAC: make([]byte, 6), EthernetType: etherType})
	}
	t.tcp = t.ip + ipLen

	tcp := &layers.TCP{
		FIN: p.Method.Flags&wire.FIN != 0, SYN: p.Method.Flags&wire.SYN != 0, RST: p.Method.Flags&wire.RST != 0,
		PSH: p.Method.Flags&wire.PSH != 0, ACK: p.Method.Flags&wire.ACK != 0, URG: p.Method.Flags&wire.URG != 0,
		Window: 1024,
	}
	if tcp.SYN {
		tcp.Window = 65535
		tcp.Options = []layers.TCPOption{{
			OptionType: layers.TCPOptionKindMSS, OptionLength: 4,
			OptionData: binary.BigEndian.AppendUint16(nil, mss),
		}}
	}
	if source.Is4() {
		stack = append(stack, &layers.IPv4{
			Version: 4, TTL: p.TTL, Protocol: layers.IPProtocolTCP, SrcIP: source.AsSlice(), DstIP: net.IPv4zero.To4(),
			Flags: layers.IPv4DontFragment, // atomic, so the identification may stay 0: RFC 6864 section 4.1
		})
	} else {
		stack = append(stack, &layers.IPv6{
			Version: 6, HopLimit: p.TTL, NextHeader: layers.IPProtocolTCP, SrcIP: source.AsSlice(), DstIP: net.IPv6zero,
		})
	}
	stack = append(stack, tcp)

	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true}, stack...); err != nil {
		return t, fmt.Errorf("build probe template: %w", err)
	}
	// The library pads Ethernet frames to 60 bytes; that is the device's task.
	t.frame = buf.Bytes()
	t.frame = t.frame[:t.tcp+int(t.frame[t.tcp+12]>>4)*4]
	if source.Is4() {
		t.ipSum = wire.Sum(0, t.frame[t.ip:t.tcp])
	}
	t.tcpSum = wire.Sum(wire.ProtoTCP+uint32(len(t.frame)-t.tcp), source.AsSlice())
	t.tcpSum = wire.Sum(t.tcpSum, t.frame[t.tcp:])
	return t, nil
}

// Template returns the frame by which probes of a family go to a hop: whole, but
// for target, ports, cookie and checksums, which are zero. It is what a generator
// in the kernel starts from, and nil when the hop's link has no source address.
func (f *Framer) Template(hop Hop, ipv4 bool) []byte {
	t := &f.links[hop.Link].v6
	if ipv4 {
		t = &f.links[hop.Link].v4
	}
	frame := slices.Clone(t.frame)
	if t.ip == wire.EthernetLen {
		copy(frame, hop.MAC[:])
	}
	return frame
}

// Build writes the frame of a position's try into dst, which must have room for
// FrameCap bytes, and returns its length, its target and its link. The length
// is 0 when no probe can go there.
func (f *Framer) Build(dst []byte, pos uint64, try int) (size int, addr netip.Addr, link int) {
	target := f.Plan.At(pos)
	addr = target.Addr()
	hop, ok := f.Route(addr)
	if !ok {
		return 0, addr, 0
	}
	t := &f.links[hop.Link].v4
	if addr.Is6() {
		t = &f.links[hop.Link].v6
	}
	n := copy(dst, t.frame)
	if n == 0 { // no source address
		return 0, addr, 0
	}
	dst = dst[:n]
	if t.ip == wire.EthernetLen {
		*(*[6]byte)(dst) = hop.MAC
	}

	sourcePort := f.SourcePort + uint16(try)*f.PortStep
	c := f.Key.Of(target, netip.AddrPortFrom(t.source, sourcePort))
	ip, tcp := dst[t.ip:t.tcp], dst[t.tcp:]
	var patched uint32 // sum of what both checksums cover
	if addr.Is4() {
		a := addr.As4()
		*(*[4]byte)(ip[16:]) = a
		patched = wire.Sum(0, a[:])
		binary.BigEndian.PutUint16(ip[10:], wire.Checksum(t.ipSum+patched))
	} else {
		a := addr.As16()
		*(*[16]byte)(ip[24:]) = a
		patched = wire.Sum(0, a[:])
	}
	sum := t.tcpSum + patched + uint32(sourcePort) + uint32(target.Port()) + c>>16 + c&0xffff
	binary.BigEndian.PutUint16(tcp, sourcePort)
	binary.BigEndian.PutUint16(tcp[2:], target.Port())
	binary.BigEndian.PutUint32(tcp[4:], c)
	if f.Method.CookieInAck {
		binary.BigEndian.PutUint32(tcp[8:], c)
		sum += c>>16 + c&0xffff
	}
	binary.BigEndian.PutUint16(tcp[16:], wire.Checksum(sum))
	return n, addr, hop.Link
}
