package scan

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"synoptic/internal/netif"
	"synoptic/internal/plan"
	"synoptic/internal/result"
	"synoptic/internal/wire"
	"synoptic/rx"
	"synoptic/tx"
)

// ether is a link without wires: who is asked for there answers, or not.
type ether struct {
	answer func(a netip.Addr, time int) (wire.Neighbour, bool) // to the time-th question, counted from 1
	delay  time.Duration

	mu      sync.Mutex
	asked   map[netip.Addr]int
	answers chan []byte
	err     error // of Send
}

func newEther(answer func(netip.Addr, int) (wire.Neighbour, bool)) *ether {
	return &ether{answer: answer, asked: map[netip.Addr]int{}, answers: make(chan []byte, 1<<17)}
}

func (e *ether) Send(b *tx.Batch, from, to int) (int, error) {
	if e.err != nil {
		return 0, e.err
	}
	for i := from; i < to; i++ {
		_, who := b.Frame(i)
		e.mu.Lock()
		e.asked[who]++
		n, ok := e.answer(who, e.asked[who])
		e.mu.Unlock()
		if ok {
			time.AfterFunc(e.delay, func() { e.answers <- arpAnswer(n) })
		}
	}
	return to - from, nil
}

// arpAnswer is the frame of an ARP reply, RFC 826.
func arpAnswer(n wire.Neighbour) []byte {
	b := []byte{12: 8, 13: 6, 15: 1, 16: 8, 18: 6, 19: 4, 21: 2, 41: 0}
	copy(b[22:], n.MAC[:])
	copy(b[28:], n.Addr.AsSlice())
	copy(b[38:], n.To.AsSlice())
	return b
}

func (e *ether) Read() ([]byte, time.Time, error) {
	timer := time.NewTimer(4 * time.Millisecond)
	defer timer.Stop()
	select {
	case b := <-e.answers:
		return b, time.Now(), nil
	case <-timer.C:
		return nil, time.Time{}, rx.ErrIdle
	}
}

func (e *ether) Drops() (uint64, error) { return 0, nil }
func (e *ether) Close() error           { return nil }

var (
	onLink  = netif.Stretch{First: netip.MustParseAddr("10.9.0.0"), Last: netip.MustParseAddr("10.9.255.255")}
	ownMAC  = [6]byte{2, 0, 0, 0, 0, 1}
	ownAddr = netip.MustParseAddr("10.9.0.1")
)

func macOf(a netip.Addr) [6]byte { return [6]byte{2, 9, 9, 9, a.As4()[2], a.As4()[3]} }

// resolving makes a resolver for a link.
func resolving(e *ether, link *netif.Link, tries int) *resolver {
	if link.Known == nil {
		link.Known = map[netip.Addr][6]byte{}
	}
	n := &neighbours{Link: link, mac: link.Known, conn: e, source: e, asker: tx.Asker{MAC: ownMAC, V4: ownAddr}}
	for _, s := range link.Ask {
		n.total += s.Len()
	}
	return &resolver{routes: &netif.Routes{Links: []netif.Link{*link}}, links: []*neighbours{n, nil}, tries: tries, wait: 8 * time.Second}
}

func live(a netip.Addr, _ int) (wire.Neighbour, bool) {
	return wire.Neighbour{Addr: a, MAC: macOf(a), To: ownAddr}, true
}

// A whole /16 with 1 % of it alive: one question each, at the scan's rate, and
// one short wait for all that do not exist.
func TestDeadNeighboursCostOneQuestionEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEther(func(a netip.Addr, time int) (wire.Neighbour, bool) {
			if n, _ := live(a, time); a.As4()[3]%100 == 50 {
				return n, true
			}
			return wire.Neighbour{}, false
		})
		r := resolving(e, &netif.Link{Name: "v0", Ask: []netif.Stretch{onLink}}, 2) // a retry is for fewer
		begin := time.Now()
		if err := r.targets(t.Context(), tx.NewPacer(20_000)); err != nil {
			t.Fatal(err)
		}
		if took, least := time.Since(begin), 65536*time.Second/20_000; took < least-50*time.Millisecond || took > least+time.Second {
			t.Errorf("took %v, one pass takes %v", took, least)
		}
		got := r.report()
		if want := (Neighbours{Targets: 65536, Silent: 65536 - 3*256, Example: netip.MustParseAddr("10.9.0.0"), Questions: 65536}); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
		for a, n := range e.asked {
			if n != 1 {
				t.Fatalf("%v was asked for %d times", a, n)
			}
		}
	})
}

