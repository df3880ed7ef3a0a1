package detector_test

import (
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"synoptic/bpf/watch"
	"synoptic/detector"
	"synoptic/detector/naive"
)

var floodRunsFlag = flag.Int("flood-runs", 0, "runs of each flood through the kernel program; 0 means 3, and 20 in CI")

// TestAFloodHidesNobody: a scan stands out among forged sources that send one
// SYN each, however many, with the default memory. The program sees the frames
// at the times that a flood of the rate would have.
//
// The line is crossed when a detector without a flood would say so.
func TestAFloodHidesNobody(t *testing.T) {
	const grace = uint64(2 * time.Second)
	runs := *floodRunsFlag
	switch {
	case runs > 0:
	case os.Getenv("CI") == "true":
		runs = 20
	default:
		runs = 3
	}
	published := naive.Published()
	published.Rules.Packets.On = false
	for _, scan := range []struct {
		policy string
		rate   uint64 // low ports a second
		lines  uint64 // how many of them cross the line
	}{{detector.Scanlogd, 10, 7}, {detector.Sophos, 40, 8}} {
		for _, rate := range []uint64{100_000, 1_000_000} {
			t.Run(fmt.Sprintf("policy=%s/forged=%d", scan.policy, rate), func(t *testing.T) {
				t.Parallel() // each has a program of its own, and a clock
				var delays []time.Duration
				for n := range runs {
					rng := rand.New(rand.NewPCG(seed(t)+uint64(n), rate))
					w := loadKernel(t, watch.Config{}, published.Rules)
					var caught []uint64
					scanner := netip.MustParsePrefix("10.99.99.99/32")
					scorer, err := detector.NewScorer(detector.ScorerConfig{Ruleset: ruleset(&published), Sources: w, Wall: wall,
						Alert: func(a *detector.Alert) {
							if a.Prefix != scanner {
								t.Errorf("accused: %s", a.Prefix)
							} else if a.Policy == scan.policy && !a.Summary {
								caught = append(caught, uint64(a.Time.UnixNano()))
							}
						}})
					if err != nil {
						t.Fatal(err)
					}
					run := func(frame []byte, now uint64) {
						if err := w.Run(frame, now, watch.Unknown); err != nil {
							t.Fatal(err)
						}
						if err := w.Read(scorer.Observe); err != nil {
							t.Fatal(err)
						}
					}
					forged := (&naive.Packet{Source: netip.MustParseAddr("198.51.100.1"), Port: 80, Probe: true, Kind: watch.SYN}).Frame()
					flood := func(now uint64) { // any source, any port: traps as well
						binary.BigEndian.PutUint32(forged[26:], rng.Uint32())
						binary.BigEndian.PutUint16(forged[36:], uint16([]uint32{80, 11, 443, rng.Uint32()}[rng.IntN(4)]))
						run(forged, now)
					}
					interval := uint64(time.Second) / rate
					now := uint64(time.Hour)
					for range w.Places() + w.Places()/2 { // until it is full
						flood(now)
						now += interval
					}
					var (
						step    = uint64(time.Second) / scan.rate
						next    = now + uint64(rng.IntN(int(step)))
						crossed = next + (scan.lines-1)*step
						port    = uint16(1 + rng.IntN(500))
					)
					for len(caught) == 0 && now < crossed+grace {
						if now >= next {
							probe := naive.Packet{Source: scanner.Addr(), Port: port, Probe: true, Kind: watch.SYN}
							run(probe.Frame(), next)
							next += step
							port++
							if port >= 11 && port <= 13 { // traps would make it too easy
								port = 14
							}
						}
						flood(now)
						now += interval
					}
					if len(caught) == 0 {
						c, _ := w.Counters()
						t.Errorf("run %d: not caught within %v of crossing the line: %+v", n, time.Duration(grace), c)
						continue
					}
					delays = append(delays, time.Duration(caught[0]-min(caught[0], crossed)))
					c, err := w.Counters()
					if err != nil || c.EvictedLive == 0 || c.LostEvents != 0 {
						t.Errorf("the flood had no force, or events were lost: %+v, %v", c, err)
					}
					// Forged sources must not cost user space anything.
					if c.Events > 30 {
						t.Errorf("%d snapshots for one scan", c.Events)
					}
					w.Close()
				}
				slices.Sort(delays)
				if len(delays) > 0 {
					t.Logf("caught in %d of %d runs; after crossing the line: median %v, at most %v", len(delays), runs, delays[len(delays)/2], delays[len(delays)-1])
					t.Attr("delay-ms", fmt.Sprint(float64(delays[len(delays)-1].Microseconds())/1000))
					t.Attr("missing", fmt.Sprint(runs-len(delays)))
				}
			})
		}
	}
}
