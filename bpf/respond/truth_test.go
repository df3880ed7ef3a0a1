package respond

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"strconv"
	"testing"
	"time"
)

// random returns a source whose seed is printed, and read from SEED if set.
func random(t testing.TB) *rand.Rand {
	seed, err := strconv.ParseUint(os.Getenv("SEED"), 0, 64)
	if err != nil {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// randomEndpoint returns an endpoint of the default ranges.
func randomEndpoint(rnd *rand.Rand) netip.AddrPort {
	port := uint16(rnd.Uint32())
	if rnd.IntN(2) == 0 {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(rnd.Uint32()), byte(rnd.Uint32()), byte(rnd.Uint32())}), port)
	}
	a := netip.MustParseAddr("fd00:10::").As16()
	for i := 8; i < 16; i++ {
		a[i] = byte(rnd.Uint32())
	}
	return netip.AddrPortFrom(netip.AddrFrom16(a), port)
}

// balanced is a network in which every state is common.
func balanced() Config {
	cfg := DefaultConfig()
	cfg.Open, cfg.Closed, cfg.Rejected = Fraction(1, 4), Fraction(1, 4), Fraction(1, 4)
	return cfg
}

// expect tells what the program must do with a probe, and adds it to the
// counters it must then have.
func expect(c *Counters, flags uint8, a Answer) (verdict uint32) {
	c.TCP[flags&63]++
	if flags&0xc0 != 0 {
		c.ECN++
	}
	switch a.Kind {
	case NoAnswer:
		c.Silent++
		return xdpDrop
	case SynAck:
		c.SynAck++
	case Reset:
		c.Reset++
	case ICMP:
		c.ICMP++
	}
	return xdpTX
}

func TestKernelAgreesWithTruth(t *testing.T) {
	rnd := random(t)
	r := load(t, balanced())
	truth := balanced().Truth()
	var want Counters
	seen := map[State]int{}
	buf := make([]byte, 4096)
	n := 120_000
	if testing.Short() {
		n = 5_000
	}
	for range n {
		p := probe{to: randomEndpoint(rnd), flags: SYN, seq: rnd.Uint32(), mss: rnd.IntN(2) == 0}
		a := truth.Answer(SYN, p.to)
		seen[truth.State(p.to)]++
		frame := p.bytes(t)
		verdict, out := run(t, r, frame, buf)
		if v := expect(&want, SYN, a); v != verdict {
			t.Fatalf("%s is %s: verdict %d, want %d", p, truth.State(p.to), verdict, v)
		}
		if verdict != xdpTX {
			continue
		}
		if err := checkReply(p, frame, out, a, minQuote); err != nil {
			t.Fatalf("%s is %s: %v", p, truth.State(p.to), err)
		}
	}
	if got := counters(t, r); got != want {
		t.Errorf("counters %+v, want %+v", got, want)
	}
	for _, s := range []State{Silent, Open, Closed, Rejected} {
		if f := float64(seen[s]) / float64(n); f < 0.22 || f > 0.28 {
			t.Errorf("%.3f of the ports are %s, want a quarter", f, s)
		}
	}
}

func TestKernelAgreesWithTruthForEveryFlagSetAndPersonality(t *testing.T) {
	rnd := random(t)
	r := load(t, balanced())
	buf := make([]byte, 4096)
	for p := range Personality(len(personalityNames)) {
		t.Run(fmt.Sprintf("personality=%s", p), func(t *testing.T) {
			cfg := balanced()
			cfg.Personality = p
			cfg.Error = []ICMPError{PortUnreach, AdminProhibited, HostUnreach, NetUnreach, TimeExceeded}[p]
			cfg.Quote = []int{8, 20, 60, 12, 8}[p]
			if p%2 == 1 {
				cfg.Router4, cfg.Router6 = netip.MustParseAddr("172.16.0.2"), netip.MustParseAddr("fd00:172:16::2")
			}
			configure(t, r, cfg)
			if err := r.Reset(); err != nil {
				t.Fatal(err)
			}
			var want Counters
			for flags := range 256 {
				for range 32 {
					p := probe{to: randomEndpoint(rnd), flags: uint8(flags), seq: rnd.Uint32(), ack: rnd.Uint32(), mss: rnd.IntN(2) == 0}
					p.payload = string(make([]byte, max(0, rnd.IntN(40)-20)))
					if p.to.Addr().Is4() && rnd.IntN(4) == 0 {
						p.options = []byte{1, 1, 1, 0}
					}
					a := cfg.Truth().Answer(p.flags, p.to)
					frame := p.bytes(t)
					verdict, out := run(t, r, frame, buf)
					if v := expect(&want, p.flags, a); v != verdict {
						t.Fatalf("%s: verdict %d, want %d", p, verdict, v)
					}
					if verdict != xdpTX {
						continue
					}
					if err := checkReply(p, frame, out, a, cfg.Quote); err != nil {
						t.Fatalf("%s: %v", p, err)
					}
				}
			}
			got := counters(t, r)
			if got != want {
				t.Errorf("counters %+v, want %+v", got, want)
			}
			if err := got.Check(); err != nil {
				t.Error(err)
			}
		})
	}
}