func TestResolver(t *testing.T) {
	small := func(known map[netip.Addr][6]byte) *netif.Link {
		return &netif.Link{Name: "v0", Known: known, Ask: []netif.Stretch{
			{First: netip.MustParseAddr("10.9.0.2"), Last: netip.MustParseAddr("10.9.0.4")}, {First: netip.MustParseAddr("10.9.0.9"), Last: netip.MustParseAddr("10.9.0.9")},
		}}
	}
	third := netip.MustParseAddr("10.9.0.3")
	for _, tt := range []struct {
		fact   string
		answer func(netip.Addr, int) (wire.Neighbour, bool)
		known  map[netip.Addr][6]byte
		tries  int
		delay  time.Duration

		questions, silent uint64
		within            time.Duration
	}{
		{fact: "all_answer_and_nobody_waits", answer: live, tries: 2, questions: 4, within: 10 * time.Millisecond},
		{fact: "known_ones_are_not_asked", answer: live, known: map[netip.Addr][6]byte{third: macOf(third)}, tries: 2, questions: 3, within: 10 * time.Millisecond},
		{fact: "lost_question_is_asked_again", tries: 2, questions: 5, within: quietFor + 20*time.Millisecond,
			answer: func(a netip.Addr, time int) (wire.Neighbour, bool) {
				n, _ := live(a, time)
				return n, a != third || time == 2
			}},
		{fact: "late_answers_are_waited_for", answer: live, delay: 900 * time.Millisecond, tries: 1, questions: 4, within: 920 * time.Millisecond},
		{fact: "nobody_at_all", tries: 2, questions: 8, silent: 4, within: 2*blindCooldown + 20*time.Millisecond,
			answer: func(netip.Addr, int) (wire.Neighbour, bool) { return wire.Neighbour{}, false }},
		{fact: "answer_to_somebody_else_is_not_taken", tries: 1, questions: 4, silent: 4, within: blindCooldown + 20*time.Millisecond,
			answer: func(a netip.Addr, time int) (wire.Neighbour, bool) {
				return wire.Neighbour{Addr: a, MAC: macOf(a), To: third}, true
			}},
		{fact: "answer_for_somebody_else_is_not_taken", tries: 1, questions: 4, silent: 4, within: blindCooldown + 20*time.Millisecond,
			answer: func(a netip.Addr, time int) (wire.Neighbour, bool) {
				return wire.Neighbour{Addr: netip.MustParseAddr("10.9.0.5"), MAC: macOf(a), To: ownAddr}, true
			}},
	} {
		t.Run(tt.fact, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := newEther(tt.answer)
				e.delay = tt.delay
				r := resolving(e, small(tt.known), tt.tries)
				begin := time.Now()
				if err := r.targets(t.Context(), tx.NewPacer(0)); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(begin); took > tt.within {
					t.Errorf("took %v, want at most %v", took, tt.within)
				}
				if got := r.report(); got.Questions != tt.questions || got.Silent != tt.silent || got.Targets != 4 {
					t.Errorf("%+v", got)
				}
				if n := len(r.links[0].mac); n != 4-int(tt.silent) {
					t.Errorf("%d link addresses", n)
				}
				if mac, ok := r.links[0].mac[third]; tt.silent == 0 && (!ok || mac != macOf(third)) {
					t.Errorf("%v has %x", third, mac)
				}
			})
		})
	}
}

// Of 2^32 targets that were not all asked, or were, a summary looks at those only
// that have answered.
func TestASummaryOfManyIsQuick(t *testing.T) {
	link := &netif.Link{Name: "v0", Ask: []netif.Stretch{{First: netip.MustParseAddr("fd99::"), Last: netip.MustParseAddr("fd99::ffff:ffff")}},
		Known: map[netip.Addr][6]byte{netip.MustParseAddr("fd99::"): ownMAC, netip.MustParseAddr("fd99::1"): ownMAC}}
	r := resolving(newEther(live), link, 1)
	begin := time.Now()
	if got := r.report(); got.Targets != 1<<32 || got.Silent != 0 {
		t.Errorf("%+v before all were asked", got)
	}
	r.links[0].done = true
	if got := r.report(); got.Targets != 1<<32 || got.Silent != 1<<32-2 || got.Example != netip.MustParseAddr("fd99::2") {
		t.Errorf("%+v", got)
	}
	if took := time.Since(begin); took > time.Second {
		t.Errorf("took %v", took)
	}
}

func TestASilentRouterIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEther(func(a netip.Addr, time int) (wire.Neighbour, bool) {
			n, _ := live(a, time)
			return n, a == ownAddr.Next()
		})
		link := &netif.Link{Name: "v0", Gateways: []netip.Addr{ownAddr.Next(), netip.MustParseAddr("10.9.0.254")}}
		begin := time.Now()
		err := resolving(e, link, 1).gateways(t.Context())
		if err == nil || err.Error() != "resolve gateway 10.9.0.254 on v0: it does not answer: check the route, or give its link address with --router-mac" {
			t.Errorf("%v", err)
		}
		if n := e.asked[netip.MustParseAddr("10.9.0.254")]; n != gatewayTries || e.asked[ownAddr.Next()] != 1 {
			t.Errorf("asked %v", e.asked)
		}
		if took := time.Since(begin); took > 3*blindCooldown {
			t.Errorf("took %v", took)
		}
	})
}

func TestAnEndOrAFaultEndsTheAsking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEther(func(netip.Addr, int) (wire.Neighbour, bool) { return wire.Neighbour{}, false })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begin := time.Now()
		r := resolving(e, &netif.Link{Name: "v0", Ask: []netif.Stretch{onLink}}, 3)
		if err := r.targets(ctx, tx.NewPacer(1000)); err != nil || time.Since(begin) > 1010*time.Millisecond {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
		if n := r.report().Questions; n < 990 || n > 1010 {
			t.Errorf("%d questions in a second at 1000 a second", n)
		}
		e.err = errors.New("down")
		if err := r.targets(t.Context(), tx.NewPacer(1000)); !errors.Is(err, e.err) {
			t.Errorf("%v", err)
		}
	})
}

// A part of a scan asks for its own targets only.
func TestOnlyWhoIsVisitedIsAsked(t *testing.T) {
	whole := newPlan(t, "80,81", "10.9.0.0/20")
	part, err := plan.New(whole.Targets(), whole.Ports(), 7, plan.Shard{Index: 2, Count: 4096})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		fact string
		cfg  Config
		want uint64
	}{
		{"all_of_a_whole_scan", Config{Plan: whole}, 4096},
		{"those_of_the_first_probes", Config{Plan: whole, MaxProbes: 3}, 3},
		{"those_of_a_shard", Config{Plan: part}, 2},
	} {
		t.Run(tt.fact, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := newEther(live)
				link := &netif.Link{Name: "v0", Ask: []netif.Stretch{{First: netip.MustParseAddr("10.9.0.0"), Last: netip.MustParseAddr("10.9.15.255")}}}
				r := resolving(e, link, 1)
				r.links[0].total = 0
				tt.cfg.Wait = time.Second
				r.begin(tt.cfg)
				if err := r.targets(t.Context(), tx.NewPacer(0)); err != nil {
					t.Fatal(err)
				}
				if got := r.report(); got.Questions != tt.want || got.Targets != tt.want || got.Silent != 0 || len(e.asked) != int(tt.want) {
					t.Errorf("%+v, %d asked", got, len(e.asked))
				}
				for pos := range min(tt.cfg.visit(), 10) {
					if a := tt.cfg.Plan.At(pos).Addr(); e.asked[a] != 1 {
						t.Errorf("%v was asked for %d times", a, e.asked[a])
					}
				}
			})
		})
	}
}

// What cannot be probed takes no part of the rate: a million endpoints of hosts
// that do not exist delay nobody.
func TestHostsThatDoNotExistAreNotPaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newMemory(func(netip.AddrPort) result.State { return result.Closed })
		network := net.network(1)
		network.Route = func(a netip.Addr) (tx.Hop, bool) { return tx.Hop{}, a.As4()[3] == 7 && a.As4()[2] == 0 }
		cfg := config(newPlan(t, "1-16", "10.0.0.0/16"), "syn")
		cfg.Rate = 100
		begin := time.Now()
		sum, err := run(t, t.Context(), cfg, network, &records{})
		if err != nil || sum.Probed != 16 || sum.Unreachable != 65535*16 || sum.Answered != 16 {
			t.Errorf("%+v, %v", sum, err)
		}
		if took := time.Since(begin); took > time.Second {
			t.Errorf("took %v for 16 probes at 100 a second", took)
		}
	})
}
