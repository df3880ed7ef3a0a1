package validate_test

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"testing"

	"synoptic/bpf/validate"
	"synoptic/internal/method"
	"synoptic/internal/wire"
	"synoptic/rx"
)

// judge is the classifier with what it leaves open: whether an answer that is
// out of its plan brings the cookie back.
type judge struct {
	*rx.Classifier
	packet wire.Packet
}

func (j *judge) valid(outcome rx.Outcome, frame []byte) bool {
	if outcome != rx.OutOfPlan {
		return outcome == rx.Valid
	}
	p := &j.packet
	p.Decode(frame, wire.Ethernet)
	if p.Kind == wire.ICMPError {
		source, target := netip.AddrPortFrom(p.QuoteSrc, p.TCP.SrcPort), netip.AddrPortFrom(p.QuoteDst, p.TCP.DstPort)
		return p.TCP.Seq == key.Of(target, source)
	}
	source, target := netip.AddrPortFrom(p.Dst, p.TCP.DstPort), netip.AddrPortFrom(p.Src, p.TCP.SrcPort)
	_, ok := j.Method.Segment(&p.TCP, key.Of(target, source))
	return ok
}

// A million frames, of which some are answers, others nearly, and others noise,
// are to the programs what they are to the classifier, and so are the replies.
func TestVerdictsAreTheClassifiers(t *testing.T) {
	for name, tcx := range programs {
		t.Run(name, func(t *testing.T) { verdictsAreTheClassifiers(t, tcx) })
	}
}

func verdictsAreTheClassifiers(t *testing.T, tcx bool) {
	rng := random(t)
	frames := 1_000_000
	if testing.Short() {
		frames = 50_000
	}
	var all validate.Counters
	for _, m := range method.Table {
		v := load(t, config(m))
		j := &judge{Classifier: classifier(t, m)}
		var want validate.Counters
		known := map[said]bool{}
		out := make([]byte, 4096)
		for range frames / len(method.Table) {
			frame := randomFrame(rng, m)
			if tcx && refused(frame) {
				continue
			}
			var expected, got rx.Reply
			outcome := j.Classify(frame, &expected)
			if tagged(frame) {
				outcome = rx.Foreign
			}
			verdict, after := runAs(t, v, tcx, frame, out)
			record := read(t, v)
			if !j.valid(outcome, frame) {
				if verdict != xdpPass || record != nil || !bytes.Equal(after, frame) {
					t.Fatalf("%s: outcome %d, but verdict %d and record %x of %x, afterwards %x", m.Name, outcome, verdict, record, frame, after)
				}
				if outcome == rx.Foreign {
					want.Foreign++
				} else {
					want.BadCookie++
				}
				continue
			}
			judged := &j.packet
			judged.Decode(frame, wire.Ethernet)
			opens := judged.Kind == wire.Segment && judged.TCP.Flags&wire.RST == 0
			if turned := opens && frame[0]&1 == 0; (verdict == xdpTX) != turned || verdict != xdpTX && verdict != xdpDrop {
				t.Fatalf("%s: verdict %d of an answer, is to be reset: %v: %x", m.Name, verdict, turned, frame)
			}
			switch {
			case verdict == xdpTX:
				want.Resets++
				if err := checkReset(frame, after); err != nil {
					t.Fatalf("%s: %v: %x, afterwards %x", m.Name, err, frame, after)
				}
			case opens:
				want.Unreset++
			}
			is := saidBy(judged)
			if record == nil {
				if !known[is] {
					t.Fatalf("%s: no record of %x", m.Name, frame)
				}
				want.Duplicate++
				continue
			}
			known[is] = true
			want.Valid++
			if re := j.Recorded(record, &got); re != outcome || outcome == rx.Valid && got != expected {
				t.Fatalf("%s: outcome %d %+v, the classifier says %d %+v, of %x", m.Name, re, got, outcome, expected, frame)
			}
		}
		if got := counters(t, v); got != want {
			t.Errorf("%s: counted %+v, want %+v", m.Name, got, want)
		}
		all.Valid += want.Valid
		all.BadCookie += want.BadCookie
		all.Foreign += want.Foreign
		v.Close()
	}
	t.Logf("%+v", all)
	for what, n := range map[string]uint64{"valid": all.Valid, "with a bad cookie": all.BadCookie, "foreign": all.Foreign} {
		if n < uint64(frames)/10 {
			t.Errorf("only %d frames of %d were %s", n, frames, what)
		}
	}
}

// said is all by which the program tells answers from each other.
type said struct {
	target, source netip.AddrPort
	icmp           bool
	kind, code     uint8
	flags          uint8
	window         bool
	options        bool
}

func saidBy(p *wire.Packet) said {
	if p.Kind == wire.ICMPError {
		return said{target: netip.AddrPortFrom(p.QuoteDst, p.TCP.DstPort), source: netip.AddrPortFrom(p.QuoteSrc, p.TCP.SrcPort),
			icmp: true, kind: p.ICMPType, code: p.ICMPCode}
	}
	return said{target: netip.AddrPortFrom(p.Src, p.TCP.SrcPort), source: netip.AddrPortFrom(p.Dst, p.TCP.DstPort),
		flags: p.TCP.Flags & (wire.SYN | wire.RST | wire.ACK), window: p.TCP.Window > 0, options: p.TCP.Options}
}

// tagged: the one difference. Behind a VLAN tag the classifier looks on.
func tagged(frame []byte) bool {
	return frame[12] == 0x81 && frame[13] == 0 || frame[12] == 0x88 && frame[13] == 0xa8
}

