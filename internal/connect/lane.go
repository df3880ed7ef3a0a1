package connect

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"synoptic/internal/method"
	"synoptic/internal/plan"
	"synoptic/internal/result"
	"synoptic/rx"
)

// A lane has some of the slots, an epoll set of their sockets and two users: a
// sender, which starts connections and takes the answers that are there by then,
// and a receiver, which waits for the others. What one of them does with a slot
// it does under the lane's lock.
type lane struct {
	*Prober
	epoll int
	wake  int           // an eventfd in the set: the receiver is to look up
	freed chan struct{} // room for one token: a slot may be had

	mu     sync.Mutex
	over   bool // nothing begins and nothing is reported any more
	slots  slots
	batch  []rx.Reply
	dialer dialer
	queue  queue
	events [eventsLen]unix.EpollEvent // the sender's
}

// eventsLen is how many events are taken at a time; looking for answers once in
// so many connections keeps few sockets busy where answers come at once.
const (
	eventsLen = 128
	lookAfter = 32
)

// newLane opens an epoll set and a socket of each family, so that no lane is
// without one where the others take what there is.
func newLane(p *Prober, limit int) (*lane, error) {
	l := &lane{Prober: p, epoll: -1, wake: -1, freed: make(chan struct{}, 1), slots: newSlots(limit)}
	var err error
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err == nil {
		l.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	}
	if err == nil {
		err = unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, l.wake, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: nobody})
	}
	if err != nil {
		err = fmt.Errorf("watch connections: %w", err)
	}
	for _, six := range []bool{false, true} {
		if wanted := !six && p.options.IPv4 || six && p.options.IPv6; !wanted || err != nil {
			continue
		}
		i := l.slots.take(six)
		err = l.open(i, six)
		l.slots.release(i)
	}
	if err != nil {
		return nil, errors.Join(err, l.close())
	}
	return l, nil
}

// open gives a slot a socket of a family.
func (l *lane) open(i int32, six bool) error {
	s := &l.slots.all[i]
	if s.fd >= 0 {
		unix.Close(s.fd)
	}
	var err error
	if s.fd, err = l.options.open(six); err != nil {
		return err
	}
	s.six = six
	// Edge-triggered: the set hears of every change, and the socket of a free
	// slot is no event for ever.
	event := unix.EpollEvent{Events: unix.EPOLLOUT | unix.EPOLLET, Fd: i}
	if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, s.fd, &event); err != nil {
		unix.Close(s.fd)
		s.fd = -1
		return fmt.Errorf("watch connections: %w", err)
	}
	return nil
}

// end passes on what is left and closes the sockets.
func (l *lane) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.over {
		l.flush()
	}
	l.over = true
	l.slots.close()
}

// close ends the lane after its users.
func (l *lane) close() error {
	l.end()
	var errs []error
	for _, fd := range []*int{&l.wake, &l.epoll} {
		if *fd >= 0 {
			errs = append(errs, unix.Close(*fd))
			*fd = -1
		}
	}
	return errors.Join(errs...)
}

// send starts the connections of a span, and returns how many it has started if
// that fails. It returns errEnded when ctx or the lane ends.
func (l *lane) send(ctx context.Context, span *plan.Span) (started int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range span.Len() {
		if err := l.begin(ctx, attempt{pos: span.At(i), try: span.Try}); err != nil {
			return i, err
		}
		if i%lookAfter == lookAfter-1 {
			if err := l.look(); err != nil {
				return i + 1, err
			}
		}
	}
	err = l.look()
	l.flush()
	return span.Len(), err
}

// errEnded tells a sender that there is no use in going on.
var errEnded = errors.New("ended")

// giveUpAfter bounds how long this machine may lack something.
const giveUpAfter = 5 * time.Second

// begin starts one connection. It waits for a slot, and for what this machine
// lacks at the moment.
func (l *lane) begin(ctx context.Context, a attempt) error {
	a.target = l.plan.At(a.pos)
	six := !a.target.Addr().Is4()
	var lacking time.Duration // since when, or 0
	for !l.over && ctx.Err() == nil {
		a.began = l.now()
		errno := unix.Errno(0)
		if i := l.slots.take(six); i != nobody {
			l.counts.generated.Add(1)
			var err error
			if errno, err = l.start(i, a); !shortage(errno) {
				return err
			}
			l.counts.refused.Add(1)
			if l.slots.all[i].fd < 0 {
				l.slots.discard(i)
			} else {
				l.slots.release(i)
			}
		}
		switch {
		case errno == 0:
			lacking = 0
		case lacking == 0:
			lacking = a.began
		case a.began-lacking > giveUpAfter:
			return fmt.Errorf("connect to %v: %w for %v: %s", a.target, errno, giveUpAfter, remedy(errno))
		}
		if err := l.makeRoom(ctx, errno != 0); err != nil {
			return err
		}
	}
	return errEnded
}

// makeRoom gives up the oldest connection, or waits until that may be done or
// something else may help.
func (l *lane) makeRoom(ctx context.Context, short bool) error {
	if err := l.look(); err != nil {
		return err
	}
	left := time.Millisecond // nothing is on its way: it is another's to make room
	if i := l.slots.oldest; i != nobody {
		left = l.slots.all[i].began + l.patience() - l.now()
		if left <= 0 {
			return l.giveUp(i)
		}
	}
	if short {
		left = min(left, time.Millisecond)
	}
	l.pause(ctx, min(left, 20*time.Millisecond))
	return nil
}

