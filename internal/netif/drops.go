package netif

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Drops counts packets that this machine dropped. On their way in, before any
// socket could see them, those are the ones for which a link's device had no room
// (rx_missed_errors and its kin, struct rtnl_link_stats64), or on loopback,
// whose packets pass a processor's backlog, those for which that had none
// (/proc/net/softnet_stat). Other devices poll and use no backlog, so what it
// drops there is somebody else's. On their way out they are those that a device
// took and dropped (tx_dropped and its kin). Whose packets they were is not
// known. Open it before what it is to count; it is not safe for concurrent use.
type Drops struct {
	read    func() (in, out uint64, err error)
	close   func() error
	late    time.Duration
	in, out rising
}

// rising adds up what a counter rises by. One that begins anew has not risen.
type rising struct{ last, sum uint64 }

func (r *rising) to(now uint64) uint64 {
	if now > r.last {
		r.sum += now - r.last
	}
	r.last = now
	return r.sum
}

// OpenDrops begins to count for a link, in the calling thread's network
// namespace.
func (l *Link) OpenDrops() (*Drops, error) {
	begin := backlogDrops
	if l.Kind != Loopback {
		begin = func() (*Drops, error) { return deviceDrops(l.Index) }
	}
	d, err := begin()
	if err != nil {
		return nil, err
	}
	if d.in.last, d.out.last, err = d.read(); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// Count returns how many packets were dropped since OpenDrops, on their way in
// and out. Of an
// interface that is gone it is what was counted last.
func (d *Drops) Count() (in, out uint64, err error) {
	in, out, err = d.read()
	if errors.Is(err, unix.ENODEV) {
		return d.in.sum, d.out.sum, nil
	}
	if err != nil {
		return 0, 0, err
	}
	return d.in.to(in), d.out.to(out), nil
}

// Late returns how long after it a drop may be counted: drivers of network cards
// read their cards' counters every second or two (ixgbe_service_task, i40e_watchdog_subtask).
func (d *Drops) Late() time.Duration { return d.late }

const cardsLate = 2500 * time.Millisecond

// Close ends the counting.
func (d *Drops) Close() error { return d.close() }

func deviceDrops(index int) (*Drops, error) {
	kernel, err := openStatistics()
	if err != nil {
		return nil, err
	}
	read := func() (in, out uint64, err error) {
		d, err := kernel.of(int32(index), -1)
		if err != nil {
			return 0, 0, fmt.Errorf("read the interface's counters: %w", err)
		}
		s := &d.counters
		in = s.RxMissedErrors + s.RxFifoErrors + s.RxOverErrors
		if d.kind == "veth" {
			// What its ring had no room for counts here if it came from an XDP program,
			// and at the far end whoever sent it (veth_get_stats64, veth_xmit); what the
			// backlog had no room for counts at both. On other devices this counts what
			// nobody wanted. On the way out it refuses what it drops, so senders know of
			// theirs, and what is counted is others', as our own kernel's resets. Of
			// another namespace the kernel tells whom it lets administer that.
			dropped := s.RxDropped
			if far, err := kernel.of(d.peer, d.space); err == nil {
				dropped = max(dropped, far.counters.TxDropped)
			}
			return in + dropped, 0, nil
		}
		return in, s.TxDropped + s.TxFifoErrors, nil
	}
	d := &Drops{read: read, close: kernel.close}
	if it, err := kernel.of(int32(index), -1); err == nil && it.kind == "" {
		d.late = cardsLate
	}
	return d, nil
}

func backlogDrops() (*Drops, error) {
	softnet, err := os.Open("/proc/thread-self/net/softnet_stat")
	if err != nil {
		return nil, fmt.Errorf("open the kernel's backlog counters: %w", err)
	}
	read := func() (in, out uint64, err error) {
		text, err := io.ReadAll(io.NewSectionReader(softnet, 0, 1<<20))
		if err != nil {
			return 0, 0, fmt.Errorf("read the kernel's backlog counters: %w", err)
		}
		in, err = sumBacklog(string(text))
		return in, 0, err
	}
	return &Drops{read: read, close: softnet.Close}, nil
}

// sumBacklog adds up the second column of softnet_stat, one line for each
// processor, in hexadecimal (softnet_seq_show, net/core/net-procfs.c).
func sumBacklog(text string) (uint64, error) {
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
