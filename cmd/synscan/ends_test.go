package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"synoptic/bpf/respond"
	"synoptic/internal/lab"
)

// denseLab is a lab of which every fourth port is open, and every fourth closed.
func denseLab(t *testing.T) *lab.Lab {
	t.Helper()
	lab.NeedRoot(t)
	cfg := respond.DefaultConfig()
	cfg.Open, cfg.Closed = respond.Fraction(1, 4), respond.Fraction(1, 4)
	return lab.New(t, lab.Config{Respond: &cfg})
}

// running is a program in a lab that is to be ended.
type running struct {
	*lab.Cmd
	t      *testing.T
	stderr bytes.Buffer
}

// begin starts the program in a directory; stdout is the file text there, unless
// change says something else.
func begin(t *testing.T, l *lab.Lab, dir string, change func(*lab.Cmd), args ...string) *running {
	t.Helper()
	p := prepare(t, l, dir, change, args...)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	return p
}

// beginHere is begin for a program that sees the file systems of the calling,
// locked thread.
func beginHere(t *testing.T, l *lab.Lab, dir string, args ...string) *running {
	t.Helper()
	p := prepare(t, l, dir, nil, args...)
	if err := l.Scanner.Do(p.Cmd.Cmd.Start); err != nil {
		t.Fatal(err)
	}
	return p
}

