package generate

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// parking keeps programs where the kernel wants those that it runs often.
//
// On x86, XDP programs are entered through a dispatcher, code that knows them by
// their address (kernel/bpf/dispatcher.c). BPF_PROG_RUN puts a program in before a
// run and takes it out afterwards, and waits each time for all CPUs to have noticed
// (synchronize_rcu; seen on 6.18): 8 to 40 ms, in which a CPU sends a hundred thousand
// frames, and signals leave no run between two waits. A program
// that is attached to a device in native mode is in already, and stays. So each has
// one: an end of a veth pair that is never up, in a network namespace of its own
// that nobody sees and that ends with the process.
type parking struct {
	space netns.NsHandle
	links []link.Link
}

// park returns the parking of programs.
func park(programs []*ebpf.Program) (*parking, error) {
	p := &parking{space: netns.None()}
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			done <- p.fill(programs)
			return // and the thread ends, locked as it is, in the new namespace
		}
		// The first thread cannot end, and is what /proc/self shows. Locked here, it is
		// not the next one.
		defer runtime.UnlockOSThread()
		other := make(chan error)
		go func() {
			runtime.LockOSThread()
			other <- p.fill(programs)
		}()
		done <- <-other
	}()
	if err := <-done; err != nil {
		return nil, errors.Join(fmt.Errorf("park the program at a device of its own: %w", err), p.Close())
	}
	return p, nil
}

func (p *parking) fill(programs []*ebpf.Program) (err error) {
	if p.space, err = netns.New(); err != nil {
		return fmt.Errorf("create network namespace (with CAP_SYS_ADMIN): %w", err)
	}
	for i := 0; i < len(programs); i += 2 {
		names := [2]string{fmt.Sprintf("park%d", i), fmt.Sprintf("park%d", i+1)}
		attrs := netlink.NewLinkAttrs()
		attrs.Name = names[0]
		if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: names[1]}); err != nil {
			return fmt.Errorf("create veth pair: %w", err)
		}
		for k, prog := range programs[i:min(i+2, len(programs))] {
			dev, err := netlink.LinkByName(names[k])
			if err != nil {
				return err
			}
			l, err := link.AttachXDP(link.XDPOptions{Program: prog, Interface: dev.Attrs().Index, Flags: link.XDPDriverMode})
			if err != nil {
				return err
			}
			p.links = append(p.links, l)
		}
	}
	return nil
}

// Close gives the devices up.
func (p *parking) Close() error {
	var err error
	for _, l := range p.links {
		err = errors.Join(err, l.Close())
	}
	if p.space.IsOpen() {
		err = errors.Join(err, p.space.Close())
	}
	return err
}
