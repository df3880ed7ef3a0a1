package netif

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Drops counts packets that this machine dropped on their way in, before any
// socket could see them: those for which the device had no room
// (rx_missed_errors and its kin, struct rtnl_link_stats64), and those for which
// a processor's backlog had none (/proc/net/softnet_stat, all devices
// together). They may have been anybody's. Open it before what it is to count;
// it is not safe for concurrent use.
type Drops struct {
	handle  *netlink.Handle
	softnet *os.File
	index   int

	device, backlog uint64 // when counting began
}

// OpenDrops begins to count for a path's interface, in the calling thread's
// network namespace.
func (p *Path) OpenDrops() (*Drops, error) {
	handle, err := open(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	softnet, err := os.Open("/proc/thread-self/net/softnet_stat")
	if err != nil {
		handle.Close()
		return nil, fmt.Errorf("open the kernel's backlog counters: %w", err)
	}
	d := &Drops{handle: handle, softnet: softnet, index: p.Index}
	if d.device, err = d.missed(); err == nil {
		d.backlog, err = d.dropped()
	}
	if err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// Count returns how many packets were dropped since OpenDrops. The counters of
// an interface that is gone went with it, and count for nothing.
func (d *Drops) Count() (uint64, error) {
	device, err := d.missed()
	if _, gone := errors.AsType[netlink.LinkNotFoundError](err); gone {
		device, err = d.device, nil
	}
	if err != nil {
		return 0, err
	}
	backlog, err := d.dropped()
	return device - d.device + backlog - d.backlog, err
}

// Close ends the counting.
func (d *Drops) Close() error {
	d.handle.Close()
	return d.softnet.Close()
}

// missed reads the device's counters.
func (d *Drops) missed() (uint64, error) {
	link, err := d.handle.LinkByIndex(d.index)
	if err != nil {
		return 0, fmt.Errorf("read the interface's counters: %w", err)
	}
	s := link.Attrs().Statistics
	if s == nil {
		return 0, nil
	}
	return s.RxMissedErrors + s.RxFifoErrors + s.RxOverErrors, nil
}

// dropped reads the backlogs' counters.
func (d *Drops) dropped() (uint64, error) {
	text, err := io.ReadAll(io.NewSectionReader(d.softnet, 0, 1<<20))
	if err != nil {
		return 0, fmt.Errorf("read the kernel's backlog counters: %w", err)
	}
	return backlogDrops(string(text))
}

// backlogDrops adds up the second column of softnet_stat, one line for each
// processor, in hexadecimal (softnet_seq_show, net/core/net-procfs.c).
func backlogDrops(text string) (uint64, error) {
	var total uint64
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			return 0, fmt.Errorf("read the kernel's backlog counters: line %q", line)
		}
		n, err := strconv.ParseUint(fields[1], 16, 64)
		if err != nil {
			return 0, fmt.Errorf("read the kernel's backlog counters: %w", err)
		}
		total += n
	}
	return total, nil
}
