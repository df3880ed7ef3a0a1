package main

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"synoptic/internal/output"
	"synoptic/internal/result"
)

// Bounds of the search for names.
const (
	nameSearches = 32              // at once
	nameWait     = 3 * time.Second // for one name
	nameGrace    = 5 * time.Second // for all that are missing at the end of a scan
)

// nameSink is where named records go.
type nameSink interface {
	recordNameless(*result.Record) // to whom names are of no use
	recordNamed(*result.Record)    // to all others
	shows(*result.Record) bool     // or they need no name
	left() error                   // when there is no use in going on
	Flush() error
	// snapshotWith takes a snapshot of what came here, and of what waits.
	snapshotWith(waiting [][]result.Record) (outputsState, func([]byte) []byte, bool)
}

// namer stands between a scan and its outputs and gives the records that they
// show the name of their address (-R). A record waits for its name where there is
// a place for it, but the scan never does: the search is beside it, and at the
// end, or by an interrupt, it is cut off. Records of one address stay in order.
type namer struct {
	to     nameSink
	search func(context.Context, netip.Addr) string // "" if there is none

	ctx       context.Context
	cancel    func()
	searchers sync.WaitGroup

	mu      sync.Mutex // over the sink too
	known   map[netip.Addr]string
	waiting map[netip.Addr][]result.Record
	queue   []netip.Addr // nobody searches for them yet
	running int          // searchers
	missed  int          // addresses that the end came too early for
}

// named returns where a scan's records go: to the outputs, with names if they
// are asked for. The function ends the search for names. Records that waited when
// the outputs were resumed wait again.
func (a *app) named(out *outputs) (sink, func()) {
	waiting := out.waiting
	out.waiting = nil
	if !a.opt.resolve {
		for i := range waiting {
			out.recordNamed(&waiting[i])
		}
		return out, func() {}
	}
	n := newNamer(a.signals.ctx, out, reverse)
	n.resume(waiting)
	return n, func() {
		if missed := n.finish(); missed > 0 {
			a.say.note("no name came in time for " + number(uint64(missed), "address"))
		}
	}
}

func newNamer(ctx context.Context, to nameSink, search func(context.Context, netip.Addr) string) *namer {
	n := &namer{to: to, search: search, known: map[netip.Addr]string{}, waiting: map[netip.Addr][]result.Record{}}
	n.ctx, n.cancel = context.WithCancel(ctx)
	return n
}

// Record implements scan.Sink.
func (n *namer) Record(r *result.Record) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.to.recordNameless(r)
	named, addr := *r, r.Addr.Addr()
	name, known := n.known[addr]
	if known || !n.to.shows(r) {
		named.Host = name
		n.to.recordNamed(&named)
		return n.to.left()
	}
	n.await(named)
	return n.to.left()
}

// await lets a record wait for the name of its address.
func (n *namer) await(r result.Record) {
	addr := r.Addr.Addr()
	if _, ok := n.waiting[addr]; !ok {
		n.queue = append(n.queue, addr)
		if n.running < nameSearches {
			n.running++
			n.searchers.Go(n.run)
		}
	}
	n.waiting[addr] = append(n.waiting[addr], r)
}

// resume lets records wait that did so in another process.
func (n *namer) resume(records []result.Record) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, r := range records {
		n.await(r)
	}
}

// snapshot implements sink. What waits is part of it, so that a slow search keeps
// no scan from its checkpoints: the records of an address are only ever added to,
// and can be read beside the scan.
func (n *namer) snapshot() (outputsState, func([]byte) []byte, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	waiting := make([][]result.Record, 0, len(n.waiting))
	for _, records := range n.waiting {
		waiting = append(waiting, records)
	}
	return n.to.snapshotWith(waiting)
}

// Flush implements scan.Sink.
func (n *namer) Flush() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.to.Flush()
}

// run is a searcher: it searches until the queue is empty.
func (n *namer) run() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for len(n.queue) > 0 {
		addr := n.queue[0]
		n.queue = n.queue[1:]
		n.mu.Unlock()
		name := ""
		if n.ctx.Err() == nil {
			ctx, cancel := context.WithTimeout(n.ctx, nameWait)
			name = n.search(ctx, addr)
			cancel()
		}
		n.mu.Lock()
		if name == "" && n.ctx.Err() != nil {
			n.missed++
		}
		n.deliver(addr, name)
	}
	n.running--
}

// deliver writes what waited for a name. What cannot be written, the scan hears of
// by its next record.
func (n *namer) deliver(addr netip.Addr, name string) {
	n.known[addr] = name
	for _, r := range n.waiting[addr] {
		r.Host = name
		n.to.recordNamed(&r)
	}
	delete(n.waiting, addr)
	_ = n.to.Flush()
}

// finish writes everything that is left, with a name where one comes in time,
// and returns for how many addresses none came.
func (n *namer) finish() (missed int) {
	limit := time.AfterFunc(nameGrace, n.cancel)
	n.searchers.Wait()
	limit.Stop()
	n.cancel()
	return n.missed
}

// reverse asks the system for the name of an address.
func reverse(ctx context.Context, a netip.Addr) string {
	// Names that are malformed are left out and are an error; the others count.
	names, _ := net.DefaultResolver.LookupAddr(ctx, a.String())
	for _, name := range names {
		if name = strings.TrimSuffix(name, "."); output.PlainName(name) {
			return name
		}
	}
	return ""
}
