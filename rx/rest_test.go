package rx

import (
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
