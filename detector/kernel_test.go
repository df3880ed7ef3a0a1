package detector_test

import (
	"math/rand/v2"
	"net/netip"
	"os"
	"testing"

	"synoptic/bpf/watch"
	"synoptic/detector"
	"synoptic/detector/naive"
	"synoptic/detector/twin"
)

// program is the kernel program or its twin.
type program interface {
	detector.Sources
	Run(frame []byte, now uint64, c watch.Context) error
	Read(func(*watch.Snapshot)) error
	Counters() (watch.Counters, error)
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("BPF tests need root, and CI=true forbids to skip them")
	}
	t.Skip("BPF tests need root")
}

func loadKernel(t testing.TB, cfg watch.Config, rules watch.Rules) *watch.Watch {
	t.Helper()
	needRoot(t)
	cfg.Replay = true
	w, err := watch.Load(cfg, rules)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

// apart makes a sequence's sources others than those of any other sequence, so
// that one loaded program can have many. Its own stay different from each other:
// what naive.Sequence leaves out it leaves out for each of them.
func apart(sequence []naive.Packet, i int) {
	for n := range sequence {
		a := sequence[n].Source.AsSlice()
		at := len(a) / 8 // 198.i.i.9 and 2001:i:ff09::, as naive numbers them behind
		if len(a) == 4 {
			at = 1
		}
		a[at], a[at+1] = byte(i), byte(i>>8)
		sequence[n].Source, _ = netip.AddrFromSlice(a)
	}
}

// TestProgramsDecideAsOneWhoKeepsEveryPacket: frames go through the kernel
// program, or its twin, and what is told through the scorer.
func TestProgramsDecideAsOneWhoKeepsEveryPacket(t *testing.T) {
	for _, name := range []string{"kernel", "twin"} {
		t.Run(name, func(t *testing.T) {
			first, published := seed(t), naive.Published()
			var p interface {
				program
				SetRules(watch.Rules) error
			}
			if name == "kernel" {
				p = loadKernel(t, watch.Config{Packets: true}, published.Rules)
			} else {
				tw, err := twin.New(twin.Config{Sets: 10_000, Key: watch.RandomKey()})
				if err != nil {
					t.Fatal(err)
				}
				p = tw
			}
			c := newContent()
			for i := range *sequencesFlag {
				rng := rand.New(rand.NewPCG(first+uint64(i), 0))
				setup := naive.RandomSetup(rng)
				setup.Rules.V6Bits = max(setup.Rules.V6Bits, 48) // sources are told apart before that
				sequence := naive.Sequence(rng, &setup)
				apart(sequence, i)
				if err := p.SetRules(setup.Rules); err != nil {
					t.Fatal(err)
				}
				r := newRun(t, setup, true)
				scorer, err := detector.NewScorer(detector.ScorerConfig{Ruleset: ruleset(&setup), Sources: p, Wall: wall,
					Alert: func(a *detector.Alert) { r.events = append(r.events, event(a)) }})
				if err != nil {
					t.Fatal(err)
				}
				clock := naive.Clock(sequence, &setup)
				for n, packet := range sequence {
					scorer.Advance(clock[n])
					r.naive.Advance(clock[n])
					r.naive.Packet(packet)
					context := watch.Known
					switch {
					case packet.Handshake:
						context = watch.Handshake
					case packet.Probe:
						context = watch.Unknown
					}
					if err := p.Run(packet.Frame(), packet.Time, context); err != nil {
						t.Fatal(err)
					}
					if err := p.Read(scorer.Observe); err != nil {
						t.Fatal(err)
					}
				}
				scorer.Close()
				r.naive.Close()
				if d := r.differences(); d != "" {
					t.Fatalf("-seed=%d -sequences=1: %+v\n%s\n%s", first+uint64(i), setup, trace(sequence), d)
				}
				c.add(r)
			}
			c.enough(t, *sequencesFlag)
			counted, err := p.Counters()
			if err != nil {
				t.Fatal(err)
			}
			if counted.EvictedLive != 0 || counted.LostEvents != 0 {
				t.Errorf("what was compared was not all remembered: %+v", counted)
			}
		})
	}
}
