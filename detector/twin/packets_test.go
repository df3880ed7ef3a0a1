package twin

import (
	"fmt"
	"testing"
	"time"

	"synoptic/bpf/watch"
)

func packetsOnly(threshold uint32) watch.Rules {
	return only(func(r *watch.Rules) {
		r.Packets = watch.Line{On: true, Span: window, Threshold: threshold, High: 1, Low: 3, Trap: 10}
	})
}

// By the literal reading every TCP packet scores, whatever it is.
func TestEveryTCPPacketCounts(t *testing.T) {
	for _, c := range []struct {
		name    string
		packet  testPacket
		context watch.Context
		counts  bool
	}{
		{"syn", testPacket{}, watch.Unknown, true},
		{"rst", testPacket{flags: RST}, watch.Unknown, true},
		{"rst_ack", testPacket{flags: RST | ACK}, watch.Unknown, true},
		{"ack_of_a_connection", testPacket{flags: ACK}, watch.Known, true},
		{"ack_of_a_handshake", testPacket{flags: ACK}, watch.Handshake, true},
		{"ack_of_nobody", testPacket{flags: ACK}, watch.Unknown, true},
		{"synack_of_a_connection", testPacket{flags: SYN | ACK}, watch.Known, true},
		{"synack_of_nobody", testPacket{flags: SYN | ACK}, watch.Unknown, true},
		{"tiny", testPacket{tiny: true}, watch.Unknown, true},
		{"udp", testPacket{udp: true}, watch.Unknown, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStand(t, packetsOnly(21))
			c.packet.port = 80
			for i := range 5 { // 15 points
				told := s.run(time.Duration(i), c.packet, c.context)
				if want := c.counts && i == 4; (len(told) == 1) != want {
					t.Errorf("packet %d is told of %d times", i, len(told))
				}
			}
			v := s.remembered("192.0.2.1")
			if want := map[bool]int{true: 5}[c.counts]; len(v.Packets) != want {
				t.Errorf("%d packets, want %d", len(v.Packets), want)
			}
		})
	}
}

func TestPacketsInTheWindow(t *testing.T) {
	const us = time.Microsecond
	same := func(port uint16, n int, at, every time.Duration) (list []step) {
		for i := range n {
			list = append(list, step{at + time.Duration(i)*every, testPacket{port: port, flags: RST}})
		}
		return list
	}
	equal3 := packetsOnly(65) // which only 22 packets cross
	equal3.Packets.High, equal3.Packets.Trap = 3, 3
	for _, c := range []struct {
		name  string
		rules watch.Rules
		steps []step
		told  []int
	}{
		{"high_ports", packetsOnly(21), same(5000, 23, 0, us), []int{13, 14, 15, 16, 17, 18, 19, 20, 21}},
		{"low_ports", packetsOnly(21), same(80, 9, 0, us), []int{4, 5, 6, 7}},
		{"traps", packetsOnly(21), same(11, 4, 0, us), []int{1, 2}},
		{"at_300_ms", packetsOnly(21), join(same(80, 4, 0, 0), same(80, 1, window, 0)), []int{4}},
		{"at_300_ms_and_1_ns", packetsOnly(21), join(same(80, 4, 0, 0), same(80, 1, window+1, 0)), nil},
		{"22_are_remembered", equal3, same(80, 100, 0, us), []int{14, 15, 16, 17, 18, 19, 20, 21}},
		{"told_again_after_50_ms", packetsOnly(21), join(same(80, 8, 0, 0), same(80, 1, 50*ms-1, 0), same(80, 1, 50*ms, 0)), []int{4, 5, 6, 7, 9}},
	} {
		t.Run(c.name, func(t *testing.T) { newStand(t, c.rules).script(c.steps, c.told...) })
	}
}

// What a packet that is no probe changes: nothing of the probes'.
func TestAPacketIsNoProbe(t *testing.T) {
	s := newStand(t, packetsOnly(0))
	rst := testPacket{port: 443, flags: RST, ttl: 9, source: 8, from: "192.0.2.1"}
	at := func(d time.Duration) uint64 { return start + uint64(d) }

	// It gives its source a place.
	v := s.told(1, rst)
	want := watch.Snapshot{Source: prefix("192.0.2.1/32"), From: prefix("192.0.2.1/32").Addr(), To: prefix("198.51.100.1/32").Addr(), Time: at(1), Born: at(1), LastPacket: at(1),
		Packets: []watch.Probe{{Time: at(1), Port: 443}}, Probes: []watch.Probe{}, SourcePort: 8}
	v.Probes = []watch.Probe{}
	same(t, want, v)
	e, _ := s.find(0, s.mapped("192.0.2.1"))
	if e.heat != 1 || e.chain != 0 || e.last != 0 {
		t.Errorf("%+v", e)
	}
	s.counts(watch.Counters{Sources: 1})

	// The first probe behind it is the first probe.
	v = s.told(60*ms, low(80))
	if !v.Probed || v.Before != 0 || v.BeforePacket != at(1) || v.LastPacket != at(60*ms) || v.Last != at(60*ms) || v.Born != at(1) || v.Chain != at(60*ms) ||
		v.MinTTL != 64 || v.MaxTTL != 64 || v.Hosts != 1 {
		t.Errorf("%+v", v)
	}
	if e.heat != 1 {
		t.Errorf("heat %d", e.heat)
	}

	// And another packet behind that leaves it so.
	v = s.told(120*ms, rst)
	if v.Probed || v.Before != at(60*ms) || v.Last != at(60*ms) || v.BeforePacket != at(60*ms) || v.LastPacket != at(120*ms) ||
		v.Kinds[watch.SYN] != 1 || v.MinTTL != 64 || len(v.Packets) != 3 || len(v.Probes) != 1 {
		t.Errorf("%+v", v)
	}
	if e.heat != 1 {
		t.Errorf("heat %d", e.heat)
	}
	s.counts(watch.Counters{Sources: 1, Probes: 1})
	s.run(120*ms, low(81))
	s.run(120*ms, rst)
	if e.heat != 2 {
		t.Errorf("heat %d", e.heat)
	}
}

