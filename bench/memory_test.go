package bench

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

	"synoptic/internal/lab"
)

// A sweep of 2^24 addresses fits 64 MiB, and the plan of all of IPv4 fits 128:
// memory grows with answers, not with probes. The most that a process has taken
// includes what its parent had taken when it was started (exec_mmap, fs/exec.c), so
// the parent must be a small one.
func TestResidentMemory(t *testing.T) {
	if !lab.InNamespace(t) {
		return
	}
	t.Run("a_slash_8", func(t *testing.T) {
		l := lab.New(t, lab.Config{})
		o := measure(t, l, false, synscanPath, "-sS", "-p80", "--rate", "max", "-q", "10.0.0.0/8")
		t.Logf("%d probes, %.0f pps, %d MiB", o.probes, o.pps, o.maxRSS>>20)
		t.Attr("MiB", fmt.Sprint(o.maxRSS>>20))
		// Canaries are more.
		if o.probes < 1<<24 || o.probes > 1<<24+1<<17 || o.maxRSS > 64<<20 {
			t.Errorf("%d probes for %d took %d bytes", o.probes, 1<<24, o.maxRSS)
		}
	})
	t.Run("all_of_ipv4", func(t *testing.T) {
		null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer null.Close()
		cmd := exec.CommandContext(t.Context(), synscanPath, "--dry-run", "-p80", "--max-probes", "10000000", "0.0.0.0/0")
		cmd.Stdout = null
		if err := cmd.Run(); err != nil {
			t.Fatal(err)
		}
		rss := rusage(cmd.ProcessState).Maxrss << 10
		t.Logf("%d MiB in %v of CPU time", rss>>20, cmd.ProcessState.UserTime())
		t.Attr("MiB", fmt.Sprint(rss>>20))
		if rss > 128<<20 {
			t.Errorf("10^7 endpoints took %d bytes", rss)
		}
	})
}
