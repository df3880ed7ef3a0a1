package respond

import (
	"errors"
	"testing"
)

func TestLossyEndpointsLoseTheirFirstAnswers(t *testing.T) {
	rnd := random(t)
	cfg := balanced()
	cfg.LoseShare, cfg.LoseTries, cfg.LossEndpoints = Fraction(1, 3), 2, 1<<14
	r := load(t, cfg)
	truth := cfg.Truth()
	buf := make([]byte, 4096)
	lossy, n := 0, 6000
	for range n {
		p := probe{to: randomEndpoint(rnd), flags: SYN}
		frame, losses := p.bytes(t), truth.Losses(p.to)
		if losses > 0 {
			lossy++
		}
		if truth.State(p.to) == Silent {
			continue
		}
		for try := range 4 {
			want := uint32(xdpTX)
			if try < losses {
				want = xdpDrop
			}
			if verdict, _ := run(t, r, frame, buf); verdict != want {
				t.Fatalf("%s, try %d of an endpoint that loses %d: verdict %d", p, try, losses, verdict)
			}
		}
	}
	if f := float64(lossy) / float64(n); f < 0.3 || f > 0.37 {
		t.Errorf("%.3f of the endpoints lose, want a third", f)
	}
	c := counters(t, r)
	if err := c.Check(); err != nil || c.Lost == 0 || c.LossFull != 0 {
		t.Errorf("%v, counters %+v", err, c)
	}

	// Both of these make it lose anew.
	p := probe{to: randomEndpoint(rnd), flags: SYN}
	for truth.Losses(p.to) == 0 || truth.State(p.to) == Silent {
		p.to = randomEndpoint(rnd)
	}
	for name, forget := range map[string]func() error{"reset": r.Reset, "configure": func() error { return r.Configure(cfg) }} {
		for try, want := range []uint32{xdpDrop, xdpDrop, xdpTX} {
			if try == 0 {
				if err := forget(); err != nil {
					t.Fatal(err)
				}
			}
			if verdict, _ := run(t, r, p.bytes(t), buf); verdict != want {
				t.Errorf("after %s, try %d: verdict %d, want %d", name, try, verdict, want)
			}
		}
	}
}

func TestFullLossTableIsToldAndLosesNothing(t *testing.T) {
	const room = 100
	cfg := everythingOpen()
	cfg.LoseShare, cfg.LoseTries, cfg.LossEndpoints = Whole, 1, room
	r := load(t, cfg)
	rnd := random(t)
	buf := make([]byte, 4096)
	for range 3 * room {
		p := probe{to: randomEndpoint(rnd), flags: SYN}
		run(t, r, p.bytes(t), buf)
	}
	c := counters(t, r)
	if c.Lost < room*9/10 || c.Lost > room*11/10 || c.Lost+c.LossFull != 3*room || c.SynAck != c.LossFull {
		t.Errorf("counters %+v", c)
	}
}

func TestLossHasToBeMadeRoomForAtLoad(t *testing.T) {
	cfg := DefaultConfig()
	r := load(t, cfg)
	cfg.LoseShare, cfg.LoseTries = Whole, 1
	if err := r.Configure(cfg); !errors.Is(err, ErrNoLoss) {
		t.Errorf("Configure: %v, want ErrNoLoss", err)
	}
}
