package detector

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"synoptic/bpf/watch"
)

// Config is what a live detector begins with.
type Config struct {
	Settings
	Interfaces []string // at least one
	Mode       watch.Mode
	Memory     uint64 // bytes; 0 means watch.DefaultMemory
	Gateway    bool   // the packets are for other machines

	// Alert is called with each alert and summary, one at a time. It must not
	// wait: while it runs, nobody reads what the kernel tells.
	Alert func(*Alert)
	// Gone is called by Run with the name of a device that has been taken away;
	// nil: nobody wants to know. The others are watched as before.
	Gone func(device string)
}

// Detector is at work on interfaces of this machine. Its methods are safe for
// concurrent use, but Run may be called once, and Close must wait for it.
type Detector struct {
	program     *watch.Watch
	attachments []*watch.Attachment
	names       map[int]string
	wall        func(uint64) time.Time
	gone        func(device string)

	mu     sync.Mutex // guards what follows, and calls of Alert
	scorer *Scorer
}

// Open loads the program and attaches it to every interface, or to none.
func Open(cfg Config) (_ *Detector, err error) {
	if len(cfg.Interfaces) == 0 {
		return nil, errors.New("open the detector: no interface is given")
	}
	rules, err := cfg.rules()
	if err != nil {
		return nil, err
	}
	d := &Detector{names: map[int]string{}, gone: cfg.Gone}
	defer func() {
		if err != nil {
			d.Close()
		}
	}()
	d.program, err = watch.Load(watch.Config{Memory: cfg.Memory, Gateway: cfg.Gateway, Packets: cfg.overPackets()}, rules)
	if err != nil {
		return nil, err
	}
	if d.wall, err = wallClock(); err != nil {
		return nil, err
	}
	d.scorer, err = NewScorer(ScorerConfig{
		Ruleset: cfg.Ruleset,
		Wall:    d.wall,
		Device:  func(i int) string { return d.names[i] },
		Sources: d.program,
		Alert:   cfg.Alert,
	})
	if err != nil {
		return nil, err
	}
	for _, name := range cfg.Interfaces {
		a, err := d.program.Attach(name, cfg.Mode)
		if err != nil {
			return nil, err
		}
		d.attachments = append(d.attachments, a)
		d.names[a.Index] = a.Device
	}
	return d, nil
}

// wallClock returns a function from the kernel's monotonic clock to the time of
// day. It asks for both again at each call, so that a corrected clock tells.
func wallClock() (func(uint64) time.Time, error) {
	if _, err := monotonic(); err != nil {
		return nil, err
	}
	return func(ns uint64) time.Time {
		now, _ := monotonic()
		return time.Now().Add(time.Duration(ns - now)).Round(0)
	}, nil
}

// monotonic is the clock of bpf_ktime_get_ns().
func monotonic() (uint64, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0, fmt.Errorf("read the kernel's clock: %w", err)
	}
	return uint64(ts.Nano()), nil
}

const (
	// nap is how long Run waits for the kernel at most, so how late a summary
	// may be.
	nap = 250 * time.Millisecond
	// unread is how old a snapshot may be that is still being written.
	unread = 10 * time.Millisecond
	// round is how often Run asks whether the devices are still there.
	round = time.Second
)

// wakeAt is when Run must look again though the kernel tells nothing: so soon
// after an episode seems to be over that its end is told from a new beginning.
func (d *Detector) wakeAt() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	wait := nap
	if next, ok := d.scorer.Next(); ok {
		if now, err := monotonic(); err == nil {
			wait = min(wait, max(0, time.Duration(next-now))+2*unread)
		}
	}
	return time.Now().Add(wait)
}

// Run scores until the context is done; then it ends all episodes.
func (d *Detector) Run(ctx context.Context) error {
	defer func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.scorer.Close()
	}()
	var newest, asked uint64 // of the snapshots so far; when the devices were asked for
	there := slices.Clone(d.attachments)
	for ctx.Err() == nil {
		err := d.program.Wait(d.wakeAt(), func(s *watch.Snapshot) {
			newest = max(newest, s.Time)
			d.mu.Lock()
			defer d.mu.Unlock()
			d.scorer.Observe(s)
		})
		if errors.Is(err, os.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		now, err := monotonic()
		if err != nil {
			return err
		}
		if now-asked > uint64(round) {
			asked, there = now, slices.DeleteFunc(there, d.hasGone)
		}
		if d.program.Waiting() { // those that are not read yet are as old as this
			now = min(now, max(newest, uint64(unread)))
		}
		d.mu.Lock()
		d.scorer.Advance(now - uint64(unread))
		d.mu.Unlock()
	}
	return nil
}

// hasGone says whether a device is no more, and tells.
func (d *Detector) hasGone(a *watch.Attachment) bool {
	gone := a.Gone()
	if gone && d.gone != nil {
		d.gone(a.Device)
	}
	return gone
}

// Reload replaces the settings. What is remembered of sources stays, and
// episodes go on.
func (d *Detector) Reload(s Settings) error {
	rules, err := s.rules()
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.program.SetRules(rules); err != nil {
		return err
	}
	return d.scorer.SetPolicies(s.Ruleset)
}

// Attachments returns where the detector stands.
func (d *Detector) Attachments() []*watch.Attachment { return d.attachments }

// Wall is the time of day of a snapshot's time.
func (d *Detector) Wall(ns uint64) time.Time { return d.wall(ns) }

// Stats returns what has been scored.
func (d *Detector) Stats() ScorerStats {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.scorer.Stats()
}

// Counters, Cost, Places and Sources are those of the program.
func (d *Detector) Counters() (watch.Counters, error)     { return d.program.Counters() }
func (d *Detector) Cost() (watch.Cost, error)             { return d.program.Cost() }
func (d *Detector) Places() int                           { return d.program.Places() }
func (d *Detector) Sources(f func(*watch.Snapshot)) error { return d.program.Sources(f) }

// Close detaches the program and forgets everything.
func (d *Detector) Close() error {
	var err error
	for _, a := range d.attachments {
		err = errors.Join(err, a.Close())
	}
	if d.program != nil {
		err = errors.Join(err, d.program.Close())
	}
	return err
}
