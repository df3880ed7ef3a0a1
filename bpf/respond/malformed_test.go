package respond

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
)

var (
	target4 = netip.MustParseAddrPort("10.1.2.3:80")
	target6 = netip.MustParseAddrPort("[fd00:10::3]:80")
)

// everythingOpen answers each SYN, so that a wrong verdict shows.
func everythingOpen() Config {
	cfg := DefaultConfig()
	cfg.Open, cfg.Closed = Whole, 0
	return cfg
}

// extended puts extension headers between the IPv6 header of a frame and its
// TCP segment. The first names the others in their order.
func extended(frame []byte, first byte, headers ...byte) []byte {
	out := bytes.Clone(frame[:54])
	out[20] = first
	out = append(append(out, headers...), frame[54:]...)
	binary.BigEndian.PutUint16(out[18:], uint16(len(out)-54))
	return out
}

func TestTruncatedFramesAreCountedOnceAndNotAnswered(t *testing.T) {
	r := load(t, everythingOpen())
	buf := make([]byte, 4096)
	v6 := probe{to: target6, flags: SYN, mss: true}.bytes(t)
	for name, frame := range map[string][]byte{
		"ipv4":         probe{to: target4, flags: SYN, mss: true}.bytes(t),
		"ipv4_options": probe{to: target4, flags: SYN, options: make([]byte, 40), payload: "hello"}.bytes(t),
		"ipv6":         v6,
		"ipv6_extensions": extended(v6, 0,
			60, 0, 1, 4, 0, 0, 0, 0, // hop-by-hop options, then
			6, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // destination options
		),
	} {
		t.Run(name, func(t *testing.T) {
			addresses := 14 + 20 // up to here nobody can know whom the frame is for
			if frame[12] == 0x86 {
				addresses = 14 + 40
			}
			if err := r.Reset(); err != nil {
				t.Fatal(err)
			}
			var want Counters
			for n := 14; n < len(frame); n++ {
				verdict, _ := run(t, r, frame[:n], buf)
				if n < addresses {
					if verdict != xdpPass {
						t.Errorf("%d bytes: verdict %d, want pass", n, verdict)
					}
					continue
				}
				want.Malformed++
				if verdict != xdpDrop {
					t.Errorf("%d bytes: verdict %d, want drop", n, verdict)
				}
			}
			whole, _ := run(t, r, frame, buf)
			if v := expect(&want, SYN, Answer{Kind: SynAck}); whole != v {
				t.Errorf("whole frame: verdict %d, want %d", whole, v)
			}
			// Ethernet pads what is short; padding is not part of anything.
			padded, _ := run(t, r, append(bytes.Clone(frame), 0xff, 0xff, 0xff), buf)
			if v := expect(&want, SYN, Answer{Kind: SynAck}); padded != v {
				t.Errorf("padded frame: verdict %d, want %d", padded, v)
			}
			if got := counters(t, r); got != want {
				t.Errorf("counters %+v, want %+v", got, want)
			}
		})
	}
}

