package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"synoptic/bpf/watch"
	"synoptic/detector"
	"synoptic/detector/capture"
)

// replay is a detector on a capture.
type replay struct {
	reader *capture.Reader
	broken error // what is wrong with the whole capture; then there is no reader
	cfg    detector.ReplayConfig
	note   func(string)

	mu       sync.Mutex
	counters watch.Counters // at the end
}

func openCapture(c *Config) (*replay, error) {
	s, err := c.Rules.settings()
	if err != nil {
		return nil, err
	}
	r := &replay{note: c.Note, cfg: detector.ReplayConfig{Settings: s, Memory: c.Memory, Gateway: c.Gateway, Alert: c.Alert}}
	if err := loadable(); err != nil {
		r.cfg.Twin = true
		c.Note("reading with the program's twin in Go, which judges the same: " + err.Error())
	}
	var fault *capture.Fault
	if r.reader, err = capture.Open(c.Capture); errors.As(err, &fault) {
		r.broken = err // for Run to say, as of a capture that breaks later
	} else if err != nil {
		return nil, err
	}
	return r, nil
}

// loadable says why the kernel program cannot be loaded.
func loadable() error {
	have, err := effective()
	if err != nil {
		return err
	}
	if names := missing(have); len(names) > 0 {
		return fmt.Errorf("loading the kernel program needs %s, which this process lacks", list(names))
	}
	return watch.Supported()
}

// Run implements Detector.
func (r *replay) Run(ctx context.Context) error {
	if r.broken != nil {
		return r.broken
	}
	counters, err := detector.Replay(ctx, r.reader, r.cfg)
	r.mu.Lock()
	r.counters = counters
	r.mu.Unlock()
	for link, n := range r.reader.Stats().Skipped {
		r.note(fmt.Sprintf("%d packets were passed over: their link type, %s, is not read", n, link))
	}
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// Reload implements Detector.
func (r *replay) Reload(Rules) error {
	return errors.New("the rules for a capture cannot change while it is read")
}

// State implements Detector.
func (r *replay) State(int) (*State, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return &State{Counters: r.counters}, nil
}

// Close implements Detector.
func (r *replay) Close() error {
	if r.broken != nil {
		return nil
	}
	return r.reader.Close()
}
