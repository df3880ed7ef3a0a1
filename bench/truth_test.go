package bench

import (
	"net/netip"
	"os"
	"syscall"

	"synoptic/bpf/respond"
	"synoptic/internal/lab"
)

// countOpen counts the open endpoints of one port in a prefix.
func countOpen(truth lab.Truth, prefix string, port uint16) (open int) {
	p := netip.MustParsePrefix(prefix)
	for a := p.Addr(); p.Contains(a); a = a.Next() {
		if truth.State(netip.AddrPortFrom(a, port)) == respond.Open {
			open++
		}
	}
	return open
}

func rusage(state *os.ProcessState) *syscall.Rusage { return state.SysUsage().(*syscall.Rusage) }
