package output

import (
	"bytes"
	"io"
	"sync"
	"time"
)

// queueLimit is how many bytes may wait for a reader: millions of results.
const queueLimit = 256 << 20

// queue stands in front of an output whose reader may be slow, as that of a pipe
// may be, so that a scan does not wait for it and lose answers meanwhile: a write
// takes what it is given, and a goroutine hands it on. When too much waits, a
// write waits as well.
type queue struct {
	to     io.Writer
	end    []byte // of a line that is a record
	limit  int
	failed func() // called once, by the goroutine, when handing on fails

	mu      sync.Mutex
	changed sync.Cond
	waiting [][]byte // each some whole writes
	size    int      // of waiting, in bytes
	handing bool     // a chunk is with to, or has failed there
	spare   []byte   // to be used again
	closed  bool
	err     error
	lost    uint64 // records that were taken and not handed on; valid iff err is set

	begin   sync.Once
	running sync.WaitGroup
}

func newQueue(to io.Writer, end string, failed func()) *queue {
	q := &queue{to: to, end: []byte(end), limit: queueLimit, failed: failed}
	q.changed.L = &q.mu
	return q
}

// Write implements io.Writer. Once handing on has failed it takes nothing more.
func (q *queue) Write(p []byte) (int, error) {
	q.begin.Do(func() { q.running.Go(q.run) })
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.err == nil && q.size > 0 && q.size+len(p) > q.limit {
		q.changed.Wait()
	}
	if q.err != nil {
		return 0, q.err
	}
	last := len(q.waiting) - 1
	if last < 0 || len(q.waiting[last])+len(p) > cap(q.waiting[last]) {
		chunk := q.spare
		if q.spare = nil; cap(chunk) < len(p) {
			chunk = make([]byte, 0, max(bufferLen, len(p)))
		}
		q.waiting, last = append(q.waiting, chunk[:0]), last+1
	}
	q.waiting[last] = append(q.waiting[last], p...)
	q.size += len(p)
	q.changed.Broadcast()
	return len(p), nil
}

// run hands on what waits, until there will be no more.
func (q *queue) run() {
	for {
		chunk := q.next()
		if chunk == nil {
			return
		}
		if n, err := q.to.Write(chunk); err != nil {
			q.fail(chunk, n, err)
			q.failed()
			return
		}
		q.mu.Lock()
		q.spare, q.handing = chunk, false
		q.changed.Broadcast()
		q.mu.Unlock()
	}
}

// next waits for the next chunk; at the end it returns nil.
func (q *queue) next() []byte {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.waiting) == 0 {
		if q.closed {
			return nil
		}
		q.changed.Wait()
	}
	chunk := q.waiting[0]
	q.waiting, q.size, q.handing = q.waiting[1:], q.size-len(chunk), true
	q.changed.Broadcast()
	return chunk
}

// fail settles what it means that only n bytes of a chunk could be written.
func (q *queue) fail(chunk []byte, n int, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.err = err
	_, q.lost = split(chunk, n, q.end)
	for _, c := range q.waiting {
		q.lost += uint64(bytes.Count(c, q.end))
	}
	q.waiting, q.size = nil, 0
	q.changed.Broadcast()
}

// idle tells whether everything has been handed on, and waits for it, but not for
// long.
func (q *queue) idle(atMost time.Duration) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	late := false
	timer := time.AfterFunc(atMost, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		late = true
		q.changed.Broadcast()
	})
	defer timer.Stop()
	busy := func() bool { return q.handing || len(q.waiting) > 0 }
	for busy() && !late {
		q.changed.Wait()
	}
	return !busy()
}

// close waits until everything has been handed on, or that has failed.
func (q *queue) close() error {
	q.mu.Lock()
	q.closed = true
	q.changed.Broadcast()
	q.mu.Unlock()
	q.running.Wait()
	return q.err
}

// split says of lines of which n bytes were written how many bytes were whole
// lines, and how many lines are lost.
func split(lines []byte, n int, end []byte) (kept int, lost uint64) {
	if i := bytes.LastIndex(lines[:n], end); i >= 0 {
		kept = i + len(end)
	}
	return kept, uint64(bytes.Count(lines[kept:], end))
}
