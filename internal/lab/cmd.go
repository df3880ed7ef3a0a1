package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Cmd is an exec.Cmd that starts inside a namespace. Fields of the embedded
// Cmd may be set before Start, SysProcAttr included.
type Cmd struct {
	*exec.Cmd
	ns *Namespace
}

func newCmd(ctx context.Context, n *Namespace, name string, args []string) *Cmd {
	c := exec.CommandContext(ctx, name, args...)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return &Cmd{c, n}
}

// Start starts the process.
func (c *Cmd) Start() error { return c.ns.startProcess(c.Cmd.Start) }

// Run starts the process and waits for its end.
func (c *Cmd) Run() error {
	if err := c.Start(); err != nil {
		return err
	}
	return c.Wait()
}

// Output runs the process and returns what it wrote to standard output. What
// it wrote to standard error becomes part of the error.
func (c *Cmd) Output() ([]byte, error) {
	var out, complaint bytes.Buffer
	c.Stdout = &out
	if c.Stderr == nil {
		c.Stderr = &complaint
	}
	err := c.Run()
	if err != nil && complaint.Len() > 0 {
		err = fmt.Errorf("%w: %s", err, bytes.TrimSpace(complaint.Bytes()))
	}
	return out.Bytes(), err
}

// CombinedOutput runs the process and returns all it wrote.
func (c *Cmd) CombinedOutput() ([]byte, error) {
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	err := c.Run()
	return out.Bytes(), err
}

var errClosed = errors.New("start process: network namespace is closed")

// startProcess has f run on the namespace's own thread.
func (n *Namespace) startProcess(f func() error) (err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return errClosed
	}
	started := make(chan struct{})
	n.start <- func() {
		defer close(started)
		err = f()
	}
	<-started
	return err
}

// ProcessorTime is what a process has used until now: user and system time of
// all its threads.
func ProcessorTime(process int) (time.Duration, error) {
	// MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED) of <linux/posix-timers.h>.
	var used unix.Timespec
	if err := unix.ClockGettime(int32(^process<<3|2), &used); err != nil {
		return 0, fmt.Errorf("read the processor time of process %d: %w", process, err)
	}
	return time.Duration(used.Nano()), nil
}
