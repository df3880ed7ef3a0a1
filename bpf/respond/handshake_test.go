package respond

import (
	"encoding/binary"
	"testing"
)

// TestHandshakeIsCompletedWithoutState: what acknowledges our SYN+ACK gets no
// reset, whatever does not, as an ACK scan does, gets one.
func TestHandshakeIsCompletedWithoutState(t *testing.T) {
	r := load(t, everythingOpen())
	buf := make([]byte, 4096)
	for _, to := range []probe{{to: target4}, {to: target6}} {
		if err := r.Reset(); err != nil {
			t.Fatal(err)
		}
		to.flags, to.seq = SYN, 1000
		verdict, out := run(t, r, to.bytes(t), buf)
		if verdict != xdpTX {
			t.Fatalf("SYN: verdict %d", verdict)
		}
		tcp := out[34:]
		if to.to.Addr().Is6() {
			tcp = out[54:]
		}
		isn := binary.BigEndian.Uint32(tcp[4:])
		for _, c := range []struct {
			name    string
			flags   uint8
			ack     uint32
			payload string
			verdict uint32
		}{
			{"last_ack", ACK, isn + 1, "", xdpDrop},
			{"data", PSH | ACK, isn + 1, "GET /", xdpDrop},
			{"ack_of_something_else", ACK, isn, "", xdpTX},
			{"ack_scan", ACK, 12345, "", xdpTX},
			{"close", FIN | ACK, isn + 1, "", xdpTX},
			{"abort", RST | ACK, isn + 1, "", xdpDrop},
		} {
			to.flags, to.ack, to.payload = c.flags, c.ack, c.payload
			if verdict, _ := run(t, r, to.bytes(t), buf); verdict != c.verdict {
				t.Errorf("%s: verdict %d, want %d", c.name, verdict, c.verdict)
			}
		}
		c := counters(t, r)
		if c.SynAck != 1 || c.Accepted != 1 || c.Silent != 2 || c.Reset != 3 || c.Check() != nil {
			t.Errorf("counters %+v", c)
		}
	}
}
