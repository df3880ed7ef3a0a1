package twin

import (
	"encoding/binary"
	"fmt"
	"math/big"
	"net/netip"
	"testing"
	"time"

	"synoptic/bpf/watch"
)

func nth(i int) string { return fmt.Sprintf("10.0.%d.%d", i/256, i%256) }

// The hash of the table, pair-multiply-shift and a mix, in numbers that do not overflow.
func TestSetIsTheHighHalfOfTheHashScaled(t *testing.T) {
	const source = "1203:405:607:809:a0b:c0d:e0f:ff01"
	key := watch.Key{0xfedcba9876543210, 0x0123456789abcdef, 0xdeadbeefcafebabe, 0x8badf00d8badf00d, 1 << 63}
	number := func(n uint64) *big.Int { return new(big.Int).SetUint64(n) }
	bytes := netip.MustParseAddr(source).As16()
	word := func(i int) *big.Int { return number(uint64(binary.LittleEndian.Uint32(bytes[4*i:]))) }
	sum := func(a, b *big.Int) *big.Int { return new(big.Int).Add(a, b) }
	hash := sum(
		new(big.Int).Mul(sum(number(key[0]), word(1)), sum(number(key[1]), word(0))),
		new(big.Int).Mul(sum(number(key[2]), word(3)), sum(number(key[3]), word(2))))
	hash = sum(hash, number(key[4]))
	hash.And(hash, number(1<<64-1))
	hash.Xor(hash, new(big.Int).Rsh(hash, 32)).Mul(hash, number(0xd6e8feb86659fd93))
	hash.And(hash, number(1<<64-1)).Rsh(hash, 32)
	for _, sets := range []int{1, 2, 3, 7, 1000, 1024, 99991, 1 << 17} {
		r := defaults()
		r.V6Bits = 128
		w := newTwin(t, Config{Sets: sets, Key: key}, r)
		w.Run(testPacket{port: 80, from: source}.frame(), start, watch.Unknown)
		want := new(big.Int).Mul(hash, big.NewInt(int64(sets)))
		want.Rsh(want, 32)
		v, ok := w.Source(watch.Ref(want.Int64() * 8))
		if !ok || v.Source != prefix(source+"/128") || int64(v.Ref) != want.Int64()*8 {
			t.Errorf("%d sets: %v at place %d, want it in set %d", sets, v.Source, v.Ref, want)
		}
	}
}

func TestASetSpreadsSources(t *testing.T) {
	w := newTwin(t, Config{Sets: 64, Key: watch.RandomKey()}, defaults())
	for i := range 64 {
		w.Run(testPacket{port: 80, from: nth(i)}.frame(), start, watch.Unknown)
	}
	sets := map[watch.Ref]bool{}
	must(t, w.Sources(func(v *watch.Snapshot) { sets[v.Ref/8] = true }))
	if len(sets) < 30 { // 40 expected
		t.Errorf("64 sources are in %d of 64 sets", len(sets))
	}
}