// giveUp gives up a connection, unless it has been answered by now.
func (l *lane) giveUp(i int32) error {
	if err := l.ask(i); err != nil || !l.slots.all[i].flying {
		return err
	}
	disconnect(l.slots.all[i].fd)
	l.queue.drain(l.slots.all[i].fd) // of what came in between, lest it be taken for the next
	l.slots.land(i)
	l.slots.release(i)
	return nil
}

// giveUpAll gives up every connection.
func (l *lane) giveUpAll() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.slots.oldest != nobody {
		if err := l.giveUp(l.slots.oldest); err != nil {
			return err
		}
	}
	return nil
}

// start starts a taken slot's connection. With a shortage the slot is still
// taken, with an error it is free.
func (l *lane) start(i int32, a attempt) (shortageOf unix.Errno, err error) {
	s := &l.slots.all[i]
	s.attempt = a
	if six := !a.target.Addr().Is4(); s.fd < 0 || s.six != six {
		err = l.open(i, six)
	}
	errno := errnoOf(err)
	if err == nil {
		errno = l.dialer.connect(s.fd, a.target)
		err = errno
	}
	if shortage(errno) {
		return errno, nil
	}
	if errno == unix.EINPROGRESS {
		l.counts.sent.Add(1)
		l.slots.fly(i)
		return 0, nil
	}
	// The system did not even try.
	v, from, says := l.verdict(errno, a.target)
	if !says {
		l.counts.refused.Add(1)
		l.slots.release(i)
		return 0, refusal(a.target, err)
	}
	l.counts.sent.Add(1)
	if errno == unix.ENETUNREACH {
		l.unrouted.Add(1)
	}
	l.conclude(i, v, from)
	return 0, nil
}

// pause waits without the lock, for some time or until a slot is free.
func (l *lane) pause(ctx context.Context, d time.Duration) {
	l.flush()
	l.mu.Unlock()
	defer l.mu.Lock()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-l.freed:
	case <-timer.C:
	}
}

// look takes the answers that are there.
func (l *lane) look() error {
	n, err := unix.EpollWait(l.epoll, l.events[:], 0)
	if err != nil && err != unix.EINTR {
		return fmt.Errorf("watch connections: %w", err)
	}
	return l.take(l.events[:max(n, 0)])
}

// take handles events.
func (l *lane) take(events []unix.EpollEvent) error {
	for _, e := range events {
		if e.Fd == nobody || l.over || !l.slots.all[e.Fd].flying {
			continue // to wake up; or of a socket that was disconnected
		}
		if err := l.ask(e.Fd); err != nil {
			return err
		}
	}
	return nil
}

// ask asks the system how a flying slot's connection went, and makes a reply of
// it.
func (l *lane) ask(i int32) error {
	s := &l.slots.all[i]
	errno := l.dialer.connect(s.fd, s.target)
	if errno == 0 && l.dialer.withItself(s.fd, s.target) {
		if l.repeat(s) {
			return nil
		}
		errno = unix.ECONNREFUSED
	}
	var v method.Verdict
	var from netip.Addr
	var rejected, says bool
	if errno != 0 {
		var e rejection
		if e, rejected = l.queue.read(s.fd); rejected {
			v, says = method.ICMP(e.ipv6, e.kind, e.code)
			from = e.from
		}
	}
	switch {
	case !says && errno == unix.EALREADY:
		return nil
	case rejected:
	case refused(errno):
		return refusal(s.target, errno)
	default:
		v, from, says = l.verdict(errno, s.target)
	}
	if errno == 0 || errno == unix.EALREADY {
		disconnect(s.fd)
	}
	l.slots.land(i)
	if says {
		l.conclude(i, v, from)
	} else {
		l.free(i)
	}
	return nil
}

// A connection that began at the very port that it goes to is with itself: a
// simultaneous open, RFC 9293 section 3.5. The system chooses only source ports
// on which nothing listens, so that the port is closed, but it has not said so
// yet.
const repeats = 3

// repeat begins such a connection anew, from another port, and reports whether
// it is on its way.
func (l *lane) repeat(s *slot) bool {
	disconnect(s.fd)
	if s.again++; s.again > repeats {
		return false
	}
	l.counts.generated.Add(1)
	l.counts.sent.Add(1)
	return l.dialer.connect(s.fd, s.target) == unix.EINPROGRESS
}

// verdict says what a connection's end means that came without an ICMP error. A
// target that is out of reach is then this machine's own word.
func (l *lane) verdict(errno unix.Errno, target netip.AddrPort) (v method.Verdict, from netip.Addr, says bool) {
	v, says = verdict(l.method, errno)
	if v.State == result.Filtered {
		from = localhost(target.Addr())
	}
	return v, from, says
}

// free makes a slot free and tells the sender.
func (l *lane) free(i int32) {
	l.slots.release(i)
	select {
	case l.freed <- struct{}{}:
	default:
	}
}

// conclude ends a slot's attempt with a reply.
func (l *lane) conclude(i int32, v method.Verdict, from netip.Addr) {
	l.free(i)
	s := &l.slots.all[i]
	reply := rx.Reply{Time: time.Now().UnixNano(), Pos: s.pos, Try: s.try, Target: s.target, Verdict: v}
	if from.IsValid() && from != s.target.Addr() {
		// How long somebody on the way tried to reach the target is no round trip.
		reply.ReasonIP, reply.RTT = from, rx.NoRTT
	} else {
		reply.RTT = max(l.now()-s.began, time.Microsecond)
		l.learn(reply.RTT)
	}
	l.counts.received.Add(1)
	if l.batch = append(l.batch, reply); len(l.batch) == batchLen {
		l.flush()
	}
}

// flush passes the batch on, if there is anything in it.
func (l *lane) flush() {
	if len(l.batch) > 0 {
		l.full <- l.batch
		l.batch = <-l.empty
	}
}
