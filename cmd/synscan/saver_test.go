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
