package twin

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"synoptic/bpf/watch"
)

// naive judges one source and keeps all that it ever sent.
type naive struct {
	rules                watch.Rules
	probes               int
	latest               map[port]uint64 // when each was last probed
	packets              []sent
	last, fresh, chain   uint64
	over                 bool
	backscatter, repeats uint64
	forgotten            uint64 // repeats that who remembers 22 ports could not know as such
	unforgettable        bool   // one that it had to know
}

type port struct {
	number uint16
	udp    bool
}

type sent struct {
	t    uint64
	port uint16
}

// judge returns which lines the packet crosses and whether it is of interest by
// any. A repeat has no sums for the probes' lines; repeat is what the Twin took
// it for, who may have forgotten the port and then sums again.
func (n *naive) judge(t uint64, p testPacket, probe, repeat bool) (crossed uint8, interesting bool) {
	r := &n.rules
	by := func(l *watch.Line, bit uint8, sum int) {
		if !l.On {
			return
		}
		interesting = interesting || 3*sum >= 2*int(l.Threshold)
		if sum > int(l.Threshold) || l.Reaches && sum == int(l.Threshold) {
			crossed |= bit
		}
	}
	if !p.udp && r.Packets.On {
		n.packets = append(n.packets, sent{t, p.port})
		sum := 0
		for _, s := range n.packets {
			if t-s.t <= uint64(r.Packets.Span) {
				sum += n.points(&r.Packets, s.port)
			}
		}
		by(&r.Packets, overPackets, sum)
	}
	if !probe {
		return
	}
	gap, window := uint64(r.Gap.Span), uint64(r.Window.Span)
	joins := n.last != 0 && t-n.fresh <= gap
	if p.flags == SYN|ACK && !p.udp && !p.tiny && !joins {
		n.backscatter++
		return
	}
	if !joins {
		n.chain, n.fresh, n.over = t, t, false
	}
	was, known := n.latest[port{p.port, p.udp}]
	newInChain, newInWindow := !known || was < n.chain, !known || t-was > window
	n.latest[port{p.port, p.udp}] = t
	n.probes++
	n.last = t
	if newInChain || n.over {
		n.fresh = t
	}
	switch old := !newInChain && !newInWindow; {
	case old && repeat:
		n.repeats++
		return
	case old:
		n.forgotten++
		n.unforgettable = n.unforgettable || len(n.latest) <= watch.MaxProbes
	case repeat:
		n.unforgettable = true
	}
	gapSum, windowSum := 0, 0
	for port, last := range n.latest {
		if last >= n.chain {
			gapSum += n.points(&r.Gap, port.number)
		}
		if t-last <= window {
			windowSum += n.points(&r.Window, port.number)
		}
	}
	by(&r.Gap, overGap, gapSum)
	by(&r.Window, overWindow, windowSum)
	n.over = crossed&overGap != 0
	return
}

func (n *naive) points(l *watch.Line, port uint16) int {
	for _, trap := range n.rules.Traps {
		if port == trap && l.Trap > 0 {
			return int(l.Trap)
		}
	}
	if port < 1024 {
		return int(l.Low)
	}
	return int(l.High)
}

