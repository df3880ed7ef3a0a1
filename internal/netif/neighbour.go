package netif

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	// neighbourBatch is how many neighbours the kernel looks for at a time. It
	// drops entries younger than five seconds for nobody, and has room for
	// gc_thresh3 (1024 by default), shared with all the machine's traffic
	// (neigh_forced_gc, net/core/neighbour.c).
	neighbourBatch = 256
	// neighbourWait is how long the kernel itself tries, three questions
	// (mcast_solicit) one second apart (retrans_time_ms), and half a second for
	// its timers.
	neighbourWait = 3500 * time.Millisecond
	// The kernel's table is read again after this long, first and at most: an
	// answer on a local link takes well below a millisecond.
	pollFirst, pollMost = time.Millisecond, 50 * time.Millisecond
)

// neighbours returns the link addresses of those wanted that have one. Where
// the kernel knows none it is told that the neighbour is about to be used
// (NTF_USE), so that it asks on the link; no packet goes to the neighbour but
// the kernel's own question.
func (r *router) neighbours(link *netlink.LinkAttrs, want []netip.Addr) (map[netip.Addr][6]byte, error) {
	found := make(map[netip.Addr][6]byte, len(want))
	if len(want) == 0 {
		return found, nil
	}
	known, err := r.neighbourTable(link)
	if err != nil {
		return nil, err
	}
	var missing []netip.Addr
	for _, a := range want {
		if n, ok := known[a]; ok && n.usable() {
			found[a] = n.mac
		} else {
			missing = append(missing, a)
		}
	}
	tidy := len(missing) > neighbourBatch
	for len(missing) > 0 {
		asked, err := r.use(link, missing[:min(len(missing), neighbourBatch)])
		if err == nil {
			err = r.await(link, asked, known, found)
		}
		if tidy {
			// Leave the kernel's table with room for its own traffic and for
			// the next batch.
			for _, a := range asked {
				if _, before := known[a]; !before {
					_ = r.handle.NeighDel(&netlink.Neigh{LinkIndex: link.Index, IP: a.AsSlice()})
				}
			}
		}
		if err != nil {
			return nil, err
		}
		missing = missing[len(asked):]
	}
	return found, nil
}

// use has the kernel look for the neighbours, from the first on, and returns
// those for which its table has room: at least one.
func (r *router) use(link *netlink.LinkAttrs, batch []netip.Addr) ([]netip.Addr, error) {
	deadline := time.Now().Add(neighbourWait)
	for i := 0; i < len(batch); {
		err := r.handle.NeighSet(&netlink.Neigh{LinkIndex: link.Index, IP: batch[i].AsSlice(), Flags: netlink.NTF_USE})
		switch {
		case err == nil:
			i++
		case errors.Is(err, unix.ENOBUFS) && i > 0:
			return batch[:i], nil
		case errors.Is(err, unix.ENOBUFS) && time.Now().Before(deadline):
			if err := r.pause(link, pollMost); err != nil {
				return nil, err
			}
		case errors.Is(err, unix.ENOBUFS):
			return nil, fmt.Errorf("resolve %s on %s: the kernel's neighbour table is full: raise net.ipv4.neigh.default.gc_thresh3 and its IPv6 twin: %w", batch[i], link.Name, err)
		case errors.Is(err, unix.EPERM):
			return nil, fmt.Errorf("resolve %s on %s: asking for a link address needs CAP_NET_ADMIN: grant it, or give the router's with --router-mac: %w", batch[i], link.Name, err)
		default:
			return nil, fmt.Errorf("resolve %s on %s: %w", batch[i], link.Name, err)
		}
	}
	return batch, nil
}

// await adds to found the neighbours that answer, until each has or the kernel
// has given up. before is the kernel's table from before the question: what it
// was looking for already may fail early, and is asked for again.
func (r *router) await(link *netlink.LinkAttrs, asked []netip.Addr, before map[netip.Addr]neighbour, found map[netip.Addr][6]byte) error {
	open := make(map[netip.Addr]bool, len(asked)) // true: once more after a failure
	for _, a := range asked {
		open[a] = before[a].state&unix.NUD_INCOMPLETE != 0
	}
	deadline := time.Now().Add(neighbourWait)
	for wait := pollFirst; ; wait = min(2*wait, pollMost) {
		if err := r.pause(link, wait); err != nil {
			return err
		}
		late := time.Now().After(deadline) // the table is read once more after the deadline
		table, err := r.neighbourTable(link)
		if err != nil {
			return err
		}
		for a, again := range open {
			switch n := table[a]; {
			case n.usable():
				found[a] = n.mac
				delete(open, a)
			case n.state&unix.NUD_FAILED == 0:
			case again:
				open[a] = false
				if _, err := r.use(link, []netip.Addr{a}); err != nil {
					return err
				}
			default:
				delete(open, a)
			}
		}
		if len(open) == 0 || late {
			return nil
		}
	}
}

// pause waits, or returns the error of a context that has ended.
func (r *router) pause(link *netlink.LinkAttrs, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-r.ctx.Done():
		return fmt.Errorf("resolve neighbours on %s: %w", link.Name, context.Cause(r.ctx))
	}
}

// neighbour is an entry of the kernel's table.
type neighbour struct {
	state int // NUD_*, linux/neighbour.h
	mac   [6]byte
	hasIt bool // mac is set
}

// usable reports whether the kernel would send to mac now. A stale address
// counts: the kernel sends first and asks again while it waits for an answer.
func (n neighbour) usable() bool {
	const good = unix.NUD_REACHABLE | unix.NUD_STALE | unix.NUD_DELAY | unix.NUD_PROBE | unix.NUD_PERMANENT | unix.NUD_NOARP
	return n.hasIt && n.state&good != 0
}

// neighbourTable reads the kernel's entries for the link, of both families.
func (r *router) neighbourTable(link *netlink.LinkAttrs) (map[netip.Addr]neighbour, error) {
	var list []netlink.Neigh
	err := consistent(func() (err error) {
		list, err = r.handle.NeighList(link.Index, netlink.FAMILY_ALL)
		return err
	})
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) { // a busy table is read again anyway
		return nil, fmt.Errorf("read the kernel's neighbours on %s: %w", link.Name, err)
	}
	table := make(map[netip.Addr]neighbour, len(list))
	for _, e := range list {
		n := neighbour{state: e.State, hasIt: len(e.HardwareAddr) == 6}
		copy(n.mac[:], e.HardwareAddr)
		table[address(e.IP)] = n
	}
	return table, nil
}
