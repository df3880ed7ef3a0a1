package detector

import (
	"fmt"
	"time"

	"synoptic/bpf/watch"
)

// Policy is a rule by which a source is called a scanner. Policies returns
// those that exist.
type Policy struct {
	Name      string
	Span      time.Duration // sophos and sophos-packet: the sliding window; scanlogd: the longest gap between new ports; inclusive
	Threshold int
	Reaches   bool // crossed at Threshold, not above it
	High, Low int  // points of a port from 1024, and below
	Trap      int  // points of a trap port; 0: none are traps
	Quiet     time.Duration
}

// Names of the policies.
const (
	Sophos       = "sophos"
	Scanlogd     = "scanlogd"
	SophosPacket = "sophos-packet"
)

// Policies returns the policies that exist, with their published numbers; the
// quiet times are ours. Those that are on by default come first: all but
// sophos-packet, which takes the vendor's sentence at its word and so accuses
// many who only open a web page.
func Policies() []Policy {
	return []Policy{
		{Name: Sophos, Span: 300 * time.Millisecond, Threshold: 21, High: 1, Low: 3, Trap: 10, Quiet: 10 * time.Second},
		{Name: Scanlogd, Span: 3 * time.Second, Threshold: 21, Reaches: true, High: 1, Low: 3, Quiet: 3 * time.Second},
		{Name: SophosPacket, Span: 300 * time.Millisecond, Threshold: 21, High: 1, Low: 3, Trap: 10, Quiet: 10 * time.Second},
	}
}

// DefaultTraps returns the ports that nobody has asked for in good faith for
// decades, as the vendor of the rule lists them.
func DefaultTraps() []uint16 { return []uint16{11, 12, 13, 2000} }

// Bounds of a policy's numbers.
const (
	maxSpan   = time.Hour
	minQuiet  = 100 * time.Millisecond // twice what may pass before a source that is over its line is told again
	maxWeight = 255                    // the kernel keeps a weight in a byte
)

// Validate says in one sentence what is wrong with the policy's numbers: how
// large they may be, and that watch.MaxProbes ports of the smallest weight
// cross the line, because the kernel remembers no more.
func (p *Policy) Validate() error {
	if _, known := lineOf(p.Name); !known {
		return fmt.Errorf("check policy %q: it is none of %s, %s, %s", p.Name, Sophos, Scanlogd, SophosPacket)
	}
	wrong := func(format string, args ...any) error {
		return fmt.Errorf("check policy %s: "+format, append([]any{p.Name}, args...)...)
	}
	if p.Span <= 0 || p.Span > maxSpan {
		return wrong("a span of %v cannot be used: give one above 0 and of at most 1h", p.Span)
	}
	for _, w := range []struct {
		name   string
		points int
		least  int
	}{{"high", p.High, 1}, {"low", p.Low, 1}, {"trap", p.Trap, 0}} {
		if w.points < w.least || w.points > maxWeight {
			return wrong("%d points for a %s port cannot be used: give %d to %d", w.points, w.name, w.least, maxWeight)
		}
	}
	if p.Threshold < 1 {
		return wrong("a threshold of %d would be crossed without a port: give at least 1", p.Threshold)
	}
	least := min(p.High, p.Low)
	if p.Trap > 0 {
		least = min(least, p.Trap)
	}
	if most := p.highest(least); p.Threshold > most {
		return wrong("a threshold of %d cannot be decided from the %d ports that are remembered: give at most %d, or more points to a port",
			p.Threshold, watch.MaxProbes, most)
	}
	if p.Quiet < minQuiet || p.Quiet < p.Span {
		return wrong("a quiet time of %v is too short to tell two scans apart: give at least %v", p.Quiet, max(minQuiet, p.Span))
	}
	return nil
}

// highest returns the highest threshold that MaxProbes ports of so many points
// cross.
func (p *Policy) highest(points int) int {
	if p.Reaches {
		return watch.MaxProbes * points
	}
	return watch.MaxProbes*points - 1
}

// crossed says whether so many points are over the line.
func (p *Policy) crossed(points int) bool {
	return points > p.Threshold || p.Reaches && points == p.Threshold
}
