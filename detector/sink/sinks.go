package sink

import (
	"errors"
	"sync"
	"time"

	"synoptic/detector"
)

// Sinks are all that get each alert.
type Sinks []*Sink

// Alert gives an alert to each.
func (all Sinks) Alert(a *detector.Alert) {
	for _, s := range all {
		s.Alert(a)
	}
}

// Reopen opens the places of all anew.
func (all Sinks) Reopen() {
	for _, s := range all {
		s.Reopen()
	}
}

// Stats returns the counts of each.
func (all Sinks) Stats() []Stats {
	stats := make([]Stats, len(all))
	for i, s := range all {
		stats[i] = s.Stats()
	}
	return stats
}

// Close closes all at the same time.
func (all Sinks) Close(within time.Duration) error {
	errs := make([]error, len(all))
	var closing sync.WaitGroup
	for i, s := range all {
		closing.Go(func() { errs[i] = s.Close(within) })
	}
	closing.Wait()
	return errors.Join(errs...)
}
