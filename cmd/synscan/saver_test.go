package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"synoptic/internal/checkpoint"
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

// Of a file that another scan has, that is said, and not what would come of a trial
// beside it: that scan may be writing at the time.
func TestTheFileOfAnotherScanIsNotTried(t *testing.T) {
	path := filepath.Join(t.TempDir(), "scan")
	other, err := checkpoint.Hold(path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := other.Write(save{recipe: &recipe{}, State: &scan.State{}}); err != nil {
		t.Fatal(err)
	}
	next, err := os.Create(path + ".unfinished") // as a write does, for its time
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	if err := unix.Flock(int(next.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	a := &app{opt: options{checkpoint: path}}
	_, err = a.newSaver(&scope{}, &recipe{})
	if want := "use checkpoint " + path + ": another scan is writing it: wait for its end"; !errors.Is(err, checkpoint.ErrBusy) || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

// A scan that has no rate is not held up by checkpoints; one that has loses little
// when it is killed.
func TestHowOftenAScanSavesItself(t *testing.T) {
	for _, tc := range []struct {
		rate   float64
		visit  uint64
		every  time.Duration
		byByte time.Duration
	}{
		{0, 1 << 24, 2 * time.Second, everyByte},
		{0, 1 << 32, mostEvery, everyByte},
		{1e6, 1 << 20, leastEvery, 0},
		{1e6, 100e6, 500 * time.Millisecond, 0},
	} {
		a := &app{opt: options{checkpoint: filepath.Join(t.TempDir(), "scan"), rate: tc.rate}}
		v, err := a.newSaver(&scope{visit: tc.visit}, &recipe{})
		if err != nil {
			t.Fatal(err)
		}
		v.file.Close()
		if v.every != tc.every || v.byByte != tc.byByte {
			t.Errorf("rate %v, %d positions: every %v and %v a byte, want %v and %v", tc.rate, tc.visit, v.every, v.byByte, tc.every, tc.byByte)
		}
	}
}
