package scan

import (
	"context"
	"maps"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/gopacket/layers"

	"synoptic/internal/cookie"
	"synoptic/internal/method"
	"synoptic/internal/plan"
	"synoptic/internal/result"
	"synoptic/internal/wire"
	"synoptic/tx"
)

func config(p *plan.Plan, name string) Config {
	return Config{Plan: p, Method: method.ByName(name), Seed: 1, Rate: 100_000, Wait: 8 * time.Second}
}

func run(t *testing.T, ctx context.Context, cfg Config, net *Network, sink Sink) (Summary, error) {
	t.Helper()
	s, err := New(cfg, net)
	if err != nil {
		t.Fatal(err)
	}
	return s.Run(ctx, sink)
}

func expect(t *testing.T, got, want map[netip.AddrPort]result.State) {
	t.Helper()
	if maps.Equal(got, want) {
		return
	}
	for ap, w := range want {
		if got[ap] != w {
			t.Errorf("%v is %v, want %v", ap, got[ap], w)
		}
	}
	for ap, g := range got {
		if _, ok := want[ap]; !ok {
			t.Errorf("%v is reported %v, want nothing", ap, g)
		}
	}
}

// Every method over hosts with every kind of port finds the truth that the
// semantics' table gives, over both families, with and without retries.
func TestSweepsFindExactlyTheTruth(t *testing.T) {
	for _, m := range method.Table {
		for _, retries := range []int{0, 2} {
			t.Run(m.Name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					p := newPlan(t, "1-40", "10.0.0.0/27", "fd00:10::/124")
					alive := map[netip.Addr]bool{}
					for _, ap := range all(p) {
						if mixed(ap) == result.Closed || mixed(ap) == result.Open && !m.SilentWhenOpen() {
							alive[ap.Addr()] = true
						}
					}
					want := map[netip.AddrPort]result.State{}
					for _, ap := range all(p) {
						truth := mixed(ap)
						silent := truth == result.Unknown || truth == result.Open && m.SilentWhenOpen() && m.Name != "maimon"
						switch {
						case silent && m.SilentWhenOpen():
							if alive[ap.Addr()] {
								want[ap] = result.OpenFiltered
							}
						case silent, truth == result.Filtered:
							want[ap] = result.Filtered
						case truth == result.Open && m.Name == "syn":
							want[ap] = result.Open
						default: // a reset, from open ports too where the probe carries ACK
							want[ap] = m.Reset
						}
					}
					net, sink := newMemory(mixed), &records{}
					cfg := config(p, m.Name)
					cfg.Retries, cfg.Silence = retries, SilenceOfAll
					sum, err := run(t, t.Context(), cfg, net.network(2), sink)
					if err != nil {
						t.Fatal(err)
					}
					expect(t, sink.states(t), want)
					for _, ap := range all(p) {
						tries := net.probes[ap]
						if answered := mixed(ap) != result.Unknown && !(mixed(ap) == result.Open && m.SilentWhenOpen() && m.Name != "maimon"); answered && tries != 1 || !answered && tries != retries+1 {
							t.Errorf("%v was probed %d times", ap, tries)
						}
					}
					if int(sum.Sent) != net.sent || sum.Probed != p.Len() || sum.HostsAlive != uint64(len(alive)) {
						t.Errorf("%+v, sent %d, alive %d", sum, net.sent, len(alive))
					}
					if sum.Open+sum.Answered+sum.Rejected+sum.Silent != p.Len() || sum.Duplicate+sum.BadCookie+sum.OutOfPlan+sum.Foreign != 0 {
						t.Errorf("%+v", sum)
					}
				})
			})
		}
	}
}

func TestOpenFilteredNeedsASignOfLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one := netip.MustParseAddrPort("10.0.0.3:7")
		net := newMemory(func(ap netip.AddrPort) result.State {
			if ap == one {
				return result.Closed
			}
			return result.Unknown
		})
		sink := &records{}
		sum, err := run(t, t.Context(), config(newPlan(t, "1-10", "10.0.0.0/28"), "fin"), net.network(1), sink)
		if err != nil {
			t.Fatal(err)
		}
		if len(sink.all) != 10 || sum.HostsAlive != 1 || sum.Silent != 159 {
			t.Errorf("%d records, %+v", len(sink.all), sum)
		}
		for ap := range sink.states(t) {
			if ap.Addr() != one.Addr() {
				t.Errorf("%v is reported, but its host said nothing", ap)
			}
		}
	})
}

// A router's word about a host is no sign of the host's life.
func TestARoutersErrorIsNoSignOfLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newMemory(func(ap netip.AddrPort) result.State {
			if ap.Port() == 1 {
				return result.Filtered
			}
			return result.Unknown
		})
		sink := &records{}
		sum, err := run(t, t.Context(), config(newPlan(t, "1-10", "10.0.0.0/30", "fd00:10::/126"), "fin"), net.network(1), sink)
		if err != nil || sum.HostsAlive != 0 || sum.Rejected != 8 || sum.OpenFiltered != 0 || len(sink.all) != 8 {
			t.Errorf("%d records, %+v, %v", len(sink.all), sum, err)
		}
	})
}

