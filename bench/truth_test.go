package bench

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"testing"
)

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

func TestDifferences(t *testing.T) {
	at := func(port uint16, state string) line {
		return line{netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), port), state}
	}
	want := []line{at(1, "open"), at(3, "open"), at(5, "open|filtered")}
	for _, tt := range []struct {
		fact                    string
		got                     []line
		missing, doubled, wrong int
	}{
		{"the_same", want, 0, 0, 0},
		{"nothing", nil, 3, 0, 0},
		{"the_first_and_last_are_missing", want[1:2], 2, 0, 0},
		{"one_again_and_once_more", []line{want[0], want[1], want[1], want[1], want[2]}, 0, 2, 0},
		{"more_at_both_ends_and_between", []line{at(0, "open"), want[0], at(2, "open"), want[1], want[2], at(6, "open")}, 0, 0, 3},
		{"another_state", []line{want[0], at(3, "unfiltered"), want[2]}, 0, 0, 1},
		{"another_one_instead", []line{want[0], at(4, "open"), want[2]}, 1, 0, 1},
	} {
		t.Run(tt.fact, func(t *testing.T) {
			if missing, doubled, wrong := differences(tt.got, want); missing != tt.missing || doubled != tt.doubled || wrong != tt.wrong {
				t.Errorf("%d missing, %d doubled, %d wrong, want %d, %d, %d", missing, doubled, wrong, tt.missing, tt.doubled, tt.wrong)
			}
		})
	}
}
