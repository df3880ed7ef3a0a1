package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

var update = flag.Bool("update", false, "refresh the golden files in the scripts")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"synscan":    main,
		"exits":      exits,
		"twice":      twice,
		"closedpipe": closedpipe,
		"innetns":    innetns,
		"vanish":     vanish,
		"nocap":      nocap,
		"onlycaps":   onlyCapabilities,
		"deaf":       deaf,
		"killable":   killable,
	})
}

// TestScript runs the command line cases in testdata/script, one file each.
// Scans go to this machine only, or into a namespace that nothing leaves.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Condition:           condition,
		Setup: func(env *testscript.Env) error {
			// With -race every process would linger for a second at its end.
			env.Vars = append(env.Vars, "GORACE=atexit_sleep_ms=0")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"listen":     listen,
			"sortlines":  sortLines,
			"jsonlines":  jsonLines,
			"jsonarray":  jsonArray,
			"waitlines":  waitLines,
			"waitreader": waitReader,
		},
	})
}

// condition knows [raw]: raw sockets and namespaces can be had. Where everything
// must run, their absence is a failure.
func condition(name string) (bool, error) {
	if name != "raw" {
		return false, fmt.Errorf("unknown condition %s", name)
	}
	if os.Geteuid() == 0 {
		return true, nil
	}
	if os.Getenv("CI") == "true" {
		return false, errors.New("these tests need root")
	}
	return false, nil
}

// listen ADDRESS OPEN CLOSED sets two variables: to a port on which something
// listens until the end of the script, and to one on which nothing does.
func listen(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: listen ADDRESS OPEN CLOSED")
	}
	open, err := net.Listen("tcp", net.JoinHostPort(args[0], "0"))
	ts.Check(err)
	ts.Defer(func() { open.Close() })
	// A bound socket that does not listen answers with a reset, and keeps the
	// port from everybody else.
	family, address := unix.AF_INET, unix.Sockaddr(&unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	if strings.Contains(args[0], ":") {
		family, address = unix.AF_INET6, &unix.SockaddrInet6{Addr: [16]byte{15: 1}}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	ts.Check(err)
	ts.Defer(func() { unix.Close(fd) })
	ts.Check(unix.Bind(fd, address))
	name, err := unix.Getsockname(fd)
	ts.Check(err)
	closed := 0
	switch a := name.(type) {
	case *unix.SockaddrInet4:
		closed = a.Port
	case *unix.SockaddrInet6:
		closed = a.Port
	}
	ts.Setenv(args[1], strconv.Itoa(open.Addr().(*net.TCPAddr).Port))
	ts.Setenv(args[2], strconv.Itoa(closed))
}

// sortlines FILE... writes the lines of all files, sorted, to the file "sorted".
func sortLines(ts *testscript.TestScript, _ bool, args []string) {
	var lines []string
	for _, name := range args {
		lines = append(lines, strings.SplitAfter(strings.TrimSuffix(ts.ReadFile(name), "\n"), "\n")...)
		lines[len(lines)-1] += "\n"
	}
	slices.Sort(lines)
	ts.Check(os.WriteFile(ts.MkAbs("sorted"), []byte(strings.Join(lines, "")), 0o666))
}

// jsonlines FILE N fails unless the file is N or more whole lines, each a JSON
// object.
func jsonLines(ts *testscript.TestScript, _ bool, args []string) {
	text := ts.ReadFile(args[0])
	want, err := strconv.Atoi(args[1])
	ts.Check(err)
	if text != "" && !strings.HasSuffix(text, "\n") {
		ts.Fatalf("%s does not end with a whole line", args[0])
	}
	n := 0
	for line := range strings.Lines(text) {
		n++
		var object map[string]any
		if err := json.Unmarshal([]byte(line), &object); err != nil {
			ts.Fatalf("%s:%d: %v", args[0], n, err)
		}
	}
	if n < want {
		ts.Fatalf("%s has %d lines, want %d", args[0], n, want)
	}
}

// jsonarray FILE N fails unless the file is a JSON array of N or more objects.
func jsonArray(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[1])
	ts.Check(err)
	var array []map[string]any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &array))
	if len(array) < want {
		ts.Fatalf("%s has %d objects, want %d", args[0], len(array), want)
	}
}

// poll tries until something is so.
func poll(ts *testscript.TestScript, what string, so func() bool) {
	for deadline := time.Now().Add(20 * time.Second); !so(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			ts.Fatalf("waited too long for %s", what)
		}
	}
}

// waitlines FILE N waits until a file has so many lines.
func waitLines(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[1])
	ts.Check(err)
	poll(ts, "lines in "+args[0], func() bool {
		text, err := os.ReadFile(ts.MkAbs(args[0]))
		return err == nil && bytes.Count(text, []byte{'\n'}) >= want
	})
}

// waitreader FIFO waits until somebody opens it for reading, and keeps it open.
func waitReader(ts *testscript.TestScript, _ bool, args []string) {
	poll(ts, "a reader of "+args[0], func() bool {
		f, err := os.OpenFile(ts.MkAbs(args[0]), os.O_WRONLY|unix.O_NONBLOCK, 0)
		if err == nil {
			ts.Defer(func() { f.Close() })
		}
		return err == nil
	})
}
