package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"synoptic/bpf/watch"
	"synoptic/detector/sink"
	"synoptic/internal/cli"
)

// Document is what a running detector tells who asks. Its form is a promise to
// programs: keys are added, never changed.
type Document struct {
	Version    string            `json:"version"`
	Since      time.Time         `json:"since"`
	Time       time.Time         `json:"time"`
	Policies   []string          `json:"policies"`
	Interfaces []Interface       `json:"interfaces"`
	Packets    map[string]uint64 `json:"packets"`  // by class; they add up to all frames
	Counters   watch.Counters    `json:"counters"` // as the kernel half has them; TCP by the lower six bits of the flags
	Sources    uint64            `json:"sources"`
	Room       uint64            `json:"room"`
	Episodes   int               `json:"episodes"`
	Evictions  Evictions         `json:"evictions"`
	Lost       map[string]uint64 `json:"lost"` // by cause
	Alerts     []AlertCount      `json:"alerts"`
	Sinks      []SinkState       `json:"sinks"`
	Top        []Source          `json:"top"`
	RunTime

	Cost  *Cost  `json:"cost,omitempty"` // measured by who asks
	Error string `json:"error,omitempty"`
}

// Evictions are places of sources that were given to others.
type Evictions struct {
	Idle uint64 `json:"idle"` // no policy could accuse them any more
	Live uint64 `json:"live"` // the detector has forgotten something
}

// AlertCount counts the alerts of a policy and kind.
type AlertCount struct {
	Policy string `json:"policy"`
	Kind   string `json:"kind"`
	Count  uint64 `json:"count"`
}

// SinkState is how an output does.
type SinkState struct {
	Name     string `json:"name"`
	Written  uint64 `json:"written"`
	Lost     uint64 `json:"lost"`
	Failures uint64 `json:"failures"`
	Failing  bool   `json:"failing"`
	Err      string `json:"error,omitempty"` // of the last failure
}

// document writes down what is known now.
func (d *daemon) document(top int) (*Document, error) {
	state, err := d.detector.State(top)
	if err != nil {
		return nil, fmt.Errorf("read the detector's state: %w", err)
	}
	c := &state.Counters
	doc := &Document{
		Version: cli.Build(), Since: d.since, Time: time.Now(), Interfaces: state.Interfaces, Counters: *c,
		Packets: map[string]uint64{}, Sources: state.Remembered, Room: state.Room, Episodes: state.Active,
		Evictions: Evictions{c.EvictedIdle, c.EvictedLive}, Lost: map[string]uint64{ringFull: c.LostEvents}, Top: state.Top, RunTime: state.Cost,
	}
	for _, p := range d.rules().Policies {
		doc.Policies = append(doc.Policies, p.Name)
	}
	for _, class := range packetClasses(c) {
		doc.Packets[class.name] = class.packets
	}
	maps.Copy(doc.Lost, state.Lost)
	for _, s := range d.outputs() {
		doc.Sinks = append(doc.Sinks, SinkState(s))
	}
	doc.Alerts = d.tally.list()
	doc.fill()
	return doc, nil
}

// fill makes empty lists of those that are missing: programs walk along lists, and
// not along null.
func (d *Document) fill() {
	d.Policies = append([]string{}, d.Policies...)
	d.Sinks = append([]SinkState{}, d.Sinks...)
	d.Interfaces = append([]Interface{}, d.Interfaces...)
	d.Alerts = append([]AlertCount{}, d.Alerts...)
	d.Top = append([]Source{}, d.Top...)
}

// ringFull is why LostEvents were lost.
const ringFull = "ring-full"

func (d *daemon) outputs() []sink.Stats { return append(d.sinks.Stats(), d.voice.text.Stats()) }

// list returns the counts in order.
func (t *tally) list() (all []AlertCount) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for key, n := range t.counts {
		all = append(all, AlertCount{key[0], key[1], n})
	}
	slices.SortFunc(all, func(a, b AlertCount) int { return cmp.Or(cmp.Compare(a.Policy, b.Policy), cmp.Compare(a.Kind, b.Kind)) })
	return all
}

// class is a class of packets.
type class struct {
	name    string
	packets uint64
}

// TCP flags, RFC 9293 section 3.1.
const (
	fin = 1 << iota
	syn
	rst
	psh
	ack
	urg
)

// flagClass names a class of TCP packets by their flags.
func flagClass(flags int) string {
	switch rest := flags &^ (psh | urg); {
	case flags&rst != 0:
		return "tcp-rst"
	case rest == ack:
		return "tcp-ack"
	case rest == fin|ack:
		return "tcp-fin-ack"
	case rest == syn|ack:
		return "tcp-syn-ack"
	case rest == syn:
		return "tcp-syn"
	case flags == 0:
		return "tcp-null"
	case flags == fin:
		return "tcp-fin"
	case flags == fin|psh|urg:
		return "tcp-xmas"
	}
	return "tcp-odd"
}

// packetClasses sorts every frame into one class; all classes are there.
func packetClasses(c *watch.Counters) []class {
	tcp := map[string]uint64{}
	for flags, n := range c.TCP {
		tcp[flagClass(flags)] += n
	}
	var classes []class
	for _, name := range []string{"tcp-ack", "tcp-syn", "tcp-syn-ack", "tcp-fin-ack", "tcp-rst", "tcp-null", "tcp-fin", "tcp-xmas", "tcp-odd"} {
		classes = append(classes, class{name, tcp[name]})
	}
	return append(classes, class{"udp", c.UDP}, class{"icmp", c.ICMP}, class{"other", c.Other}, class{"fragment", c.Fragments}, class{"tiny-fragment", c.Tiny},
		class{"filtered", c.Filtered}, class{"not-ip", c.NotIP}, class{"malformed", c.Malformed}, class{"ext-too-deep", c.TooDeep})
}