// refused: BPF_PROG_RUN makes no packet for tcx of a frame without payload, or with half
// an IP header (bpf_prog_test_run_skb).
func refused(frame []byte) bool {
	switch [2]byte(frame[12:]) {
	case [2]byte{0x08, 0x00}:
		return len(frame) < 14+20
	case [2]byte{0x86, 0xdd}:
		return len(frame) < 14+40
	}
	return len(frame) == 14
}

func pick[T any](rng *rand.Rand, of ...T) T { return of[rng.IntN(len(of))] }

// randomFrame makes an answer to a probe of a method, or what is nearly one, and
// often damages it.
func randomFrame(rng *rand.Rand, m *method.Method) []byte {
	v6 := rng.IntN(2) == 0
	source, target := netip.AddrPortFrom(source4, 0), randomTarget(rng, v6)
	if v6 {
		source = netip.AddrPortFrom(source6, 0)
	}
	source = netip.AddrPortFrom(source.Addr(), pick[uint16](rng, port, port, port+1, port+2, port+3, port-1, uint16(rng.Uint32())))
	if rng.IntN(20) == 0 {
		a := source.Addr().AsSlice()
		a[rng.IntN(len(a))] ^= 1 << rng.IntN(8)
		other, _ := netip.AddrFromSlice(a)
		source = netip.AddrPortFrom(other, source.Port())
	}
	c := key.Of(target, source)
	near := func() uint32 { return c + pick[uint32](rng, 0, 0, 0, 1, 1, 1, 1, 2, ^uint32(0), rng.Uint32()) }

	var frame []byte
	switch rng.IntN(16) {
	case 0, 1, 2, 3, 4:
		router := pick(rng, target.Addr(), router4)
		if v6 {
			router = pick(rng, target.Addr(), router6)
		}
		e := icmp{from: router, to: source.Addr(), source: source, target: target, kind: pick[byte](rng, 3, 3, 11), code: byte(rng.IntN(16)),
			seq: pick(rng, c, c, c, near()), quote: pick(rng, 8, 8, 8, 20, 12, 7, 4, 0), ip: randomShape(rng), quoted: randomShape(rng)}
		if v6 {
			e.kind, e.code = pick[byte](rng, 1, 1, 3, 4, 2), byte(rng.IntN(8))
		}
		if rng.IntN(16) == 0 {
			e.kind = byte(rng.Uint32())
		}
		if rng.IntN(16) == 0 {
			e.to = pick(rng, target.Addr(), source.Addr())
		}
		frame = e.bytes()
	case 5: // noise
		frame = make([]byte, 14+rng.IntN(200))
		for i := range frame {
			frame[i] = byte(rng.Uint32())
		}
		copy(frame[12:], pick(rng, []byte{8, 0}, []byte{0x86, 0xdd}, []byte{8, 6}, []byte{0x81, 0}, []byte{}))
	default:
		s := segment{from: target, to: source, seq: near(), ack: near(), window: pick[uint16](rng, 0, 1, 65535), ip: randomShape(rng),
			options: pick(rng, 0, 0, 4, 20, 40), data: pick(rng, 0, 0, 0, 1, 100, 1400)}
		s.flags = pick[byte](rng, wire.SYN|wire.ACK, wire.SYN|wire.ACK, wire.RST, wire.RST|wire.ACK, wire.RST|wire.ACK, byte(rng.Uint32()))
		frame = s.bytes()
	}
	return damaged(rng, frame)
}

func randomTarget(rng *rand.Rand, v6 bool) netip.AddrPort {
	n := rng.Uint32()
	addr := netip.AddrFrom4([4]byte{pick[byte](rng, 10, 10, 10, 10, 10, 11), byte(n >> 16), byte(n >> 8), byte(n)})
	if v6 {
		b := netip.MustParseAddr("fd00:10::").As16()
		b[12], b[13], b[14], b[15] = pick[byte](rng, 0, 0, 0, 0, 0, 1), byte(n>>16), byte(n>>8), byte(n)
		addr = netip.AddrFrom16(b)
	}
	return netip.AddrPortFrom(addr, pick[uint16](rng, 80, uint16(rng.Uint32())))
}

func randomShape(rng *rand.Rand) (s shape) {
	if rng.IntN(4) > 0 {
		return s
	}
	s.options = pick(rng, 0, 4, 8, 40)
	s.fragment = pick[uint16](rng, 0, 0, 0x4000, 0x2000, 1, 8, 0xffff)
	s.long = pick[uint16](rng, 0, 0, 0, 4, 1000)
	for range rng.IntN(10) {
		s.extensions = append(s.extensions, pick[byte](rng, 0, 43, 60, 51, 44))
	}
	return s
}

// damaged changes bytes or the length of one frame in three.
func damaged(rng *rand.Rand, frame []byte) []byte {
	switch rng.IntN(12) {
	case 0, 1:
		for range 1 + rng.IntN(4) {
			frame[rng.IntN(len(frame))] = byte(rng.Uint32())
		}
	case 2: // in the headers, and only little
		frame[rng.IntN(min(len(frame), 80))] ^= 1 << rng.IntN(8)
	case 3:
		frame = frame[:14+rng.IntN(len(frame)-13)]
	case 4: // padding of the link
		frame = append(frame, make([]byte, rng.IntN(20))...)
	case 5:
		frame[0] |= 1
	}
	return frame
}
