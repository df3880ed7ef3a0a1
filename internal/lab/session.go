package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"synoptic/bpf/respond"
)

// runDir holds a file for each lab that is up.
const runDir = "/run/synlab"

// ErrNotUp is returned by OpenSession when there is no such lab.
var ErrNotUp = errors.New("no lab is up")

// Session is a named lab that a process keeps up while others use it. It is
// found through a file in /run/synlab, by its name.
type Session struct {
	Name    string
	PID     int    // of the process that holds the listeners
	Started uint64 // its start time in the kernel's ticks, to know it from a later one of the same PID
	Hosts   []Facts
}

// Names of labs and of hosts that were given none.
var (
	labName       = regexp.MustCompile(`^[a-z][a-z0-9-]*$`)
	automaticName = regexp.MustCompile(`^host[0-9]+$`)
)

// CheckName refuses a lab's name that could stand for another file or another
// lab's namespaces.
func CheckName(name string) error {
	if !labName.MatchString(name) {
		return fmt.Errorf("lab name %q: want small letters, digits and hyphens, a letter first", name)
	}
	return nil
}

func sessionFile(name string) string { return filepath.Join(runDir, name+".json") }

// Announce makes the lab a session of the calling process. Close ends it.
func (l *Lab) Announce() error {
	started, err := startTime(os.Getpid())
	if err != nil {
		return fmt.Errorf("announce lab: %w", err)
	}
	s := Session{Name: l.name, PID: os.Getpid(), Started: started}
	for _, h := range l.Hosts() {
		s.Hosts = append(s.Hosts, h.Facts)
	}
	text, err := json.MarshalIndent(s, "", "\t")
	if err == nil {
		err = os.MkdirAll(runDir, 0o755)
	}
	if err == nil {
		err = os.WriteFile(sessionFile(l.name), append(text, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("announce lab: %w", err)
	}
	l.onClose(func() error { return os.Remove(sessionFile(l.name)) })
	return nil
}

// OpenSession finds a lab that is up, ErrNotUp if there is none.
func OpenSession(name string) (*Session, error) {
	s, err := readSession(name)
	if err == nil && !s.running() {
		err = fmt.Errorf("%w: the process that held it has died", ErrNotUp)
	}
	return s, err
}

func readSession(name string) (*Session, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(sessionFile(name))
	if errors.Is(err, os.ErrNotExist) {
		return nil, ErrNotUp
	}
	s := new(Session)
	if err == nil {
		err = json.Unmarshal(text, s)
	}
	if err != nil {
		return nil, fmt.Errorf("read lab's state: %w", err)
	}
	return s, nil
}

// Responder returns the lab's responder, to be closed by the caller.
func (s *Session) Responder() (r *respond.Responder, err error) {
	gate, err := OpenNamespace(s.Name + "-gate")
	if err != nil {
		return nil, err
	}
	defer gate.Close()
	err = gate.Do(func() error {
		dev, err := netlink.LinkByName(GateDevice)
		if err == nil {
			r, err = respond.Find(dev.Attrs().Index)
		}
		return err
	})
	return r, err
}

// Truth returns the truth of the lab as it is now.
func (s *Session) Truth() (Truth, error) {
	r, err := s.Responder()
	if err != nil {
		return Truth{}, err
	}
	defer r.Close()
	cfg, err := r.Config()
	return Truth{Simulated: cfg.Truth(), Hosts: s.Hosts}, err
}

// Overruns is Lab.Overruns for a lab of another process.
func (s *Session) Overruns() (probes, replies uint64, err error) {
	l := new(Lab)
	if l.Scanner, err = OpenNamespace(s.Name + "-scanner"); err != nil {
		return 0, 0, err
	}
	defer l.Scanner.Close()
	if l.Gate, err = OpenNamespace(s.Name + "-gate"); err != nil {
		return 0, 0, err
	}
	defer l.Gate.Close()
	return l.Overruns()
}

// Exec replaces the calling process by a command in the scanner's namespace.
// It returns only on error.
func (s *Session) Exec(command []string) error {
	path, err := exec.LookPath(command[0])
	if err != nil {
		return err
	}
	n, err := OpenNamespace(s.Name + "-scanner")
	if err != nil {
		return err
	}
	// The thread that calls execve is the one that goes on.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	return n.Do(func() error {
		if err := unix.Exec(path, command, os.Environ()); err != nil {
			return fmt.Errorf("run %s: %w", path, err)
		}
		return nil
	})
}

// TakeDown ends a session and removes what a killed one left behind. It is no
// error if there is none.
func TakeDown(name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	s, err := readSession(name)
	if err == nil && s.running() {
		if err := s.stop(); err != nil {
			return err
		}
	}
	left, err := filepath.Glob("/run/netns/" + name + "-*")
	if err != nil {
		return fmt.Errorf("look for namespaces of lab %q: %w", name, err)
	}
	for _, path := range left {
		// Others may have named theirs alike.
		if role := strings.TrimPrefix(filepath.Base(path), name+"-"); !s.has(role) {
			continue
		}
		if err := RemoveNamespace(filepath.Base(path)); err != nil {
			return err
		}
	}
	if err := os.Remove(sessionFile(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove lab's state: %w", err)
	}
	return nil
}

// has tells whether a namespace of this role is the lab's: also that of a lab
// that was killed before it was a session.
func (s *Session) has(role string) bool {
	if role == "scanner" || role == "gate" || automaticName.MatchString(role) {
		return true
	}
	return s != nil && slices.ContainsFunc(s.Hosts, func(f Facts) bool { return f.Name == role })
}

// stop has the session's process close the lab and waits for its end.
func (s *Session) stop() error {
	const enough = 10 * time.Second
	for start := time.Now(); s.running(); time.Sleep(10 * time.Millisecond) {
		if time.Since(start) > enough {
			return fmt.Errorf("take down lab %q: process %d does not end", s.Name, s.PID)
		}
		if err := syscall.Kill(s.PID, syscall.SIGTERM); err != nil && err != syscall.ESRCH {
			return fmt.Errorf("take down lab %q: stop process %d: %w", s.Name, s.PID, err)
		}
	}
	return nil
}

func (s *Session) running() bool {
	started, err := startTime(s.PID)
	return err == nil && started == s.Started
}

// startTime is field 22 of proc_pid_stat(5). A process that has ended and was
// not waited for has none.
func startTime(pid int) (uint64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// Field 2 is a name in parentheses, which may contain anything.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 20 || slices.Contains([]string{"Z", "X"}, fields[0]) {
		return 0, os.ErrProcessDone
	}
	return strconv.ParseUint(fields[19], 10, 64)
}