// What is told, and which lines it is over, is what one would say who has kept
// everything: 22 ports are enough. TWIN_SEED chooses the sequences.
func TestAgainstWhoKeepsEverything(t *testing.T) {
	seed := rand.Uint64()
	if s := os.Getenv("TWIN_SEED"); s != "" {
		var err error
		seed, err = strconv.ParseUint(s, 10, 64)
		must(t, err)
	}
	t.Logf("TWIN_SEED=%d", seed)
	var told, quiet, forgotten, backscatter, repeats uint64
	for run := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, run))
		rules := randomRules(r)
		spread := []uint16{3, 25, 60, 3000}[r.IntN(4)]
		if !rules.Gap.On && spread > 3 {
			// Without the gap line nothing says that more ports of the chain came
			// than are remembered, and one that was forgotten prolongs the chain.
			// That changes no decision, but what is told, so the chain is endless.
			rules.Gap.Span = time.Hour
		}
		n := &naive{rules: rules, latest: map[port]uint64{}}
		w := newTwin(t, Config{Sets: 1}, rules)
		var e *entry
		last := uint64(0)
		at := start
		rest := time.Duration(0)
		for i := range 300 {
			p := testPacket{port: 1000 + uint16(r.IntN(int(spread))), flags: []uint8{SYN, SYN, SYN, FIN, SYN | ACK, RST}[r.IntN(6)]}
			p.udp, p.tiny = r.IntN(8) == 0, r.IntN(16) == 0
			p.tiny = p.tiny && !p.udp
			if r.IntN(8) == 0 {
				p.port = []uint16{11, 12, 2000, 80}[r.IntN(4)]
			}
			if rest = pause(r, &rules, rest); r.IntN(50) == 0 {
				at -= uint64(rest)
			} else {
				at += uint64(rest)
			}
			probe := p.udp || p.tiny || p.flags != RST
			synack := p.flags == SYN|ACK && !p.udp && !p.tiny
			if (!probe || synack && n.last == 0) && !rules.Packets.On {
				continue // no place for it
			}
			now := max(at, last)
			if probe && !(synack && (n.last == 0 || now-n.fresh > uint64(rules.Gap.Span))) || !p.udp && rules.Packets.On {
				last = now
			}
			lastTold, toldOver := uint64(0), uint8(0)
			if e != nil {
				lastTold, toldOver = e.told, e.toldOver
			}
			repeats := w.counters.Repeats
			w.Run(p.frame(), at, watch.Unknown)
			e, _ = w.find(0, address{10: 0xff, 11: 0xff, 12: 192, 13: 0, 14: 2, 15: 1})
			got := false
			must(t, w.Read(func(v *watch.Snapshot) {
				got = true
				if err := orderly(v); err != nil {
					t.Errorf("%v: %+v", err, v)
				}
			}))
			crossed, interesting := n.judge(now, p, probe, w.counters.Repeats > repeats)
			expected := interesting && (crossed == 0 || crossed&^toldOver != 0 || now-lastTold >= 50e6)
			if got != expected || got && e.toldOver != crossed || n.unforgettable {
				t.Fatalf("run %d, packet %d (%+v at %v), rules %+v:\ntold %v over %b, want %v over %b; wrongly new or old: %v",
					run, i, p, since0(now), rules, got, e.toldOver, expected, crossed, n.unforgettable)
			}
			if got {
				told++
			} else {
				quiet++
			}
		}
		backscatter += n.backscatter
		repeats += n.repeats
		forgotten += n.forgotten
		if w.counters.Backscatter != n.backscatter || w.counters.Probes != uint64(n.probes) {
			t.Fatalf("run %d: backscatter %d, want %d; probes %d, want %d", run, w.counters.Backscatter, n.backscatter, w.counters.Probes, n.probes)
		}
	}
	t.Logf("told %d, not told %d, forgotten ports %d, backscatter %d, repeats %d", told, quiet, forgotten, backscatter, repeats)
	if told < 1000 || quiet < 1000 || forgotten < 100 || backscatter < 100 || repeats < 1000 {
		t.Error("the sequences are too dull")
	}
}

func randomRules(r *rand.Rand) watch.Rules {
	line := func() watch.Line {
		l := watch.Line{On: r.IntN(4) != 0, Span: time.Duration(1+r.IntN(4000)) * time.Millisecond, Reaches: r.IntN(2) == 0,
			High: uint8(1 + r.IntN(3)), Low: uint8(1 + r.IntN(5)), Trap: uint8(r.IntN(20))}
		least := min(l.High, l.Low)
		if l.Trap > 0 {
			least = min(least, l.Trap)
		}
		l.Threshold = 22 * uint32(least)
		if !l.Reaches {
			l.Threshold--
		}
		l.Threshold -= uint32(r.IntN(int(l.Threshold)))
		return l
	}
	rules := watch.Rules{Window: line(), Gap: line(), Packets: line(), Traps: []uint16{11, 12, 13, 2000}, V6Bits: 64}
	if r.IntN(2) == 0 {
		rules.Packets.On = false
	}
	return rules
}

// pause is the time to the next packet: often none, often at an edge, or in the
// rhythm of the one before.
func pause(r *rand.Rand, rules *watch.Rules, rest time.Duration) time.Duration {
	span := []time.Duration{rules.Window.Span, rules.Gap.Span, rules.Packets.Span, 50 * time.Millisecond}[r.IntN(4)]
	if span > time.Minute {
		span = time.Second // an endless chain has no edge
	}
	switch r.IntN(24) {
	case 0:
		return span + time.Duration(r.IntN(3)-1)
	case 1:
		return span / time.Duration(1+r.IntN(30))
	case 2:
		return time.Duration(r.Int64N(int64(8 * time.Second)))
	case 3, 4, 5:
		return 0
	}
	return rest % (100 * time.Millisecond)
}
