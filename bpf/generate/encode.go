package generate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"net/netip"

	"github.com/cilium/ebpf"
	"lukechampine.com/uint128"

	"synoptic/internal/plan"
	"synoptic/internal/wire"
)

// tables is a plan as the program has it.
type tables struct {
	family4, family6 bpfFamily
	ranges4          []bpfRange4
	ranges6          []bpfRange6
	guide4, guide6   []bpfGuide
	ports            []uint16 // in network byte order
	gaps             bool     // in the ports
	first            uint16   // of the ports
	addresses4       uint64
	frameLen         int
}

// encode makes the tables, or returns an Unsupported.
func encode(cfg *Config) (*tables, error) {
	if cfg.Plan.Total().Cmp(uint128.From64(1).Lsh(64)) > 0 {
		return nil, Unsupported(fmt.Sprintf("%v endpoints, more than 2^64", cfg.Plan.Total()))
	}
	t := new(tables)
	if err := t.addRanges(cfg.Plan); err != nil {
		return nil, err
	}
	t.addPorts(cfg.Plan)
	var err error
	if t.ranges4 != nil {
		err = t.family4.use(cfg.Frame4, wire.EtherIPv4)
		t.frameLen = len(cfg.Frame4)
	}
	if t.ranges6 != nil {
		err = errors.Join(err, t.family6.use(cfg.Frame6, wire.EtherIPv6))
		t.frameLen = len(cfg.Frame6) // the longer
	}
	return t, err
}

// addRanges makes the tables of targets.
func (t *tables) addRanges(p *plan.Plan) error {
	var starts4, starts6 []uint64
	var n6 uint64 // modulo 2^64, which it may be
	for first, last := range p.Targets().Ranges() {
		if len(t.ranges4) > MaxRanges || len(t.ranges6) > MaxRanges {
			return Unsupported(fmt.Sprintf("%d ranges of targets, more than %d of a family", p.Targets().NumRanges(), MaxRanges))
		}
		_, lo := halves(first)
		_, hi := halves(last)
		if first.Is4() {
			starts4 = append(starts4, t.addresses4)
			t.ranges4 = append(t.ranges4, bpfRange4{Lo: uint32(lo), Start: uint32(t.addresses4)})
			t.addresses4 += hi - lo + 1
			continue
		}
		high, _ := halves(first)
		starts6 = append(starts6, n6)
		t.ranges6 = append(t.ranges6, bpfRange6{High: high, Low: lo, Start: n6})
		n6 += hi - lo + 1
	}
	if len(t.ranges4) > MaxRanges || len(t.ranges6) > MaxRanges {
		return Unsupported(fmt.Sprintf("%d ranges of targets, more than %d of a family", p.Targets().NumRanges(), MaxRanges))
	}
	if t.ranges4 != nil {
		t.family4.Base = uint64(t.ranges4[0].Lo)
		t.guide4 = t.family4.guide(starts4, t.addresses4-1)
	}
	if t.ranges6 != nil {
		t.family6.BaseHigh, t.family6.Base = t.ranges6[0].High, t.ranges6[0].Low
		t.guide6 = t.family6.guide(starts6, n6-1)
	}
	return nil
}

// halves returns an address as a number.
func halves(a netip.Addr) (high, low uint64) {
	if a.Is4() {
		b := a.As4()
		return 0, uint64(binary.BigEndian.Uint32(b[:]))
	}
	b := a.As16()
	return binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
}

// guide makes the guide over ranges by their first ranks, of which the first is 0.
// It has between half and twice as many slots as there are ranges, or one for each
// rank. last is the highest rank.
func (f *bpfFamily) guide(starts []uint64, last uint64) []bpfGuide {
	f.Ranges = uint32(len(starts))
	f.GuideShift = uint32(max(0, bits.Len64(last)-bits.Len(uint(len(starts)))))
	guide := make([]bpfGuide, last>>f.GuideShift+1)
	k := 0
	for slot := range guide {
		lowest := uint64(slot) << f.GuideShift
		highest := lowest + 1<<f.GuideShift - 1
		for k+1 < len(starts) && starts[k+1] <= lowest {
			k++
		}
		guide[slot].First = uint32(k)
		for k+1 < len(starts) && starts[k+1] <= highest {
			k++
		}
		guide[slot].Last = uint32(k)
	}
	return guide
}

func (t *tables) addPorts(p *plan.Plan) {
	ports := p.Ports()
	t.ports = make([]uint16, ports.Len())
	t.first = ports.At(0)
	for i := range t.ports {
		t.ports[i] = swap16(ports.At(i))
		t.gaps = t.gaps || ports.At(i) != t.first+uint16(i)
	}
}

