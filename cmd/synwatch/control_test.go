package main

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// socketPath is a short one.
func socketPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "control")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "socket")
}

func TestControlAnswers(t *testing.T) {
	path := socketPath(t)
	l, err := listenControl(path)
	if err != nil {
		t.Fatal(err)
	}
	var asked []int
	c := serveControl(l, func(top int) (*Document, error) {
		asked = append(asked, top)
		_, d := readings()
		return d, nil
	})
	_, want := readings()
	for range 3 {
		got, err := ask(path)
		if err != nil {
			t.Fatal(err)
		}
		if got.Version != want.Version || got.Counters != want.Counters || len(got.Top) != len(want.Top) || got.RunTime != want.RunTime || !got.Time.Equal(want.Time) {
			t.Errorf("%+v", got)
		}
	}
	if asked[0] != controlTop {
		t.Errorf("asked for %d sources", asked[0])
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	c.close()
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
}

func TestControlSaysItsFault(t *testing.T) {
	path := socketPath(t)
	l, err := listenControl(path)
	if err != nil {
		t.Fatal(err)
	}
	c := serveControl(l, func(int) (*Document, error) { return nil, errors.New("the table cannot be read") })
	defer c.close()
	if _, err := ask(path); err == nil || err.Error() != "ask the detector at "+path+": the table cannot be read" {
		t.Errorf("%v", err)
	}
}

// A process that was killed leaves its socket behind: the next one takes its
// place. A file that is no socket stays.
func TestControlAfterAKill(t *testing.T) {
	path := socketPath(t)
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
	l, err := listenControl(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := listenControl(path); err == nil || !strings.Contains(err.Error(), "another synwatch answers there") {
		t.Errorf("a second one: %v", err)
	}
	l.Close()
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listenControl(path); err == nil || !strings.Contains(err.Error(), "--control") {
		t.Errorf("a file is there: %v", err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "mine" {
		t.Errorf("the file has %q, %v", text, err)
	}
}

// Readers that do not read hold up neither others for long nor the end.
func TestControlAndSlowReaders(t *testing.T) {
	path := socketPath(t)
	l, err := listenControl(path)
	if err != nil {
		t.Fatal(err)
	}
	_, big := readings()
	big.Error = ""
	for range 20000 { // more than a socket's buffer takes
		big.Top = append(big.Top, big.Top[0])
	}
	c := serveControl(l, func(int) (*Document, error) { return big, nil })
	var slow []net.Conn
	for range controlReads {
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		slow = append(slow, conn)
	}
	time.Sleep(50 * time.Millisecond)
	began := time.Now()
	if _, err := ask(path); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > controlTime+2*time.Second {
		t.Errorf("another reader waited %v", took)
	}
	if len(slow) != controlReads {
		t.Fatal("not enough of them")
	}
	began = time.Now()
	c.close()
	if took := time.Since(began); took > controlTime+time.Second {
		t.Errorf("the end took %v", took)
	}
}

func TestAskWithoutPermission(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("this test needs root")
		}
		t.Skip("needs root")
	}
	path := socketPath(t)
	l, err := listenControl(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := os.Chmod(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	// Another user, as far as files are concerned, is one thread alone, which ends
	// with its goroutine.
	var running sync.WaitGroup
	running.Go(func() {
		runtime.LockOSThread()
		unix.SetfsgidRetGid(65534)
		if _, err := unix.SetfsuidRetUid(65534); err != nil {
			t.Error(err)
			return
		}
		if _, err := ask(path); err == nil || err.Error() != "ask the detector at "+path+": permission denied: run this with sudo" {
			t.Errorf("another user asks: %v", err)
		}
	})
	running.Wait()
}
