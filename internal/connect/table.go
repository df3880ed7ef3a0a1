package connect

import (
	"fmt"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// slot is a socket and the attempt that it is used for. A slot belongs to the
// sender that took it until it is armed, then to the table, until the receiver
// claims it or a sender takes it again.
type slot struct {
	fd      int // -1: none yet
	six     bool
	life    uint32 // counts the attempts, so that an event of a former one is known
	watched bool   // in the epoll set
	flying  bool   // armed
	older   int32  // neighbours in the list of armed slots
	newer   int32

	attempt
}

// attempt is what a slot is used for.
type attempt struct {
	pos    uint64
	target netip.AddrPort
	try    int
	began  time.Duration
	err    unix.Errno // what starting the connection ended with; 0: on its way
	again  int        // how often it was begun anew
}

// nobody ends lists of slots.
const nobody = int32(-1)

// table holds the slots; its methods are safe for concurrent use.
type table struct {
	mu        sync.Mutex
	slots     []slot
	limit     int        // of slots in use
	used      int        // the first so many slots have been taken
	discarded int        // of those
	free      [2][]int32 // slots that have a socket, of either family
	bare      []int32    // slots that have none
	oldest    int32      // of the armed slots
	newest    int32
	freed     chan struct{} // room for one token: a slot may be had
}

func newTable(limit int) *table {
	t := &table{slots: make([]slot, limit), limit: limit, oldest: nobody, newest: nobody, freed: make(chan struct{}, 1)}
	for i := range t.slots {
		t.slots[i].fd = -1
	}
	for family := range t.free {
		t.free[family] = make([]int32, 0, limit)
	}
	t.bare = make([]int32, 0, limit)
	return t
}

func family(six bool) int {
	if six {
		return 1
	}
	return 0
}

// take returns a slot for a connection in a family, in this order: one that has
// a socket of it, one that has none, one of the other family, the oldest attempt
// if it began before a time. Its socket may be of the wrong family, or
// connecting still (stale). Without a slot, oldest is when the oldest attempt
// began, if there is one.
func (t *table) take(six bool, before time.Duration) (i int32, stale bool, oldest time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	own, other := &t.free[family(six)], &t.free[family(!six)]
	switch {
	case len(*own) > 0:
		i = pop(own)
	case len(t.bare) > 0:
		i = pop(&t.bare)
	case t.used < t.limit:
		i = int32(t.used)
		t.used++
	case len(*other) > 0:
		i = pop(other)
	case t.oldest == nobody:
		return nobody, false, 0
	case t.slots[t.oldest].began > before:
		return nobody, false, t.slots[t.oldest].began
	default:
		i, stale = t.oldest, true
		t.unlink(i)
	}
	t.slots[i].life++
	return i, stale, 0
}

func pop(list *[]int32) int32 {
	last := len(*list) - 1
	i := (*list)[last]
	*list = (*list)[:last]
	return i
}

// arm hands an attempt over: from now on its event is the receiver's to claim.
func (t *table) arm(i int32, epoll int, a attempt) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := &t.slots[i]
	s.attempt = a
	t.link(i)
	if err := watch(epoll, s, i); err != nil {
		return fmt.Errorf("watch the connection to %v: %w", a.target, err)
	}
	return nil
}

// claim takes a slot that an event tells of off the list. It reports false if
// the attempt has been given up in between.
func (t *table) claim(i int32, life uint32) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := &t.slots[i]; !s.flying || s.life != life {
		return false
	}
	t.unlink(i)
	return true
}

// release makes a slot that was taken or claimed free.
func (t *table) release(i int32) {
	t.mu.Lock()
	s := &t.slots[i]
	if s.fd < 0 {
		t.bare = append(t.bare, i)
	} else {
		t.free[family(s.six)] = append(t.free[family(s.six)], i)
	}
	t.mu.Unlock()
	select {
	case t.freed <- struct{}{}:
	default:
	}
}

// discard drops a slot that got no socket, and all that have not been tried, so
// that those in use are all there are. The last one is kept.
func (t *table) discard(i int32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.limit = t.used
	if t.discarded++; t.discarded == t.used {
		t.discarded--
		t.bare = append(t.bare, i)
	}
}

func (t *table) link(i int32) {
	s := &t.slots[i]
	s.flying, s.older, s.newer = true, t.newest, nobody
	if t.newest == nobody {
		t.oldest = i
	} else {
		t.slots[t.newest].newer = i
	}
	t.newest = i
}

func (t *table) unlink(i int32) {
	s := &t.slots[i]
	s.flying = false
	if s.older == nobody {
		t.oldest = s.newer
	} else {
		t.slots[s.older].newer = s.newer
	}
	if s.newer == nobody {
		t.newest = s.older
	} else {
		t.slots[s.newer].older = s.older
	}
}

// close closes every socket.
func (t *table) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.slots {
		if s := &t.slots[i]; s.fd >= 0 {
			unix.Close(s.fd)
			s.fd = -1
		}
	}
}
