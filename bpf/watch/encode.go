package watch

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"time"
)

// Validate says what SetRules would refuse of the rules alone.
func (r *Rules) Validate() error {
	_, err := r.encode()
	return err
}

// encode brings rules into the form that the program reads. How far a sum must
// go to be interesting is two thirds of the line.
func (r *Rules) encode() (*bpfRules, error) {
	if r.V6Bits < 1 || r.V6Bits > 128 {
		return nil, fmt.Errorf("%d leading bits of an IPv6 address are not from 1 to 128", r.V6Bits)
	}
	if n := len(r.Count) + len(r.Score); n > MaxNodes {
		return nil, fmt.Errorf("the filters and lists need %d tests of a packet, at most %d can be made: shorten them", n, MaxNodes)
	}
	b := &bpfRules{
		Window: r.Window.encode(), Gap: r.Gap.encode(), Packets: r.Packets.encode(),
		Udp: uint32(r.UDP), Count: Pass, Score: Pass,
	}
	for _, p := range r.Traps {
		b.Traps[p/64] |= 1 << (p % 64)
	}
	b.Horizon = uint64(r.horizon())
	mask := netip.PrefixFrom(ones, r.V6Bits).Masked().Addr().As16()
	b.V6Mask = [2]uint64{binary.NativeEndian.Uint64(mask[:]), binary.NativeEndian.Uint64(mask[8:])}

	at := uint16(0)
	for _, part := range []struct {
		f     Filter
		start *uint16
	}{{r.Count, &b.Count}, {r.Score, &b.Score}} {
		if len(part.f) > 0 {
			*part.start = at
		}
		for i := range part.f {
			b.Nodes[int(at)+i] = part.f[i].encode(at)
		}
		at += uint16(len(part.f))
	}
	return b, nil
}

var ones = netip.AddrFrom16([16]byte{255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255})

// horizon is how long a source must be silent so that no line can be crossed
// with what it has sent.
func (r *Rules) horizon() time.Duration {
	var h time.Duration
	for _, l := range []*Line{&r.Window, &r.Gap, &r.Packets} {
		if l.On {
			h = max(h, l.Span)
		}
	}
	return h
}

func (l *Line) encode() bpfLine {
	b := bpfLine{Span: uint64(l.Span), Crossed: l.Threshold, Near: (2*l.Threshold + 2) / 3}
	if !l.Reaches {
		b.Crossed++
	}
	if l.On {
		b.On = 1
	}
	highTrap, lowTrap := l.High, l.Low
	if l.Trap > 0 {
		highTrap, lowTrap = l.Trap, l.Trap
	}
	b.Weights = uint32(l.High) | uint32(l.Low)<<8 | uint32(highTrap)<<16 | uint32(lowTrap)<<24
	return b
}

// encode moves a node's jumps by base.
func (n *Node) encode(base uint16) bpfNode {
	jump := func(to uint16) uint16 {
		if to >= Reject {
			return to
		}
		return to + base
	}
	b := bpfNode{Test: uint8(n.Test), Lo: n.Lo, Hi: n.Hi, Yes: jump(n.Yes), No: jump(n.No)}
	if n.Prefix.IsValid() {
		bits := n.Prefix.Bits()
		b.Family = 6
		if n.Prefix.Addr().Is4() {
			b.Family, bits = 4, bits+96
		}
		b.Addr = words(n.Prefix.Addr())
		b.Mask = words(netip.PrefixFrom(ones, bits).Masked().Addr())
	}
	return b
}

// words are the four words of an address as they stand in a packet.
func words(a netip.Addr) (w [4]uint32) {
	b := a.As16()
	for i := range w {
		w[i] = binary.NativeEndian.Uint32(b[4*i:])
	}
	return w
}

// address is the inverse of words.
func address(w [4]uint32) netip.Addr {
	var b [16]byte
	for i, word := range w {
		binary.NativeEndian.PutUint32(b[4*i:], word)
	}
	return netip.AddrFrom16(b).Unmap()
}

// Hosts estimates how many destinations have set the bits of a set of 64 by
// linear counting (Whang, Vander-Zanden, Taylor 1990).
func Hosts(set uint64) int {
	zeros := 0
	for ; set != math.MaxUint64; set |= set + 1 {
		zeros++
	}
	switch zeros {
	case 64:
		return 0
	case 63:
		return 1
	case 0:
		return 300
	}
	return int(math.Round(-64 * math.Log(float64(zeros)/64)))
}
