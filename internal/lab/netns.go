package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Namespace is a network namespace that is kept alive until Close. Its methods
// are safe for concurrent use.
type Namespace struct {
	name   string // under /run/netns; empty for an anonymous one
	handle netns.NsHandle
	link   *netlink.Handle

	// Processes are started by one thread, which is the one they are told to
	// die with, because the kernel's parent-death signal is sent when the
	// starting thread ends.
	mu     sync.Mutex // guards closed, and start against being closed in use
	closed bool
	start  chan func()
	done   chan struct{}
}

// ErrInitialNamespace is returned by Guard.
var ErrInitialNamespace = errors.New("in the machine's own network namespace: a lab is needed for this")

// Guard returns ErrInitialNamespace if the calling thread is in the network
// namespace of the machine, or of the container, where nothing may be probed
// but loopback.
func Guard() error {
	// Settings of the whole network stack are shown in the kernel's first
	// namespace only (net_core_table in net/core/sysctl_net_core.c).
	_, err := os.Stat("/proc/sys/net/core/netdev_budget")
	if err == nil {
		return ErrInitialNamespace
	}
	if !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("tell the network namespace: %w", err)
	}
	// A container's is another one, but that of its process 1. Not everybody
	// may look at that.
	var here, initial unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &here); err != nil {
		return fmt.Errorf("tell the network namespace: %w", err)
	}
	if unix.Stat("/proc/1/ns/net", &initial) == nil && here.Dev == initial.Dev && here.Ino == initial.Ino {
		return ErrInitialNamespace
	}
	return nil
}

// NewNamespace creates a namespace with nothing in it but a loopback device
// that is up. With a name, it appears under /run/netns and outlives the
// process until RemoveNamespace.
func NewNamespace(name string) (*Namespace, error) {
	n, err := newNamespace(name, func() (netns.NsHandle, error) {
		if name == "" {
			return netns.New()
		}
		return netns.NewNamed(name)
	})
	if err != nil {
		return nil, fmt.Errorf("create network namespace %q: %w", name, err)
	}
	if err := n.up("lo"); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

// OpenNamespace opens one that is named under /run/netns.
func OpenNamespace(name string) (*Namespace, error) {
	n, err := newNamespace(name, func() (netns.NsHandle, error) { return enter(netns.GetFromName(name)) })
	if err != nil {
		return nil, fmt.Errorf("open network namespace %q: %w", name, err)
	}
	return n, nil
}

// RemoveNamespace takes the name away; the namespace ends with its last user.
// It is no error if there is none of that name.
func RemoveNamespace(name string) error {
	err := netns.DeleteNamed(name)
	if errors.Is(err, unix.EINVAL) { // a file left behind by a failure, not a mount
		err = os.Remove("/run/netns/" + name)
	}
	if err == nil || errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return fmt.Errorf("remove network namespace %q: %w", name, err)
}

// currentNamespace is the calling thread's own.
func currentNamespace() (*Namespace, error) {
	h, err := netns.Get()
	if err != nil {
		return nil, err
	}
	return newNamespace("", func() (netns.NsHandle, error) { return enter(h, nil) })
}

func enter(h netns.NsHandle, err error) (netns.NsHandle, error) {
	if err == nil {
		err = netns.Set(h)
	}
	return h, err
}

// newNamespace starts the thread of a namespace, which enters it by calling
// open.
func newNamespace(name string, open func() (netns.NsHandle, error)) (*Namespace, error) {
	n := &Namespace{name: name, handle: netns.None(), start: make(chan func()), done: make(chan struct{})}
	opened := make(chan error)
	onOwnThread(func() {
		defer close(n.done)
		var err error
		if n.handle, err = open(); err == nil {
			n.link, err = netlink.NewHandleAt(n.handle, unix.NETLINK_ROUTE)
		}
		opened <- err
		for f := range n.start {
			f()
		}
	})
	if err := <-opened; err != nil {
		n.Close()
		return nil, err
	}
	return n, nil
}

// onOwnThread runs f on a new goroutine and a thread that ends with it. That
// must not be the process's first thread: it cannot end, and /proc/self is a
// view of it.
func onOwnThread(f func()) {
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			f()
			return
		}
		locked := make(chan struct{})
		go func() {
			runtime.LockOSThread()
			close(locked)
			f()
		}()
		<-locked
		runtime.UnlockOSThread()
	}()
}

// leave takes the calling, locked thread back to the namespace it came from. A
// thread that cannot go back must not run anything else, so there is no going
// on; it does not happen to a process that could leave in the first place.
func leave(home netns.NsHandle) {
	if err := netns.Set(home); err != nil {
		panic(fmt.Sprintf("lab: return to own network namespace: %v", err))
	}
}

// Do runs f on the calling goroutine with its thread inside the namespace.
// What f opens there, a socket above all, stays there; a goroutine that f
// starts runs elsewhere.
func (n *Namespace) Do(f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := netns.Get()
	if err != nil {
		return fmt.Errorf("find own network namespace: %w", err)
	}
	defer home.Close()
	if err := netns.Set(n.handle); err != nil {
		return fmt.Errorf("enter network namespace: %w", err)
	}
	defer leave(home)
	return f()
}

// Close kills the processes that Command started and lets go of the namespace.
// An anonymous one then ends, with all that is in it, unless something else
// holds it.
func (n *Namespace) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil
	}
	n.closed = true
	close(n.start)
	<-n.done
	if n.link != nil {
		n.link.Close()
	}
	if n.handle.IsOpen() {
		return n.handle.Close()
	}
	return nil
}

// Command is exec.CommandContext for a process inside the namespace. Only the
// network is another one there; files and processes are shared. The process is
// killed with the namespace's Close and with the death of this process.
func (n *Namespace) Command(ctx context.Context, name string, args ...string) *Cmd {
	return newCmd(ctx, n, name, args)
}
