package lab

import (
	"net"
	"slices"
	"sync"
	"time"
)

// Syslog is a collector of log messages: a datagram socket, as /dev/log is one.
type Syslog struct {
	conn   *net.UnixConn
	reader sync.WaitGroup

	mu    sync.Mutex
	lines []LogLine
}

// LogLine is a message, and when it was read.
type LogLine struct {
	Read time.Time
	Text string
}

// ListenSyslog makes the socket and collects until Close. A path has at most 107
// bytes (unix(7)).
func ListenSyslog(path string) (*Syslog, error) {
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	s := &Syslog{conn: conn}
	s.reader.Go(s.read)
	return s, nil
}

func (s *Syslog) read() {
	buf := make([]byte, 4096)
	for {
		n, err := s.conn.Read(buf)
		if err != nil {
			return
		}
		line := LogLine{time.Now(), string(buf[:n])}
		s.mu.Lock()
		s.lines = append(s.lines, line)
		s.mu.Unlock()
	}
}

// Lines returns what was collected so far.
func (s *Syslog) Lines() []LogLine {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.lines)
}

// Close ends it, with what was written until now among its lines.
func (s *Syslog) Close() error {
	s.conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	s.reader.Wait()
	return s.conn.Close()
}
