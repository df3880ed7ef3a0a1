package sink

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// errStopped is the error of a write that was ended because the program ends.
var errStopped = errors.New("its reader took too long at the end")

// stream is an open file of somebody else's: stdout or stderr. Its mode is
// shared with other programs, so it stays as it is, and waiting is done in
// poll(2), which can be ended.
type stream struct {
	name   string
	fd     int
	keep   *os.File // or its finalizer closes the descriptor
	broken bool     // the last line has no end
}

func newStream(f *os.File, name string) *stream {
	return &stream{name: name, fd: int(f.Fd()), keep: f}
}

func (s *stream) open() error { return nil }
func (s *stream) close()      {}

// A pipe that poll(2) calls writable takes so many bytes at once (PIPE_BUF,
// pipe(7)).
const chunk = 4096

// look is how often a waiting write looks whether it is to end.
const look = 100 * time.Millisecond

func (s *stream) write(ctx context.Context, record []byte) error {
	if s.broken {
		record = append([]byte{'\n'}, record...)
	}
	for done := 0; done < len(record); {
		fds := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLOUT}}
		n, err := unix.Poll(fds, int(look.Milliseconds()))
		if err == nil && n > 0 {
			n, err = unix.Write(s.fd, record[done:min(done+chunk, len(record))])
			if n > 0 {
				done += n
				s.broken = done < len(record)
			}
		}
		switch {
		case ctx.Err() != nil && done < len(record):
			return errStopped
		case err != nil && err != unix.EINTR && err != unix.EAGAIN:
			return fmt.Errorf("write %s: %w", s.name, err)
		}
	}
	s.broken = false
	return nil
}
