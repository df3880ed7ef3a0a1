package validate_test

import (
	"encoding/binary"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"synoptic/bpf/validate"
	"synoptic/internal/method"
	"synoptic/internal/wire"
)

// synAck is an answer of a port, to a probe of a SYN scan from a port.
func synAck(from netip.AddrPort, to uint16) segment {
	source := netip.AddrPortFrom(source4, to)
	if from.Addr().Is6() {
		source = netip.AddrPortFrom(source6, to)
	}
	return segment{from: from, to: source, flags: wire.SYN | wire.ACK, ack: key.Of(from, source) + 1, window: 1000, options: 4}
}

// What has no room is counted to the last answer, gets no reset, and is heard
// when it comes again.
func TestAFullRingIsCountedExactly(t *testing.T) {
	cfg := config(method.ByName("syn"))
	cfg.Ring = os.Getpagesize()
	for _, tt := range []struct {
		fact string
		size int
		make func(at netip.AddrPort) []byte
	}{
		{"segments", validate.RecordLen, func(at netip.AddrPort) []byte { return synAck(at, port).bytes() }},
		{"errors_of_a_router", validate.RecordFromLen, func(at netip.AddrPort) []byte {
			source := netip.AddrPortFrom(source4, port)
			return icmp{from: router4, to: source4, source: source, target: at, kind: 3, code: 13, seq: key.Of(at, source), quote: 8}.bytes()
		}},
	} {
		t.Run(tt.fact, func(t *testing.T) {
			v := load(t, cfg)
			const n = 1000
			room := (cfg.Ring - 1) / (8 + tt.size) // with a header each, bpf_ringbuf_reserve
			frames := make([][]byte, n)
			out := make([]byte, 4096)
			for i := range frames {
				frames[i] = tt.make(netip.AddrPortFrom(host4, uint16(1+i)))
				verdict, _ := run(t, v, frames[i], out)
				if reset := tt.size == validate.RecordLen && i < room; (verdict == xdpTX) != reset || verdict == xdpPass {
					t.Fatalf("answer %d of %d that fit: verdict %d", i, room, verdict)
				}
			}
			if c := counters(t, v); c.Valid != uint64(room) || c.Full != uint64(n-room) || c.Duplicate > 0 || c.Frames() != n {
				t.Fatalf("%+v, want room for %d of %d", c, room, n)
			}
			if lost, err := v.Lost(); err != nil || lost != uint64(n-room) {
				t.Errorf("%d lost, %v", lost, err)
			}
			for i := range n {
				if i >= room {
					run(t, v, frames[i], out)
				}
				var a validate.Answer
				if record := read(t, v); !a.Decode(record) || a.Target.Port() != uint16(1+i) || len(record) != tt.size {
					t.Fatalf("answer %d is %x", i, record)
				}
			}
			if record := read(t, v); record != nil {
				t.Errorf("another one: %x", record)
			}
		})
	}
}

// The whole default ring, to the last answer.
func TestTheDefaultRingHasTheRoomItSays(t *testing.T) {
	v := load(t, config(method.ByName("syn")))
	const room, more = 209_715, 10
	out := make([]byte, 4096)
	frame := synAck(netip.AddrPortFrom(host4, 80), port).bytes()
	for i := range room + more {
		at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 80)
		source := netip.AddrPortFrom(source4, port)
		copy(frame[26:], at.Addr().AsSlice())
		binary.BigEndian.PutUint32(frame[42:], key.Of(at, source)+1)
		run(t, v, frame, out)
	}
	if c := counters(t, v); c.Valid != room || c.Full != more {
		t.Errorf("%+v", c)
	}
	n := 0
	for read(t, v) != nil {
		n++
	}
	if n != room {
		t.Errorf("%d answers were read", n)
	}
}

