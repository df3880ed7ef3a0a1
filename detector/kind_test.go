package detector

import (
	"testing"

	"synoptic/bpf/watch"
)

func TestKind(t *testing.T) {
	type probes map[watch.Kind]uint64
	for _, tt := range []struct {
		name       string
		probes     probes
		unprobed   uint64
		handshakes uint64
		want       Kind
	}{
		{"syn", probes{watch.SYN: 8}, 0, 0, SYN},
		{"syn_that_completed_a_handshake", probes{watch.SYN: 8}, 0, 1, Connect},
		{"system_syn", probes{watch.SystemSYN: 8}, 0, 0, Connect},
		{"system_syn_dominates", probes{watch.SystemSYN: 6, watch.SYN: 2}, 0, 0, Connect},
		{"system_syn_does_not_dominate", probes{watch.SystemSYN: 5, watch.SYN: 3}, 0, 0, SYN},
		{"both_syns_dominate_together", probes{watch.SystemSYN: 3, watch.SYN: 3, watch.FIN: 2}, 0, 0, SYN},
		{"and_do_not", probes{watch.SystemSYN: 3, watch.SYN: 2, watch.FIN: 2}, 0, 1, Mixed},
		{"null", probes{watch.NULL: 1}, 0, 1, NULL},
		{"fin", probes{watch.FIN: 1}, 0, 0, FIN},
		{"xmas", probes{watch.XMAS: 1}, 0, 0, XMAS},
		{"maimon", probes{watch.Maimon: 1}, 0, 0, Maimon},
		{"ack", probes{watch.ACK: 1}, 0, 0, ACK},
		{"udp", probes{watch.UDP: 1}, 0, 0, UDP},
		{"tiny", probes{watch.Tiny: 1}, 0, 0, Tiny},
		{"odd", probes{watch.Odd: 1}, 0, 0, Mixed},
		{"synack", probes{watch.SYNACK: 1}, 0, 0, Mixed},
		{"three_quarters", probes{watch.FIN: 6, watch.ACK: 2}, 0, 0, FIN},
		{"less", probes{watch.FIN: 5, watch.ACK: 2}, 0, 0, Mixed},
		{"three_quarters_with_unprobed", probes{watch.FIN: 6}, 2, 0, FIN},
		{"less_with_unprobed", probes{watch.FIN: 5}, 2, 0, Mixed},
		{"nothing", nil, 0, 1, Mixed},
		{"no_probe", nil, 3, 0, Mixed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := tally{unprobed: tt.unprobed, handshakes: tt.handshakes}
			for k, n := range tt.probes {
				c.kinds[k] = n
			}
			if got := c.kind(); got != tt.want {
				t.Errorf("kind() = %s, want %s", got, tt.want)
			}
		})
	}
}

func TestKindAtEnd(t *testing.T) {
	for _, tt := range []struct {
		name       string
		kind       watch.Kind
		handshakes uint64
		said, want Kind
	}{
		{"raw_stays_syn", watch.SYN, 0, SYN, SYN},
		{"options_alone_change_nothing", watch.SystemSYN, 0, SYN, SYN},
		{"nor_their_lack", watch.SYN, 0, Connect, Connect},
		{"a_handshake_does", watch.SYN, 1, SYN, Connect},
		{"another_kind_does", watch.FIN, 0, SYN, FIN},
		{"mixed_became_plain", watch.SYN, 0, Mixed, SYN},
		{"mixed_became_connect", watch.SystemSYN, 0, Mixed, Connect},
		{"syn_became_mixed", watch.Odd, 0, SYN, Mixed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := tally{handshakes: tt.handshakes}
			c.kinds[tt.kind] = 1
			if got := c.kindAtEnd(tt.said); got != tt.want {
				t.Errorf("kindAtEnd(%s) = %s, want %s", tt.said, got, tt.want)
			}
		})
	}
}

func TestDirection(t *testing.T) {
	for _, tt := range []struct {
		hosts, ports int
		want         Direction
	}{
		{0, 1, Vertical}, {1, 1, Vertical}, {1, 1000, Vertical}, {2, 1, Horizontal}, {2, 2, Block}, {300, 22, Horizontal}, {22, 300, Block},
	} {
		if got := direction(tt.hosts, tt.ports); got != tt.want {
			t.Errorf("direction(%d, %d) = %s, want %s", tt.hosts, tt.ports, got, tt.want)
		}
	}
}
