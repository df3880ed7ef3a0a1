package naive

import (
	"math/rand/v2"
	"time"

	"synoptic/bpf/watch"
)

// Published returns the rules as they were published, with every line on.
func Published() Setup {
	window := watch.Line{On: true, Span: 300 * time.Millisecond, Threshold: 21, High: 1, Low: 3, Trap: 10}
	return Setup{
		Rules: watch.Rules{
			Window:  window,
			Gap:     watch.Line{On: true, Span: 3 * time.Second, Threshold: 21, Reaches: true, High: 1, Low: 3},
			Packets: window,
			Traps:   []uint16{11, 12, 13, 2000},
			V6Bits:  64,
		},
		Quiet: [3]time.Duration{10 * time.Second, 3 * time.Second, 10 * time.Second},
	}
}

// RandomSetup returns rules of which at least one line is on: half the time with
// the published numbers, else with others within the limits, edges among them. A
// line that is off has its published numbers.
func RandomSetup(r *rand.Rand) Setup {
	s := Published()
	published := r.IntN(2) == 0
	on := 1 + r.IntN(7)
	for i, line := range []*watch.Line{&s.Rules.Window, &s.Rules.Gap, &s.Rules.Packets} {
		line.On = on>>i&1 != 0
		if line.On && !published {
			*line, s.Quiet[i] = randomLine(r)
		}
	}
	if r.IntN(4) == 0 {
		s.Rules.UDP = watch.UDPMode(r.IntN(3))
	}
	if r.IntN(4) == 0 {
		s.Rules.V6Bits = 1 + r.IntN(128)
	}
	if r.IntN(4) == 0 {
		s.Rules.Traps = nil
		for range r.IntN(5) {
			s.Rules.Traps = append(s.Rules.Traps, uint16(r.IntN(1<<16)))
		}
	}
	return s
}

func randomLine(r *rand.Rand) (watch.Line, time.Duration) {
	points := func() uint8 { return one[uint8](r, 1, 1, 2, 3, 10, 255, uint8(1+r.IntN(255))) }
	l := watch.Line{On: true, Reaches: r.IntN(2) == 0, High: points(), Low: points()}
	l.Span = one(r, 1, time.Microsecond, 49*time.Millisecond, 300*time.Millisecond, time.Second, 3*time.Second, time.Hour,
		1+time.Duration(r.Int64N(int64(10*time.Second))))
	smallest := min(l.High, l.Low)
	if r.IntN(2) == 0 {
		l.Trap = points()
		smallest = min(smallest, l.Trap)
	}
	most := watch.MaxProbes * uint32(smallest)
	if !l.Reaches {
		most--
	}
	l.Threshold = one(r, most, most, 1, 1+r.Uint32N(most), 1+r.Uint32N(most))
	return l, max(100*time.Millisecond, l.Span) + one(r, 0, 0, 1, time.Duration(r.Int64N(int64(10*time.Second))))
}

// one returns one of the values.
func one[T any](r *rand.Rand, values ...T) T { return values[r.IntN(len(values))] }
