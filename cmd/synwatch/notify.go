package main

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// notifier tells systemd how we are, sd_notify(3). Without systemd it tells
// nobody.
type notifier struct {
	conn *net.UnixConn
	// watchdog is how often systemd wants to hear of us at least; 0: not.
	watchdog time.Duration
}

// newNotifier reads what systemd has put into the environment.
func newNotifier(env func(string) string) (*notifier, error) {
	path := env("NOTIFY_SOCKET")
	if path == "" {
		return &notifier{}, nil
	}
	// A name that begins with @ is in the abstract namespace, for package net, too.
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return nil, fmt.Errorf("connect to systemd at $NOTIFY_SOCKET: %w", systemError(err))
	}
	n := &notifier{conn: conn}
	if pid := env("WATCHDOG_PID"); pid == "" || pid == strconv.Itoa(os.Getpid()) {
		if us, err := strconv.ParseUint(env("WATCHDOG_USEC"), 10, 63); err == nil {
			n.watchdog = time.Duration(us) * time.Microsecond
		}
	}
	return n, nil
}

func (n *notifier) tell(lines ...string) {
	if n.conn != nil {
		n.conn.Write([]byte(strings.Join(lines, "\n"))) // who does not read it will see to it
	}
}

// ready says that all is set up, also after reloading.
func (n *notifier) ready(status string) { n.tell("READY=1", "STATUS="+status) }

// reloading says so. systemd tells by the time which reload READY is of.
func (n *notifier) reloading() {
	var now unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	n.tell("RELOADING=1", fmt.Sprintf("MONOTONIC_USEC=%d", now.Nano()/1000))
}

func (n *notifier) stopping() { n.tell("STOPPING=1") }

func (n *notifier) alive() { n.tell("WATCHDOG=1") }

func (n *notifier) close() {
	if n.conn != nil {
		n.conn.Close()
	}
}
