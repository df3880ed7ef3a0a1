package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// These are commands of the scripts that run another command in some way. Each
// is a process of its own.

func die(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
	os.Exit(1)
}

func check(err error) {
	if err != nil {
		die("%v", err)
	}
}

// child prepares a command with our stdin, stdout and stderr, which does not
// outlive us. The calling thread must be locked: the kernel watches threads.
func child(args []string) *exec.Cmd {
	runtime.LockOSThread()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// leave ends this process as the command ended.
func leave(err error) {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		os.Exit(exit.ExitCode())
	}
	check(err)
	os.Exit(0)
}

// exits CODE COMMAND... fails unless the command exits with the code. An
// interrupt goes on to the command.
func exits() { exitsAfter(os.Interrupt) }

// twice is exits, but an interrupt becomes two signals: two of a kind could
// melt into one on the way.
func twice() { exitsAfter(os.Interrupt, syscall.SIGTERM) }

func exitsAfter(forward ...os.Signal) {
	want, err := strconv.Atoi(os.Args[1])
	check(err)
	interrupts := make(chan os.Signal, 8)
	signal.Notify(interrupts, os.Interrupt)
	cmd := child(os.Args[2:])
	check(cmd.Start())
	go func() {
		for range interrupts {
			for _, s := range forward {
				cmd.Process.Signal(s)
			}
		}
	}()
	err = cmd.Wait()
	if got := cmd.ProcessState.ExitCode(); got != want {
		die("%s: exit code %d, want %d (%v)", os.Args[2], got, want, err)
	}
}

// closedpipe LINES COMMAND... reads so many lines of the command's output and
// then closes the pipe.
func closedpipe() {
	lines, err := strconv.Atoi(os.Args[1])
	check(err)
	cmd := child(os.Args[2:])
	cmd.Stdout = nil
	pipe, err := cmd.StdoutPipe()
	check(err)
	check(cmd.Start())
	in := bufio.NewScanner(pipe)
	for range lines {
		in.Scan()
	}
	pipe.Close()
	leave(cmd.Wait())
}

// innetns [lo] [hosts:FILE] [resolv:FILE] [veth:NAME[:ADDRESS]]... -- COMMAND... runs the
// command in a new network namespace: with lo up, with files for /etc/hosts and
// /etc/resolv.conf, and with interfaces whose other end is in the same namespace, NAMEx. They are
// up if an address is given, which may be "none".
func innetns() {
	runtime.LockOSThread()
	check(unix.Unshare(unix.CLONE_NEWNET))
	end := slices.Index(os.Args, "--")
	for _, word := range os.Args[1:end] {
		if word == "lo" {
			lo, err := netlink.LinkByName("lo")
			check(err)
			check(netlink.LinkSetUp(lo))
			continue
		}
		kind, file, _ := strings.Cut(word, ":")
		if place := map[string]string{"hosts": "/etc/hosts", "resolv": "/etc/resolv.conf"}[kind]; place != "" {
			check(unix.Unshare(unix.CLONE_NEWNS))
			check(unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""))
			check(unix.Mount(file, place, "", unix.MS_BIND, ""))
			continue
		}
		parts := strings.SplitN(word, ":", 3)
		link := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: parts[1]}, PeerName: parts[1] + "x"}
		check(netlink.LinkAdd(link))
		if len(parts) < 3 {
			continue
		}
		if parts[2] != "none" {
			addr, err := netlink.ParseAddr(parts[2])
			check(err)
			check(netlink.AddrAdd(link, addr))
		}
		far, err := netlink.LinkByName(link.PeerName)
		check(err)
		check(netlink.LinkSetUp(far))
		check(netlink.LinkSetUp(link))
	}
	args := os.Args[end+1:]
	path, err := exec.LookPath(args[0])
	check(err)
	check(syscall.Exec(path, args, os.Environ()))
}

// vanish LINK PACKETS COMMAND... deletes an interface once so many packets have
// left by it.
func vanish() {
	packets, err := strconv.ParseUint(os.Args[2], 10, 64)
	check(err)
	cmd := child(os.Args[3:])
	check(cmd.Start())
	for {
		link, err := netlink.LinkByName(os.Args[1])
		check(err)
		if link.Attrs().Statistics.TxPackets >= packets {
			check(netlink.LinkDel(link))
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	leave(cmd.Wait())
}

// deaf COMMAND... runs the command beside a name server on 127.0.0.1 that never
// answers: a socket that the command inherits.
func deaf() {
	runtime.LockOSThread()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	check(err)
	check(unix.Bind(fd, &unix.SockaddrInet4{Port: 53, Addr: [4]byte{127, 0, 0, 1}}))
	path, err := exec.LookPath(os.Args[1])
	check(err)
	check(syscall.Exec(path, os.Args[1:], os.Environ()))
}

// nocap COMMAND... runs the command without CAP_NET_RAW, even for root.
func nocap() {
	runtime.LockOSThread()
	if os.Geteuid() == 0 {
		check(unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_NET_RAW, 0, 0, 0))
	}
	path, err := exec.LookPath(os.Args[1])
	check(err)
	check(syscall.Exec(path, os.Args[1:], os.Environ()))
}