// use takes a template. What is patched into it later may have any value in it.
func (f *bpfFamily) use(template []byte, etherType uint16) error {
	name, ipLen, target := "IPv4", wire.IPv4Len, 16
	if etherType == wire.EtherIPv6 {
		name, ipLen, target = "IPv6", wire.IPv6Len, 24
	}
	const option = 4
	headers := wire.EthernetLen + ipLen + wire.TCPLen
	switch {
	case template == nil:
		return Unsupported("targets of " + name + " without a source address")
	case len(template) != headers && len(template) != headers+option || binary.BigEndian.Uint16(template[12:]) != etherType:
		return Unsupported(fmt.Sprintf("a frame of %d bytes for %s, not Ethernet with TCP and at most one option of %d bytes", len(template), name, option))
	}
	var frame [len(f.Frame) * 8]byte
	f.Len = uint32(copy(frame[:], template))
	ip, tcp := frame[wire.EthernetLen:wire.EthernetLen+ipLen], frame[wire.EthernetLen+ipLen:f.Len]
	source := ip[2*target-ipLen : target]
	clear(ip[target:])
	clear(tcp[:12])   // ports, sequence and acknowledgment number
	clear(tcp[16:18]) // checksum
	if etherType == wire.EtherIPv4 {
		clear(ip[10:12]) // checksum
		f.IpSum = sum(ip)
	}
	length := uint16(len(tcp))
	f.TcpSum = sum(source) + uint32(swap16(wire.ProtoTCP)) + uint32(swap16(length)) + sum(tcp)
	for i := range f.Frame {
		f.Frame[i] = binary.LittleEndian.Uint64(frame[8*i:])
	}
	var padded [len(f.Source) * 8]byte
	copy(padded[:], source)
	for i := range f.Source {
		f.Source[i] = binary.LittleEndian.Uint64(padded[8*i:])
	}
	return nil
}

func swap16(v uint16) uint16 { return v<<8 | v>>8 }

// sum adds up 16-bit words in memory order, of which b is a whole number.
func sum(b []byte) (s uint32) {
	for ; len(b) > 0; b = b[2:] {
		s += uint32(binary.LittleEndian.Uint16(b))
	}
	return s
}

// assign sets the program's constants, and the size of its tables.
func (t *tables) assign(spec *ebpf.CollectionSpec, cfg *Config) error {
	var v bpfVariableSpecs
	if err := spec.Assign(&v); err != nil {
		return err
	}
	for name, n := range map[string]int{
		bpfMapPorts: len(t.ports), bpfMapRanges4: len(t.ranges4), bpfMapRanges6: len(t.ranges6),
		bpfMapGuide4: len(t.guide4), bpfMapGuide6: len(t.guide6),
	} {
		spec.Maps[name].MaxEntries = uint32(max(n, 1))
	}
	order, key, shard := cfg.Plan.Order(), cfg.Key.Bytes(), cfg.Plan.Shard()
	a, b := order.Sides()
	return errors.Join(
		v.Device.Set(uint32(cfg.Device)),
		v.CookieInAck.Set(flag(cfg.CookieInAck)),
		v.Order.Set(bpfPermute{Last: order.Len().Sub64(1).Lo, A: a, B: b, Keys: order.Keys()}),
		v.ShardCount.Set(shard.Count),
		v.ShardFirst.Set(shard.Index-1),
		v.Addresses4.Set(t.addresses4),
		v.PortCount.Set(uint32(len(t.ports))),
		v.PortFirst.Set(uint32(t.first)),
		v.PortTable.Set(flag(t.gaps)),
		v.CookieKey.Set(bpfSiphashKey{K0: binary.LittleEndian.Uint64(key[:8]), K1: binary.LittleEndian.Uint64(key[8:])}),
		v.Family4.Set(t.family4),
		v.Family6.Set(t.family6),
	)
}

func flag(on bool) uint32 {
	if on {
		return 1
	}
	return 0
}

// fill writes the tables.
func (t *tables) fill(m *bpfMaps) error {
	return errors.Join(fill(m.Ports, t.ports), fill(m.Ranges4, t.ranges4), fill(m.Ranges6, t.ranges6),
		fill(m.Guide4, t.guide4), fill(m.Guide6, t.guide6))
}

func fill[T any](m *ebpf.Map, values []T) error {
	if len(values) == 0 {
		return nil
	}
	keys := make([]uint32, len(values))
	for i := range keys {
		keys[i] = uint32(i)
	}
	if _, err := m.BatchUpdate(keys, values, nil); err != nil {
		return fmt.Errorf("fill %s: %w", m, err)
	}
	return nil
}
