package lab

import (
	"encoding/binary"
	"math"
	"net/netip"
	"testing"
	"time"

	"synoptic/bpf/respond"
)

// TestPathLosesInTheLab: what the path is configured to drop while the responder
// is attached does not come back, and all else does.
func TestPathLosesInTheLab(t *testing.T) {
	// The scanner's kernel answers a SYN+ACK, but not a reset.
	cfg := respond.DefaultConfig()
	cfg.Open, cfg.Closed = 0, respond.Whole
	l := New(t, Config{Respond: &cfg})
	r := openRaw(t, l)
	frame := segment(t, GateMAC, 20000, netip.MustParseAddrPort("10.0.0.1:80"), respond.SYN)[:54]

	// flood sends n probes to as many hosts with the path so. It returns the
	// counters, having compared them with what came back, and a time within
	// which all of it has happened.
	flood := func(loss respond.Share, police uint32, n uint64, rate float64) (respond.Counters, time.Duration) {
		t.Helper()
		cfg.Loss, cfg.Police = loss, police
		if err := l.Responder.Configure(cfg); err != nil {
			t.Fatal(err)
		}
		r.received()
		if err := l.Responder.Reset(); err != nil {
			t.Fatal(err)
		}
		_, repliesBefore, err := l.Overruns()
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		done, err := l.Scanner.Flood(t.Context(), Flood{Device: ScannerDevice, Packets: n, Time: 20 * time.Second, Rate: rate,
			Frame: func(i uint64, buf *[1514]byte) int {
				binary.BigEndian.PutUint32(frame[30:], 10<<24|uint32(i))
				fixChecksums(frame)
				return copy(buf[:], frame)
			}})
		if err != nil || done.Sent != n {
			t.Fatalf("%d of %d sent: %v", done.Sent, n, err)
		}
		var c respond.Counters
		for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			if c, err = l.Responder.Counters(); err != nil {
				t.Fatal(err)
			}
			if c.Segments() >= n {
				break
			}
		}
		elapsed := time.Since(start)
		came := uint64(0)
		for _, f := range r.received() {
			if _, a, ok := answerIn(f); ok && a.Kind == respond.Reset {
				came++
			}
		}
		_, replies, err := l.Overruns()
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("loss %s, police %d: %d seen, %d policed, %d lost, %d answered, %d came in %s", loss, police, c.Segments(), c.Policed, c.PathLost, c.Replies(), came, elapsed)
		if err := c.Check(); err != nil {
			t.Error(err)
		}
		if c.Segments() != n || c.Reset != n-c.Dropped() || came+replies-repliesBefore != c.Reset {
			t.Errorf("%d sent, %d answers came and %d were refused, counters %+v", n, came, replies-repliesBefore, c)
		}
		return c, elapsed
	}

	const n = 20_000
	if c, _ := flood(0, 0, n, 100_000); c.Dropped() != 0 {
		t.Errorf("%d dropped on a good path", c.Dropped())
	}
	c, _ := flood(respond.Fraction(1, 10), 0, n, 100_000)
	if off, sigma := math.Abs(float64(c.PathLost)-n/10), math.Sqrt(n*0.1*0.9); off > 6*sigma || c.Policed != 0 {
		t.Errorf("%d lost by chance and %d policed of %d", c.PathLost, c.Policed, n)
	}
	c, elapsed := flood(0, 10_000, n, 0)
	if most := float64(cfg.Burst()) + 10_000*elapsed.Seconds(); float64(c.Replies()) > most || c.Policed == 0 || c.PathLost != 0 {
		t.Errorf("%d passed the policer, want at most %.0f; %d lost by chance", c.Replies(), most, c.PathLost)
	}
	if c, _ := flood(0, 0, n, 100_000); c.Dropped() != 0 {
		t.Errorf("%d dropped on a path that is good again", c.Dropped())
	}
}
