package main_test

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"synoptic/internal/lab"
)

// scanlogd is Debian's, running in a namespace. It takes TCP packets from a raw
// IP socket, puts itself into the background, and tells of scans by syslog(3),
// so it gets a /dev/log of its own and dies with its process namespace.
type scanlogd struct {
	t    *testing.T
	log  *net.UnixConn
	cmd  *lab.Cmd
	read sync.WaitGroup

	mu      sync.Mutex
	reports []report
}

// report is what scanlogd says of a scan.
type report struct {
	read   time.Time
	source netip.Addr
	text   string
}

// scanlogdScript gives scanlogd a /dev with nothing but a log and null, and the
// empty folder for its chroot that its init script makes; both only in its own
// mount namespace. The argument is a folder with a socket "log".
const scanlogdScript = `set -e
mkdir "$1/dev"
mount -t tmpfs tmpfs "$1/dev"
mknod -m 666 "$1/dev/null" c 1 3
ln -s "$1/log" "$1/dev/log"
mount --move "$1/dev" /dev
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/scanlogd/empty
scanlogd
echo ready
exec sleep 600`

func startScanlogd(t *testing.T, ns *lab.Namespace) *scanlogd {
	t.Helper()
	need(t, "scanlogd", "unshare")
	dir, err := os.MkdirTemp("", "scanlogd") // short: a socket's path is at most 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &scanlogd{t: t}
	if s.log, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "log"), Net: "unixgram"}); err != nil {
		t.Fatal(err)
	}
	s.cmd = ns.Command(context.Background(), "unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", scanlogdScript, "sh", dir)
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var complaint bytes.Buffer
	s.cmd.Stderr = &complaint
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.read.Go(s.listen)
	t.Cleanup(s.end)
	word := make([]byte, 5)
	late := time.AfterFunc(10*time.Second, func() { s.cmd.Process.Kill() })
	n, _ := out.Read(word)
	late.Stop()
	if string(word[:n]) != "ready" {
		s.end()
		t.Fatalf("scanlogd does not start: %s", &complaint)
	}
	return s
}

// listen reads lines like
// <25>Nov 25 04:14:01 scanlogd: 10.0.0.1:57542 to 10.0.0.2 ports 23, 53, ..., fSrpauxy, TOS 00 @04:14:01
// where the source's port is left out if it varies.
func (s *scanlogd) listen() {
	buf := make([]byte, 4096)
	for {
		n, err := s.log.Read(buf)
		if err != nil {
			return
		}
		r := report{read: time.Now(), text: string(buf[:n])}
		if _, said, ok := strings.Cut(r.text, "scanlogd: "); ok {
			source, _, _ := strings.Cut(said, " ")
			source, _, _ = strings.Cut(source, ":")
			r.source, _ = netip.ParseAddr(source)
		}
		s.mu.Lock()
		s.reports = append(s.reports, r)
		s.mu.Unlock()
	}
}

func (s *scanlogd) end() {
	if s.cmd.ProcessState == nil {
		s.cmd.Process.Kill()
		s.cmd.Wait()
	}
	// What it has said is in the socket: read it before closing.
	s.log.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	s.read.Wait()
	s.log.Close()
}

// heard returns the reports so far of scans by a source.
func (s *scanlogd) heard(source netip.Addr) (list []report) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.reports {
		if r.source == source {
			list = append(list, r)
		}
	}
	return list
}

// everything returns all that scanlogd has said.
func (s *scanlogd) everything() []report {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]report(nil), s.reports...)
}

// TestScanlogdIsHeard: the comparison with scanlogd is one only if it works
// here at all, and keeps quiet where its rule has it.
func TestScanlogdIsHeard(t *testing.T) {
	lab.NeedRoot(t)
	l := lab.New(t, lab.Config{})
	h := l.MustAddHost(t, lab.HostConfig{Place: lab.OwnLink})
	s := startScanlogd(t, h.Namespace)
	for _, c := range []struct {
		source netip.Addr
		ports  uint64
		want   int
	}{
		{neighbour(h, 50), 6, 0},
		{neighbour(h, 51), 12, 1},
	} {
		if _, err := l.Scanner.Flood(t.Context(), lab.Flood{Device: h.Near, Packets: c.ports, Time: 10 * time.Second, Rate: 20, Frame: walk(t, h, c.source, 100)}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
		if got := s.heard(c.source); len(got) != c.want {
			t.Errorf("scanlogd tells %d times of %d low ports: %v", len(got), c.ports, got)
		}
	}
	s.end()
}
