package watch

import (
	"fmt"
	"io"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// EnableStats has the kernel measure the run time of all BPF programs until
// Close. That costs each run some 20 ns and needs CAP_SYS_ADMIN.
func EnableStats() (io.Closer, error) {
	c, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		return nil, fmt.Errorf("enable BPF run statistics: %w", err)
	}
	return c, nil
}

// Cost is how often the programs ran and how long altogether, while somebody
// had EnableStats.
type Cost struct {
	Runs uint64
	Time time.Duration
}

// Cost returns the sum over the programs.
func (w *Watch) Cost() (Cost, error) {
	var c Cost
	for _, p := range []*ebpf.Program{w.objects.Watch, w.objects.WatchTc} {
		s, err := p.Stats()
		if err != nil {
			return c, fmt.Errorf("read the cost of the program: %w", err)
		}
		c.Runs += s.RunCount
		c.Time += s.Runtime
	}
	return c, nil
}