func prepare(t *testing.T, l *lab.Lab, dir string, change func(*lab.Cmd), args ...string) *running {
	t.Helper()
	p := &running{Cmd: l.Scanner.Command(t.Context(), "synscan", args...), t: t}
	text, err := os.OpenFile(filepath.Join(dir, "text"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { text.Close() })
	p.Dir, p.Stdout, p.Stderr = dir, text, &p.stderr
	p.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	if change != nil {
		change(p.Cmd)
	}
	return p
}

// ends waits for the end of the program and returns what stderr says.
func (p *running) ends(code int) string {
	p.t.Helper()
	got, stderr := p.end()
	if got != code {
		p.t.Fatalf("exit code %d, want %d:\n%s", got, code, stderr)
	}
	return stderr
}

// end waits for the end of the program, but not for ever.
func (p *running) end() (code int, stderr string) {
	timer := time.AfterFunc(20*time.Second, func() { p.Process.Kill() })
	defer timer.Stop()
	p.Wait()
	return p.ProcessState.ExitCode(), p.stderr.String()
}

// mustScan runs the program to its end.
func mustScan(t *testing.T, l *lab.Lab, dir string, args ...string) string {
	t.Helper()
	return begin(t, l, dir, nil, args...).ends(exitDone)
}

// has waits until a file has so many lines.
func (p *running) has(name string, lines int) {
	p.t.Helper()
	wait(p.t, name, func() bool {
		text, err := os.ReadFile(filepath.Join(p.Dir, name))
		return err == nil && bytes.Count(text, []byte("\n")) >= lines
	})
}

// ending is a way to end a scan.
type ending struct {
	name string
	// run begins the program, waits until it has results, and ends it.
	run  func(t *testing.T, l *lab.Lab, dir, results string, args []string) *running
	code int
	text bool // all text is in its file
	mute bool // nobody hears what stderr says
}

func bySignal(s syscall.Signal) func(*testing.T, *lab.Lab, string, string, []string) *running {
	return func(t *testing.T, l *lab.Lab, dir, results string, args []string) *running {
		p := begin(t, l, dir, nil, args...)
		p.has(results, 20)
		p.Process.Signal(s)
		return p
	}
}

// byTerminal closes the controlling terminal, which is also stdin, and if so
// stdout and stderr.
func byTerminal(stdout bool) func(*testing.T, *lab.Lab, string, string, []string) *running {
	return func(t *testing.T, l *lab.Lab, dir, results string, args []string) *running {
		user, terminal := openTerminal(t)
		// The other end is closed when the process is killed that reads it: a read of
		// our own would keep it open.
		reader := exec.Command("cat")
		reader.Stdin = user
		if err := reader.Start(); err != nil {
			t.Fatal(err)
		}
		user.Close()
		p := begin(t, l, dir, func(c *lab.Cmd) {
			c.Stdin, c.SysProcAttr.Setsid, c.SysProcAttr.Setctty = terminal, true, true
			if stdout {
				c.Stdout, c.Stderr = terminal, terminal
			}
		}, args...)
		terminal.Close()
		p.has(results, 20)
		reader.Process.Kill()
		reader.Wait()
		return p
	}
}

func byPipe(t *testing.T, l *lab.Lab, dir, _ string, args []string) *running {
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p := begin(t, l, dir, func(c *lab.Cmd) { c.Stdout = writer }, args...)
	writer.Close()
	if _, err := io.ReadFull(reader, make([]byte, 500)); err != nil {
		t.Error(err)
	}
	reader.Close()
	return p
}

var endings = []ending{
	{name: "interrupt", run: bySignal(syscall.SIGINT), code: exitInterrupted, text: true},
	{name: "terminate", run: bySignal(syscall.SIGTERM), code: exitInterrupted, text: true},
	{name: "hangup", run: bySignal(syscall.SIGHUP), code: exitInterrupted, text: true},
	{name: "terminal", run: byTerminal(false), code: exitInterrupted, text: true},
	{name: "terminal_with_stdout", run: byTerminal(true), code: exitInterrupted, mute: true},
	{name: "pipe", run: byPipe, code: exitFailed},
}

// halfASecond is a scan that takes as long, which is too short for a checkpoint that
// nobody asked for.
var halfASecond = []string{"--rate", "8k", "--retries", "0", "--all-states", "-p", "1-16", "10.0.0.0/24"}

var goOnWith = regexp.MustCompile(`(?m)^synscan: go on with: synscan --resume (.*)$`)

// However a scan ends early, its outputs are valid and it can be gone on with.
func TestEveryEndIsResumable(t *testing.T) {
	l := denseLab(t)
	for n, scan := range []struct {
		name, checkpoint string // which file it is, in the end
		args             []string
	}{
		{"asked_for", "kept", slices.Concat([]string{"--checkpoint", "kept"}, allFiles)},
		{"beside_the_first_output", "oD.checkpoint", allFiles},
		{"beside_nothing", "synscan-*.checkpoint", nil},
	} {
		whole := t.TempDir()
		mustScan(t, l, whole, slices.Concat(scan.args, halfASecond, []string{"--seed", "7", "--rate", "50k", "-q"})...)
		for i, e := range endings {
			t.Run(scan.name+"/"+e.name, func(t *testing.T) {
				t.Parallel()
				seed := fmt.Sprint(100*n + i) // and so source ports of its own
				args := slices.Concat(scan.args, halfASecond, []string{"--seed", seed})
				dir := t.TempDir()
				results := "oD"
				if scan.args == nil {
					results = "text"
				}
				if e.mute && scan.args == nil {
					return // nothing tells when there are results
				}
				p := e.run(t, l, dir, results, args)
				stderr := p.ends(e.code)
				if scan.args != nil {
					documents(t, dir)
				}
				left, err := filepath.Glob(filepath.Join(dir, scan.checkpoint))
				if err != nil || len(left) != 1 {
					t.Fatalf("checkpoints: %v, %v", left, err)
				}
				resumed, checkpoint := left[0], filepath.Base(left[0])
				if said := goOnWith.FindStringSubmatch(stderr); !e.mute && (said == nil || said[1] != checkpoint) {
					t.Fatalf("it says nothing of %s:\n%s", checkpoint, stderr)
				}
				checkGoesOn(t, l, dir, resumed)
				if scan.args != nil {
					sameDocuments(t, dir, documents(t, whole))
				}
				if e.text {
					sameRecords(t, "text", sortedText(t, dir), sortedText(t, whole))
				}
				if _, err := os.Stat(resumed); (err == nil) != (checkpoint == "kept") {
					t.Errorf("the checkpoint in the end: %v", err)
				}
			})
		}
	}
}

// checkGoesOn resumes a scan, from another directory.
func checkGoesOn(t *testing.T, l *lab.Lab, dir, checkpoint string) {
	t.Helper()
	p := begin(t, l, dir, func(c *lab.Cmd) { c.Dir = t.TempDir() }, "--resume", checkpoint)
	if stderr := p.ends(exitDone); !strings.Contains(stderr, "synscan: finished in ") {
		t.Errorf("it is not finished:\n%s", stderr)
	}
	left, err := filepath.Glob(filepath.Join(dir, "*.unfinished"))
	if err != nil || len(left) > 0 {
		t.Errorf("%v are left, %v", left, err)
	}
}

func sortedText(t *testing.T, dir string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "text"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	slices.Sort(lines)
	return lines
}
