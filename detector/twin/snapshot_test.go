package twin

import (
	"testing"
	"time"

	"synoptic/bpf/watch"
)

func TestReadTellsInTheOrderOfThePackets(t *testing.T) {
	w := newTwin(t, Config{Sets: 64, Key: watch.Key{3, 4, 5, 6, 7}}, windowOnly(0, false))
	for round := range 3 { // the memory of what was read is used again
		for i := range 100 + 100*round {
			w.Run(testPacket{port: uint16(i), from: nth(i)}.frame(), start+uint64(round)*1e9+uint64(i), watch.Unknown)
		}
		i := 0
		must(t, w.Read(func(v *watch.Snapshot) {
			if v.From.String() != nth(i) || v.Source != prefix(nth(i)+"/32") || v.Probes[len(v.Probes)-1].Port != uint16(i) {
				t.Errorf("round %d, snapshot %d: %+v", round, i, v)
			}
			i++
		}))
		if i != 100+100*round {
			t.Errorf("round %d: %d snapshots", round, i)
		}
		must(t, w.Read(func(v *watch.Snapshot) { t.Errorf("told twice: %+v", v) }))
	}
	if c, _ := w.Counters(); c.Events != 600 || c.LostEvents != 0 {
		t.Errorf("%+v", c)
	}
}

// A snapshot tells of its packet's time, though others of the source wait
// behind it.
func TestWhatWaitsDoesNotChange(t *testing.T) {
	s := newStand(t, windowOnly(0, false))
	for i := range uint16(30) {
		s.Run(testPacket{port: 100 + i, ttl: 200 - uint8(i)}.frame(), start+uint64(i)*uint64(ms)*60, watch.Unknown)
	}
	i := 0
	must(t, s.Read(func(v *watch.Snapshot) {
		if n := min(i+1, watch.MaxProbes); len(v.Probes) != n || v.Probes[n-1].Port != uint16(100+i) || int(v.MinTTL) != 200-i || v.Kinds[watch.SYN] != uint32(i+1) {
			t.Errorf("snapshot %d: %+v", i, v)
		}
		i++
	}))
	if i != 30 {
		t.Errorf("%d snapshots", i)
	}
}

func TestSourceOfAPlace(t *testing.T) {
	s := newStand(t, defaults())
	s.quiet(0, low(80))
	for _, ref := range []watch.Ref{1, 7, 8, 1 << 31, ^watch.Ref(0)} {
		if v, ok := s.Source(ref); ok {
			t.Errorf("place %d has %+v", ref, v)
		}
	}
	mine, ok := s.Source(0)
	if !ok || mine.Ref != 0 || len(mine.Probes) != 1 {
		t.Fatalf("%+v, %v", mine, ok)
	}
	kept := clone(&mine)
	for i := range uint16(30) {
		s.run(time.Second, low(500+i))
	}
	s.remembered("192.0.2.1")
	same(t, kept, mine)
}

func TestHosts(t *testing.T) {
	// By the definition, computed elsewhere.
	for addr, want := range map[string]uint64{
		"::ffff:198.51.100.1": 0x7fd348edf6bdd075,
		"::ffff:198.51.100.2": 0x3e6bf6bf4c056e27,
		"2001:db8::1":         0x61a692613d12d701,
		"::":                  0,
		"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff": 0xeee488a61e6fb3f1,
	} {
		if got := mix(prefix(addr + "/128").Addr().As16()); got != want {
			t.Errorf("mix(%s) = %#x, want %#x", addr, got, want)
		}
	}
	for bits, want := range map[int]int{0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 32: 44, 62: 222, 63: 266, 64: 300} {
		if got := (hostSet(1)<<bits - 1).estimate(); got != want {
			t.Errorf("%d bits: %d hosts, want %d", bits, got, want)
		}
	}
	s := newStand(t, defaults())
	s.quiet(0, testPacket{port: 1, to: "198.51.100.1"})
	s.quiet(0, testPacket{port: 2, to: "198.51.100.1"})
	if v := s.remembered("192.0.2.1"); v.Hosts != 1 {
		t.Errorf("one destination: %d hosts", v.Hosts)
	}
	e, _ := s.find(0, s.mapped("192.0.2.1"))
	if e.hosts != 1<<53 {
		t.Errorf("bits %#x", e.hosts)
	}
	s.quiet(0, testPacket{port: 1, to: "198.51.100.2"})
	if v := s.remembered("192.0.2.1"); v.Hosts != 2 || v.First.String() != "198.51.100.1" || v.Latest.String() != "198.51.100.2" {
		t.Errorf("two destinations: %+v", v)
	}
}

// Nothing allocates, whatever the frame does: counted, remembered, told, in the
// place of another.
func TestRunDoesNotAllocate(t *testing.T) {
	r := withPackets()
	r.Count = rejectFrom("10.99.0.0/16")
	r.Score = rejectFrom("10.98.0.0/16")
	w := newTwin(t, Config{Sets: 2}, r)
	var frames [][]byte
	for i := range 64 {
		frames = append(frames,
			testPacket{port: uint16(i), from: nth(1)}.frame(),
			testPacket{port: uint16(i), from: "2001:db8::1", udp: true}.frame(),
			testPacket{port: 80, from: nth(i), flags: RST}.frame(),
			testPacket{port: 80, from: nth(i), flags: ACK}.frame(),
			testPacket{port: uint16(i), from: nth(i), tiny: true}.frame(),
			testPacket{port: 80, from: "10.99.0.1"}.frame(),
			testPacket{port: 80, from: "10.98.0.1"}.frame())
	}
	now, told := start, 0
	round := func() {
		for i, f := range frames {
			now += 20e6
			w.Run(f, now, watch.Context(i%3))
		}
		if err := w.Read(func(*watch.Snapshot) { told++ }); err != nil {
			t.Fatal(err)
		}
	}
	round() // what waits has its memory now
	round()
	before := w.counters
	if n := testing.AllocsPerRun(20, round); n != 0 {
		t.Errorf("%v allocations in %d frames", n, len(frames))
	}
	c := w.counters
	if c.Events == before.Events || c.EvictedIdle+c.EvictedLive == before.EvictedIdle+before.EvictedLive || c.Filtered == 0 || c.Ignored == 0 || c.Known == 0 || told == 0 {
		t.Errorf("this test is too easy: %+v", c)
	}
}

func BenchmarkRun(b *testing.B) {
	w := newTwin(b, Config{Sets: 1 << 12}, defaults())
	repeat, ack := testPacket{port: 80}.frame(), testPacket{port: 80, flags: ACK}.frame()
	forged := testPacket{port: 80, from: "10.0.0.1"}.frame()
	novel := testPacket{port: 80, from: "192.0.2.9"}.frame()
	now := start
	for _, c := range []struct {
		name    string
		frame   []byte
		context watch.Context
		change  func(i int)
	}{
		{"ack", ack, watch.Known, func(int) {}},
		{"repeat", repeat, watch.Unknown, func(int) {}},
		{"novel", novel, watch.Unknown, func(i int) { novel[36], novel[37] = byte(i>>8), byte(i) }},
		{"new-source", forged, watch.Unknown, func(i int) { forged[27], forged[28], forged[29] = byte(i>>16), byte(i>>8), byte(i) }},
	} {
		b.Run("case="+c.name, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				c.change(i)
				now += 1000
				w.Run(c.frame, now, c.context)
				if i%1024 == 0 {
					if err := w.Read(func(*watch.Snapshot) {}); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
