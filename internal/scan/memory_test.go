package scan

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"synoptic/internal/cookie"
	"synoptic/internal/plan"
	"synoptic/internal/result"
	"synoptic/internal/target"
	"synoptic/internal/wire"
	"synoptic/rx"
	"synoptic/tx"
)

// memory is a network without wires: what is sent is answered as a standard
// stack answers, by a truth of the test's, and arrives after a delay.
type memory struct {
	truth func(netip.AddrPort) result.State // Open, Closed, Filtered (by ICMP), or Unknown for silence
	delay func(netip.AddrPort) time.Duration
	lose  func(ap netip.AddrPort, try int) bool // of probes, tries counted from 1
	edit  func(reply []byte) [][]byte           // what arrives instead of a reply
	err   func(sent int) error                  // what sending fails with
	drops atomic.Uint64                         // packets the ring had no room for

	mu      sync.Mutex
	probes  map[netip.AddrPort]int
	sent    int
	replies chan arrival
	fail    chan error
}

type arrival struct {
	at   time.Time
	data []byte
}

var (
	here4  = netip.MustParseAddr("172.16.0.1")
	here6  = netip.MustParseAddr("fd00:172:16::1")
	router = netip.MustParseAddr("172.16.0.254")
)

func newMemory(truth func(netip.AddrPort) result.State) *memory {
	return &memory{truth: truth, probes: map[netip.AddrPort]int{}, replies: make(chan arrival, 1<<20), fail: make(chan error, 1)}
}

func (m *memory) network(conns int) *Network {
	n := &Network{Ways: []Way{{
		Link:  tx.Link{Source4: here4, Source6: here6},
		Match: rx.Match{Source4: here4, Source6: here6, Port: 61000, Ports: 8}, Source: m,
	}}}
	n.Route = func(netip.Addr) (tx.Hop, bool) { return tx.Hop{MAC: [6]byte{2, 2, 2, 2, 2, 2}}, true }
	for range conns {
		n.Conns = append(n.Conns, m)
	}
	return n
}

func (m *memory) Send(b *tx.Batch, from, to int) (int, error) {
	for i := from; i < to; i++ {
		frame, _ := b.Frame(i)
		m.mu.Lock()
		if m.err != nil {
			if err := m.err(m.sent); err != nil {
				m.mu.Unlock()
				return i - from, err
			}
		}
		m.sent++
		m.mu.Unlock()
		m.probe(frame)
	}
	return to - from, nil
}

func (m *memory) probe(frame []byte) {
	var p wire.Packet
	p.Decode(frame, wire.Ethernet)
	if p.Kind != wire.Segment {
		panic("a probe is no TCP segment")
	}
	ap := netip.AddrPortFrom(p.Dst, p.TCP.DstPort)
	m.mu.Lock()
	m.probes[ap]++
	try := m.probes[ap]
	m.mu.Unlock()
	if m.lose != nil && m.lose(ap, try) {
		return
	}
	reply := answer(&p, m.truth(ap), frame)
	if reply == nil {
		return
	}
	replies := [][]byte{reply}
	if m.edit != nil {
		replies = m.edit(reply)
	}
	var delay time.Duration
	if m.delay != nil {
		delay = m.delay(ap)
	}
	time.AfterFunc(delay, func() {
		for _, r := range replies {
			m.replies <- arrival{time.Now(), r}
		}
	})
}

