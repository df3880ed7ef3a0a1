package method

import (
	"testing"

	"synoptic/internal/result"
	"synoptic/internal/wire"
)

const c = 0xfffffff0 // a cookie near the wrap of sequence numbers

// The table of the semantics, line by line: answer in, state out.
func TestAnswersMeanWhatTheTableSays(t *testing.T) {
	rstByAck := func(delta uint32) wire.TCP { return wire.TCP{Flags: wire.RST | wire.ACK, Ack: c + delta} }
	rstBySeq := func(delta uint32) wire.TCP { return wire.TCP{Flags: wire.RST, Seq: c + delta} }
	synAck := func(delta uint32) wire.TCP {
		return wire.TCP{Flags: wire.SYN | wire.ACK, Ack: c + delta, Window: 65535, Options: true, Seq: 77}
	}
	reject := result.Unknown
	for _, tt := range []struct {
		fact   string
		method string
		in     wire.TCP
		want   result.State
	}{
		{"syn_ack_is_open", "syn", synAck(1), result.Open},
		{"syn_ack_of_another_number_is_ignored", "syn", synAck(0), reject},
		{"syn_ack_one_too_far_is_ignored", "syn", synAck(2), reject},
		{"rst_is_closed", "syn", rstByAck(1), result.Closed},
		{"rst_that_counts_no_syn_is_closed", "syn", rstByAck(0), result.Closed},
		{"rst_with_wrong_ack_is_ignored", "syn", rstByAck(2), reject},
		{"rst_without_ack_flag_is_ignored", "syn", wire.TCP{Flags: wire.RST, Ack: c + 1}, reject},
		{"rst_by_sequence_is_ignored", "syn", rstBySeq(0), reject},
		{"ack_alone_is_ignored", "syn", wire.TCP{Flags: wire.ACK, Ack: c + 1}, reject},
		{"syn_alone_is_ignored", "syn", wire.TCP{Flags: wire.SYN, Ack: c + 1}, reject},
		{"rst_beats_syn_in_one_segment", "syn", wire.TCP{Flags: wire.SYN | wire.RST | wire.ACK, Ack: c + 1}, result.Closed},

		{"rst_of_length_zero_is_closed", "null", rstByAck(0), result.Closed},
		{"rst_of_length_one_is_tolerated", "null", rstByAck(1), result.Closed},
		{"rst_before_the_cookie_is_ignored", "null", rstByAck(^uint32(0)), reject},
		{"rst_counts_the_fin", "fin", rstByAck(1), result.Closed},
		{"rst_without_the_fin_is_tolerated", "fin", rstByAck(0), result.Closed},
		{"rst_counts_the_fin_of_xmas", "xmas", rstByAck(1), result.Closed},
		{"rst_with_wrong_ack_is_ignored_by_xmas", "xmas", rstByAck(3), reject},

		{"rst_by_sequence_is_closed", "maimon", rstBySeq(0), result.Closed},
		{"rst_by_sequence_plus_one_is_tolerated", "maimon", rstBySeq(1), result.Closed},
		{"rst_by_sequence_plus_two_is_ignored", "maimon", rstBySeq(2), reject},
		{"rst_by_ack_is_ignored", "maimon", wire.TCP{Flags: wire.RST | wire.ACK, Ack: c, Seq: 5}, reject},

		{"rst_is_unfiltered", "ack", rstBySeq(0), result.Unfiltered},
		{"rst_plus_one_is_ignored", "ack", rstBySeq(1), reject},
		{"rst_with_window_is_open", "window", wire.TCP{Flags: wire.RST, Seq: c, Window: 1}, result.Open},
		{"rst_without_window_is_closed", "window", rstBySeq(0), result.Closed},
		{"rst_with_window_and_wrong_seq_is_ignored", "window", wire.TCP{Flags: wire.RST, Seq: c + 1, Window: 1}, reject},
	} {
		t.Run(tt.method+"/"+tt.fact, func(t *testing.T) {
			v, ok := ByName(tt.method).Segment(&tt.in, c)
			if ok != (tt.want != reject) || ok && v.State != tt.want {
				t.Errorf("%v %v, want %v", v.State, ok, tt.want)
			}
		})
	}
}

func TestSynAckToAProbeWithoutSynIsAnAnomaly(t *testing.T) {
	for _, m := range Table[1:] {
		for delta, want := range map[uint32]bool{0: true, 1: true, 2: false} {
			v, ok := m.Segment(&wire.TCP{Flags: wire.SYN | wire.ACK, Ack: c + delta, Window: 9, Options: true}, c)
			if ok != want || ok && v.Suspect != result.Anomaly {
				t.Errorf("%s, ack=c+%d: %+v %v", m.Name, delta, v, ok)
			}
		}
	}
}

func TestSynProxyIsLabelledNotHidden(t *testing.T) {
	for _, tt := range []struct {
		window  uint16
		options bool
		want    result.Suspect
	}{{65535, true, result.NotSuspect}, {0, true, result.SynProxy}, {65535, false, result.SynProxy}} {
		v, ok := ByLetter('S').Segment(&wire.TCP{Flags: wire.SYN | wire.ACK, Ack: c + 1, Window: tt.window, Options: tt.options}, c)
		if !ok || v.State != result.Open || v.Suspect != tt.want {
			t.Errorf("window %d options %v: %+v %v", tt.window, tt.options, v, ok)
		}
	}
}

func TestICMPErrorsAreFilteredWithNmapsReason(t *testing.T) {
	for _, tt := range []struct {
		ipv6       bool
		kind, code uint8
		want       result.Reason
	}{
		{false, 3, 0, result.NetUnreach}, {false, 3, 1, result.HostUnreach}, {false, 3, 2, result.ProtoUnreach},
		{false, 3, 3, result.PortUnreach}, {false, 3, 9, result.NetProhibited}, {false, 3, 10, result.HostProhibited},
		{false, 3, 13, result.AdminProhibited}, {false, 11, 0, result.TimeExceeded},
		{false, 3, 4, result.NoReason}, {false, 8, 0, result.NoReason}, {false, 1, 0, result.NoReason},
		{true, 1, 0, result.NetUnreach}, {true, 1, 1, result.AdminProhibited}, {true, 1, 3, result.HostUnreach},
		{true, 1, 4, result.PortUnreach}, {true, 1, 5, result.AdminProhibited}, {true, 1, 6, result.AdminProhibited},
		{true, 3, 0, result.TimeExceeded}, {true, 4, 1, result.ProtoUnreach}, {true, 1, 7, result.NoReason},
		{true, 2, 0, result.NoReason},
	} {
		v, ok := ICMP(tt.ipv6, tt.kind, tt.code)
		if v.Reason != tt.want || ok != (tt.want != result.NoReason) || ok && v.State != result.Filtered {
			t.Errorf("ipv6=%v type %d code %d: %+v %v, want %v", tt.ipv6, tt.kind, tt.code, v, ok, tt.want)
		}
	}
}

func TestLettersAndNamesAreUnique(t *testing.T) {
	for _, m := range All() {
		if ByLetter(m.Letter) != m || ByName(m.Name) != m {
			t.Errorf("%s is not found by its own letter and name", m.Name)
		}
	}
	if ByLetter('U') != nil || ByName("udp") != nil {
		t.Error("a method that does not exist is found")
	}
}

func TestNothingAllocates(t *testing.T) {
	m := ByLetter('X')
	in := wire.TCP{Flags: wire.RST | wire.ACK, Ack: c + 1}
	if n := testing.AllocsPerRun(1000, func() { m.Segment(&in, c) }); n != 0 {
		t.Errorf("%v allocations per answer", n)
	}
}