func TestDuplicatesAreThinned(t *testing.T) {
	out := make([]byte, 4096)
	at := netip.AddrPortFrom(host4, 80)
	plain := synAck(at, port)
	reset := plain
	reset.flags = wire.RST | wire.ACK
	proxied, bare := plain, plain
	proxied.window, bare.options = 0, 0
	other := plain
	other.window = 999
	ahead := reset
	ahead.ack--
	rejected := func(from netip.Addr, code byte) []byte {
		return icmp{from: from, to: source4, source: plain.to, target: at, kind: 3, code: code, seq: key.Of(at, plain.to), quote: 8}.bytes()
	}
	frames := []struct {
		fact  string
		bytes []byte
		news  bool
	}{
		{"the_first", plain.bytes(), true},
		{"again", plain.bytes(), false},
		{"another_window_says_the_same", other.bytes(), false},
		{"a_window_of_0_does_not", proxied.bytes(), true},
		{"nor_does_a_segment_without_options", bare.bytes(), true},
		{"nor_a_reset", reset.bytes(), true},
		{"again_a_reset", reset.bytes(), false},
		{"nor_one_that_counts_otherwise", ahead.bytes(), true},
		{"nor_an_error", rejected(host4, 3), true},
		{"again_an_error", rejected(host4, 3), false},
		{"nor_another_error", rejected(host4, 13), true},
		{"nor_the_same_to_another_try", synAck(at, port+1).bytes(), true},
		{"nor_the_same_of_another_port", synAck(netip.AddrPortFrom(host4, 81), port).bytes(), true},
		{"nor_of_another_host", synAck(netip.AddrPortFrom(host6, 80), port).bytes(), true},
	}
	// A moment may end in the midst of this, but not twice in a row.
	for attempt := range 3 {
		v := load(t, config(method.ByName("syn")))
		wrong := ""
		duplicates := uint64(0)
		for _, f := range frames {
			verdict, _ := run(t, v, f.bytes, out)
			if verdict == xdpPass {
				t.Fatalf("%s: it passed", f.fact)
			}
			if news := read(t, v) != nil; news != f.news {
				wrong = f.fact
				if !f.news && attempt < 2 {
					continue
				}
				t.Fatalf("%s: is news: %v", f.fact, news)
			}
			if !f.news {
				duplicates++
			}
		}
		if c := counters(t, v); c.Duplicate != duplicates || c.Frames() != uint64(len(frames)) {
			t.Errorf("%+v, want %d duplicates", c, duplicates)
		}
		if wrong == "" {
			break
		}
	}
}

// moment is the number of the present one, MOMENT_BITS in recent.bpf.h.
func moment() int64 {
	var now unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	return now.Nano() >> 29
}

// A scan probes an endpoint again from the same port after a second at the
// earliest; the answer to that is news. In the same half second it is not.
func TestWhatComesASecondLaterIsNews(t *testing.T) {
	v := load(t, config(method.ByName("syn")))
	out := make([]byte, 4096)
	frame := synAck(netip.AddrPortFrom(host4, 80), port).bytes()
	heard, last := 0, int64(0)
	for begin := time.Now(); time.Since(begin) < 1300*time.Millisecond; time.Sleep(time.Millisecond) {
		before := moment()
		run(t, v, frame, out)
		after := moment()
		news := read(t, v) != nil
		if before > last && !news || after == last && news {
			t.Fatalf("moments %d to %d, and %d when it was heard last: is news: %v", before, after, last, news)
		}
		if news {
			heard, last = heard+1, after
		}
	}
	if heard < 3 {
		t.Errorf("heard %d times in more than two moments", heard)
	}
}

// The memory is small: what others have pushed out is news again, never lost.
func TestWhatIsForgottenIsNews(t *testing.T) {
	v := load(t, config(method.ByName("syn")))
	out := make([]byte, 4096)
	const hosts = 100_000 // more than there are places
	news := 0
	for round := range 2 {
		for i := range hosts {
			at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 80)
			run(t, v, synAck(at, port).bytes(), out)
			if read(t, v) != nil {
				news++
			} else if round == 0 {
				t.Fatalf("%v is taken for another one", at)
			}
		}
	}
	if c := counters(t, v); c.Valid != uint64(news) || c.Valid+c.Duplicate != 2*hosts || c.Full > 0 {
		t.Errorf("%+v, and %d were read", c, news)
	}
}