// answer is RFC 9293 section 3.10.7 in test clothes.
func answer(p *wire.Packet, state result.State, frame []byte) []byte {
	flags, length := p.TCP.Flags, uint32(0)
	if flags&(wire.SYN|wire.FIN) != 0 {
		length = 1
	}
	tcp := &layers.TCP{SrcPort: layers.TCPPort(p.TCP.DstPort), DstPort: layers.TCPPort(p.TCP.SrcPort)}
	switch {
	case state == result.Filtered:
		quote := gopacket.Payload(frame[wire.EthernetLen:])
		if p.Dst.Is6() {
			return build(netip.MustParseAddr("fd00::fe"), p.Src, layers.IPProtocolICMPv6,
				&layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(1, 1)}, gopacket.Payload([]byte{0, 0, 0, 0}), quote)
		}
		return build(router, p.Src, layers.IPProtocolICMPv4, &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 13)}, quote)
	case state == result.Closed || state == result.Open && flags&wire.ACK != 0:
		tcp.RST = true
		if flags&wire.ACK != 0 {
			tcp.Seq = p.TCP.Ack
		} else {
			tcp.ACK, tcp.Ack = true, p.TCP.Seq+length
		}
	case state == result.Open && flags&wire.SYN != 0:
		tcp.SYN, tcp.ACK, tcp.Ack, tcp.Seq, tcp.Window = true, true, p.TCP.Seq+1, 99, 64240
		tcp.Options = []layers.TCPOption{{OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: []byte{5, 180}}}
	default:
		return nil
	}
	return build(p.Dst, p.Src, layers.IPProtocolTCP, tcp)
}

func build(src, dst netip.Addr, proto layers.IPProtocol, upper ...gopacket.SerializableLayer) []byte {
	eth := &layers.Ethernet{SrcMAC: make([]byte, 6), DstMAC: make([]byte, 6), EthernetType: layers.EthernetTypeIPv4}
	var ip gopacket.SerializableLayer = &layers.IPv4{Version: 4, TTL: 63, Protocol: proto, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
	if src.Is6() {
		eth.EthernetType = layers.EthernetTypeIPv6
		ip = &layers.IPv6{Version: 6, HopLimit: 63, NextHeader: proto, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
	}
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true}, append([]gopacket.SerializableLayer{eth, ip}, upper...)...); err != nil {
		panic(err)
	}
	return buf.Bytes()
}

func (m *memory) Read() ([]byte, time.Time, error) {
	idle := time.NewTimer(4 * time.Millisecond)
	defer idle.Stop()
	select {
	case a := <-m.replies:
		return a.data, a.at, nil
	case err := <-m.fail:
		return nil, time.Time{}, err
	case <-idle.C:
		return nil, time.Time{}, rx.ErrIdle
	}
}

func (m *memory) Drops() (uint64, error) { return m.drops.Load(), nil }
func (m *memory) Close() error           { return nil }

// records is a Sink that keeps everything.
type records struct {
	all  []result.Record
	fail func(n int) error
}

func (r *records) Record(rec *result.Record) error {
	if r.fail != nil {
		if err := r.fail(len(r.all)); err != nil {
			return err
		}
	}
	r.all = append(r.all, *rec)
	return nil
}

func (r *records) Flush() error { return nil }

// states maps each recorded endpoint to its state, and fails on a second
// record of one.
func (r *records) states(t *testing.T) map[netip.AddrPort]result.State {
	t.Helper()
	m := map[netip.AddrPort]result.State{}
	for _, rec := range r.all {
		if _, twice := m[rec.Addr]; twice {
			t.Errorf("%v is recorded twice", rec.Addr)
		}
		m[rec.Addr] = rec.State
	}
	return m
}

func newPlan(t testing.TB, list string, words ...string) *plan.Plan {
	t.Helper()
	set, _, err := target.Parse(context.Background(), target.Words(words...), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	ports, err := target.ParsePorts(list)
	if err != nil {
		t.Fatal(err)
	}
	p, err := plan.New(set, ports, 1, plan.Whole)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func all(p *plan.Plan) []netip.AddrPort {
	var list []netip.AddrPort
	for pos := range p.Len() {
		list = append(list, p.At(pos))
	}
	slices.SortFunc(list, netip.AddrPort.Compare)
	return list
}

// mixed is a truth with every state: hosts with an even last byte are dead, of
// the others' ports 1/8 each are open and rejected, 1/4 silent, 1/2 closed.
func mixed(ap netip.AddrPort) result.State {
	b := ap.Addr().AsSlice()
	if b[len(b)-1]%2 == 0 {
		return result.Unknown
	}
	switch cookie.NewKey(99).Of(ap, ap) % 8 {
	case 0:
		return result.Open
	case 1:
		return result.Filtered
	case 2, 3:
		return result.Unknown
	}
	return result.Closed
}