// An answer to what somebody forged has a place where packets count, but is no
// probe.
func TestBackscatterCountsAsPackets(t *testing.T) {
	s := newStand(t, packetsOnly(0))
	v := s.told(0, testPacket{port: 80, flags: SYN | ACK})
	if v.Probed || v.Last != 0 || len(v.Probes) != 0 || len(v.Packets) != 1 || v.Kinds != [watch.Kinds]uint32{} {
		t.Errorf("%+v", v)
	}
	e, _ := s.find(0, s.mapped("192.0.2.1"))
	if e.heat != 0 {
		t.Errorf("heat %d", e.heat)
	}
	s.counts(watch.Counters{Sources: 1, Backscatter: 1})
}

// A datagram that is a probe tells of the last packet, and adds none.
func TestADatagramIsNoPacket(t *testing.T) {
	r := withPackets()
	r.Window.Threshold = 0
	s := newStand(t, r)
	s.told(0, low(80))
	v := s.told(60*ms, testPacket{port: 53, udp: true})
	if !v.Probed || since0(v.LastPacket) != 0 || since0(v.BeforePacket) != 0 || since0(v.Before) != 0 || since0(v.Last) != 60*ms || len(v.Packets) != 1 {
		t.Errorf("%+v", v)
	}
}

// A probe to a port that is not new is told of if packets are of interest.
func TestARepeatIsToldAsAPacket(t *testing.T) {
	s := newStand(t, withPackets())
	for i := range 4 {
		s.quiet(time.Duration(i), low(80))
	}
	v := s.told(5, low(80))
	if !v.Probed || len(v.Probes) != 1 || len(v.Packets) != 5 {
		t.Errorf("%+v", v)
	}
	s.counts(watch.Counters{Sources: 1, Probes: 5, Repeats: 4})
	// The lines without a sum are not over: 50 ms count for packets alone.
	for i := range 3 {
		s.run(time.Duration(6+i), low(80))
	}
	e, _ := s.find(0, s.mapped("192.0.2.1"))
	if e.toldOver != overPackets {
		t.Errorf("told of %b", e.toldOver)
	}
}

func TestAGatewayCountsPackets(t *testing.T) {
	w := newTwin(t, Config{Sets: 1, Gateway: true}, packetsOnly(21))
	for range 5 {
		w.Run(testPacket{port: 80, flags: ACK}.frame(), start, watch.Known)
	}
	want := watch.Counters{Sources: 1, Events: 1}
	want.TCP[ACK] = 5
	if got, _ := w.Counters(); got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// Packets are told in order, the last 22, when the ring has gone around.
func TestPacketsInOrder(t *testing.T) {
	s := newStand(t, packetsOnly(21))
	for i := range 50 {
		s.run(time.Duration(i), testPacket{port: uint16(i), flags: RST})
	}
	v := s.remembered("192.0.2.1")
	ports, at := times(v.Packets)
	var wantPorts []uint16
	var wantAt []time.Duration
	for i := 28; i < 50; i++ {
		wantPorts, wantAt = append(wantPorts, uint16(i)), append(wantAt, time.Duration(i))
	}
	if fmt.Sprint(ports, at) != fmt.Sprint(wantPorts, wantAt) {
		t.Errorf("got  %v at %v\nwant %v at %v", ports, at, wantPorts, wantAt)
	}
}

// When packets do not count any more, what is remembered of them is not told,
// and when they do again, it is.
func TestPacketsSwitchedOffAndOn(t *testing.T) {
	s := newStand(t, packetsOnly(21))
	s.quiet(0, low(80))
	s.quiet(1, low(81))
	off := packetsOnly(21)
	off.Packets.On = false
	must(t, s.SetRules(off))
	s.quiet(2, low(82))
	if v := s.remembered("192.0.2.1"); v.LastPacket != 0 || v.BeforePacket != 0 || v.Packets != nil || len(v.Probes) != 3 {
		t.Errorf("%+v", v)
	}
	must(t, s.SetRules(packetsOnly(21)))
	if v := s.remembered("192.0.2.1"); since0(v.LastPacket) != 1 || len(v.Packets) != 2 {
		t.Errorf("%+v", v)
	}
}