func TestWhatIsOneSource(t *testing.T) {
	for _, c := range []struct {
		name string
		bits int
		a, b string
		want []string // prefixes
	}{
		{"ipv4_addresses", 64, "192.0.2.1", "192.0.2.2", []string{"192.0.2.1/32", "192.0.2.2/32"}},
		{"ipv6_of_one_64", 64, "2001:db8::1", "2001:db8::ffff:0:0:1", []string{"2001:db8::/64"}},
		{"ipv6_of_two_64", 64, "2001:db8::1", "2001:db8:0:1::1", []string{"2001:db8::/64", "2001:db8:0:1::/64"}},
		{"ipv6_of_one_60", 60, "2001:db8::1", "2001:db8:0:f::1", []string{"2001:db8::/60"}},
		{"ipv6_of_two_60", 60, "2001:db8:0:f::1", "2001:db8:0:10::1", []string{"2001:db8::/60", "2001:db8:0:10::/60"}},
		{"ipv6_of_one_1", 1, "::1", "7fff:ffff::", []string{"::/1"}},
		{"ipv6_of_two_1", 1, "::1", "8000::", []string{"::/1", "8000::/1"}},
		{"ipv6_of_two_128", 128, "2001:db8::1", "2001:db8::2", []string{"2001:db8::1/128", "2001:db8::2/128"}},
		{"ipv4_is_not_masked", 1, "192.0.2.1", "192.0.2.2", []string{"192.0.2.1/32", "192.0.2.2/32"}},
		{"the_unspecified_address", 64, "::", "::1", []string{"::/64"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := defaults()
			r.V6Bits = c.bits
			s := newStand(t, r)
			s.quiet(0, testPacket{port: 80, from: c.a})
			s.quiet(1, testPacket{port: 81, from: c.b})
			var got []string
			must(t, s.Sources(func(v *watch.Snapshot) { got = append(got, v.Source.String()) }))
			if fmt.Sprint(got) != fmt.Sprint(c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
			s.counts(watch.Counters{Sources: uint64(len(c.want)), Probes: 2})
		})
	}
}

func TestEmptyPlacesAreTakenInOrder(t *testing.T) {
	s := newStand(t, defaults())
	for i := range ways {
		s.quiet(time.Duration(i), testPacket{port: 80, from: nth(i)})
	}
	i := 0
	must(t, s.Sources(func(v *watch.Snapshot) {
		if v.Ref != watch.Ref(i) || v.Source != prefix(nth(i)+"/32") {
			t.Errorf("%v at place %d, want %s at %d", v.Source, v.Ref, nth(i), i)
		}
		i++
	}))
	s.counts(watch.Counters{Sources: 8, Probes: 8})
}

// Eight sources have sent so many new ports, the last at such a time; a ninth
// comes.
func TestWhoMakesRoom(t *testing.T) {
	type source struct {
		ports int
		last  time.Duration
	}
	const second = time.Second
	all := func(s source) (list [ways]source) {
		for i := range list {
			list[i] = s
		}
		return list
	}
	but := func(list [ways]source, i int, s source) [ways]source {
		list[i] = s
		return list
	}
	window := defaults()
	window.Gap.On = false
	off := window
	off.Window.On = false
	long := withPackets()
	long.Packets.Span = 10 * second

	for _, c := range []struct {
		name    string
		rules   watch.Rules
		sources [ways]source
		at      time.Duration
		place   watch.Ref
		idle    bool
	}{
		{"the_fewest_new_ports", defaults(), but(all(source{2, 0}), 5, source{1, 0}), second, 5, false},
		{"the_fewest_though_it_is_the_latest", defaults(), but(all(source{2, 0}), 7, source{1, second}), second, 7, false},
		{"the_longest_silent_of_equals", defaults(), but(all(source{2, 2}), 6, source{2, 1}), second, 6, false},
		{"the_first_of_equals", defaults(), all(source{2, 0}), second, 0, false},
		{"an_idle_one_however_many_ports", defaults(), but(all(source{1, second}), 3, source{20, 0}), 3*second + 1, 3, true},
		{"the_gap_is_not_over_at_3_s", defaults(), but(all(source{1, second}), 3, source{20, 0}), 3 * second, 0, false},
		{"the_longest_silent_of_the_idle", defaults(), but(all(source{1, 2}), 2, source{20, 1}), 10 * second, 2, true},
		{"the_first_of_the_idle", defaults(), all(source{3, 0}), 10 * second, 0, true},
		{"a_packet_from_the_past_finds_nobody_idle", defaults(), but(all(source{1, 10 * second}), 4, source{2, 0}), second, 0, false},
		{"idle_by_the_window_if_it_alone_is_on", window, but(all(source{1, second}), 3, source{20, 0}), 300*time.Millisecond + 1, 3, true},
		{"live_by_the_window_if_it_alone_is_on", window, but(all(source{2, second}), 3, source{1, 0}), 300 * time.Millisecond, 3, false},
		{"live_by_the_longest_span", long, but(all(source{2, second}), 3, source{3, 0}), 10 * second, 0, false},
		{"idle_by_the_longest_span", long, but(all(source{2, second}), 3, source{3, 0}), 10*second + 1, 3, true},
		{"live_by_the_gap_though_packets_have_a_shorter_span", withPackets(), but(all(source{2, second}), 3, source{3, 0}), 3 * second, 0, false},
		{"at_once_idle_without_lines", off, but(all(source{1, second}), 3, source{20, 0}), second, 3, true},
		{"not_in_the_same_moment_idle_without_lines", off, but(all(source{2, second}), 3, source{1, second}), second, 3, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStand(t, c.rules)
			probes := uint64(0)
			for i, f := range c.sources {
				for port := range f.ports {
					s.run(f.last, testPacket{port: uint16(5000 + port), from: nth(i)})
					probes++
				}
			}
			s.run(c.at, testPacket{port: 80, from: "10.0.1.1"})
			v, ok := s.Source(c.place)
			if !ok || v.Source != prefix("10.0.1.1/32") {
				ninth, _ := s.lookUp("10.0.1.1")
				t.Errorf("place %d has %v, the ninth is at %d", c.place, v.Source, ninth.Ref)
			}
			want := watch.Counters{Sources: 9, Probes: probes + 1}
			if c.idle {
				want.EvictedIdle = 1
			} else {
				want.EvictedLive = 1
			}
			s.counts(want)
		})
	}
}

// The order by time is that of its low 56 bits, about 834 days.
func TestRankHasFiftySixBitsOfTime(t *testing.T) {
	w := newTwin(t, Config{Sets: 1}, defaults())
	const wrap = uint64(1) << 56
	for i, at := range []uint64{wrap - 5, wrap - 4, wrap - 3, wrap + 2, wrap + 1, wrap + 3, wrap + 4, wrap + 5, wrap + 6} {
		w.Run(testPacket{port: 80, from: nth(i)}.frame(), at, watch.Unknown)
		w.Run(testPacket{port: 81, from: nth(i)}.frame(), at, watch.Unknown)
	}
	if v, _ := w.Source(4); v.Source != prefix(nth(8)+"/32") {
		t.Errorf("%v is at place 4", v.Source)
	}
}

