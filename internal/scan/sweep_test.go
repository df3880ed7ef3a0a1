package scan

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"synoptic/bpf/respond"
	"synoptic/internal/lab"
	"synoptic/internal/method"
	"synoptic/internal/netif"
	"synoptic/internal/plan"
	"synoptic/internal/result"
	"synoptic/internal/wire"
)

// found is a Sink for millions of records: one state per position of the plan.
type found struct {
	plan   *plan.Plan
	states []result.State
	twice  int
	alien  int
}

func (f *found) Record(r *result.Record) error {
	pos, ok := f.plan.Position(r.Addr)
	switch {
	case !ok:
		f.alien++
	case f.states[pos] != result.Unknown:
		f.twice++
	default:
		f.states[pos] = r.State
	}
	return nil
}

func (f *found) Flush() error { return nil }

// truthOf returns what a scan should say of each position, from the responder's
// own definition: what a first probe with these flags is answered.
func truthOf(t *testing.T, p *plan.Plan, m *method.Method, truth respond.Truth) []result.State {
	t.Helper()
	states := make([]result.State, p.Len())
	alive := map[netip.Addr]bool{}
	for pos := range p.Len() {
		ap := p.At(pos)
		switch a := truth.Answer(m.Flags, ap); a.Kind {
		case respond.SynAck:
			states[pos] = result.Open
		case respond.Reset:
			states[pos] = m.Reset
			if m.ResetWindow && a.Window > 0 {
				states[pos] = result.Open
			}
		case respond.ICMP:
			states[pos] = result.Filtered
		}
		if states[pos] != result.Unknown {
			alive[ap.Addr()] = true
		}
	}
	for pos := range p.Len() {
		if m.SilentWhenOpen() && states[pos] == result.Unknown && alive[p.At(pos).Addr()] {
			states[pos] = m.Silence
		}
	}
	return states
}

type sweep struct {
	words, ports string
	method       string
	senders      int
	retries      int
	repairs      int
	rate         float64
	path         Pathway
}

// inLab runs a sweep against the responder and compares everything.
func inLab(t *testing.T, l *lab.Lab, sw sweep) Summary {
	t.Helper()
	p, m := newPlan(t, sw.ports, sw.words), method.ByName(sw.method)
	if err := l.Responder.Reset(); err != nil {
		t.Fatal(err)
	}
	routes, err := netif.Resolve(t.Context(), p.Targets(), netif.Options{})
	if err != nil {
		t.Fatal(err)
	}
	port, err := netif.SourcePorts(Ports(sw.retries, sw.repairs), 1)
	if err != nil {
		t.Fatal(err)
	}
	network, err := Dial(t.Context(), Options{Routes: routes, SourcePort: port, Ports: uint16(Ports(sw.retries, sw.repairs)), Senders: sw.senders,
		Kernel: Kernel{Path: sw.path, Plan: p, Method: m, Seed: 1}})
	if err != nil {
		t.Fatal(err)
	}
	defer network.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	sink := &found{plan: p, states: make([]result.State, p.Len())}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	sum, err := run(t, ctx, Config{Plan: p, Method: m, Seed: 1, Retries: sw.retries, Repairs: sw.repairs, Rate: sw.rate, Wait: 4 * time.Second}, network, sink)
	if err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	t.Logf("%.0f packets/s, %+v", sum.Rate, sum)
	if got := Pathway(sum.Paths.Transmit); got != cmp.Or(sw.path, PacketPath) {
		t.Errorf("probes took path %q", got)
	}
	// The ledger's pages, canaries and what is looked at by the clock take memory;
	// packets take none, and neither do spans.
	ticks := uint64(sum.Elapsed / samplePause.Seconds())
	if n, most := after.Mallocs-before.Mallocs, (sum.Sent+sum.Received)/400+60*ticks; n > most {
		t.Errorf("%d allocations for %d packets in %d ticks, want at most %d", n, sum.Sent+sum.Received, ticks, most)
	}

	responder, err := l.Responder.Config()
	if err != nil {
		t.Fatal(err)
	}
	want := truthOf(t, p, m, responder.Truth())
	missing, wrong := 0, 0
	for pos := range want {
		if want[pos] == sink.states[pos] {
			continue
		}
		if sink.states[pos] == result.Unknown {
			missing++
		} else {
			wrong++
		}
		if missing+wrong <= 5 {
			t.Errorf("%v is %v, want %v", p.At(uint64(pos)), sink.states[pos], want[pos])
		}
	}
	if missing+wrong+sink.twice+sink.alien > 0 {
		probes, replies, err := l.Overruns()
		t.Errorf("%d missing, %d wrong, %d twice, %d extra; the lab's own rings refused %d probes and %d replies (%v)",
			missing, wrong, sink.twice, sink.alien, probes, replies, err)
	}
	counters, err := l.Responder.Counters()
	if err != nil {
		t.Fatal(err)
	}
	if seen := counters.TCP[m.Flags]; seen != sum.Sent {
		t.Errorf("the responder saw %d probes, the summary says %d were sent", seen, sum.Sent)
	}
	if counters.BadChecksum > 0 || sum.BadCookie+sum.OutOfPlan+sum.Lost > 0 || sw.repairs == 0 && sum.Dropped > 0 {
		t.Errorf("%d bad checksums; %+v", counters.BadChecksum, sum)
	}
	return sum
}

