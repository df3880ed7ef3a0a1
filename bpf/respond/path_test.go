package respond

import (
	"fmt"
	"math"
	"testing"
)

// sixSigma is how improbable a result may be. Nothing is beyond six standard
// deviations of a normal distribution, on one side, with more than that.
const sixSigma = 9.87e-10

// chance returns how probable it is that of n independent trials, each with
// probability p, k succeed or a number on the same side of the mean that is
// farther from it: the exact tail of the binomial distribution.
func chance(k, n int, p float64) float64 {
	if p == 0 || p == 1 {
		if float64(k) == p*float64(n) {
			return 1
		}
		return 0
	}
	away := 1
	if float64(k) < p*float64(n) {
		away = -1
	}
	factorial := func(n int) float64 {
		g, _ := math.Lgamma(float64(n) + 1)
		return g
	}
	sum := 0.0
	for i := k; 0 <= i && i <= n; i += away {
		term := math.Exp(factorial(n) - factorial(i) - factorial(n-i) + float64(i)*math.Log(p) + float64(n-i)*math.Log1p(-p))
		sum += term
		if term <= sum*1e-9 {
			break
		}
	}
	return sum
}

// checkChance reports a number that chance does not explain.
func checkChance(t *testing.T, what string, k, n int, p float64) {
	t.Helper()
	mean := float64(n) * p
	t.Logf("%s: %d of %d, mean %.1f, standard deviation %.1f", what, k, n, mean, math.Sqrt(mean*(1-p)))
	if c := chance(k, n, p); c < sixSigma {
		t.Errorf("%s: %d of %d, want about %.1f: such chance is %g", what, k, n, mean, c)
	}
}

func probability(s Share) float64 { return float64(s) / float64(Whole) }

// silentFrame is one that gets no answer, so that it can be run many times in a
// row: answers are written into the frame.
func silentFrame(t testing.TB, cfg Config, p probe) []byte {
	t.Helper()
	p.flags = SYN
	if cfg.Truth().State(p.to) != Silent {
		t.Fatalf("%s is not silent", p.to)
	}
	return p.bytes(t)
}

func nothingOpen() Config {
	cfg := DefaultConfig()
	cfg.Open, cfg.Closed = 0, 0
	return cfg
}

// offer runs a frame n times in a row, as fast as it goes. The kernel patches
// itself for that, which takes it some 10 ms before and after (bpf_prog_change_xdp
// in net/bpf/test_run.c waits for RCU).
func offer(t testing.TB, r *Responder, frame []byte, n int) {
	t.Helper()
	if _, _, err := r.prog.Benchmark(frame, n, nil); err != nil {
		t.Error(err)
	}
}

func TestChanceIsTheBinomialTail(t *testing.T) {
	for _, c := range []struct {
		k, n int
		p    float64
		want float64
	}{
		{0, 10, 0, 1}, {1, 10, 0, 0}, {10, 10, 1, 1}, {9, 10, 1, 0},
		{4, 4, 0.5, 1.0 / 16}, {3, 4, 0.5, 5.0 / 16}, {0, 3, 0.25, 27.0 / 64},
		{503_000, 1_000_000, 0.5, sixSigma}, {497_000, 1_000_000, 0.5, sixSigma},
	} {
		if got := chance(c.k, c.n, c.p); math.Abs(got-c.want) > 0.01*c.want {
			t.Errorf("%d or beyond of %d with %g: %g, want %g", c.k, c.n, c.p, got, c.want)
		}
	}
}

func TestPathLosesProbesByChance(t *testing.T) {
	r := load(t, nothingOpen())
	n := 1_000_000
	if testing.Short() {
		n /= 10
	}
	for _, loss := range []Share{0, 1, Fraction(1, 1000), Fraction(1, 100), Fraction(1, 10), Fraction(1, 2), Whole - 1, Whole} {
		for family, to := range map[string]probe{"ipv4": {to: target4}, "ipv6": {to: target6}} {
			t.Run(fmt.Sprintf("loss=%s/family=%s", loss, family), func(t *testing.T) {
				cfg := nothingOpen()
				cfg.Loss = loss
				configure(t, r, cfg)
				if err := r.Reset(); err != nil {
					t.Fatal(err)
				}
				offer(t, r, silentFrame(t, cfg, to), n)
				c := counters(t, r)
				checkChance(t, "lost", int(c.PathLost), n, probability(loss))
				want := Counters{PathLost: c.PathLost, Silent: uint64(n) - c.PathLost}
				want.TCP[SYN] = uint64(n)
				if c != want || c.Check() != nil {
					t.Errorf("counters %+v, want %+v", c, want)
				}
			})
		}
	}
}

