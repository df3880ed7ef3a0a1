package main

import (
	"strings"
	"testing"
)

// The largest scan of IPv4 by one port fits where the issue of memory was settled,
// and does not where it would not.
func TestMemoryIsCheckedBeforeTheScan(t *testing.T) {
	if most := ledgerMost(1 << 32); most > 1.1*(1<<30) {
		t.Errorf("0.0.0.0/0 takes %s", size(most))
	}
	with := func(bytes float64) func() (float64, bool) { return func() (float64, bool) { return bytes, true } }
	whole := &scope{retries: 1, visit: 1 << 32}
	if err := whole.checkMemory(with(1.1 * (1 << 30))); err != nil {
		t.Error(err)
	}
	err := whole.checkMemory(with(700 << 20))
	if err == nil || !strings.Contains(err.Error(), "4,294,967,296 endpoints have answered may take 1.0 GiB (2 bits each), and 700 MiB of memory are available") {
		t.Error(err)
	}
	if err := (&scope{visit: 1 << 40}).checkMemory(with(1)); err != nil {
		t.Errorf("without a retry: %v", err)
	}
	if err := whole.checkMemory(func() (float64, bool) { return 0, false }); err != nil {
		t.Errorf("where nothing is known: %v", err)
	}
	if bytes, ok := availableMemory(); !ok || bytes < 1<<20 {
		t.Errorf("%v %v", bytes, ok)
	}
}

// Where the machine or the group is full of caches, a scan of one endpoint goes on.
func TestASmallScanNeedsNoFreeMemory(t *testing.T) {
	if err := (&scope{retries: 1, visit: 1}).checkMemory(func() (float64, bool) { return 0, true }); err != nil {
		t.Error(err)
	}
}
