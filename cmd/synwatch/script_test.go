package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/pflag"
)

var update = flag.Bool("update", false, "refresh the golden files in the scripts")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"synwatch":  main,
		"fakewatch": fakeMain, // the same, with a detector that follows a script
		"show":      showMain,
		"exits":     exits,
		"nocap":     nocap,
		"dropped":   dropped,
	})
}

func signalIgnorePipe() { signal.Ignore(syscall.SIGPIPE) }

// TestScript runs the command line cases in testdata/script, one file each.
// None of them attaches anything.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			// With -race every process would linger for a second at its end.
			env.Vars = append(env.Vars, "GORACE=atexit_sleep_ms=0", "TZ=UTC")
			// A socket's path is short.
			dir, err := os.MkdirTemp("", "watch")
			if err != nil {
				return err
			}
			env.Defer(func() { os.RemoveAll(dir) })
			env.Vars = append(env.Vars, "SOCK="+filepath.Join(dir, "control"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"waitfor": waitFor,
			"matches": matches,
			"signal":  signalTo,
		},
	})
}

// waitfor FILE [N] waits until a file is there and, with N, has so many lines.
func waitFor(ts *testscript.TestScript, _ bool, args []string) {
	want := 0
	if len(args) > 1 {
		n, err := strconv.Atoi(args[1])
		ts.Check(err)
		want = n
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		text, err := os.ReadFile(ts.MkAbs(args[0]))
		if _, statErr := os.Stat(ts.MkAbs(args[0])); statErr == nil && (want == 0 || err == nil && bytes.Count(text, []byte{'\n'}) >= want) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("waited too long for %s: %q", args[0], text)
		}
	}
}

// matches FILE REGEXP N fails unless so many lines of a file match.
func matches(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[2])
	ts.Check(err)
	re, err := regexp.Compile(args[1])
	ts.Check(err)
	n := 0
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		if re.MatchString(strings.TrimSuffix(line, "\n")) {
			n++
		}
	}
	if n != want {
		ts.Fatalf("%d lines of %s match %s, want %d:\n%s", n, args[0], args[1], want, ts.ReadFile(args[0]))
	}
}

// signal SIGNAL FILE signals the process whose number is in a file.
func signalTo(ts *testscript.TestScript, _ bool, args []string) {
	waitFor(ts, false, []string{args[1], "1"})
	pid, err := strconv.Atoi(strings.TrimSpace(ts.ReadFile(args[1])))
	ts.Check(err)
	ts.Check(syscall.Kill(pid, map[string]syscall.Signal{"HUP": syscall.SIGHUP, "INT": syscall.SIGINT, "TERM": syscall.SIGTERM, "KILL": syscall.SIGKILL}[args[0]]))
}

func die(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
	os.Exit(1)
}

// exits CODE[:FILE] COMMAND... fails unless the command exits with the code. Its
// process number goes into the file.
func exits() {
	code, file, _ := strings.Cut(os.Args[1], ":")
	want, err := strconv.Atoi(code)
	if err != nil {
		die("%v", err)
	}
	runtime.LockOSThread() // the kernel watches the thread that started a child
	cmd := exec.Command(os.Args[2], os.Args[3:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		die("%v", err)
	}
	if file != "" {
		if err := os.WriteFile(file, fmt.Appendln(nil, cmd.Process.Pid), 0o600); err != nil {
			die("%v", err)
		}
	}
	err = cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || exit.ExitCode() < 0) {
		die("%v", err)
	}
	if got := cmd.ProcessState.ExitCode(); got != want {
		die("exit code %d, want %d", got, want)
	}
}

// nocap COMMAND... runs the command without capabilities.
func nocap() {
	args := append([]string{"setpriv", "--inh-caps=-all", "--bounding-set=-all"}, os.Args[1:]...)
	if os.Geteuid() != 0 {
		args = os.Args[1:]
	}
	path, err := exec.LookPath(args[0])
	if err != nil {
		die("%v", err)
	}
	die("%v", syscall.Exec(path, args, os.Environ()))
}

// Every option stands in a script.
func TestEveryOptionHasAScript(t *testing.T) {
	files, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	said := map[string]bool{}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if !strings.HasPrefix(line, "exec ") || !strings.Contains(line, "watch ") && !strings.Contains(line, "show ") {
				continue
			}
			for word := range strings.FieldsSeq(line) {
				word, _, _ = strings.Cut(word, "=")
				said[word] = true
			}
		}
	}
	_, all, _ := defined()
	all.VisitAll(func(f *pflag.Flag) {
		for _, s := range spellings(f) {
			if !said[s] && (f.Shorthand == "" || s == "-"+f.Shorthand) {
				t.Errorf("no script has %s", s)
			}
		}
	})
}
