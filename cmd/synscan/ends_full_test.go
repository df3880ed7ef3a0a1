package main

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// disk is a file system of so many pages that nobody but the calling goroutine
// sees, and the processes that it starts.
type disk struct {
	t   *testing.T
	dir string
}

func mount(t *testing.T, pages int) *disk {
	t.Helper()
	d := &disk{t, t.TempDir()}
	ownMounts(t)
	if err := unix.Mount("tmpfs", d.dir, "tmpfs", 0, sizeOf(pages)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(d.dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return d
}

// ownMounts lets nobody see what the calling goroutine mounts from now on, but the
// processes that it starts.
func ownMounts(t *testing.T) {
	t.Helper()
	runtime.LockOSThread() // and never unlocked: the thread ends with the test
	if err := errors.Join(unix.Unshare(unix.CLONE_NEWNS), unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")); err != nil {
		t.Fatal(err)
	}
}

func sizeOf(pages int) string { return fmt.Sprintf("size=%d", pages*os.Getpagesize()) }

// resize makes it a disk of another size.
func (d *disk) resize(pages int) {
	d.t.Helper()
	if err := unix.Mount("", d.dir, "", unix.MS_REMOUNT, sizeOf(pages)); err != nil {
		d.t.Fatal(err)
	}
}

// However many pages the disk has that the outputs are on, or the checkpoint, or
// both: what was written stays valid, and on a freed disk the scan is completed.
func TestFullDisks(t *testing.T) {
	l := denseLab(t)
	seed := uint64(time.Now().UnixNano())
	rnd := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	scan := []string{"--rate", "8k", "--wait", "100ms", "--retries", "0", "--repairs", "0", "--all-states", "-p", "1-16", "10.0.0.0/26"}
	whole := t.TempDir()
	mustScan(t, l, whole, slices.Concat(allFiles, scan, []string{"-q"})...)
	want := documents(t, whole)
	const enough = 10_000
	ends := map[int]int{}
	for _, layout := range []struct {
		name                string
		outputs, checkpoint bool // are on the disk
		most                int  // pages, all that is written
	}{
		{"both", true, true, 160},
		{"outputs", true, false, 140},
		{"checkpoint", false, true, 24},
	} {
		for range 8 {
			pages := 1 + rnd.IntN(layout.most)
			t.Run(fmt.Sprintf("%s/%d", layout.name, pages), func(t *testing.T) {
				d, beside := mount(t, pages), t.TempDir()
				dir, checkpoint := beside, filepath.Join(beside, "kept")
				if layout.outputs {
					dir = d.dir
				}
				if layout.checkpoint {
					checkpoint = filepath.Join(d.dir, "kept")
				}
				args := slices.Concat(allFiles, scan, []string{"--checkpoint", checkpoint})
				code, stderr := beginHere(t, l, dir, args...).end()
				ends[code]++
				resume := []string{"--resume", checkpoint}
				switch _, _, err := load(checkpoint); {
				case code == exitUsage: // no room for the first bytes: nothing was sent
					resume = args
				case errors.Is(err, fs.ErrNotExist) && strings.Contains(stderr, "synscan: write checkpoint "+checkpoint+": no space left on device\n"):
					resume = args
				case err != nil:
					t.Fatalf("the checkpoint: %v\n%s", err, stderr)
				case code == exitFailed && goOnWith.FindStringSubmatch(stderr) == nil:
					t.Errorf("it does not say how to go on:\n%s", stderr)
				}
				if code != exitUsage {
					documents(t, dir)
				}
				if strings.Count(stderr, "no space left") == 0 && code != exitDone {
					t.Errorf("exit code %d:\n%s", code, stderr)
				}
				if code == exitFailed && resume[0] == "--resume" { // in vain, too
					if again, stderr := beginHere(t, l, dir, resume...).end(); again == exitDone {
						t.Logf("it has more room now:\n%s", stderr)
					}
				}
				d.resize(enough)
				if code, stderr := beginHere(t, l, dir, resume...).end(); code != exitDone {
					t.Fatalf("exit code %d on a freed disk:\n%s", code, stderr)
				}
				sameDocuments(t, dir, want)
			})
		}
	}
	t.Logf("runs by exit code: %v", ends)
}
