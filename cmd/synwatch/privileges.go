package main

import (
	"errors"
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// needed are the capabilities that loading and attaching take, capabilities(7):
// BPF programs and maps, what the verifier allows only to those who may trace,
// and interfaces. CAP_SYS_ADMIN stands for the first two.
var needed = []struct {
	name  string
	bit   int
	admin bool // CAP_SYS_ADMIN does as well
}{
	{"CAP_BPF", unix.CAP_BPF, true},
	{"CAP_PERFMON", unix.CAP_PERFMON, true},
	{"CAP_NET_ADMIN", unix.CAP_NET_ADMIN, false},
}

// checkPrivileges says what we lack to watch an interface.
func checkPrivileges() error {
	have, err := effective()
	if err != nil {
		return err
	}
	if names := missing(have); len(names) > 0 {
		return fmt.Errorf("watching an interface needs %s, which this process lacks: run it with sudo", list(names))
	}
	if !droppable() {
		return errors.New("this build uses cgo, with which a process of several threads cannot give up its privileges: build it with CGO_ENABLED=0, as `make build` does")
	}
	return nil
}

// missing names the needed capabilities that are not among those of have.
func missing(have uint64) (names []string) {
	for _, c := range needed {
		if have&(1<<c.bit) == 0 && !(c.admin && have&(1<<unix.CAP_SYS_ADMIN) != 0) {
			names = append(names, c.name)
		}
	}
	return names
}

// effective returns our effective capabilities, a bit each.
func effective() (uint64, error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return 0, fmt.Errorf("read the capabilities of this process: %w", err)
	}
	return uint64(data[1].Effective)<<32 | uint64(data[0].Effective), nil
}

// droppable tells whether a system call can be done by all threads at once: Go
// can only do that if no thread is another library's.
func droppable() bool {
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_PRCTL, unix.PR_GET_NO_NEW_PRIVS, 0, 0)
	return errno != syscall.ENOTSUP
}

// dropPrivileges gives up every capability, of every thread and for good: what
// this process becomes after a mistake of ours can load no program, change no
// interface and read no file of others.
func dropPrivileges() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3} // of the calling thread
	var none [2]unix.CapUserData                                           // the ambient ones go with the permitted ones
	for _, call := range []struct {
		what             string
		trap, a1, a2, a3 uintptr
	}{
		{"set no_new_privs", unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0},
		{"drop the capabilities", unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&none[0])), 0},
	} {
		if _, _, errno := syscall.AllThreadsSyscall6(call.trap, call.a1, call.a2, call.a3, 0, 0, 0); errno != 0 {
			return fmt.Errorf("%s: %w", call.what, errno)
		}
	}
	return nil
}
