package detector

import (
	"maps"
	"testing"
	"time"

	"synoptic/bpf/watch"
)

func TestScale(t *testing.T) {
	set := Ruleset{Policies: Policies()[:2], Traps: DefaultTraps(), V6Bits: 64}
	ms := func(n uint64) uint64 { return uint64(time.Hour) + n*uint64(time.Millisecond) }
	s := NewScale(&set)
	for name, c := range map[string]struct {
		source    watch.Snapshot
		points    map[string]int
		suspicion float64
	}{
		"nothing":                        {watch.Snapshot{}, map[string]int{Sophos: 0, Scanlogd: 0}, 0},
		"a_trap_is_worth_more_to_sophos": {watch.Snapshot{Time: ms(0), Chain: ms(0), Probes: []watch.Probe{{Time: ms(0), Port: 11}}}, map[string]int{Sophos: 10, Scanlogd: 3}, 10. / 22},
		"the_window_has_moved_on_the_chain_not": {watch.Snapshot{Time: ms(900), Chain: ms(0), Probes: []watch.Probe{{Time: ms(0), Port: 80}, {Time: ms(599), Port: 81}, {Time: ms(600), Port: 8080}, {Time: ms(900), Port: 82}}},
			map[string]int{Sophos: 4, Scanlogd: 10}, 10. / 21},
	} {
		t.Run(name, func(t *testing.T) {
			if got := s.Points(&c.source); !maps.Equal(got, c.points) {
				t.Errorf("%v, want %v", got, c.points)
			}
			if got := s.Suspicion(&c.source); got != c.suspicion {
				t.Errorf("suspicion %v, want %v", got, c.suspicion)
			}
		})
	}
}
