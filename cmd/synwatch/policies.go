package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"synoptic/bpf/watch"
	"synoptic/detector"
	"synoptic/internal/cli"
)

const (
	defaultPolicies = detector.Sophos + "," + detector.Scanlogd
	defaultTraps    = "11,12,13,2000" // nobody asks for these in good faith
)

// How a line is crossed.
const (
	exceeds = "exceeds"
	reaches = "reaches"
)

// Bounds of a policy's numbers.
const (
	maxSpan   = time.Hour
	minQuiet  = 100 * time.Millisecond
	maxQuiet  = 24 * time.Hour
	maxPoints = 255 // of a port: the kernel keeps them in a byte
)

// parameter is one of a policy's numbers: the end of its option's name, and how it
// is read and written.
type parameter struct {
	name, text string // the option and what it does, the value in backquotes
	read       func(p *detector.Policy, option, text string) error
	write      func(p *detector.Policy) string
}

// parameters are the numbers of a policy, in the order of the help text.
func parameters(policy string) []parameter {
	span := parameter{"window", "`TIME` in which points add up",
		func(p *detector.Policy, option, text string) (err error) {
			p.Span, err = parseTime(option, text, time.Nanosecond, maxSpan)
			return err
		},
		func(p *detector.Policy) string { return p.Span.String() }}
	if policy == detector.Scanlogd {
		span.name, span.text = "gap", "`TIME` between new ports of one scan at most"
	}
	points := func(name, text string, least uint64, of func(*detector.Policy) *int) parameter {
		return parameter{name, text,
			func(p *detector.Policy, option, text string) error {
				n, err := parseCount(option, text, least, maxPoints)
				*of(p) = int(n)
				return err
			},
			func(p *detector.Policy) string { return strconv.Itoa(*of(p)) }}
	}
	return []parameter{
		span,
		{"threshold", "`N` points are the line",
			func(p *detector.Policy, option, text string) error {
				n, err := parseCount(option, text, 1, watch.MaxProbes*maxPoints)
				p.Threshold = int(n)
				return err
			},
			func(p *detector.Policy) string { return strconv.Itoa(p.Threshold) }},
		{"compare", "`HOW` points cross it: " + exceeds + " or " + reaches,
			func(p *detector.Policy, option, text string) error {
				p.Reaches = text == reaches
				return parseWord(option, text, exceeds, reaches)
			},
			func(p *detector.Policy) string {
				if p.Reaches {
					return reaches
				}
				return exceeds
			}},
		points("low", "`N` points for a port below 1024", 1, func(p *detector.Policy) *int { return &p.Low }),
		points("high", "`N` points for a port from 1024", 1, func(p *detector.Policy) *int { return &p.High }),
		points("trap", "`N` points for a port of --traps, 0: as for others", 0, func(p *detector.Policy) *int { return &p.Trap }),
		{"quiet", "`TIME` of silence that ends an episode",
			func(p *detector.Policy, option, text string) (err error) {
				p.Quiet, err = parseTime(option, text, minQuiet, maxQuiet)
				return err
			},
			func(p *detector.Policy) string { return p.Quiet.String() }},
	}
}

// definePolicies declares an option for each number of each policy.
func (w *words) definePolicies() (groups []cli.Group) {
	w.parameters = map[string]*string{}
	for _, p := range detector.Policies() {
		flags := cli.NewFlags()
		for _, n := range parameters(p.Name) {
			option := p.Name + "-" + n.name
			w.parameters[option] = flags.String(option, "", fmt.Sprintf("%s (%s)", n.text, n.write(&p)))
		}
		groups = append(groups, cli.Group{Heading: "Policy " + p.Name, Flags: flags})
	}
	return groups
}

// readPolicies reads which policies are on, and their numbers.
func (w *words) readPolicies(o *options) error {
	var names []string
	for _, list := range w.policies {
		names = append(names, strings.Split(list, ",")...)
	}
	if len(names) == 0 {
		names = strings.Split(defaultPolicies, ",")
	}
	all := map[string]detector.Policy{}
	var known []string
	for _, p := range detector.Policies() {
		known = append(known, p.Name)
		for _, n := range parameters(p.Name) {
			option := p.Name + "-" + n.name
			if text := *w.parameters[option]; text != "" {
				if err := n.read(&p, "--"+option, text); err != nil {
					return err
				}
			}
		}
		all[p.Name] = p
	}
	for _, name := range names {
		p, ok := all[name]
		switch near := cli.Nearest(name, known); {
		case ok:
		case near != "":
			return fmt.Errorf("--policy %s: there is no such policy: did you mean %s?", name, near)
		default:
			return fmt.Errorf("--policy %s: there is no such policy, there are %s", name, list(known))
		}
		if o.uses(name) {
			return fmt.Errorf("--policy has %s twice: leave one out", name)
		}
		o.rules.Policies = append(o.rules.Policies, p)
	}
	return nil
}

func (o *options) uses(policy string) bool {
	for _, p := range o.rules.Policies {
		if p.Name == policy {
			return true
		}
	}
	return false
}

// checkPolicies checks what depends on several numbers: that the line can be
// crossed by as many ports as are remembered of a source, each of the smallest
// weight, because it could not be decided otherwise.
func checkPolicies(policies []detector.Policy) error {
	for _, p := range policies {
		weight, name := p.High, "high"
		if p.Low < weight {
			weight, name = p.Low, "low"
		}
		if p.Trap > 0 && p.Trap < weight {
			weight, name = p.Trap, "trap"
		}
		most := watch.MaxProbes * weight
		if !p.Reaches {
			most--
		}
		if p.Threshold > most {
			return fmt.Errorf("--%s-threshold %d would not be crossed by the last %d ports of a source, which is all that is remembered, at --%s-%s %d: a threshold of %d would, or more points",
				p.Name, p.Threshold, watch.MaxProbes, p.Name, name, weight, most)
		}
		if p.Quiet < p.Span {
			return fmt.Errorf("--%s-quiet %v is shorter than the time in which points add up, %v: a scan would end while it goes on", p.Name, p.Quiet, p.Span)
		}
	}
	return nil
}
