package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Scanlogd is Debian's, running in a namespace. It takes TCP packets from a raw
// IP socket, puts itself into the background, and tells of scans by syslog(3),
// so it gets a /dev/log of its own and dies with its process namespace.
type Scanlogd struct {
	*Syslog
	Process int // its id
	cmd     *Cmd
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

// StartScanlogd starts one, which is stopped with the test at the latest.
func StartScanlogd(t TB, ns *Namespace) *Scanlogd {
	t.Helper()
	dir, err := os.MkdirTemp("", "scanlogd") // short: a socket's path is
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := new(Scanlogd)
	if s.Syslog, err = ListenSyslog(filepath.Join(dir, "log")); err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(s.Stop)
	if err := s.start(ns, dir); err != nil {
		t.Fatalf("start scanlogd: %v", err)
	}
	return s
}

func (s *Scanlogd) start(ns *Namespace, dir string) error {
	s.cmd = ns.Command(context.Background(), "unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", scanlogdScript, "sh", dir)
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	var complaint bytes.Buffer
	s.cmd.Stderr = &complaint
	if err := s.cmd.Start(); err != nil {
		return err
	}
	word := make([]byte, 5)
	late := time.AfterFunc(10*time.Second, func() { s.cmd.Process.Kill() })
	n, _ := out.Read(word)
	late.Stop()
	if string(word[:n]) != "ready" {
		s.Stop()
		return errors.New(complaint.String())
	}
	// unshare's child is the first of its process namespace, which inherits the
	// daemon.
	first, err := onlyChild(s.cmd.Process.Pid)
	if err == nil {
		s.Process, err = onlyChild(first)
	}
	return err
}

func onlyChild(process int) (int, error) {
	list, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", process))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(list)))
}

// Stop ends it. What it has said by then stays.
func (s *Scanlogd) Stop() {
	if s.cmd != nil && s.cmd.Process != nil && s.cmd.ProcessState == nil {
		s.cmd.Process.Kill()
		s.cmd.Wait()
	}
	s.Close()
}

// Heard returns the reports so far of scans by a source. Their lines are like
//
//	<25>Nov 25 04:14:01 scanlogd: 10.0.0.1:57542 to 10.0.0.2 ports 23, 53, ..., fSrpauxy, TOS 00 @04:14:01
//
// where the source's port is left out if it varies.
func (s *Scanlogd) Heard(source netip.Addr) (list []LogLine) {
	for _, line := range s.Lines() {
		_, said, _ := strings.Cut(line.Text, "scanlogd: ")
		said, _, _ = strings.Cut(said, " ")
		said, _, _ = strings.Cut(said, ":")
		if said == source.String() {
			list = append(list, line)
		}
	}
	return list
}
