package bench

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"strconv"
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

// residentPeak returns the most memory that a process has had since it began to run its
// program, in bytes; 0 when it has ended.
func residentPeak(pid int) int64 {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, after, _ := bytes.Cut(status, []byte("\nVmHWM:"))
	kib, _, _ := bytes.Cut(bytes.TrimSpace(after), []byte(" "))
	n, _ := strconv.ParseInt(string(kib), 10, 64)
	return n << 10
}
