package main

import (
	"os"
	"path/filepath"
	"testing"

	"synoptic/internal/scan"
)

// A write that comes to its turn after the end leaves no file behind.
func TestNoCheckpointIsWrittenAfterTheEnd(t *testing.T) {
	v := &saver{path: filepath.Join(t.TempDir(), "scan"), chosen: true, plan: &recipe{}, say: newConsole(os.Stderr)}
	v.last = &snapshot{state: &scan.State{}, hosts: func(dst []byte) []byte { return dst }}
	v.finish(true)
	v.write() // as Keep has begun it
	if _, err := os.Stat(v.path); err == nil {
		t.Error("there is a checkpoint of a scan that is done")
	}
}

// Where the machine or the group is full of caches, a scan of one endpoint goes on.
func TestASmallScanNeedsNoFreeMemory(t *testing.T) {
	if err := (&scope{retries: 1, visit: 1}).checkMemory(func() (float64, bool) { return 0, true }); err != nil {
		t.Error(err)
	}
}
