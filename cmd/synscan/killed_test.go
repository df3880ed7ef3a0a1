package main

import (
	"encoding/json"
	"errors"
	"flag"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var killSeed = flag.Uint64("killseed", 0, "seed of TestOutputsOfAKilledProcess; 0: a new one")

const killRecords = 30_000

// halfway is a checkpoint with what killable needs of it.
type halfway struct {
	Done    int
	State   outputsState
	Section []byte
}

// killable DIR records everything that the checkpoint in DIR does not have to all
// outputs, and leaves a checkpoint now and then.
func killable() {
	dir := os.Args[1]
	stdout, err := os.OpenFile(filepath.Join(dir, "stdout"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	check(err)
	out, err := openOutputs(everywhere(dir), stdout, newConsole(os.Stderr), func() {})
	check(err)
	out.allStates = true
	var from halfway
	text, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
	if errors.Is(err, os.ErrNotExist) {
		check(os.Truncate(stdout.Name(), 0)) // as > does
		check(out.begin(about))
	} else {
		check(err)
		check(json.Unmarshal(text, &from))
		check(out.resume(about, from.State, from.Section))
	}
	records := someRecords(killRecords)
	for i := from.Done; i < len(records); i++ {
		check(out.Record(&records[i]))
		if i%200 == 0 {
			check(out.Flush())
		}
		if i%1000 != 0 {
			continue
		}
		state, encode, ok := out.snapshot()
		if !ok {
			check(errors.New("there is no snapshot"))
		}
		text, err := json.Marshal(halfway{i + 1, state, encode(nil)})
		check(err)
		check(os.WriteFile(filepath.Join(dir, "new"), text, 0o600))
		check(os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, "checkpoint")))
	}
	out.close(theEnd)
}

// However often a process is killed, and when: in the end every output is that of
// one that nothing disturbed.
func TestOutputsOfAKilledProcess(t *testing.T) {
	seed := *killSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-killseed=%d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	process := func(dir string, said *strings.Builder) *exec.Cmd {
		cmd := selfCommand(t, dir, dir)
		cmd.Args[0] = "killable"
		cmd.Stdout, cmd.Stderr = said, said
		return cmd
	}
	undisturbed, dir := t.TempDir(), t.TempDir()
	var said strings.Builder
	if err := process(undisturbed, &said).Run(); err != nil {
		t.Fatalf("%v: %s", err, &said)
	}
	kills := 0
	for begin := time.Now(); ; kills++ {
		cmd := process(dir, &said)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if kills == 0 {
			wait(t, "a checkpoint", func() bool { _, err := os.Stat(filepath.Join(dir, "checkpoint")); return err == nil })
			cmd.Process.Kill()
		} else if kills < 25 && time.Since(begin) < 20*time.Second {
			killer := time.AfterFunc(time.Duration(rng.IntN(80))*time.Millisecond, func() { cmd.Process.Kill() })
			defer killer.Stop()
		}
		if err := cmd.Wait(); err == nil {
			break
		} else if cmd.ProcessState.Exited() {
			t.Fatalf("after %d kills: %v: %s", kills, err, &said)
		}
	}
	t.Logf("killed %d times", kills)
	got, want := contents(t, dir), contents(t, undisturbed)
	for _, all := range []map[string]string{got, want} {
		delete(all, "checkpoint")
		delete(all, "new")
	}
	if lines := strings.Count(want["oD"], "\n"); kills == 0 || lines != killRecords {
		t.Errorf("%d kills; %d lines of %d", kills, lines, killRecords)
	}
	sameFiles(t, "killed", got, want)
}