// Karn's problem: with a shared source port an answer that comes in a later try
// may belong to any, so it has no round trip.
func TestASharedPortHasNoRoundTripsInRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newMemory(func(netip.AddrPort) result.State { return result.Open })
		net.delay = func(netip.AddrPort) time.Duration { return 30 * time.Millisecond }
		net.lose = func(ap netip.AddrPort, try int) bool { return ap.Port() == 2 && try == 1 }
		network := net.network(1)
		network.Ways[0].Ports = 1
		cfg := config(newPlan(t, "1-2", "10.0.0.1"), "syn")
		cfg.OnePort = true
		cfg.Retries = 1
		sink := &records{}
		if _, err := run(t, t.Context(), cfg, network, sink); err != nil || len(sink.all) != 2 {
			t.Fatalf("%d records, %v", len(sink.all), err)
		}
		for _, r := range sink.all {
			if known := r.RTT > 0; known != (r.Addr.Port() == 1) {
				t.Errorf("%v: round trip %v", r.Addr, r.RTT)
			}
		}
	})
}

func TestHostsThatResetEveryPortAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, want := range map[string]uint64{"fin": 2, "null": 2, "maimon": 0, "syn": 0} {
			net := newMemory(func(ap netip.AddrPort) result.State {
				if last := ap.Addr().As4()[3]; last < 2 || last == 2 && ap.Port() > 3 {
					return result.Closed
				}
				return result.Unknown
			})
			sum, err := run(t, t.Context(), config(newPlan(t, "1-10", "10.0.0.0/28"), name), net.network(1), &records{})
			if err != nil || sum.HostsAllReset != want || sum.HostsAlive != 3 {
				t.Errorf("%s: %+v, %v", name, sum, err)
			}
		}
	})
}

func TestRetriesFindWhatFirstTriesLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tt := range []struct{ retries, lost, open int }{{0, 1, 0}, {1, 1, 256}, {1, 2, 0}, {3, 2, 256}} {
			net := newMemory(func(netip.AddrPort) result.State { return result.Open })
			net.lose = func(_ netip.AddrPort, try int) bool { return try <= tt.lost }
			cfg := config(newPlan(t, "80", "10.0.0.0/24"), "syn")
			cfg.Retries = tt.retries
			sum, err := run(t, t.Context(), cfg, net.network(1), &records{})
			if err != nil || int(sum.Open) != tt.open || int(sum.Sent) != 256*(min(tt.retries, tt.lost)+1) {
				t.Errorf("%+v: %+v, %v", tt, sum, err)
			}
		}
	})
}

func TestRoundTripsComeFromPositionsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newMemory(func(netip.AddrPort) result.State { return result.Open })
		net.delay = func(ap netip.AddrPort) time.Duration {
			if ap.Addr().As4()[3] == 0 {
				return 80 * time.Millisecond
			}
			return 10 * time.Millisecond
		}
		net.lose = func(ap netip.AddrPort, try int) bool { return try == 1 && ap.Port()%2 == 0 }
		cfg := config(newPlan(t, "1-40", "10.0.0.0/25"), "syn")
		cfg.Retries = 1
		sink := &records{}
		sum, err := run(t, t.Context(), cfg, net.network(2), sink)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range sink.all {
			// The paced clock of the test does not move within a span.
			if want := net.delay(r.Addr); r.RTT < want || r.RTT > want+2*time.Millisecond {
				t.Fatalf("%v: %v, want %v", r.Addr, r.RTT, want)
			}
		}
		if sum.RTTMedian < 9*time.Millisecond || sum.RTTMedian > 12*time.Millisecond || sum.RTT99 < 9*time.Millisecond {
			t.Errorf("median %v p99 %v", sum.RTTMedian, sum.RTT99)
		}
	})
}

func TestDuplicatesForgeriesAndStrangersAreCountedNotReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newMemory(func(netip.AddrPort) result.State { return result.Open })
		net.edit = func(reply []byte) [][]byte {
			forged := append([]byte(nil), reply...)
			forged[14+20+8] ^= 0x40 // the acknowledged number
			stranger := append([]byte(nil), reply...)
			stranger[14+12] = 11 // from 11.0.0.0/8
			return [][]byte{forged, reply, reply, stranger, reply}
		}
		sink := &records{}
		sum, err := run(t, t.Context(), config(newPlan(t, "1-10", "10.0.0.0/28"), "syn"), net.network(1), sink)
		if err != nil {
			t.Fatal(err)
		}
		if len(sink.states(t)) != 160 || sum.Valid != 160 || sum.Duplicate != 320 || sum.BadCookie != 160 || sum.OutOfPlan != 160 || sum.Received != 800 {
			t.Errorf("%d records, %+v", len(sink.all), sum)
		}
	})
}

func TestABetterAnswerIsRecordedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ap := netip.MustParseAddrPort("10.0.0.1:80")
		net := newMemory(func(netip.AddrPort) result.State { return result.Open })
		net.edit = func(reply []byte) [][]byte {
			var p wire.Packet
			p.Decode(reply, wire.Ethernet)
			rst := build(p.Src, p.Dst, layers.IPProtocolTCP, &layers.TCP{
				SrcPort: layers.TCPPort(p.TCP.SrcPort), DstPort: layers.TCPPort(p.TCP.DstPort), RST: true, ACK: true, Ack: p.TCP.Ack})
			return [][]byte{rst, reply, rst}
		}
		sink := &records{}
		sum, err := run(t, t.Context(), config(newPlan(t, "80", "10.0.0.1"), "syn"), net.network(1), sink)
		if err != nil || len(sink.all) != 2 || sink.all[0].State != result.Closed || sink.all[1].State != result.Open || sink.all[1].Addr != ap {
			t.Fatalf("%+v, %v", sink.all, err)
		}
		if sum.Open != 1 || sum.Answered != 0 || sum.Valid != 2 || sum.Duplicate != 1 {
			t.Errorf("%+v", sum)
		}
	})
}

func TestTargetsWithoutLinkAddressAreNeitherProbedNorWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newMemory(func(netip.AddrPort) result.State { return result.Closed })
		network := net.network(1)
		network.Route = func(a netip.Addr) (tx.Hop, bool) { return tx.Hop{}, a.As4()[3] < 4 }
		cfg := config(newPlan(t, "1-10", "10.0.0.0/28"), "syn")
		cfg.Silence, cfg.Retries = SilenceOfAll, 2
		sink := &records{}
		begin := time.Now()
		sum, err := run(t, t.Context(), cfg, network, sink)
		if err != nil || sum.Unreachable != 120 || sum.Probed != 40 || sum.Sent != 40 || sum.Silent != 0 || len(sink.all) != 40 {
			t.Errorf("%d records, %+v, %v", len(sink.all), sum, err)
		}
		if took := time.Since(begin); took > 50*time.Millisecond {
			t.Errorf("took %v", took)
		}
	})
}

// An answer to a probe that this run did not send, of an earlier run with the
// same seed, must not end it.
func TestAnswersToOtherRunsAreStrays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newMemory(func(netip.AddrPort) result.State { return result.Open })
		net.delay = func(netip.AddrPort) time.Duration { return 20 * time.Millisecond }
		p := newPlan(t, "1-10", "10.0.0.0/28")
		cfg := config(p, "syn")
		sink := &records{}
		if _, err := run(t, t.Context(), cfg, net.network(1), sink); err != nil {
			t.Fatal(err)
		}
		// The second run hears the first one's answers once more.
		again := newMemory(func(netip.AddrPort) result.State { return result.Open })
		again.delay = net.delay
		for _, ap := range all(p) {
			var probe wire.Packet
			source := netip.AddrPortFrom(here4, 61000)
			probe.Src, probe.Dst, probe.TCP = here4, ap.Addr(), wire.TCP{
				SrcPort: 61000, DstPort: ap.Port(), Seq: cookie.NewKey(1).Of(ap, source), Flags: wire.SYN}
			again.replies <- arrival{time.Now(), answer(&probe, result.Open, nil)}
		}
		cfg.MaxProbes = 10
		sink = &records{}
		sum, err := run(t, t.Context(), cfg, again.network(1), sink)
		if err != nil || sum.Open != 10 || len(sink.all) != 10 || sum.OutOfPlan != 150 {
			t.Fatalf("%d records, %+v, %v", len(sink.all), sum, err)
		}
		for _, r := range sink.all {
			if pos, _ := p.Position(r.Addr); pos >= 10 {
				t.Errorf("%v was not probed in this run", r.Addr)
			}
		}
	})
}

func TestHistogramQuantilesAreWithinABucket(t *testing.T) {
	var h histogram
	if h.quantile(0.5) != 0 {
		t.Error("an empty histogram has a median")
	}
	for i := range 100_000 {
		h.add(time.Duration(i) * time.Microsecond)
	}
	for _, q := range []float64{0.01, 0.5, 0.99, 1} {
		want := time.Duration(q*100_000) * time.Microsecond
		if got := h.quantile(q); got < want*31/32 || got > want*33/32 {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
	for _, d := range []time.Duration{0, 1, 31, 32, 63, 64, 65, 1000, time.Hour * 10000, 1<<63 - 1} {
		if m := middle(bucket(d)); m < d-d/32 || m-d > d/32 {
			t.Errorf("%d falls into a bucket around %d", d, m)
		}
	}
}
