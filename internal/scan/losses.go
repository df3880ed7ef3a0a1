package scan

import (
	"sync"
	"time"
)

// Lost counts packets that this machine dropped, whosever they were.
type Lost struct {
	Ring   uint64 `json:"ring"`   // received, and no room for them in the receive ring
	Kernel uint64 `json:"kernel"` // received, and dropped before it
	Device uint64 `json:"device"` // sent, and dropped by the device that took them
}

func (l Lost) total() uint64 { return l.Ring + l.Kernel + l.Device }

// samplePause is how often the counters of drops are read while a scan runs, and
// so how well they tell when something was dropped.
const samplePause = 20 * time.Millisecond

// marksKept are so many samples that the longest wait for an answer fits in, and
// that they go back further than an adaptive rate does: 80 s.
const marksKept = 4096

// losses tells which probes a loss of this machine may concern, without a memory
// for each: what was dropped between two looks at the counters is a probe sent
// between them, or the answer to one, and that is due within a known time. So the
// probes of the pass from that time before the first look until the second are
// sent again, where they have no answer.
//
//	          mark     look        look
//	sent ───────┬───────┬───────────┬────
//	            │◄ due ►│◄ dropped ►│
//	            └─── owed: low of the mark to high of the look
type losses struct {
	mu    sync.Mutex
	marks []mark // of the pass in hand, ascending
	read  Lost
	local ranges // to be sent again, because this machine dropped something
	path  ranges // and because the path did, at a rate that it does not carry
}

// mark is how far a pass had come at a time.
type mark struct {
	at time.Time
	reach
}

// forget is for before a pass that sends everything that is owed. It returns what
// this machine owed.
func (l *losses) forget() (local ranges) {
	l.mu.Lock()
	defer l.mu.Unlock()
	local = l.local
	l.marks, l.local, l.path = nil, nil, nil
	return local
}

// sample enters a look at the counters: what they are, and where the pass was before
// they were read. It returns how many packets were dropped since the last look, and
// since when the probes are that they may concern.
func (l *losses) sample(p *pass, before mark, read Lost, due time.Duration) (dropped uint64, since time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	read.Device = max(read.Device, l.read.Device) // less what was refused, which is read later
	if dropped = read.total() - l.read.total(); dropped > 0 {
		since = before.at.Add(-due)
		if n := len(l.marks); n > 0 {
			since = l.marks[n-1].at.Add(-due)
		}
		l.local = l.local.add(p.want.within(l.lowAt(p, since), p.reached().high)...)
	}
	l.read = read
	l.marks = append(l.marks, before)
	if len(l.marks) > marksKept {
		l.marks = l.marks[1:]
	}
	return dropped, since
}

// congested says that the path lost probes sent since a time because they were
// too many.
func (l *losses) congested(p *pass, since time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.path = l.path.add(p.want.within(l.lowAt(p, since), p.reached().high)...)
}

// lowAt returns a position below which everything was sent before a time.
func (l *losses) lowAt(p *pass, at time.Time) uint64 { return l.reachAt(p, at).low }

// reachAt returns how far the pass had come before a time.
func (l *losses) reachAt(p *pass, at time.Time) reach {
	for i := len(l.marks) - 1; i >= 0; i-- {
		if !l.marks[i].at.After(at) {
			return l.marks[i].reach
		}
	}
	return p.start
}

// settled returns how far the pass had come so long ago that all answers to what
// was sent until then have come.
func (l *losses) settled(p *pass, now time.Time, due time.Duration) reach {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reachAt(p, now.Add(-due))
}

// owed returns what is to be sent again.
func (l *losses) owed() (local, path ranges) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.local, l.path
}

// counters returns them as they were read last.
func (l *losses) counters() Lost {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.read
}