// A TCP packet that is no probe keeps a source from being idle, where packets
// count.
func TestPacketsKeepASourceFromBeingIdle(t *testing.T) {
	s := newStand(t, withPackets())
	for i := range ways {
		s.quiet(0, testPacket{port: 80, from: nth(i)})
	}
	for i := range ways {
		if i != 5 {
			s.quiet(time.Second, testPacket{port: 80, from: nth(i), flags: RST})
		}
	}
	s.quiet(3*time.Second+1, testPacket{port: 80, from: "10.0.1.1"})
	if v, _ := s.Source(5); v.Source != prefix("10.0.1.1/32") {
		t.Errorf("place 5 has %v", v.Source)
	}
	s.counts(watch.Counters{Sources: 9, Probes: 9, EvictedIdle: 1})

	// And where all are alike, the one whose packet is the oldest makes room.
	s = newStand(t, withPackets())
	for i := range ways {
		s.quiet(0, testPacket{port: 80, from: nth(i)})
	}
	for i := range ways {
		s.quiet(time.Second+time.Duration(i^3), testPacket{port: 80, from: nth(i), flags: RST})
	}
	s.quiet(3*time.Second+1, testPacket{port: 80, from: "10.0.1.1"})
	if v, _ := s.Source(3); v.Source != prefix("10.0.1.1/32") {
		t.Errorf("place 3 has %v", v.Source)
	}
	s.counts(watch.Counters{Sources: 9, Probes: 9, EvictedLive: 1})
}

// Where the places are given to others, nothing is left of those before.
func TestAnEvictedSourceIsForgotten(t *testing.T) {
	s := newStand(t, withPackets())
	for i := range ways {
		for port := range 30 {
			s.run(0, testPacket{port: uint16(port), from: nth(i)})
		}
		s.run(0, testPacket{port: 80, from: nth(i), flags: ACK}, watch.Handshake)
	}
	s.quiet(time.Minute, testPacket{port: 443, from: "10.0.1.1", ttl: 7})
	at := start + uint64(time.Minute)
	want := watch.Snapshot{Ref: 0, Source: prefix("10.0.1.1/32"), Time: at, Born: at, Last: at,
		LastPacket: at, Chain: at,
		Probes: []watch.Probe{{Time: at, Port: 443}}, Packets: []watch.Probe{{Time: at, Port: 443}},
		First: netip.MustParseAddr("198.51.100.1"), Latest: netip.MustParseAddr("198.51.100.1"), Hosts: 1, MinTTL: 7, MaxTTL: 7}
	want.Classes[watch.Low], want.Kinds[watch.SYN] = 1, 1
	same(t, want, s.remembered("10.0.1.1"))
	// And of the one that was forgotten nothing comes back.
	s.quiet(time.Minute, testPacket{port: 444, from: nth(0)})
	if v := s.remembered(nth(0)); len(v.Probes) != 1 || v.Kinds[watch.SYN] != 1 || v.Handshakes != 0 {
		t.Errorf("%+v", v)
	}
}

func TestBackscatterNeverHasAPlace(t *testing.T) {
	s := newStand(t, defaults())
	for i := range 5000 {
		s.quiet(time.Duration(i), testPacket{port: uint16(i), flags: SYN | ACK, from: fmt.Sprintf("10.9.%d.%d", i/256, i%256)})
		s.quiet(time.Duration(i), testPacket{port: uint16(i), flags: RST | ACK, from: fmt.Sprintf("10.8.%d.%d", i/256, i%256)})
	}
	s.counts(watch.Counters{Backscatter: 5000})
	if _, ok := s.Source(0); ok {
		t.Error("a source has a place")
	}
}

// A packet that is older than its source's last counts as of the same time.
func TestTimeNeverRunsBackwards(t *testing.T) {
	s := newStand(t, withPackets())
	for port := range 13 {
		s.quiet(time.Second, testPacket{port: uint16(5000 + port)})
	}
	v := s.told(0, testPacket{port: 6000})
	if since0(v.Time) != time.Second || since0(v.Last) != time.Second || since0(v.Before) != time.Second || since0(v.LastPacket) != time.Second {
		t.Errorf("%+v", v)
	}
	if len(v.Probes) != 14 || since0(v.Probes[13].Time) != time.Second || since0(v.Packets[13].Time) != time.Second {
		t.Errorf("probes %v, packets %v", v.Probes, v.Packets)
	}

	// The last packet of either sort is the latest.
	s = newStand(t, withPackets())
	s.quiet(0, testPacket{port: 80})
	s.quiet(2*time.Second, testPacket{port: 80, flags: RST})
	s.quiet(time.Second, testPacket{port: 53, udp: true})
	if v := s.remembered("192.0.2.1"); since0(v.Last) != 2*time.Second {
		t.Errorf("a datagram behind a reset is of %v", since0(v.Last))
	}
	s.quiet(4*time.Second, testPacket{port: 54, udp: true})
	s.quiet(3*time.Second, testPacket{port: 80, flags: RST})
	if v := s.remembered("192.0.2.1"); since0(v.LastPacket) != 4*time.Second {
		t.Errorf("a reset behind a datagram is of %v", since0(v.LastPacket))
	}
}
