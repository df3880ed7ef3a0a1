// Package ledger is what a scan remembers: which positions of its plan are
// answered, and how well. It finds duplicates, decides between answers that
// disagree, and tells which positions a retry still owes.
//
// Memory grows with answers, not with probes: positions are kept in pages of
// 16,384, each a sorted list of 2 bytes per answer while that is smaller, and
// then 2 bits per position. Answers come roughly in plan order, so the page in
// hand is usually the right one.
//
// A Ledger is safe for concurrent use; Put and Get do not allocate but for the
// growth of a page.
package ledger

import (
	"iter"
	"math"
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

const (
	pageBits = 14
	pageLen  = 1 << pageBits
	// denseLen is the size of a page at 2 bits a position, in bytes; a list of
	// as many bytes is when it pays to change over.
	denseLen   = pageLen / 4
	sparseMost = denseLen / 2
)

// page holds the marks of pageLen positions, in one of two forms.
type page struct {
	// sparse holds offset<<2 | mark in ascending order.
	sparse []uint16
	// dense, once not nil, holds four marks a byte, the first in the low bits.
	dense *[denseLen]byte
	count int // of positions that have a mark
}

// Ledger is a set of marks by position. The zero value is empty and ready.
type Ledger struct {
	mu     sync.Mutex
	pages  map[uint64]*page
	recent *page // the page numbered number, or nil
	number uint64
	counts [Open + 1]uint64
}

// Put records an answer.
func (l *Ledger) Put(pos uint64, mark Mark) Outcome {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.page(pos >> pageBits)
	if p == nil {
		p = &page{}
		if l.pages == nil {
			l.pages = make(map[uint64]*page)
		}
		l.pages[pos>>pageBits] = p
		l.recent = p
	}
	old := p.put(uint16(pos&(pageLen-1)), mark)
	if old >= mark {
		return Duplicate
	}
	l.counts[mark]++
	if old == None {
		return New
	}
	l.counts[old]--
	return Better
}

// Get returns the mark at a position.
func (l *Ledger) Get(pos uint64) Mark {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.page(pos >> pageBits)
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
// after the last one looked at: to, once all were.
func (l *Ledger) Pending(from, to uint64, dst []uint64) ([]uint64, uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for from < to && len(dst) < cap(dst) {
		end := min(to, (from|(pageLen-1))+1)
		if end == 0 { // the last page of the 64-bit space
			end = to
		}
		p := l.page(from >> pageBits)
		if p != nil && p.count == pageLen {
			from = end
			continue
		}
		next := 0 // in p.sparse: the first entry not before from
		if p != nil && p.dense == nil {
			next, _ = slices.BinarySearch(p.sparse, uint16(from&(pageLen-1))<<2)
		}
		for ; from < end && len(dst) < cap(dst); from++ {
			if p != nil {
				offset := uint16(from & (pageLen - 1))
				if p.dense == nil {
					if next < len(p.sparse) && p.sparse[next]>>2 == offset {
						next++
						continue
					}
				} else if p.get(offset) != None {
					continue
				}
			}
			dst = append(dst, from)
		}
	}
	return dst, from
}

// All yields the answered positions in ascending order. The ledger must not be
// changed meanwhile.
func (l *Ledger) All() iter.Seq2[uint64, Mark] {
	return func(yield func(uint64, Mark) bool) {
		numbers := make([]uint64, 0, len(l.pages))
		for n := range l.pages {
			numbers = append(numbers, n)
		}
		slices.Sort(numbers)
		for _, n := range numbers {
			p := l.pages[n]
			if p.dense == nil {
				for _, e := range p.sparse {
					if !yield(n<<pageBits+uint64(e>>2), Mark(e&3)) {
						return
					}
				}
				continue
			}
			for offset := range uint16(pageLen) {
				if m := p.get(offset); m != None && !yield(n<<pageBits+uint64(offset), m) {
					return
				}
			}
		}
	}
}

// page returns the page of a number, or nil, and keeps it at hand.
func (l *Ledger) page(number uint64) *page {
	if l.recent == nil || l.number != number {
		l.recent, l.number = l.pages[number], number
	}
	return l.recent
}

func (p *page) get(offset uint16) Mark {
	if p.dense != nil {
		return Mark(p.dense[offset>>2] >> (offset & 3 * 2) & 3)
	}
	if at, found := p.find(offset); found {
		return Mark(p.sparse[at] & 3)
	}
	return None
}

// find returns where the entry of an offset is, or belongs, in the list.
func (p *page) find(offset uint16) (at int, found bool) {
	at, _ = slices.BinarySearch(p.sparse, offset<<2)
	return at, at < len(p.sparse) && p.sparse[at]>>2 == offset
}

// put raises the mark of an offset and returns the one before.
func (p *page) put(offset uint16, mark Mark) Mark {
	if p.dense != nil {
		old := p.get(offset)
		if mark > old {
			shift := offset & 3 * 2
			p.dense[offset>>2] = p.dense[offset>>2]&^(3<<shift) | byte(mark)<<shift
			if old == None {
				p.count++
			}
		}
		return old
	}
	// Most answers are the latest yet.
	at, found := len(p.sparse), false
	if at > 0 && p.sparse[at-1]>>2 >= offset {
		at, found = p.find(offset)
	}
	if found {
		old := Mark(p.sparse[at] & 3)
		if mark > old {
			p.sparse[at] = offset<<2 | uint16(mark)
		}
		return old
	}
	if len(p.sparse) == sparseMost {
		p.densify()
		return p.put(offset, mark)
	}
	p.sparse = slices.Insert(p.sparse, at, offset<<2|uint16(mark))
	p.count++
	return None
}

func (p *page) densify() {
	p.dense = new([denseLen]byte)
	for _, e := range p.sparse {
		offset := e >> 2
		p.dense[offset>>2] |= byte(e&3) << (offset & 3 * 2)
	}
	p.sparse = nil
}

var _ [math.MaxUint16 - (pageLen-1)<<2 - 3]struct{} // an entry fits 16 bits
