package main

import (
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"

	"lukechampine.com/uint128"
)

// The ledger takes at most 2 bits for each endpoint, and a page of 16,384 of them
// some hundred bytes more: 4,096 and 100.
const (
	pageEndpoints = 16384
	pageBytes     = 4096 + 100
	negligible    = 64 << 20 // where a machine has no room for this, it has none for us
)

// ledgerMost is how many bytes the ledger of so many endpoints takes if all of
// them answer.
func ledgerMost(endpoints uint64) float64 {
	return math.Ceil(float64(endpoints)/pageEndpoints) * pageBytes
}

// checkMemory refuses a scan with retries whose ledger may not find room: only an
// endpoint that is remembered is not probed again. Without a retry only answers
// are remembered, and they are few on a large network.
func (s *scope) checkMemory(available func() (float64, bool)) error {
	if s.retries == 0 {
		return nil
	}
	most := ledgerMost(s.visit)
	if most < negligible {
		return nil
	}
	if room, ok := available(); ok && most > room {
		return fmt.Errorf("remembering which of %s have answered may take %s (2 bits each), and %s of memory are available: do it in parts with --shard, or leave out --retries",
			big(uint128.From64(s.visit), "endpoint"), size(most), size(room))
	}
	return nil
}

// size writes bytes for people.
func size(bytes float64) string {
	if bytes >= 1<<30 {
		return fmt.Sprintf("%.1f GiB", bytes/(1<<30))
	}
	return fmt.Sprintf("%.0f MiB", bytes/(1<<20))
}

// availableMemory is what this process may still take: of the machine
// (MemAvailable, proc_meminfo(5)) and of its control group (memory.max less
// memory.current, cgroup-v2.rst). It reports false if neither is known.
func availableMemory() (bytes float64, known bool) {
	bytes = math.Inf(1)
	if text, err := os.ReadFile("/proc/meminfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			fields := strings.Fields(line)
			if len(fields) > 1 && fields[0] == "MemAvailable:" {
				if kib, err := strconv.ParseFloat(fields[1], 64); err == nil {
					bytes = kib * 1024
				}
			}
		}
	}
	if text, err := os.ReadFile("/proc/self/cgroup"); err == nil {
		for line := range strings.Lines(string(text)) {
			path, unified := strings.CutPrefix(strings.TrimSpace(line), "0::")
			if !unified {
				continue
			}
			most, ok := cgroupNumber(path, "memory.max")
			used, alsoOK := cgroupNumber(path, "memory.current")
			if ok && alsoOK {
				bytes = min(bytes, max(most-used+cgroupCache(path), 0))
			}
		}
	}
	return bytes, !math.IsInf(bytes, 1)
}

// cgroupCache is how much of what a control group uses the kernel gives up first: the
// cache of files that have not been read lately (inactive_file of memory.stat).
func cgroupCache(group string) float64 {
	text, err := os.ReadFile("/sys/fs/cgroup" + group + "/memory.stat")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if n, ok := strings.CutPrefix(line, "inactive_file "); ok {
			bytes, _ := strconv.ParseFloat(strings.TrimSpace(n), 64)
			return bytes
		}
	}
	return 0
}

// cgroupNumber reads a file of a control group; "max" is no number.
func cgroupNumber(group, file string) (float64, bool) {
	text, err := os.ReadFile("/sys/fs/cgroup" + group + "/" + file)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseFloat(strings.TrimSpace(string(text)), 64)
	return n, err == nil
}
