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
	// It needs the same capability as a packet socket, but closing one of those
	// takes the kernel a grace period (packet_release, net/packet/af_packet.c).
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err == nil {
		unix.Close(fd)
		return nil
	}
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		self, pathErr := os.Executable()
		if pathErr != nil {
			self = "synscan"
		}
		return privilegeError(fmt.Sprintf("-s%c sends raw packets, which needs the capability CAP_NET_RAW: run it with sudo, or grant that once with `sudo setcap cap_net_raw+ep %s`", m.Letter, self))
	}
	return fmt.Errorf("open a packet socket, which raw scans need: %w", err)
}

// privilegeError is an errNoPrivilege with its remedy.
type privilegeError string

func (e privilegeError) Error() string { return string(e) }

func (privilegeError) Is(target error) bool { return target == errNoPrivilege }
