package connect

import (
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// slot is a socket and the attempt that it is used for.
type slot struct {
	fd     int // -1: none
	six    bool
	flying bool  // its connection is on its way
	older  int32 // neighbours in the list of flying slots
	newer  int32
	attempt
}

// attempt is one connection.
type attempt struct {
	pos    uint64
	target netip.AddrPort
	try    int
	began  time.Duration // since Prober.began
	again  int           // how often it was begun anew
}

// nobody is no slot's number.
const nobody = int32(-1)

// slots are those of one lane, which guards them.
type slots struct {
	all    []slot
	used   int        // the first so many have been taken at least once
	limit  int        // and no more will be
	lost   int        // of those in use, for which there is no socket
	free   [2][]int32 // that have a socket, of either family
	bare   []int32    // that have none
	oldest int32      // flying
	newest int32
}

func newSlots(limit int) slots {
	s := slots{all: make([]slot, limit), limit: limit, oldest: nobody, newest: nobody}
	for i := range s.all {
		s.all[i].fd = -1
	}
	s.free = [2][]int32{make([]int32, 0, limit), make([]int32, 0, limit)}
	s.bare = make([]int32, 0, limit)
	return s
}

func family(six bool) int {
	if six {
		return 1
	}
	return 0
}

// take returns a slot for a connection of a family, in this order: one that has
// a socket of it, one that has none, one of the other family. It returns nobody
// if all are flying.
func (s *slots) take(six bool) (i int32) {
	own, other := &s.free[family(six)], &s.free[family(!six)]
	switch {
	case len(*own) > 0:
		return pop(own)
	case len(s.bare) > 0:
		return pop(&s.bare)
	case s.used < s.limit:
		s.used++
		return int32(s.used - 1)
	case len(*other) > 0:
		return pop(other)
	}
	return nobody
}

func pop(list *[]int32) int32 {
	last := len(*list) - 1
	i := (*list)[last]
	*list = (*list)[:last]
	return i
}

// release makes a taken slot free.
func (s *slots) release(i int32) {
	if slot := &s.all[i]; slot.fd < 0 {
		s.bare = append(s.bare, i)
	} else {
		s.free[family(slot.six)] = append(s.free[family(slot.six)], i)
	}
}

// discard drops a slot for which there is no socket, and all that have never
// been taken: those in use are all there are. The last one is kept.
func (s *slots) discard(i int32) {
	s.limit = s.used
	if s.lost == s.used-1 {
		s.bare = append(s.bare, i)
		return
	}
	s.lost++
}

// fly enters a slot into the list.
func (s *slots) fly(i int32) {
	slot := &s.all[i]
	slot.flying, slot.older, slot.newer = true, s.newest, nobody
	if s.newest == nobody {
		s.oldest = i
	} else {
		s.all[s.newest].newer = i
	}
	s.newest = i
}

// land takes it off the list.
func (s *slots) land(i int32) {
	slot := &s.all[i]
	slot.flying = false
	if slot.older == nobody {
		s.oldest = slot.newer
	} else {
		s.all[slot.older].newer = slot.newer
	}
	if slot.newer == nobody {
		s.newest = slot.older
	} else {
		s.all[slot.newer].older = slot.older
	}
}

// close closes every socket, and no slot can be had any more.
func (s *slots) close() {
	for i := range s.all {
		if slot := &s.all[i]; slot.fd >= 0 {
			unix.Close(slot.fd)
			slot.fd, slot.flying = -1, false
		}
	}
}