func TestFramesThatAreNotSegmentsOfTheRange(t *testing.T) {
	r := load(t, everythingOpen())
	buf := make([]byte, 4096)
	v4 := probe{to: target4, flags: SYN}.bytes(t)
	v6 := probe{to: target6, flags: SYN}.bytes(t)
	// with returns a copy of a frame with some bytes changed, and its IPv4
	// header checksum right again.
	with := func(frame []byte, at int, b ...byte) []byte {
		f := bytes.Clone(frame)
		copy(f[at:], b)
		if f[12] == 8 && f[14]&15 == 5 {
			f[24], f[25] = 0, 0
			binary.BigEndian.PutUint16(f[24:], ^onesSum(f[14:34]))
		}
		return f
	}
	for _, c := range []struct {
		name    string
		frame   []byte
		verdict uint32
		want    Counters
	}{
		{"arp_passes", with(v4, 12, 8, 6), xdpPass, Counters{}},
		{"vlan_passes", with(v4, 12, 0x81, 0), xdpPass, Counters{}},
		{"other_address_passes", with(v4, 30, 11), xdpPass, Counters{}},
		{"other_ipv6_address_passes", with(v6, 38+7, 1), xdpPass, Counters{}},
		{"multicast_neighbour_discovery_passes", with(v6, 38, 0xff, 2), xdpPass, Counters{}},
		{"udp_is_counted", with(v4, 23, 17), xdpDrop, Counters{NonTCP: 1}},
		{"icmpv6_is_counted", with(v6, 20, 58), xdpDrop, Counters{NonTCP: 1}},
		{"no_next_header_is_counted", with(v6, 20, 59), xdpDrop, Counters{NonTCP: 1}},
		{"first_fragment", with(v4, 20, 0x20, 0), xdpDrop, Counters{Fragments: 1}},
		{"later_fragment", with(v4, 20, 0, 1), xdpDrop, Counters{Fragments: 1}},
		{"dont_fragment_is_none", with(v4, 20, 0x40, 0), xdpTX, Counters{TCP: [64]uint64{SYN: 1}, SynAck: 1}},
		{"ipv6_first_fragment", extended(v6, 44, 6, 0, 0, 1, 0, 0, 0, 1), xdpDrop, Counters{Fragments: 1}},
		{"ipv6_later_fragment", extended(v6, 44, 6, 0, 0, 8, 0, 0, 0, 1), xdpDrop, Counters{Fragments: 1}},
		{"ipv6_atomic_fragment_is_whole", extended(v6, 44, 6, 0, 0, 0, 0, 0, 0, 1), xdpTX, Counters{TCP: [64]uint64{SYN: 1}, SynAck: 1}},
		{"ipv6_authentication_header", extended(v6, 51, 6, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2), xdpTX, Counters{TCP: [64]uint64{SYN: 1}, SynAck: 1}},
		{"eight_extension_headers", extended(v6, 60, chain(8)...), xdpTX, Counters{TCP: [64]uint64{SYN: 1}, SynAck: 1}},
		{"nine_extension_headers_are_too_many", extended(v6, 60, chain(9)...), xdpDrop, Counters{NonTCP: 1}},
		{"extension_header_beyond_payload", extended(v6, 60, 6, 200, 1, 4, 0, 0, 0, 0), xdpDrop, Counters{Malformed: 1}},
		{"jumbogram", with(v6, 18, 0, 0), xdpDrop, Counters{Malformed: 1}},
		{"version_5", with(v4, 14, 0x55), xdpDrop, Counters{Malformed: 1}},
		{"ipv6_version_4", with(v6, 14, 0x40), xdpDrop, Counters{Malformed: 1}},
		{"ip_header_of_16_bytes", with(v4, 14, 0x44), xdpDrop, Counters{Malformed: 1}},
		{"total_length_beyond_frame", with(v4, 16, 0, 41), xdpDrop, Counters{Malformed: 1}},
		{"total_length_within_header", with(v4, 16, 0, 19), xdpDrop, Counters{Malformed: 1}},
		{"tcp_header_of_16_bytes", with(v4, 46, 0x40), xdpDrop, Counters{Malformed: 1}},
		{"tcp_header_beyond_segment", with(v4, 46, 0x60), xdpDrop, Counters{Malformed: 1}},
		{"wrong_ipv4_checksum", flip(v4, 25), xdpDrop, Counters{BadChecksum: 1}},
		{"wrong_tcp_checksum", flip(v4, 51), xdpDrop, Counters{BadChecksum: 1}},
		{"wrong_ipv6_tcp_checksum", flip(v6, 71), xdpDrop, Counters{BadChecksum: 1}},
		{"checksum_left_to_hardware", partial(v4), xdpDrop, Counters{BadChecksum: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := r.Reset(); err != nil {
				t.Fatal(err)
			}
			if verdict, _ := run(t, r, c.frame, buf); verdict != c.verdict {
				t.Errorf("verdict %d, want %d", verdict, c.verdict)
			}
			if got := counters(t, r); got != c.want {
				t.Errorf("counters %+v, want %+v", got, c.want)
			}
		})
	}
}

// chain is n destination options headers in a row.
func chain(n int) (headers []byte) {
	for i := range n {
		next := byte(60)
		if i == n-1 {
			next = 6
		}
		headers = append(headers, next, 0, 1, 4, 0, 0, 0, 0)
	}
	return headers
}

func flip(frame []byte, at int) []byte {
	f := bytes.Clone(frame)
	f[at] ^= 0x40
	return f
}

