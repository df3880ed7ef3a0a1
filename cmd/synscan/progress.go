package main

import (
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"synoptic/internal/scan"
)

// How often stderr hears of a running scan.
const (
	terminalEvery = 250 * time.Millisecond
	plainEvery    = 10 * time.Second
	jsonEvery     = time.Second
)

// progress reports on a scan until end is called.
type progress struct {
	stop chan struct{}
	done sync.WaitGroup
	say  *console
}

// watch begins to report on a scan, in the way that fits stderr, and to answer
// the keys that are pressed.
func (a *app) watch(s *scan.Scan, pressed <-chan byte) *progress {
	p := &progress{stop: make(chan struct{}), say: a.say}
	every, show := plainEvery, func(g glance) { a.say.print(g.String()) }
	switch {
	case a.opt.quiet:
		return p
	case a.opt.statusJSON:
		every, show = jsonEvery, func(g glance) { a.say.json("progress", g) }
	case a.say.terminal:
		every, show = terminalEvery, func(g glance) { a.say.rewrite(g.String()) }
	}
	p.done.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		var pace pace
		var rate float64
		for {
			select {
			case <-p.stop:
				return
			case <-tick.C:
				now := s.Progress()
				rate = pace.next(now)
				show(glance{now, rate})
			case key := <-pressed:
				a.say.print(answer(key, s, glance{s.Progress(), rate}))
			}
		}
	})
	return p
}

// end stops the reports and removes the rewritten line.
func (p *progress) end() {
	close(p.stop)
	p.done.Wait()
	p.say.clear()
}

// pace is the rate over about the last second.
type pace struct {
	glances [4]scan.Progress // the last ones, a ring; at first all at the start
	oldest  int
}

func (p *pace) next(now scan.Progress) float64 {
	before := p.glances[p.oldest]
	p.glances[p.oldest] = now
	p.oldest = (p.oldest + 1) % len(p.glances)
	if span := (now.Elapsed - before.Elapsed).Seconds(); span > 0 {
		return float64(now.Sent+now.Neighbours.Questions-before.Sent-before.Neighbours.Questions) / span
	}
	return 0
}

// glance is one report.
type glance struct {
	scan.Progress
	Pace float64 `json:"packets_per_second"` // now
}

// String returns the report for people.
func (g glance) String() string {
	at := fmt.Sprintf("%.1f%%", 100*float64(g.Probed)/float64(max(g.Planned, 1)))
	switch {
	case g.State == "resolving":
		at = fmt.Sprintf("%s of %s asked", count(g.Neighbours.Questions), number(g.Neighbours.Targets, "neighbour"))
	case g.State != "sending":
		at = g.State
	case g.Try > 0:
		at = fmt.Sprintf("retry %d", g.Try)
	case g.Remaining > 0:
		at += fmt.Sprintf(", %v left", g.Remaining.Round(time.Second))
	}
	line := fmt.Sprintf("%s, %s packets/s, %s found, %s dropped", at, count(uint64(g.Pace)), count(g.Open), count(g.Dropped))
	if g.Path != nil {
		line += fmt.Sprintf(", %.2g%% lost on the way", 100*g.Path.Loss.Estimate)
	}
	if g.Reason != "" {
		line += fmt.Sprintf(", rate %s: %s", count(uint64(g.Rate)), g.Reason)
	}
	return line
}

// json writes {"kind": value} as one line.
func (c *console) json(kind string, value any) {
	text, err := json.Marshal(map[string]any{kind: value})
	if err != nil {
		panic(err) // our own types
	}
	c.line(text)
}
