package sink

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// past is a deadline that ends a write at once.
var past = time.Unix(1, 0)

// Patience with a collector.
const (
	dialTime  = 5 * time.Second
	writeTime = 5 * time.Second
	echoTime  = 500 * time.Millisecond // for the ICMP error to a datagram
)

// socket is a collector behind a socket.
type socket struct {
	to     Address
	conn   net.Conn // nil: not open
	failed bool     // the last try
}

func (s *socket) open() error {
	if err := s.dial(context.Background()); err != nil {
		s.failed = true
		return fmt.Errorf("connect to %v: %w", s.to, reason(err))
	}
	return nil
}

func (s *socket) dial(ctx context.Context) (err error) {
	s.close()
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, s.to.network, s.to.address)
	if err == nil {
		s.conn = conn
	}
	return err
}

func (s *socket) write(ctx context.Context, record []byte) error {
	err := s.send(ctx, record)
	if err != nil && ctx.Err() != nil {
		err = errStopped
	}
	s.failed = err != nil
	if err != nil {
		s.close()
		return fmt.Errorf("send to %v: %w", s.to, reason(err))
	}
	return nil
}

func (s *socket) send(ctx context.Context, record []byte) error {
	if s.conn != nil && s.to.network == "tcp" && s.gone() {
		s.close() // what is written to such a connection is lost without a word
	}
	if s.conn == nil {
		if err := s.dial(ctx); err != nil {
			return err
		}
	}
	if s.to.network == "tcp" { // octet counting, RFC 6587 section 3.4.1
		record = append(append(strconv.AppendInt(nil, int64(len(record)), 10), ' '), record...)
	}
	conn := s.conn
	conn.SetWriteDeadline(time.Now().Add(writeTime))
	end := context.AfterFunc(ctx, func() { conn.SetWriteDeadline(past) })
	defer end()
	_, err := conn.Write(record)
	if err == nil && s.failed && s.to.network == "udp" {
		err = s.echo(ctx)
	}
	return err
}

// gone tells whether the other side has closed the connection. A collector
// sends nothing else.
func (s *socket) gone() (gone bool) {
	s.control(func(fd int) {
		var b [1]byte
		n, _, err := unix.Recvfrom(fd, b[:], unix.MSG_DONTWAIT)
		gone = err == nil && n == 0 || err != nil && err != unix.EAGAIN && err != unix.EINTR
	})
	return gone
}

// echo waits for the ICMP error that says that nobody listens: after a failure,
// a datagram that leaves is no sign that things are well again.
func (s *socket) echo(ctx context.Context) (err error) {
	t := time.NewTimer(echoTime)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
	s.control(func(fd int) {
		if code, e := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR); e == nil && code != 0 {
			err = syscall.Errno(code)
		}
	})
	return err
}

func (s *socket) control(f func(fd int)) {
	c, ok := s.conn.(syscall.Conn)
	if !ok {
		return
	}
	if raw, err := c.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { f(int(fd)) })
	}
}

func (s *socket) close() {
	if s.conn != nil {
		s.conn.Close()
		s.conn = nil
	}
}

// reason strips what package net puts before an error, which repeats addresses.
func reason(err error) error {
	if op, ok := err.(*net.OpError); ok {
		err = op.Err
	}
	if call, ok := err.(*os.SyscallError); ok {
		err = call.Err
	}
	return err
}
