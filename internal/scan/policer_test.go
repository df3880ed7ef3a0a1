package scan

import (
	"context"
	"fmt"
	"testing"
	"time"

	"synoptic/bpf/respond"
	"synoptic/internal/lab"
	"synoptic/internal/method"
	"synoptic/internal/netif"
	"synoptic/internal/result"
)

// policed is a scan of a network that drops everything above a rate.
type policed struct {
	words    string
	rate     float64
	adaptive bool
	watch    func(at time.Duration, p Progress) // ten times a second, or nil
}

// run returns the share of the truth that the scan found.
func (c policed) run(t *testing.T, l *lab.Lab) (share float64, sum Summary) {
	t.Helper()
	p, m := newPlan(t, "1", c.words), method.ByName("syn")
	routes, err := netif.Resolve(t.Context(), p.Targets(), netif.Options{})
	if err != nil {
		t.Fatal(err)
	}
	const repairs = 3
	port, err := netif.SourcePorts(Ports(0, repairs), 1)
	if err != nil {
		t.Fatal(err)
	}
	network, err := Dial(t.Context(), Options{Routes: routes, SourcePort: port, Ports: uint16(Ports(0, repairs)), Senders: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer network.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Minute)
	defer cancel()
	s, err := New(Config{Plan: p, Method: m, Seed: 1, Rate: c.rate, Adaptive: c.adaptive, Repairs: repairs, Wait: 4 * time.Second}, network)
	if err != nil {
		t.Fatal(err)
	}
	if c.watch != nil {
		done := make(chan struct{})
		defer func() { <-done }()
		watching, stop := context.WithCancel(ctx)
		defer stop()
		go func() {
			defer close(done)
			began := time.Now()
			for tick := time.NewTicker(100 * time.Millisecond); ; {
				select {
				case <-watching.Done():
					tick.Stop()
					return
				case <-tick.C:
					c.watch(time.Since(began), s.Progress())
				}
			}
		}()
	}
	sink := &found{plan: p, states: make([]result.State, p.Len())}
	if sum, err = s.Run(ctx, sink); err != nil {
		t.Fatal(err)
	}
	responder, err := l.Responder.Config()
	if err != nil {
		t.Fatal(err)
	}
	all, got := 0, 0
	for pos, want := range truthOf(t, p, m, responder.Truth()) {
		if want == result.Unknown {
			continue
		}
		if all++; sink.states[pos] == want {
			got++
		}
	}
	return float64(got) / float64(all), sum
}

// A bottleneck drops what is above a rate that the scan does not know. At four
// times that rate a scan finds less than half; an adaptive one finds 99.9 %, and
// settles within ten seconds, from below and from above, each time.
func TestAnAdaptiveScanFindsTheRateOfABottleneck(t *testing.T) {
	lab.NeedRoot(t)
	if !lab.InNamespace(t) {
		return
	}
	const carries = 20_000
	cfg := respond.DefaultConfig()
	// Of closed ports, whose resets this machine does not answer.
	cfg.Open, cfg.Closed = 0, respond.Fraction(1, 16)
	cfg.Police = carries
	l := lab.New(t, lab.Config{Here: true, Respond: &cfg})

	fixed, sum := (policed{words: "10.0.0.0/14", rate: 4 * carries}).run(t, l)
	t.Attr("found-at-4-times-%", fmt.Sprint(100*fixed))
	if fixed >= 0.5 {
		t.Errorf("at four times the rate %.1f %% are found: there is no bottleneck; %+v", 100*fixed, sum)
	}

	for range 2 {
		settles(t, l, cfg)
	}
}

// settles scans by an adaptive rate through a bottleneck that narrows after a while,
// and fails if less than 99.9 % are found, or the rate was not 90 to 100 % of what is
// carried ten seconds after the beginning, and after that.
func settles(t *testing.T, l *lab.Lab, cfg respond.Config) {
	t.Helper()
	if err := l.Responder.Configure(cfg); err != nil {
		t.Fatal(err)
	}
	const narrows, settles = 20 * time.Second, 10 * time.Second
	type glance struct {
		at   time.Duration
		sent uint64
	}
	var seen []glance
	narrow := false
	watch := func(at time.Duration, p Progress) {
		if p.State != "sending" || p.Try > 0 {
			return
		}
		seen = append(seen, glance{at, p.Sent})
		if at > narrows && !narrow {
			narrow = true
			now := cfg
			now.Police /= 2
			if err := l.Responder.Configure(now); err != nil {
				t.Error(err)
			}
		}
	}
	share, sum := (policed{words: "10.16-25.0-255.0-255", rate: 4 * float64(cfg.Police), adaptive: true, watch: watch}).run(t, l)
	t.Logf("%.3f %% found, %d probes for %d, %d repairs, %+v", 100*share, sum.Sent, sum.Planned, sum.Repairs, sum.Path)
	t.Attr("found-%", fmt.Sprint(100*share))
	if share < 0.999 {
		t.Errorf("%.3f %% of the truth are found", 100*share)
	}
	// The mean of every five seconds after it has settled.
	const mean = 5 * time.Second
	worst := map[string][2]float64{}
	for i, first := range seen {
		for _, last := range seen[i:] {
			if last.at-first.at < mean {
				continue
			}
			name, limit := "", 0.0
			switch {
			case first.at > settles && last.at < narrows:
				name, limit = "from below", float64(cfg.Police)
			case first.at > narrows+settles:
				name, limit = "from above", float64(cfg.Police)/2
			}
			if name != "" {
				ratio := float64(last.sent-first.sent) / (last.at - first.at).Seconds() / limit
				w, ok := worst[name]
				if !ok {
					w = [2]float64{ratio, ratio}
				}
				worst[name] = [2]float64{min(w[0], ratio), max(w[1], ratio)}
			}
			break
		}
	}
	t.Logf("five-second means by what is carried: %v", worst)
	for _, name := range []string{"from below", "from above"} {
		w := worst[name]
		if w[0] < 0.9 || w[1] > 1 {
			t.Errorf("%s the rate is %.3f to %.3f of what is carried", name, w[0], w[1])
		}
		t.Attr("least-of-what-is-carried-%", fmt.Sprint(100*w[0]))
		t.Attr("most-of-what-is-carried-%", fmt.Sprint(100*w[1]))
	}
}