// 2^21 endpoints at unlimited rate: exactly the truth, and the responder's
// count of probes is the summary's. What answers at the kernel path's speed overrun,
// the veth's ring above all, is repaired.
func TestSweepFindsExactlyTheTruth(t *testing.T) {
	lab.NeedRoot(t)
	if !lab.InNamespace(t) {
		return
	}
	l := lab.New(t, lab.Config{Here: true})
	standard, err := l.Responder.Config()
	if err != nil {
		t.Fatal(err)
	}
	answering := func(open, closed respond.Share) func(*respond.Config) {
		return func(c *respond.Config) { c.Open, c.Closed = open, closed }
	}
	for _, truth := range []struct {
		name    string
		change  func(*respond.Config)
		methods []string
	}{
		{"some_answer", func(*respond.Config) {}, []string{"syn", "fin", "maimon"}},
		{"all_open", answering(respond.Whole, 0), []string{"syn"}},
		{"all_closed", answering(0, respond.Whole), []string{"fin", "maimon"}},
	} {
		for _, name := range truth.methods {
			for family, words := range map[string]string{"ipv4": "10.0.0.0/15", "ipv6": "fd00:10::/111"} {
				for _, path := range []Pathway{PacketPath, KernelPath} {
					t.Run(fmt.Sprintf("%s/%s/%s/%s", path, truth.name, name, family), func(t *testing.T) {
						cfg := standard
						truth.change(&cfg)
						if err := l.Responder.Configure(cfg); err != nil {
							t.Fatal(err)
						}
						repairs := 0
						if path == KernelPath {
							repairs = 3
						}
						inLab(t, l, sweep{words: words, ports: "1-16", method: name, senders: 1, repairs: repairs, path: path})
					})
				}
			}
		}
	}
}

// Four shards with one seed, one after the other, probe every endpoint once:
// the responder answers no first probe and every second one, so silence and
// the right count are the proof.
func TestFourShardsProbeEveryEndpointOnce(t *testing.T) {
	lab.NeedRoot(t)
	if !lab.InNamespace(t) {
		return
	}
	cfg := respond.DefaultConfig()
	cfg.Open, cfg.Closed = respond.Whole, 0
	cfg.LoseShare, cfg.LoseTries = respond.Whole, 1
	l := lab.New(t, lab.Config{Here: true, Respond: &cfg})
	whole := newPlan(t, "1-5", "10.0.0.0/16")
	for _, path := range []Pathway{PacketPath, KernelPath} {
		t.Run(string(path), func(t *testing.T) {
			if err := l.Responder.Reset(); err != nil {
				t.Fatal(err)
			}
			probed := func(want uint64) {
				t.Helper()
				counters, err := l.Responder.Counters()
				if err != nil {
					t.Fatal(err)
				}
				if got := counters.TCP[wire.SYN]; got != want {
					t.Errorf("the responder saw %d probes, want %d", got, want)
				}
			}
			for i := range uint64(4) {
				p, err := plan.New(whole.Targets(), whole.Ports(), 1, plan.Shard{Index: i + 1, Count: 4})
				if err != nil {
					t.Fatal(err)
				}
				if _, sum := by(t, path, p); sum.Open > 0 || sum.Sent != whole.Len()/4 {
					t.Errorf("shard %d: %d probes, %d of endpoints probed before", i+1, sum.Sent, sum.Open)
				}
			}
			probed(whole.Len())
			// The check can fail: a second pass is answered throughout.
			if _, sum := by(t, path, whole); sum.Open != whole.Len() {
				t.Errorf("a second pass found %d of %d", sum.Open, whole.Len())
			}
		})
	}
}