// partial has the sum of the pseudo-header only where the checksum belongs, as
// CHECKSUM_PARTIAL does.
func partial(frame []byte) []byte {
	f := bytes.Clone(frame)
	binary.BigEndian.PutUint16(f[50:], onesSum(f[26:34], []byte{0, 6, 0, byte(len(f) - 34)}))
	return f
}

func TestWrongChecksumsAreAnsweredIfAsked(t *testing.T) {
	cfg := everythingOpen()
	cfg.SkipChecksums = true
	r := load(t, cfg)
	p := probe{to: target4, flags: SYN}
	frame := flip(p.bytes(t), 51)
	verdict, out := run(t, r, frame, make([]byte, 4096))
	if verdict != xdpTX {
		t.Fatalf("verdict %d", verdict)
	}
	if err := checkReply(p, frame, out, cfg.Truth().Answer(SYN, target4), minQuote); err != nil {
		t.Error(err)
	}
}

// TestSegmentsOfEveryLength is about the checksum in blocks of powers of two.
func TestSegmentsOfEveryLength(t *testing.T) {
	cfg := everythingOpen()
	cfg.Open, cfg.Closed = 0, Whole
	r := load(t, cfg)
	rnd := random(t)
	buf := make([]byte, 4096)
	for n := range 2047 - 20 + 1 {
		data := make([]byte, n)
		for i := range data {
			data[i] = byte(rnd.Uint32())
		}
		p := probe{to: target4, flags: SYN, seq: rnd.Uint32(), payload: string(data)}
		if n%2 == 1 {
			p.to = target6
		}
		frame := p.bytes(t)
		verdict, out := run(t, r, frame, buf)
		if verdict != xdpTX {
			t.Fatalf("%s: verdict %d", p, verdict)
		}
		if err := checkReply(p, frame, out, Answer{Kind: Reset}, 0); err != nil {
			t.Fatalf("%s: %v", p, err)
		}
		if n > 0 { // any wrong byte is noticed
			frame[len(frame)-1-rnd.IntN(n)] ^= 1 << rnd.IntN(8)
			if verdict, _ := run(t, r, frame, buf); verdict != xdpDrop {
				t.Fatalf("%s, damaged: verdict %d", p, verdict)
			}
		}
	}
	if c := counters(t, r); c.Reset != 2028 || c.BadChecksum != 2027 {
		t.Errorf("counters %+v", c)
	}
}

// TestDamagedFramesKeepTheBooks holds for any bytes whatever: a frame passes
// uncounted, or it is counted once, and a segment has one outcome.
func TestDamagedFramesKeepTheBooks(t *testing.T) {
	rnd := random(t)
	cfg := balanced()
	cfg.SkipChecksums = true // or nearly all of them would end there
	cfg.Quote = 60
	r := load(t, cfg)
	v6 := probe{to: target6, flags: SYN, mss: true}.bytes(t)
	seeds := [][]byte{
		probe{to: target4, flags: SYN, mss: true}.bytes(t),
		probe{to: target4, flags: FIN | ACK, options: make([]byte, 12), payload: "data"}.bytes(t),
		v6,
		extended(v6, 0, 43, 0, 1, 4, 0, 0, 0, 0, 44, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 1),
	}
	buf := make([]byte, 4096)
	var frames, sent uint64
	n := 200_000
	if testing.Short() {
		n = 10_000
	}
	for range n {
		frame := bytes.Clone(seeds[rnd.IntN(len(seeds))])
		for range 1 + rnd.IntN(4) {
			frame[12+rnd.IntN(len(frame)-12)] = byte(rnd.Uint32())
		}
		frame = frame[:max(14, len(frame)-max(0, rnd.IntN(40)-30))]
		verdict, _ := run(t, r, frame, buf)
		switch verdict {
		case xdpDrop:
			frames++
		case xdpTX:
			frames++
			sent++
		case xdpPass:
		default:
			t.Fatalf("%x: verdict %d", frame, verdict)
		}
	}
	c := counters(t, r)
	if c.Frames() != frames || c.Replies() != sent || c.Failed != 0 {
		t.Errorf("%d frames dropped or answered, %d answers; counters %+v", frames, sent, c)
	}
	if err := c.Check(); err != nil {
		t.Error(err)
	}
}
