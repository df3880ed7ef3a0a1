package rx

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestARestGrowsWhileThereIsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r rest
		sleeps := func(n int) (all []int) {
			for range n {
				begin := time.Now()
				r.sleep()
				all = append(all, int(time.Since(begin).Milliseconds()))
			}
			return all
		}
		if got := sleeps(6); !slices.Equal(got, []int{1, 2, 4, 8, 8, 8}) {
			t.Errorf("ms: %v", got)
		}
		r.over()
		if got := sleeps(2); !slices.Equal(got, []int{1, 2}) {
			t.Errorf("after a packet: %v", got)
		}
	})
}

// At the end nobody waits for a source in which everything that has arrived is there.
func TestASourceIsHurriedAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &resting{rest: rest{next: mostRest, hurried: make(chan struct{})}}
		ctx, cancel := context.WithTimeout(t.Context(), mostRest/2)
		defer cancel()
		begin := time.Now()
		r := New(Input{Source: source, Class: &Classifier{}})
		if err := r.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took != mostRest/2 {
			t.Errorf("it took %v, and the context ended after %v", took, mostRest/2)
		}
	})
}

// resting is a source in which there is nothing.
type resting struct{ rest rest }

func (s *resting) Read() ([]byte, time.Time, error) {
	s.rest.sleep()
	return nil, time.Time{}, ErrIdle
}

func (s *resting) Hurry()                 { close(s.rest.hurried) }
func (s *resting) Drops() (uint64, error) { return 0, nil }
func (s *resting) Close() error           { return nil }
