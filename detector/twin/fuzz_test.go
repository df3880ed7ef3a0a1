package twin

import (
	"encoding/binary"
	"slices"
	"testing"

	"synoptic/bpf/watch"
)

// Decode never panics; what it says of ports and flags is what is in the bytes,
// found by another way; what it says is not valid is zero; and a longer capture
// of the same frame takes nothing back, unless its end is the packet's.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		ether4 + ip4tcp + tcp, ether6 + ip6tcp + tcp, ether4 + ip4udp + udp,
		macs + `88a8 0002 8100 0003 0800` + ip4tcp + tcp,
		macs + `8100 0002 9100 0003 8100 0004 0800` + ip4tcp + tcp,
		ether4 + `45 00 001c 0001 2000 40 06 0000` + addrs4 + `3039 0050 00000001`,
		ether4 + `45 00 0028 0001 0001 40 06 0000` + addrs4 + tcp,
		ether4 + `46 00 0024 0001 0000 40 84 0000` + addrs4 + `01010100 3039 0050 00000001 00000000`,
		ether6 + `60000000 0030 00 40` + addrs6 + `33 00 010400000000 2c 01 0000 00000001 00000002 06 00 0001 00000001` + tcp,
		ether6 + `60000000 0024 3c 40` + addrs6 + `06 01 010c 00000000`,
		// A first fragment without a total length: more bytes make it longer.
		ether4 + `45 00 0000 0001 2000 40 06 0000` + addrs4 + `3039 0050 00000001`,
	} {
		f.Add(raw(seed))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		var p Frame
		Decode(frame, &p)
		switch p.Class {
		case Malformed, NotIP, TooDeep:
			if p != (Frame{Class: p.Class}) {
				t.Fatalf("more than the class is set: %+v", p)
			}
			return
		case TCP, UDP, Tiny:
			if !p.HasPorts {
				t.Fatalf("no ports: %+v", p)
			}
		case ICMP, Fragment:
			if p.HasPorts {
				t.Fatalf("ports: %+v", p)
			}
		case Other:
			if p.HasPorts && p.Protocol != protoSCTP {
				t.Fatalf("ports: %+v", p)
			}
		default:
			t.Fatalf("unknown class: %+v", p)
		}
		if !p.Source.IsValid() || !p.Destination.IsValid() || p.Source.Is4() != p.Destination.Is4() {
			t.Fatalf("addresses: %+v", p)
		}
		if (p.Class == TCP) != (p.HeaderLen >= tcpLen) || p.Class != TCP && p.Flags != 0 {
			t.Fatalf("flags or header: %+v", p)
		}
		if !p.HasPorts && p.SourcePort|p.DestinationPort != 0 {
			t.Fatalf("ports where there are none: %+v", p)
		}
		if p.HasPorts {
			l4 := frame[upperAt(frame):]
			if p.SourcePort != binary.BigEndian.Uint16(l4) || p.DestinationPort != binary.BigEndian.Uint16(l4[2:]) {
				t.Fatalf("ports of % x: %+v", l4[:4], p)
			}
			if p.Class == TCP && (p.Flags != l4[13] || p.HeaderLen != l4[12]&0xf0/4) {
				t.Fatalf("flags of % x: %+v", l4[:14], p)
			}
		}
		var longer Frame
		Decode(append(frame[:len(frame):len(frame)], make([]byte, 64)...), &longer)
		if p.Class != Other && longer != p && !endsWithFrame(frame) {
			t.Fatalf("%+v, and with more bytes in the frame %+v", p, longer)
		}
	})
}

// endsWithFrame says that an IPv4 packet has no total length.
func endsWithFrame(frame []byte) bool {
	at := ipAt(frame)
	return frame[at]>>4 == 4 && binary.BigEndian.Uint16(frame[at+2:]) == 0
}

// upperAt is where the bytes behind all IP headers begin. It believes whatever
// the headers say.
func upperAt(frame []byte) int {
	at := ipAt(frame)
	if frame[at]>>4 == 4 {
		return at + 4*int(frame[at]&0xf)
	}
	next := frame[at+6]
	at += 40
	for {
		unit, add := 8, 1
		switch next {
		case 0, 43, 60:
		case 51:
			unit, add = 4, 2
		case 44:
			next, at = frame[at], at+8
			continue
		default:
			return at
		}
		next, at = frame[at], at+unit*(int(frame[at+1])+add)
	}
}

// ipAt is where the IP header begins.
func ipAt(frame []byte) int {
	at := 12
	tag := map[uint16]bool{0x8100: true, 0x88a8: true, 0x9100: true}
	for n := 0; n < 2 && tag[binary.BigEndian.Uint16(frame[at:])]; n++ {
		at += 4
	}
	return at + 2
}

// Whatever comes, the books balance and what is told is in order.
func FuzzRun(f *testing.F) {
	f.Add(raw(ether4+ip4tcp+tcp), uint64(1e9), uint8(0))
	f.Add(raw(ether6+ip6tcp+tcp), uint64(1e9), uint8(1))
	f.Add(raw(ether4+ip4udp+udp), uint64(1), uint8(2))
	f.Add(raw(ether4+`45 00 001c 0001 2000 40 06 0000`+addrs4+`3039 0050 00000001`), ^uint64(0), uint8(0))
	f.Fuzz(func(t *testing.T, frame []byte, now uint64, context uint8) {
		w, err := New(Config{Sets: 1, Gateway: context&64 != 0})
		if err != nil {
			t.Fatal(err)
		}
		frame = slices.Clone(frame)
		rules := defaults()
		rules.Packets = watch.Line{On: true, Span: 1, Threshold: 1, High: 1, Low: 3}
		rules.UDP = watch.UDPMode(context / 8 % 3)
		if err := w.SetRules(rules); err != nil {
			t.Fatal(err)
		}
		for i := range uint64(40) {
			w.Run(frame, now+i*i, watch.Context(context%4))
			if len(frame) > 40 {
				frame[len(frame)-10]++ // a port or flags, in the seeds
			}
		}
		inOrder(t, w)
		if n := w.counters.Frames(); n != 40 {
			t.Fatalf("%d of 40 frames are counted: %+v", n, w.counters)
		}
	})
}
