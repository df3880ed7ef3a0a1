package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestEveryThreadLosesItsCapabilities builds this package's tests as the program
// is built, without cgo, and has them drop the privileges of their process.
func TestEveryThreadLosesItsCapabilities(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("this test needs root")
		}
		t.Skip("needs root")
	}
	path := filepath.Join(t.TempDir(), "tests")
	build := exec.CommandContext(t.Context(), "go", "test", "-c", "-o", path, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.CommandContext(t.Context(), path)
	cmd.Args = []string{"dropped"}
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "dropped\n" {
		t.Errorf("%v\n%s", err, out)
	}
}

// dropped is the main of a process that drops its privileges: there is no way
// back.
func dropped() {
	wrong := false
	fail := func(format string, args ...any) {
		wrong = true
		fmt.Printf(format+"\n", args...)
	}
	if err := checkPrivileges(); err != nil {
		die("%v", err)
	}
	// Threads that are busy, in system calls, and locked by their goroutines.
	var threads sync.WaitGroup
	stop := make(chan struct{})
	r, w, err := os.Pipe()
	if err != nil {
		die("%v", err)
	}
	for range 4 {
		threads.Go(func() {
			runtime.LockOSThread()
			<-stop
		})
		threads.Go(func() {
			var b [1]byte
			unix.Read(int(r.Fd()), b[:]) // blocks a thread
		})
	}
	for len(taskStatus()) < 9 {
		time.Sleep(time.Millisecond)
	}
	for range 2 { // the second time it changes nothing
		if err := dropPrivileges(); err != nil {
			die("%v", err)
		}
	}
	for range 4 { // threads that begin afterwards
		threads.Go(func() {
			runtime.LockOSThread()
			<-stop
		})
	}
	for task, text := range taskStatus() {
		for _, want := range []string{"CapInh:\t0000000000000000\n", "CapPrm:\t0000000000000000\n", "CapEff:\t0000000000000000\n", "CapAmb:\t0000000000000000\n", "NoNewPrivs:\t1\n"} {
			if !strings.Contains(text, want) {
				fail("thread %s lacks %q:\n%s", task, want, text)
			}
		}
	}
	// What is forbidden now, and what is not.
	if _, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW); err != unix.EPERM {
		fail("a raw socket: %v", err)
	}
	dir, err := os.MkdirTemp("", "dropped")
	if err != nil {
		fail("our own files: %v", err)
	}
	defer os.RemoveAll(dir)
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != unix.EPERM {
		fail("a mount: %v", err)
	}
	if err := checkPrivileges(); err == nil || !strings.Contains(err.Error(), "needs CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN, which this process lacks") {
		fail("what is missed: %v", err)
	}
	close(stop)
	w.Close()
	threads.Wait()
	if wrong {
		os.Exit(1)
	}
	fmt.Println("dropped")
}

// taskStatus returns what the kernel says of each of our threads.
func taskStatus() map[string]string {
	files, _ := filepath.Glob("/proc/self/task/*/status")
	all := map[string]string{}
	for _, name := range files {
		if text, err := os.ReadFile(name); err == nil { // it may have ended
			all[name] = string(text)
		}
	}
	return all
}

// A build with cgo says so, before anything is attached, instead of keeping its
// privileges.
func TestBuildsWithCgoCannotDrop(t *testing.T) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		t.Fatal("no build information")
	}
	cgo := ""
	for _, s := range info.Settings {
		if s.Key == "CGO_ENABLED" {
			cgo = s.Value
		}
	}
	if want := cgo == "0"; cgo == "" || droppable() != want {
		t.Errorf("CGO_ENABLED=%s, and droppable is %v", cgo, droppable())
	}
	if os.Geteuid() == 0 && cgo == "1" {
		if err := checkPrivileges(); err == nil || !strings.Contains(err.Error(), "build it with CGO_ENABLED=0") {
			t.Errorf("%v", err)
		}
		if err := dropPrivileges(); err == nil {
			t.Error("privileges were given up")
		}
	}
}

// The program is built so that it can give its privileges up.
func TestMakeBuildsWithoutCgo(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "make", "-s", "-n", "-C", "../..", "build").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	found := false
	for line := range strings.Lines(string(out)) {
		switch {
		case strings.Contains(line, "./cmd/..."), strings.Contains(line, "./cmd/synwatch") && !strings.HasPrefix(line, "CGO_ENABLED=0 "):
			t.Errorf("built with cgo: %s", line)
		case strings.Contains(line, "./cmd/synwatch"):
			found = true
		}
	}
	if !found {
		t.Errorf("not built at all:\n%s", out)
	}
}

// CAP_SYS_ADMIN stands for the capabilities that were split from it, not for
// CAP_NET_ADMIN.
func TestMissingCapabilities(t *testing.T) {
	bit := func(caps ...int) (have uint64) {
		for _, c := range caps {
			have |= 1 << c
		}
		return have
	}
	for _, tc := range []struct {
		have uint64
		want string
	}{
		{bit(unix.CAP_BPF, unix.CAP_PERFMON, unix.CAP_NET_ADMIN), "[]"},
		{bit(unix.CAP_SYS_ADMIN, unix.CAP_NET_ADMIN), "[]"},
		{bit(unix.CAP_SYS_ADMIN), "[CAP_NET_ADMIN]"},
		{bit(unix.CAP_BPF, unix.CAP_NET_ADMIN), "[CAP_PERFMON]"},
		{0, "[CAP_BPF CAP_PERFMON CAP_NET_ADMIN]"},
	} {
		if got := fmt.Sprint(missing(tc.have)); got != tc.want {
			t.Errorf("%#x: %s, want %s", tc.have, got, tc.want)
		}
	}
}

// TestWhatIsLackingIsNamed: capabilities that are there only for show, because
// their user namespace is not the machine's, and one of them missing alone.
func TestWhatIsLackingIsNamed(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("this test needs root")
		}
		t.Skip("needs root")
	}
	dir := t.TempDir()
	program, capture := filepath.Join(dir, "synwatch"), filepath.Join(dir, "empty.pcap")
	build := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	header := "\xd4\xc3\xb2\xa1\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x04\x00\x01\x00\x00\x00"
	if err := os.WriteFile(capture, []byte(header), 0o600); err != nil {
		t.Fatal(err)
	}
	const fewer = "-perfmon,-sys_admin"
	for _, c := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"live_in_a_user_namespace", []string{"unshare", "-Urn", program, "-i", "lo", "--control", "off"}, exitUsage, "CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON are needed"},
		{"capture_in_a_user_namespace", []string{"unshare", "-Ur", program, "-r", capture}, exitDone, "twin in Go"},
		{"capture_without_one", []string{"setpriv", "--inh-caps=" + fewer, "--bounding-set=" + fewer, program, "-r", capture}, exitDone, "twin in Go, which judges the same: loading the kernel program needs CAP_PERFMON"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), c.args[0], c.args[1:]...)
			out, _ := cmd.CombinedOutput()
			if code := cmd.ProcessState.ExitCode(); code != c.code || !strings.Contains(string(out), c.want) {
				t.Errorf("exit code %d, want %d, with %q:\n%s", code, c.code, c.want, out)
			}
		})
	}
}
