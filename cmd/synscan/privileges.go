package main

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"synoptic/internal/method"
)

// errNoPrivilege tells that raw probes are not allowed to this process.
var errNoPrivilege = errors.New("no privilege for raw packets")

// checkPrivileges reports why this process cannot send raw probes: it opens a
// socket of the kind that a scan needs, and closes it.
func checkPrivileges(m *method.Method) error {
	// Protocol 0 receives nothing, packet(7).
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		unix.Close(fd)
		return nil
	}
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		self, pathErr := os.Executable()
		if pathErr != nil {
			self = "synscan"
		}
		return privilegeError(fmt.Sprintf("-s%c sends raw packets, which needs the capability CAP_NET_RAW, and CAP_NET_ADMIN to resolve neighbours: run it with sudo, or grant both once with `sudo setcap cap_net_raw,cap_net_admin+ep %s`", m.Letter, self))
	}
	return fmt.Errorf("open a packet socket, which raw scans need: %w", err)
}

// privilegeError is an errNoPrivilege with its remedy.
type privilegeError string

func (e privilegeError) Error() string { return string(e) }

func (privilegeError) Is(target error) bool { return target == errNoPrivilege }
