// Package ledger is what a scan remembers: which positions of its plan are
// answered, and how well. It finds duplicates, decides between answers that
// disagree, and tells which positions a retry still owes.
//
// Memory grows with answers, not with probes: positions are kept in pages of
// 16,384, each a sorted list of 2 bytes per answer while that is smaller, and
// else 2 bits per position. Answers come roughly in plan order, so the last few
// pages are at hand, and a new one has 2 bits per position until it is put away.
//
// A Ledger is safe for concurrent use; Put, PutAll and Get do not allocate but for a
// new page, its growth, and to put it away.
package ledger

import (
	"iter"
	"slices"
	"sync"
)

// Mark ranks an answer. A larger mark replaces a smaller one.
type Mark uint8

const (
	None     Mark = iota // no answer
	Rejected             // an ICMP error from on the way
	Answered             // the target itself, but not open
	Open
)

// Outcome says what a Put changed.
type Outcome uint8

const (
	Duplicate Outcome = iota // nothing: as good an answer was there
	Better                   // an answer was there, this one replaces it
	New                      // the first answer at this position
)

// hand is how many pages are at hand: enough for answers that come 49,152
// positions apart.
const hand = 4

// Ledger is a set of marks by position. The zero value is empty and ready.
type Ledger struct {
	mu    sync.Mutex
	pages map[uint64]*page
	hand  [hand]struct { // some of pages, each at its number modulo hand
		number uint64
		*page
		touched words // since it was taken: all its marks are there until it is put away
	}
	spare  *[denseLen]byte // nil, or all zero, for the next new page
	counts [Open + 1]uint64
}

// Answer is a mark for a position, and what it changed there.
type Answer struct {
	Pos     uint64
	Mark    Mark
	Outcome Outcome
}

// Put records an answer. None is no answer, and changes nothing.
func (l *Ledger) Put(pos uint64, mark Mark) Outcome {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.put(pos, mark)
}

// PutAll records answers one after another and enters their outcomes. To lock the
// ledger takes as long as to record one.
func (l *Ledger) PutAll(answers []Answer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range answers {
		answers[i].Outcome = l.put(answers[i].Pos, answers[i].Mark)
	}
}

func (l *Ledger) put(pos uint64, mark Mark) Outcome {
	if mark == None {
		return Duplicate
	}
	old := l.take(pos).put(uint16(pos&(pageLen-1)), mark)
	outcome := Duplicate
	if old < mark {
		outcome = New
		l.counts[mark]++
		if old != None {
			outcome = Better
			l.counts[old]--
		}
	}
	return outcome
}

// Get returns the mark at a position.
func (l *Ledger) Get(pos uint64) Mark {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.look(pos >> pageBits)
	if p == nil {
		return None
	}
	return p.get(uint16(pos & (pageLen - 1)))
}

// Count returns how many positions carry this mark.
func (l *Ledger) Count(mark Mark) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.counts[mark]
}

// Len returns how many positions are answered.
func (l *Ledger) Len() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.counts[Rejected] + l.counts[Answered] + l.counts[Open]
}

// Pending appends to dst the unanswered positions of [from, to) in ascending
// order, as many as its capacity still holds, and returns it with the position
// from which to go on: to, once all were looked at.
func (l *Ledger) Pending(from, to uint64, dst []uint64) ([]uint64, uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for from < to && len(dst) < cap(dst) {
		base := from &^ (pageLen - 1)
		end := min(to-base, pageLen)
		p := l.look(from >> pageBits)
		if p == nil {
			p = &page{}
		}
		var next int
		dst, next = p.pending(dst, base, int(from-base), int(end))
		from = base + uint64(next)
	}
	return dst, from
}

// All yields the answered positions in ascending order. The ledger must not be
// changed meanwhile.
func (l *Ledger) All() iter.Seq2[uint64, Mark] {
	return func(yield func(uint64, Mark) bool) {
		var entries []uint16
		for _, n := range l.numbers() {
			entries = l.pages[n].entries(entries[:0])
			for _, e := range entries {
				if !yield(n<<pageBits+uint64(e>>2), Mark(e&3)) {
					return
				}
			}
		}
	}
}

// numbers returns the numbers of all pages in ascending order.
func (l *Ledger) numbers() []uint64 {
	numbers := make([]uint64, 0, len(l.pages))
	for n := range l.pages {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	return numbers
}

// look returns the page of a number, or nil.
func (l *Ledger) look(number uint64) *page {
	if at := &l.hand[number%hand]; at.page != nil && at.number == number {
		return at.page
	}
	return l.pages[number]
}

// take takes the page of a position at hand, to put a mark there, and makes it if there
// is none.
func (l *Ledger) take(pos uint64) *page {
	number := pos >> pageBits
	at := &l.hand[number%hand]
	if at.page != nil && at.number == number {
		at.touched.add(pos)
		return at.page
	}
	// A page with few marks has 2 bits per position only since it was made.
	if p := at.page; p != nil && p.dense != nil && p.count <= sparseMost {
		l.spare = p.pack(&at.touched)
	}
	at.touched = words{}
	at.touched.add(pos)
	p := l.pages[number]
	if p == nil {
		if l.spare == nil {
			l.spare = new([denseLen]byte)
		}
		p = &page{dense: l.spare}
		l.spare = nil
		if l.pages == nil {
			l.pages = make(map[uint64]*page)
		}
		l.pages[number] = p
	}
	at.number, at.page = number, p
	return p
}