// TestPathLosesEveryKindOfProbe: whatever its flags and its endpoint's state, a
// segment is lost or handled as the truth has it. What is no segment is none of
// the path's affair.
func TestPathLosesEveryKindOfProbe(t *testing.T) {
	rnd := random(t)
	cfg := balanced()
	cfg.Loss = Fraction(1, 4)
	r := load(t, cfg)
	buf := make([]byte, 4096)
	var want Counters
	asked, lost := map[Kind]int{}, map[Kind]int{}
	for flags := range 256 {
		for range 80 {
			p := probe{to: randomEndpoint(rnd), flags: uint8(flags)}
			a := cfg.Truth().Answer(p.flags, p.to)
			frame := p.bytes(t)
			verdict, out := run(t, r, frame, buf)
			seen := want
			v := expect(&seen, p.flags, a)
			asked[a.Kind]++
			if v == verdict {
				want = seen // of a probe without an answer, lost or not
				if v == xdpTX {
					if err := checkReply(p, frame, out, a, minQuote); err != nil {
						t.Fatalf("%s: %v", p, err)
					}
				}
				continue
			}
			if verdict != xdpDrop {
				t.Fatalf("%s: verdict %d, want %d", p, verdict, v)
			}
			lost[a.Kind]++
			want.PathLost++
			want.TCP, want.ECN = seen.TCP, seen.ECN
		}
	}
	got := counters(t, r)
	lost[NoAnswer] = int(got.PathLost - want.PathLost)
	want.PathLost += uint64(lost[NoAnswer])
	want.Silent -= uint64(lost[NoAnswer])
	if got != want || got.Check() != nil {
		t.Errorf("counters %+v, want %+v", got, want)
	}
	for kind, name := range map[Kind]string{NoAnswer: "probes without an answer", SynAck: "SYN+ACKs", Reset: "resets", ICMP: "errors"} {
		checkChance(t, "lost "+name, lost[kind], asked[kind], probability(cfg.Loss))
	}

	cfg.Loss, cfg.Police = Whole, 1
	configure(t, r, cfg)
	if err := r.Reset(); err != nil {
		t.Fatal(err)
	}
	frame := probe{to: target4, flags: SYN}.bytes(t)
	frame[16], frame[17] = 0, 19 // a total length within the header
	for range 100 {
		run(t, r, frame, buf)
	}
	if got := counters(t, r); got != (Counters{Malformed: 100}) {
		t.Errorf("malformed frames: counters %+v", got)
	}
}

// TestTriesAreLostIndependently: neither does the fate of a try depend on that
// of the ones before, nor are some endpoints lost more often than others.
func TestTriesAreLostIndependently(t *testing.T) {
	const endpoints, rounds, row = 200, 25, 4 // rounds of four tries in a row
	rnd := random(t)
	cfg := everythingOpen()
	cfg.Loss = Fraction(1, 5)
	r := load(t, cfg)
	p := probability(cfg.Loss)
	buf := make([]byte, 4096)
	var fates [1 << row]int // by which tries of a round were lost
	worst, worstLost, first := 1.0, 0, 0
	for range endpoints {
		frame := probe{to: randomEndpoint(rnd), flags: SYN}.bytes(t)
		lost := 0
		for round := range rounds {
			fate := 0
			for try := range row {
				if verdict, _ := run(t, r, frame, buf); verdict == xdpDrop {
					lost++
					fate |= 1 << try
				}
			}
			fates[fate]++
			if round == 0 {
				first += fate & 1
			}
		}
		if c := chance(lost, rounds*row, p); c < worst {
			worst, worstLost = c, lost
		}
	}
	checkChance(t, "endpoints whose first try is lost", first, endpoints, p)
	checkChance(t, "tries lost of the endpoint that is the most unlike others", worstLost, rounds*row, p)
	for fate, n := range fates {
		probable := 1.0
		for try := range row {
			if fate>>try&1 == 1 {
				probable *= p
			} else {
				probable *= 1 - p
			}
		}
		checkChance(t, fmt.Sprintf("rounds with fate %04b", fate), n, endpoints*rounds, probable)
	}
	if c := counters(t, r); c.Check() != nil || c.PathLost+c.SynAck != endpoints*rounds*row {
		t.Errorf("counters %+v", c)
	}
}

// TestLossyEndpointsOnALossyPath: an endpoint loses its first answers of those
// that it owes, and it owes none to a probe that it did not see.
func TestLossyEndpointsOnALossyPath(t *testing.T) {
	const endpoints, tries = 300, 60
	rnd := random(t)
	cfg := everythingOpen()
	cfg.LoseShare, cfg.LoseTries, cfg.LossEndpoints = Fraction(1, 2), 3, 1<<10
	cfg.Loss = Fraction(1, 3)
	r := load(t, cfg)
	buf := make([]byte, 4096)
	owed := 0
	for range endpoints {
		p := probe{to: randomEndpoint(rnd), flags: SYN}
		frame := p.bytes(t)
		owed += cfg.Truth().Losses(p.to)
		for range tries { // that three arrive is certain but for 1e-25
			run(t, r, frame, buf)
		}
	}
	c := counters(t, r)
	checkChance(t, "lost", int(c.PathLost), endpoints*tries, probability(cfg.Loss))
	if c.Check() != nil || c.Lost != uint64(owed) || c.SynAck != endpoints*tries-c.PathLost-c.Lost {
		t.Errorf("%d answers lost, want %d; counters %+v", c.Lost, owed, c)
	}
}
