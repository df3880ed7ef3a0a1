package scan

import (
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"synoptic/internal/result"
)

// device is a Drops whose counters the test turns.
type device struct{ in, out atomic.Uint64 }

func (d *device) Count() (in, out uint64, err error) { return d.in.Load(), d.out.Load(), nil }
func (d *device) Close() error                       { return nil }
func (d *device) Late() time.Duration                { return 0 }

// Whatever this machine drops, in the ring, before it or on the way out, is
// counted as lost, and a repair finds it.
func TestWhatThisMachineDropsIsSentAgain(t *testing.T) {
	for _, place := range []string{"ring", "kernel", "device"} {
		for _, repairs := range []int{0, 3} {
			t.Run(place, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var dev device
					var net *memory
					real := uint64(0)
					open := func(ap netip.AddrPort) bool { return ap.Port()%3 == 0 }
					net = newMemory(func(ap netip.AddrPort) result.State {
						if open(ap) {
							return result.Open
						}
						return result.Unknown
					})
					began := time.Now()
					inTrouble := func() bool { d := time.Since(began); return d > 500*time.Millisecond && d < 600*time.Millisecond }
					net.delay = func(netip.AddrPort) time.Duration { return 10 * time.Millisecond }
					if place == "device" {
						net.lose = func(ap netip.AddrPort, _ int) bool {
							if !inTrouble() {
								return false
							}
							dev.out.Add(1)
							if open(ap) {
								real++
							}
							return true
						}
					} else {
						net.edit = func(reply []byte) [][]byte {
							if !inTrouble() {
								return [][]byte{reply}
							}
							real++
							if place == "ring" {
								net.drops.Add(1)
							} else {
								dev.in.Add(1)
							}
							return nil
						}
					}
					network := net.network(1)
					network.Ways[0].Drops = &dev
					p := newPlan(t, "1-1000", "10.0.0.0/28")
					cfg, sink := config(p, "syn"), &records{}
					cfg.Rate, cfg.Repairs = 10_000, repairs
					sum, err := run(t, t.Context(), cfg, network, sink)
					if err != nil {
						t.Fatal(err)
					}
					if sum.Dropped+sum.KernelDropped+sum.DeviceDropped == 0 || real == 0 {
						t.Fatalf("nothing was dropped: %+v", sum)
					}
					want := 16 * 333
					if repairs == 0 {
						want -= int(real)
						// No more than what was sent in the trouble, the time that answers
						// take and two looks at the counters.
						if sum.Lost < real || sum.Lost > 3500 {
							t.Errorf("%d are said to be lost, and %d are", sum.Lost, real)
						}
					} else if sum.Lost != 0 || sum.Repairs != 1 || sum.Sent > p.Len()+3500 {
						t.Errorf("%+v", sum)
					}
					if len(sink.states(t)) != want {
						t.Errorf("%d are open, want %d", len(sink.all), want)
					}
				})
			})
		}
	}
}

// A retry of everything is as good as a repair, and what it sends again without a
// loss is not lost.
func TestARetryRepairsToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newMemory(func(netip.AddrPort) result.State { return result.Open })
		dropped := 0
		net.edit = func(reply []byte) [][]byte {
			if dropped++; dropped > 100 {
				return [][]byte{reply}
			}
			net.drops.Add(1)
			return nil
		}
		cfg, sink := config(newPlan(t, "1-100", "10.0.0.0/28"), "syn"), &records{}
		cfg.Rate, cfg.Retries = 10_000, 1
		sum, err := run(t, t.Context(), cfg, net.network(1), sink)
		if err != nil || sum.Lost != 0 || sum.Repairs != 0 || sum.Open != 1600 || sum.Sent != 1700 {
			t.Errorf("%+v, %v", sum, err)
		}
	})
}

// A machine that drops in every try says so, and the scan ends.
func TestALossThatStaysIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newMemory(func(ap netip.AddrPort) result.State { return result.Open })
		net.edit = func(reply []byte) [][]byte {
			net.drops.Add(1)
			return nil
		}
		cfg := config(newPlan(t, "1-100", "10.0.0.0/28"), "syn")
		cfg.Rate, cfg.Repairs = 10_000, 2
		sum, err := run(t, t.Context(), cfg, net.network(2), &records{})
		if err != nil || sum.Lost != 1600 || sum.Repairs != 2 || sum.Sent != 3*1600 {
			t.Errorf("%+v, %v", sum, err)
		}
	})
}

// A loss of a minute ago is not taken for one since the beginning.
func TestMarksGoBackAMinute(t *testing.T) {
	var l losses
	p := &pass{want: ranges{{0, 1 << 20}}}
	began := time.Unix(1e9, 0)
	for i := range uint64(100 * time.Second / samplePause) {
		p.reach = reach{low: i, high: i + 1}
		l.sample(p, mark{began.Add(time.Duration(i) * samplePause), p.reach}, Lost{}, 0)
	}
	l.congested(p, began.Add(40*time.Second))
	if _, path := l.owed(); len(path) != 1 || path[0].From != uint64(40*time.Second/samplePause) || path[0].To != p.high {
		t.Errorf("%v", path)
	}
	if len(l.marks) > marksKept {
		t.Errorf("%d marks", len(l.marks))
	}
}
