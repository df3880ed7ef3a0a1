package main

import (
	"context"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
)

// signals ends a scan when the user or the system asks for it. The first signal
// stops what has begun, in good order; before anything has begun, and the second
// time, it ends the process at once.
type signals struct {
	ctx   context.Context
	begun atomic.Bool
	ended atomic.Bool // only what is known already is still to be written
	asked atomic.Bool
	leave atomic.Pointer[func()] // what must be done before the process ends at once
	first atomic.Pointer[func()] // and when it is asked to
	last  atomic.Pointer[func()] // and when it is asked once more
}

func catchSignals(say *console) *signals {
	ctx, cancel := context.WithCancel(context.Background())
	s := &signals{ctx: ctx}
	incoming := make(chan os.Signal, 2)
	signal.Notify(incoming, syscall.SIGINT, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) { // as under nohup(1)
		signal.Notify(incoming, syscall.SIGHUP)
	}
	go func() { // lives as long as the process
		<-incoming
		s.asked.Store(true)
		if !s.begun.Load() {
			s.clear()
			say.print("interrupted, no probe was sent")
			os.Exit(exitInterrupted)
		}
		doing := "no more is sent, waiting for answers"
		if s.ended.Load() {
			doing = "writing the outputs"
		}
		say.note("interrupted: " + doing + "; once more ends at once")
		(*s.first.Load())()
		cancel()
		<-incoming
		s.clear()
		say.print("interrupted again: results may be missing")
		(*s.last.Load())()
		os.Exit(exitInterrupted)
	}()
	return s
}

// clear does what must be done before the process ends at once.
func (s *signals) clear() {
	if leave := s.leave.Load(); leave != nil {
		(*leave)()
	}
}

// onLeave says what that is.
func (s *signals) onLeave(do func()) { s.leave.Store(&do) }

// begin says that from now on everything must be ended in good order, and what is
// to be done first when a signal comes, and last when another does.
func (s *signals) begin(first, last func()) {
	s.first.Store(&first)
	s.last.Store(&last)
	s.leave.Store(nil)
	s.begun.Store(true)
}

// end says that what was begun has ended, and only outputs are left.
func (s *signals) end() { s.ended.Store(true) }

// interrupted reports whether a signal came.
func (s *signals) interrupted() bool { return s.asked.Load() }
