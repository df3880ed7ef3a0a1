package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// terminal is a pseudo terminal, pty(7), of so many lines and columns.
func terminal(t *testing.T, rows, columns uint16) (screen *screenshot, tty *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	if tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(int(tty.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns}); err != nil {
		t.Fatal(err)
	}
	s := &screenshot{}
	var reading sync.WaitGroup
	reading.Go(func() {
		buf := make([]byte, 4096)
		for {
			n, err := master.Read(buf)
			s.mu.Lock()
			s.text = append(s.text, buf[:n]...)
			s.mu.Unlock()
			if err != nil {
				return
			}
		}
	})
	t.Cleanup(func() {
		tty.Close()
		master.Close()
		reading.Wait()
	})
	return s, tty
}

// screenshot is what a terminal has been sent.
type screenshot struct {
	mu   sync.Mutex
	text []byte
}

func (s *screenshot) now() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.text)
}

func (s *screenshot) wait(t *testing.T, what string, so func(text string) bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !so(s.now()); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited too long: %s: %q", what, s.now())
		}
	}
}

// On a terminal, top draws in place and gives the terminal back, whatever ends
// or stops it.
func TestTopOnATerminal(t *testing.T) {
	inUTC(t)
	path := socketPath(t)
	l, err := listenControl(path)
	if err != nil {
		t.Fatal(err)
	}
	_, doc := readings()
	c := serveControl(l, func(int) (*Document, error) { return doc, nil })
	defer c.close()
	for _, tc := range []struct {
		name string
		end  syscall.Signal
		args []string
	}{
		{"interrupted", syscall.SIGINT, nil},
		{"terminated", syscall.SIGTERM, nil},
		{"hung_up", syscall.SIGHUP, nil},
		{"counted", 0, []string{"-n", "3"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			screen, tty := terminal(t, 9, 40)
			cmd := exec.CommandContext(t.Context(), os.Args[0], append([]string{"top", "--control", path, "--interval", "50ms"}, tc.args...)...)
			cmd.Args[0] = "fakewatch"
			cmd.Stdout = tty
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			screen.wait(t, "two tables", func(text string) bool { return strings.Count(text, clearScreen) >= 2 })
			if tc.end != 0 {
				cmd.Process.Signal(tc.end)
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("%v: %s", err, &stderr)
			}
			screen.wait(t, "it leaves", func(text string) bool { return strings.HasSuffix(text, leaveScreen) })
			text := screen.now()
			if !strings.HasPrefix(text, enterScreen) || strings.Count(text, enterScreen) != 1 || strings.Count(text, leaveScreen) != 1 {
				t.Errorf("%q", text)
			}
			if n := strings.Count(text, clearScreen); tc.args != nil && n != 3 {
				t.Errorf("%d tables", n)
			}
			table := strings.Split(strings.TrimSuffix(text, leaveScreen), clearScreen)[1]
			lines := strings.Split(table, "\r\n")
			if len(lines) > 9 || !strings.HasPrefix(lines[8], "192.0.2.7 ") {
				t.Errorf("%d lines on a screen of 9: %q", len(lines), lines)
			}
			for _, line := range lines {
				if len(line) > 40 || strings.Contains(line, "\n") {
					t.Errorf("a line of %d on a screen of 40: %q", len(line), line)
				}
			}
		})
	}
}

// Stopped by Ctrl-Z, top gives the terminal back until it goes on.
func TestTopStopped(t *testing.T) {
	path := socketPath(t)
	l, err := listenControl(path)
	if err != nil {
		t.Fatal(err)
	}
	_, doc := readings()
	c := serveControl(l, func(int) (*Document, error) { return doc, nil })
	defer c.close()
	screen, tty := terminal(t, 24, 80)
	cmd := exec.CommandContext(t.Context(), os.Args[0], "top", "--control", path, "--interval", "50ms")
	cmd.Args[0] = "fakewatch"
	cmd.Stdout, cmd.Stderr = tty, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	screen.wait(t, "a table", func(text string) bool { return strings.Contains(text, clearScreen) })
	cmd.Process.Signal(syscall.SIGTSTP)
	screen.wait(t, "it leaves", func(text string) bool { return strings.HasSuffix(text, leaveScreen) })
	stat := filepath.Join("/proc", fmt.Sprint(cmd.Process.Pid), "stat")
	screen.wait(t, "it is stopped", func(string) bool {
		text, err := os.ReadFile(stat)
		return err == nil && strings.Contains(string(text), ") T ")
	})
	cmd.Process.Signal(syscall.SIGCONT)
	screen.wait(t, "it comes back", func(text string) bool {
		return strings.Count(text, enterScreen) == 2 && !strings.HasSuffix(text, leaveScreen)
	})
	cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	screen.wait(t, "it leaves again", func(text string) bool { return strings.HasSuffix(text, leaveScreen) })
}
