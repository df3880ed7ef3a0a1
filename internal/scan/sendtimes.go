package scan

import (
	"sort"
	"sync"
)

// sendTimes remembers when recent spans left, so that a reply's position gives
// its round trip without any state per probe. It is a ring: at 4,000 spans a
// second, which is half a million packets by sockets and four by the kernel, it
// reaches back 16 seconds, twice the longest default wait for an answer. Spans of hosts that do not exist take room
// in it without taking time: where nearly all are such, late answers tell no
// round trip.
type sendTimes struct {
	mu   sync.Mutex
	ring []spanTime
	next uint64   // serial of the next span
	try0 []uint64 // first serial of each try
}

type spanTime struct {
	from uint64 // first position of the span
	at   int64  // ns since the epoch; 0 until it leaves
}

const sendTimesLen = 1 << 16

func newSendTimes() *sendTimes { return &sendTimes{ring: make([]spanTime, sendTimesLen)} }

// begin starts a try, later than those before it.
func (t *sendTimes) begin(try int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.try0) <= try {
		t.try0 = append(t.try0, t.next)
	}
}

// take enters a span that begins at a position; within a try, spans are taken
// in ascending order.
func (t *sendTimes) take(from uint64) (serial uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	serial = t.next
	t.next++
	t.ring[serial%sendTimesLen] = spanTime{from: from}
	return serial
}

func (t *sendTimes) stamp(serial uint64, at int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ring[serial%sendTimesLen].at = at
}

// of returns when a try's probe of a position left, or 0 when that is not known
// any more (or not yet).
func (t *sendTimes) of(try int, pos uint64) int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if try >= len(t.try0) {
		return 0
	}
	first, last := t.try0[try], t.next
	if try+1 < len(t.try0) {
		last = t.try0[try+1]
	}
	if t.next > sendTimesLen {
		first = max(first, t.next-sendTimesLen)
	}
	if first >= last {
		return 0
	}
	// The last span that begins at or before pos.
	i := sort.Search(int(last-first), func(i int) bool { return t.ring[(first+uint64(i))%sendTimesLen].from > pos })
	if i == 0 {
		return 0
	}
	return t.ring[(first+uint64(i)-1)%sendTimesLen].at
}
