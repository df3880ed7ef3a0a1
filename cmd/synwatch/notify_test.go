package main

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// systemd is a socket like the one that systemd listens at.
func systemd(t *testing.T, name string) (env map[string]string, read func() string) {
	t.Helper()
	if name == "" {
		dir, err := os.MkdirTemp("", "notify") // short: a socket's path is at most 107 bytes
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		name = filepath.Join(dir, "socket")
	}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return map[string]string{"NOTIFY_SOCKET": name}, func() string {
		buf := make([]byte, 4096)
		conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		return string(buf[:n])
	}
}

func lookUp(env map[string]string) func(string) string {
	return func(name string) string { return env[name] }
}

func TestNotify(t *testing.T) {
	for _, name := range []string{"", "@synwatch-test-" + strconv.Itoa(os.Getpid())} {
		env, read := systemd(t, name)
		n, err := newNotifier(lookUp(env))
		if err != nil {
			t.Fatal(err)
		}
		n.ready("watching lo")
		if got := read(); got != "READY=1\nSTATUS=watching lo" {
			t.Errorf("%q", got)
		}
		n.reloading()
		if got := read(); !regexp.MustCompile(`^RELOADING=1\nMONOTONIC_USEC=[1-9]\d*$`).MatchString(got) {
			t.Errorf("%q", got)
		}
		n.stopping()
		if got := read(); got != "STOPPING=1" {
			t.Errorf("%q", got)
		}
		n.alive()
		if got := read(); got != "WATCHDOG=1" {
			t.Errorf("%q", got)
		}
		n.close()
		if n.watchdog != 0 {
			t.Errorf("a watchdog of %v that nobody asked for", n.watchdog)
		}
	}
}

// Without systemd nothing is told, and nothing fails.
func TestNotifyNobody(t *testing.T) {
	n, err := newNotifier(lookUp(nil))
	if err != nil {
		t.Fatal(err)
	}
	n.ready("x")
	n.stopping()
	n.close()
	if _, err := newNotifier(lookUp(map[string]string{"NOTIFY_SOCKET": "/nonexistent/socket"})); err == nil || err.Error() != "connect to systemd at $NOTIFY_SOCKET: no such file or directory" {
		t.Errorf("%v", err)
	}
}

func TestWatchdogInterval(t *testing.T) {
	for _, tc := range []struct {
		name, usec, pid string
		want            time.Duration
	}{
		{"ours", "20000000", strconv.Itoa(os.Getpid()), 20 * time.Second},
		{"anybodys", "1500", "", 1500 * time.Microsecond},
		{"another_processes", "20000000", "1", 0},
		{"garbage", "soon", "", 0},
	} {
		env, _ := systemd(t, "")
		env["WATCHDOG_USEC"], env["WATCHDOG_PID"] = tc.usec, tc.pid
		n, err := newNotifier(lookUp(env))
		if err != nil || n.watchdog != tc.want {
			t.Errorf("%s: %v, %v", tc.name, n.watchdog, err)
		}
		n.close()
	}
}

// The watchdog is told that we live only while the detector answers.
func TestWatchdog(t *testing.T) {
	env, read := systemd(t, "")
	env["WATCHDOG_USEC"] = "20000"
	n, err := newNotifier(lookUp(env))
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{cfg: &Config{}}
	d := &daemon{detector: f, notify: n}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	began := time.Now()
	running.Go(func() { d.watchdog(ctx) })
	for range 3 {
		if got := read(); got != "WATCHDOG=1" {
			t.Errorf("%q", got)
		}
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("two of 20 ms took %v", took)
	}
	f.mu.Lock()
	f.err = errors.New("stuck")
	f.mu.Unlock()
	time.Sleep(30 * time.Millisecond) // one may be on its way
	n.tell("marker")
	for range 3 {
		if got := read(); got == "marker" {
			break
		} else if got != "WATCHDOG=1" {
			t.Errorf("%q", got)
		}
	}
	time.Sleep(50 * time.Millisecond)
	n.tell("end")
	if got := read(); got != "end" {
		t.Errorf("though the detector does not answer: %q", got)
	}
	cancel()
	running.Wait()
}

// A daemon tells systemd of its beginning, its reloads and its end.
func TestDaemonTellsSystemd(t *testing.T) {
	env, read := systemd(t, "")
	for k, v := range env {
		t.Setenv(k, v)
	}
	t.Setenv("FAKE", "")
	stderr, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer stderr.Close()
	none := func() error { return nil }
	a := &app{stdin: os.Stdin, stdout: os.Stdout, stderr: stderr, print: &printer{to: stderr}, engine: fakeEngine(), need: none, drop: none}
	code := make(chan int, 1)
	go func() { code <- a.run([]string{"-i", "lo", "--control", "off", "-q", "--metrics", "127.0.0.1:0"}) }()
	if got := read(); got != "READY=1\nSTATUS=watching lo (generic) by sophos, scanlogd" {
		t.Errorf("%q", got)
	}
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	self.Signal(syscall.SIGHUP)
	if got := read(); !strings.HasPrefix(got, "RELOADING=1\n") {
		t.Errorf("%q", got)
	}
	if got := read(); got != "READY=1\nSTATUS=watching lo (generic) by sophos, scanlogd" {
		t.Errorf("%q", got)
	}
	self.Signal(syscall.SIGTERM)
	if got := read(); got != "STOPPING=1" {
		t.Errorf("%q", got)
	}
	if got := <-code; got != exitDone {
		said, _ := os.ReadFile(stderr.Name())
		t.Errorf("exit code %d: %s", got, said)
	}
}
