package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"synoptic/internal/lab"
	"synoptic/internal/method"
)

// A second signal, however soon after the first, ends at once; the scan can be gone
// on with all the same.
func TestSecondSignalLeavesACheckpoint(t *testing.T) {
	l := denseLab(t)
	whole := t.TempDir()
	mustScan(t, l, whole, slices.Concat(allFiles, halfASecond, []string{"--rate", "50k", "-q"})...)
	for i, asked := range []string{"kept", ""} {
		dir, args := t.TempDir(), slices.Concat(allFiles, halfASecond)
		if asked != "" {
			args = append(args, "--checkpoint", asked)
		}
		// What is silent is waited for at the end, unless that comes at once.
		p := begin(t, l, dir, nil, args...)
		p.has("oD", 20+i)
		p.Process.Signal(syscall.SIGINT)
		p.Process.Signal(syscall.SIGTERM)
		stderr := p.ends(exitInterrupted)
		said := goOnWith.FindStringSubmatch(stderr)
		if said == nil || !strings.Contains(stderr, "synscan: interrupted again") || strings.Contains(stderr, "interrupted after") {
			t.Fatalf("it says\n%s", stderr)
		}
		checkGoesOn(t, l, dir, filepath.Join(dir, said[1]))
		sameDocuments(t, dir, documents(t, whole))
	}
}

// Who has the program ignore the end of the terminal, as nohup(1) does, has it go on.
func TestHangupIsIgnoredUnderNohup(t *testing.T) {
	l := denseLab(t)
	dir := t.TempDir()
	p := begin(t, l, dir, func(c *lab.Cmd) {
		sh := l.Scanner.Command(t.Context(), "sh", append([]string{"-c", `trap "" HUP; exec synscan "$@"`, "sh"}, c.Args[1:]...)...)
		c.Path, c.Args = sh.Path, sh.Args
	}, slices.Concat(allFiles, halfASecond)...)
	p.has("oD", 20)
	p.Process.Signal(syscall.SIGHUP)
	p.ends(exitDone)
	if n := len(documents(t, dir)["oD"]); n != 4096 {
		t.Errorf("%d records of 4,096", n)
	}
}

// The checkpoint of a scan that is finished stays if it was asked for. To resume it
// changes nothing, not even a time, and sends nothing.
func TestFinishedScanIsNotResumed(t *testing.T) {
	l := denseLab(t)
	dir := t.TempDir()
	mustScan(t, l, dir, slices.Concat(allFiles, halfASecond, []string{"--checkpoint", "kept"})...)
	before := contents(t, dir)
	if err := l.Responder.Reset(); err != nil {
		t.Fatal(err)
	}
	if said := mustScan(t, l, dir, "--resume", "kept"); said != "synscan: nothing is left to do: the scan of "+filepath.Join(dir, "kept")+" is finished\n" {
		t.Errorf("it says\n%s", said)
	}
	sameFiles(t, "resumed", contents(t, dir), before)
	if sent, err := l.Responder.Counters(); err != nil || sent.TCP[method.ByLetter('S').Flags] > 0 {
		t.Errorf("it has sent %v, %v", sent, err)
	}
	// A scan that nobody asked a checkpoint of leaves none, in a minute or sooner.
	dir = t.TempDir()
	mustScan(t, l, dir, slices.Concat(allFiles, halfASecond, []string{"-q"})...)
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != len(allFiles)/2+1 {
		t.Errorf("it leaves %v, %v", left, err)
	}
}
