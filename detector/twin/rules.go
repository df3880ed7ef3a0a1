package twin

import (
	"errors"
	"fmt"
	"slices"

	"synoptic/bpf/watch"
)

// SetRules changes the rules from the next frame on. What is remembered of the
// sources stays. Rules that the kernel program could not follow exactly are
// refused, and those before stay in force.
func (t *Twin) SetRules(r watch.Rules) error {
	if err := check(&r); err != nil {
		return fmt.Errorf("set rules: %w", err)
	}
	t.rules = r
	t.rules.Count, t.rules.Score, t.rules.Traps = slices.Clone(r.Count), slices.Clone(r.Score), nil
	t.mask = maskOf(r.V6Bits)
	t.traps = portSet{}
	for _, port := range r.Traps {
		t.traps.add(port)
	}
	t.horizon = 0
	compile := func(l watch.Line) line {
		if l.On {
			t.horizon = max(t.horizon, uint64(l.Span))
		}
		return line{Line: l, span: uint64(l.Span), traps: &t.traps}
	}
	t.window, t.gap, t.packets = compile(r.Window), compile(r.Gap), compile(r.Packets)
	if r.Packets.On && t.rings == nil {
		t.rings = make([]ring, len(t.entries))
	}
	return nil
}

func check(r *watch.Rules) error {
	for _, l := range []struct {
		name string
		*watch.Line
	}{{"window", &r.Window}, {"gap", &r.Gap}, {"packets", &r.Packets}} {
		if err := checkLine(l.Line, len(r.Traps) > 0); err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
	}
	if r.UDP > watch.UDPOff {
		return fmt.Errorf("unknown UDP mode %d: choose score, count or off", r.UDP)
	}
	if r.V6Bits < 1 || r.V6Bits > 128 {
		return fmt.Errorf("%d bits of an IPv6 address make a source: choose 1 to 128", r.V6Bits)
	}
	if n := len(r.Count) + len(r.Score); n > watch.MaxNodes {
		return fmt.Errorf("the filters have %d tests: shorten them to %d", n, watch.MaxNodes)
	}
	return errors.Join(checkFilter("count", r.Count), checkFilter("score", r.Score))
}

// checkLine refuses a line that more ports than are remembered would have to
// cross. Spans matter even where the line is off.
func checkLine(l *watch.Line, traps bool) error {
	if l.Span < 0 {
		return fmt.Errorf("span %v: choose one that is not negative", l.Span)
	}
	if !l.On {
		return nil
	}
	least := min(l.High, l.Low)
	if traps && l.Trap > 0 {
		least = min(least, l.Trap)
	}
	if least == 0 {
		return errors.New("a port of 0 points: choose 1 to 255")
	}
	most := watch.MaxProbes*uint32(least) - 1
	if l.Reaches {
		most++
	}
	if l.Threshold > most {
		return fmt.Errorf("threshold %d: choose at most %d, what %d ports of %d points decide", l.Threshold, most, watch.MaxProbes, least)
	}
	return nil
}

// checkFilter makes sure that a filter ends: every step goes on.
func checkFilter(name string, f watch.Filter) error {
	for i, n := range f {
		for _, next := range []uint16{n.Yes, n.No} {
			if next != watch.Pass && next != watch.Reject && (int(next) <= i || int(next) >= len(f)) {
				return fmt.Errorf("%s filter: test %d leads to %d: only later ones exist for it, up to %d", name, i, next, len(f)-1)
			}
		}
		if n.Test > watch.TestDestinationPort {
			return fmt.Errorf("%s filter: test %d is of unknown kind %d", name, i, n.Test)
		}
		if (n.Test == watch.TestSource || n.Test == watch.TestDestination) && !n.Prefix.IsValid() {
			return fmt.Errorf("%s filter: test %d has no valid prefix", name, i)
		}
	}
	return nil
}
