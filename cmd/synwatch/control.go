package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"synoptic/internal/cli"
)

// control answers each connection to a socket with a Document.
type control struct {
	listener *net.UnixListener
	serving  sync.WaitGroup
	document func(top int) (*Document, error)
}

// Bounds of answering.
const (
	controlTop   = 50              // sources
	controlTime  = 2 * time.Second // for a reader
	controlReads = 4               // readers at a time; the others wait
)

// listenControl makes the socket. One that a dead process has left is replaced;
// one that a living process answers is not.
func listenControl(path string) (*net.UnixListener, error) {
	if path == defaultControl {
		// systemd makes it for us; without systemd nobody else does.
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return nil, fmt.Errorf("make the folder of the control socket: %w: choose another one with --control, or off", err)
		}
	}
	l, err := listenUnix(path)
	if errors.Is(err, unix.EADDRINUSE) {
		conn, dialErr := net.DialTimeout("unix", path, controlTime)
		if dialErr == nil {
			conn.Close()
			return nil, fmt.Errorf("listen at control socket %s: another synwatch answers there: choose another one with --control, or off", path)
		}
		if info, statErr := os.Lstat(path); errors.Is(dialErr, unix.ECONNREFUSED) && statErr == nil && info.Mode().Type() == os.ModeSocket {
			os.Remove(path)
			l, err = listenUnix(path)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("listen at control socket %s: %w: choose another one with --control, or off", path, systemError(err))
	}
	return l, nil
}

// listenUnix makes a socket that only its owner and group may ask: the answer
// names addresses.
func listenUnix(path string) (*net.UnixListener, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o660); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// systemError strips what package net puts before an error.
func systemError(err error) error {
	if e, ok := errors.AsType[unix.Errno](err); ok {
		return e
	}
	return err
}

// serveControl answers until close.
func serveControl(l *net.UnixListener, document func(top int) (*Document, error)) *control {
	c := &control{listener: l, document: document}
	c.serving.Go(func() {
		places := make(chan struct{}, controlReads)
		for {
			conn, err := l.AcceptUnix()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil { // as for lack of descriptors
				time.Sleep(100 * time.Millisecond)
				continue
			}
			places <- struct{}{}
			c.serving.Go(func() {
				c.answer(conn)
				<-places
			})
		}
	})
	return c
}

func (c *control) answer(conn *net.UnixConn) {
	defer conn.Close()
	doc, err := c.document(controlTop)
	if err != nil {
		doc = &Document{Version: cli.Build(), Time: time.Now(), Error: err.Error()}
	}
	conn.SetWriteDeadline(time.Now().Add(controlTime))
	json.NewEncoder(conn).Encode(doc) // a reader that goes away is its own loss
}

// close stops answering and removes the socket.
func (c *control) close() {
	c.listener.Close()
	c.serving.Wait()
}
