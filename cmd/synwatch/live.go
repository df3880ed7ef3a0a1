package main

import (
	"cmp"
	"fmt"
	"slices"
	"sync"

	"synoptic/bpf/watch"
	"synoptic/detector"
	"synoptic/detector/filter"
)

// kernel is the engine of the real program.
func kernel() engine {
	return engine{
		Check: func(r *Rules) error {
			s, err := r.settings()
			if err == nil {
				err = s.Validate()
			}
			return err
		},
		Start: func(c *Config) (Detector, error) {
			if len(c.Interfaces) == 0 {
				return openCapture(c)
			}
			return attach(c)
		},
		EnableStats: watch.EnableStats,
	}
}

// settings are the rules as the detector takes them.
func (r *Rules) settings() (s detector.Settings, err error) {
	s.Ruleset = detector.Ruleset{Policies: r.Policies, Traps: r.Traps, UDP: r.UDP, V6Bits: r.V6Bits}
	s.Allow = r.Allow
	for _, e := range r.Ignore {
		s.Ignore = append(s.Ignore, filter.Endpoint{Addr: e.Addr(), Port: e.Port()})
	}
	s.Filter, err = filter.Compile(r.Filter)
	return s, err
}

// live is a detector on interfaces.
type live struct {
	*detector.Detector
	mu    sync.Mutex
	rules detector.Ruleset // in force
}

func attach(c *Config) (*live, error) {
	s, err := c.Rules.settings()
	if err != nil {
		return nil, err
	}
	d, err := detector.Open(detector.Config{Settings: s, Interfaces: c.Interfaces, Mode: watch.Mode(c.XDPMode),
		Memory: c.Memory, Gateway: c.Gateway, Alert: c.Alert,
		Gone: func(device string) {
			c.Trouble(device + " is gone: nothing is watched there any more: restart the detector when there is one again")
		}})
	if err != nil {
		return nil, err
	}
	for _, a := range d.Attachments() {
		if a.Occupied {
			c.Note(fmt.Sprintf("another XDP program is attached to %s and was left alone: standing behind it, in mode tcx", a.Device))
		}
	}
	return &live{Detector: d, rules: s.Ruleset}, nil
}

// Reload implements Detector.
func (l *live) Reload(r Rules) error {
	s, err := r.settings()
	if err == nil {
		err = l.Detector.Reload(s)
	}
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rules = s.Ruleset
	return nil
}

// State implements Detector. It waits for Run to be between two snapshots.
func (l *live) State(top int) (*State, error) {
	c, err := l.Counters()
	if err != nil {
		return nil, err
	}
	cost, err := l.Cost()
	if err != nil {
		return nil, err
	}
	scored := l.Stats()
	s := &State{
		Counters: c, Remembered: c.Sources - c.EvictedIdle - c.EvictedLive, Room: uint64(l.Places()),
		Active: scored.Active, Lost: map[string]uint64{"crowded": scored.Crowded, "forgotten": scored.Forgotten},
		Cost: RunTime{uint64(cost.Time), cost.Runs},
	}
	for _, a := range l.Attachments() {
		i := Interface{a.Device, string(a.Mode)}
		if a.Gone() {
			i.Mode = "gone"
		}
		s.Interfaces = append(s.Interfaces, i)
	}
	if top > 0 {
		s.Top, err = l.top(top)
	}
	return s, err
}

// top returns the n most suspicious sources, the most suspicious first.
func (l *live) top(n int) ([]Source, error) {
	l.mu.Lock()
	scale := detector.NewScale(&l.rules)
	l.mu.Unlock()
	type weighed struct {
		suspicion float64
		last      uint64
		Source
	}
	order := func(a, b weighed) int {
		return cmp.Or(cmp.Compare(b.suspicion, a.suspicion), cmp.Compare(b.last, a.last))
	}
	var best []weighed
	err := l.Sources(func(o *watch.Snapshot) {
		w := weighed{suspicion: scale.Suspicion(o), last: o.Last}
		at, _ := slices.BinarySearchFunc(best, w, order)
		if at == n {
			return
		}
		w.Source = Source{Source: o.Source, Points: scale.Points(o), Ports: len(o.Probes), Hosts: o.Hosts,
			Kinds: map[string]uint32{}, Since: l.Wall(o.Born), Last: l.Wall(o.Last)}
		for k, count := range o.Kinds {
			if count > 0 {
				w.Kinds[watch.Kind(k).String()] = count
				w.Probes += uint64(count)
			}
		}
		best = slices.Insert(best, at, w)[:min(n, len(best)+1)]
	})
	list := make([]Source, len(best))
	for i, w := range best {
		list[i] = w.Source
	}
	return list, err
}
