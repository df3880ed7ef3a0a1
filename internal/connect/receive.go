package connect

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"synoptic/internal/method"
	"synoptic/internal/result"
	"synoptic/rx"
)

// Events are taken so many at a time; replies travel as those of package rx do.
const (
	eventsLen = 128
	batchLen  = 256
	batchTime = 4 * time.Millisecond
)

// receiver is the half that takes the system's answers. It implements
// scan.Receiver.
type receiver struct {
	*Prober
	dialer
	method *method.Method
	full   chan []rx.Reply
	free   chan []rx.Reply

	batch   []rx.Reply
	events  [eventsLen]unix.EpollEvent
	msg     unix.Msghdr
	control [controlLen]byte
	name    [unix.SizeofSockaddrInet6]byte
	nameLen uint32
}

func newReceiver(p *Prober, m *method.Method) *receiver {
	const batches = 8
	r := &receiver{Prober: p, method: m, full: make(chan []rx.Reply, batches), free: make(chan []rx.Reply, batches)}
	for range batches {
		r.free <- make([]rx.Reply, 0, batchLen)
	}
	return r
}

// Replies implements scan.Receiver.
func (r *receiver) Replies() <-chan []rx.Reply { return r.full }

// Release implements scan.Receiver.
func (r *receiver) Release(batch []rx.Reply) { r.free <- batch[:0] }

// Stats implements scan.Receiver: what the system tells of our connections is
// always valid.
func (r *receiver) Stats() rx.Stats {
	n := r.counts.received.Load()
	return rx.Stats{Received: n, Valid: n}
}

// Run implements scan.Receiver. When ctx ends, it still takes what is there.
func (r *receiver) Run(ctx context.Context) error {
	defer close(r.full)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer context.AfterFunc(ctx, func() { unix.Write(r.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) })()
	r.batch = <-r.free
	for {
		ended := ctx.Err() != nil
		wait := -1
		switch {
		case ended:
			wait = 0
		case len(r.batch) > 0:
			wait = int(batchTime.Milliseconds())
		}
		n, err := unix.EpollWait(r.epoll, r.events[:], wait)
		if err != nil && err != unix.EINTR {
			return fmt.Errorf("watch connections: %w", err)
		}
		told := 0
		for _, e := range r.events[:max(n, 0)] {
			if e.Fd < 0 {
				continue // only to wake up
			}
			told++
			if r.table.claim(e.Fd, uint32(e.Pad)) {
				if err := r.conclude(e.Fd); err != nil {
					return err
				}
			}
		}
		r.flush(told == 0)
		if ended && told == 0 {
			return nil
		}
	}
}

// flush passes the batch on, if it is old enough or nothing else comes.
func (r *receiver) flush(idle bool) {
	if n := len(r.batch); n > 0 && (idle || time.Now().UnixNano()-r.batch[0].Time > int64(batchTime)) {
		r.full <- r.batch
		r.batch = <-r.free
	}
}

// conclude finds out how a claimed slot's connection went, and makes a reply of
// it.
func (r *receiver) conclude(i int32) error {
	s := &r.table.slots[i]
	errno := s.err
	if errno == 0 {
		if errno = r.connect(s.fd, s.target); errno == 0 && r.withItself(s) {
			if r.repeat(s) {
				return r.table.arm(i, r.epoll, s.attempt)
			}
			errno = unix.ECONNREFUSED
		}
	}
	connected := errno == 0 || errno == unix.EALREADY
	v, from, says := r.judge(s, errno)
	switch {
	case !says && errno == unix.EALREADY:
		return r.table.arm(i, r.epoll, s.attempt)
	case !says && refused(errno):
		return fmt.Errorf("connect to %v: %w: a local firewall rule or route refuses it", s.target, errno)
	case connected:
		disconnect(s.fd)
	}
	if says {
		r.reply(s, v, from)
	}
	r.table.release(i)
	return nil
}

// judge returns what a connection's end means, and who said so if it was not the
// target.
func (r *receiver) judge(s *slot, errno unix.Errno) (v method.Verdict, from netip.Addr, says bool) {
	if errno != 0 && s.err == 0 {
		if e, ok := r.rejection(s.fd); ok {
			v, says = method.ICMP(e.ipv6, e.kind, e.code)
			if e.from != s.target.Addr() {
				from = e.from
			}
			return v, from, says
		}
	}
	v, says = verdict(r.method, errno)
	if v.State == result.Filtered { // and nobody sent an error: it is this machine's
		from = localhost(s.target.Addr())
		if errno == unix.ENETUNREACH {
			r.unrouted.Add(1)
		}
	}
	return v, from, says
}

// A connection that began at the very port that it goes to is with itself: a
// simultaneous open, RFC 9293 section 3.5. The system chooses only source ports
// on which nothing listens, so the port is closed, but it has not said so yet.
const repeats = 3

func (r *receiver) withItself(s *slot) bool {
	r.nameLen = uint32(len(r.name))
	_, _, errno := unix.RawSyscall(unix.SYS_GETSOCKNAME, uintptr(s.fd), uintptr(unsafe.Pointer(&r.name)), uintptr(unsafe.Pointer(&r.nameLen)))
	if errno != 0 {
		return false
	}
	// struct sockaddr_in and sockaddr_in6: the port at 2, the address at 4 or 8.
	addr := netip.AddrFrom16([16]byte(r.name[8:]))
	if !s.six {
		addr = netip.AddrFrom4([4]byte(r.name[4:]))
	}
	return s.target == netip.AddrPortFrom(addr, binary.BigEndian.Uint16(r.name[2:]))
}

// repeat begins a connection anew, from another port, and reports whether it is
// on its way.
func (r *receiver) repeat(s *slot) bool {
	disconnect(s.fd)
	if s.again++; s.again > repeats {
		return false
	}
	r.counts.generated.Add(1)
	r.counts.sent.Add(1)
	return r.connect(s.fd, s.target) == unix.EINPROGRESS
}

// reply adds a reply to the batch.
func (r *receiver) reply(s *slot, v method.Verdict, from netip.Addr) {
	rtt := max(r.now()-s.began, time.Microsecond)
	if from.IsValid() {
		rtt = rx.NoRTT // but how long somebody on the way tried to reach the target
	} else if int64(rtt) > r.largest.Load() {
		r.largest.Store(int64(rtt))
	}
	r.counts.received.Add(1)
	r.batch = append(r.batch, rx.Reply{
		Time: time.Now().UnixNano(), Pos: s.pos, Try: s.try, Target: s.target, Verdict: v, ReasonIP: from, RTT: rtt,
	})
	if len(r.batch) == batchLen {
		r.full <- r.batch
		r.batch = <-r.free
	}
}

// localhost stands for this machine as the one that rejects a connection.
func localhost(target netip.Addr) netip.Addr {
	if target.Is4() {
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	return netip.IPv6Loopback()
}

// rejection takes an ICMP error out of a socket's error queue.
func (r *receiver) rejection(fd int) (rejection, bool) {
	for {
		r.msg = unix.Msghdr{Control: &r.control[0], Controllen: controlLen}
		_, _, errno := unix.RawSyscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&r.msg)), unix.MSG_ERRQUEUE)
		if errno != 0 {
			return rejection{}, false
		}
		if rejected, ok := parseRejection(r.control[:r.msg.Controllen]); ok {
			return rejected, true
		}
	}
}