func TestReadDoesNotAllocate(t *testing.T) {
	v := load(t, config(method.ByName("syn")))
	out := make([]byte, 4096)
	for i := range 500 {
		run(t, v, synAck(netip.AddrPortFrom(host6, uint16(1+i)), port).bytes(), out)
	}
	var a validate.Answer
	if n := testing.AllocsPerRun(400, func() {
		record, _, err := v.Read()
		if err != nil || !a.Decode(record) {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// The wall's clock, as the stamps of a packet socket are.
func TestAnswersHaveTheTimeOfTheWall(t *testing.T) {
	v := load(t, config(method.ByName("syn")))
	out := make([]byte, 4096)
	for i := range 50 {
		before := time.Now()
		run(t, v, synAck(netip.AddrPortFrom(host4, uint16(1+i)), port).bytes(), out)
		after := time.Now()
		time.Sleep(time.Millisecond) // what reads it may be late
		_, at, err := v.Read()
		const clocks = 100 * time.Microsecond // apart
		if err != nil || at.Before(before.Add(-clocks)) || at.After(after.Add(clocks)) {
			t.Fatalf("%v: arrived %v after it was sent, and %v before it had arrived", err, at.Sub(before), after.Sub(at))
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	good := config(method.ByName("syn"))
	for fact, change := range map[string]func(*validate.Config){
		"no_method":              func(c *validate.Config) { c.Method = nil },
		"connect":                func(c *validate.Config) { c.Method = method.Connect },
		"ipv6_as_ipv4":           func(c *validate.Config) { c.Source4 = source6 },
		"ipv4_as_ipv6":           func(c *validate.Config) { c.Source6 = source4 },
		"no_source":              func(c *validate.Config) { c.Source4, c.Source6 = netip.Addr{}, netip.Addr{} },
		"no_ports":               func(c *validate.Config) { c.Ports = 0 },
		"ring_of_no_power_of_2":  func(c *validate.Config) { c.Ring = 12288 },
		"delta_of_2_in_a_method": func(c *validate.Config) { m := *c.Method; m.ResetDelta = []uint32{2}; c.Method = &m },
	} {
		c := good
		change(&c)
		if c.Validate() == nil {
			t.Errorf("%s is taken", fact)
		}
	}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for kind := range 256 {
		for code := range 256 {
			for _, v6 := range []bool{false, true} {
				if _, says := method.ICMP(v6, uint8(kind), uint8(code)); says && kind >= 16 {
					t.Errorf("ICMP type %d is beyond ICMP_TYPES", kind)
				}
			}
		}
	}
}

// One family's validator takes nothing of the other.
func TestOneFamilyLeavesTheOther(t *testing.T) {
	only4, only6 := config(method.ByName("syn")), config(method.ByName("syn"))
	only4.Source6, only6.Source4 = netip.Addr{}, netip.Addr{}
	out := make([]byte, 4096)
	a4, a6 := synAck(netip.AddrPortFrom(host4, 80), port).bytes(), synAck(netip.AddrPortFrom(host6, 80), port).bytes()
	for _, tt := range []struct {
		cfg       validate.Config
		ours, not []byte
	}{{only4, a4, a6}, {only6, a6, a4}} {
		v := load(t, tt.cfg)
		if verdict, _ := run(t, v, tt.ours, out); verdict != xdpTX {
			t.Errorf("verdict %d", verdict)
		}
		if verdict, _ := run(t, v, tt.not, out); verdict != xdpPass {
			t.Errorf("verdict %d of the other family", verdict)
		}
		// No address is not the address of zeros.
		none := netip.AddrPortFrom(netip.IPv4Unspecified(), port)
		at := netip.AddrPortFrom(host4, 80)
		if tt.cfg.Source4.IsValid() {
			none, at = netip.AddrPortFrom(netip.IPv6Unspecified(), port), netip.AddrPortFrom(host6, 80)
		}
		s := segment{from: at, to: none, flags: wire.SYN | wire.ACK, ack: key.Of(at, none) + 1}
		if verdict, _ := run(t, v, s.bytes(), out); verdict != xdpPass {
			t.Errorf("verdict %d of an answer to no address", verdict)
		}
	}
}
