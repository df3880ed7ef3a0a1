package ledger

import (
	"encoding"
	"encoding/binary"
	"errors"
	"math"
	"math/bits"
	"slices"
)

// A ledger in bytes is its pages in ascending order, with numbers in the form of
// encoding/binary's Uvarint:
//
//	how many pages
//	for each page
//	    how many numbers of pages were left out since the last one
//	    how many entries the list has, or 0 for 2 bits per position
//	    the entries, 2 bytes each, the low one first, or the 4096 bytes
//
// The form of a page follows from its answers, so equal ledgers have equal bytes.
var _ encoding.BinaryAppender = (*Ledger)(nil)

// lastPage is the number of the page that ends the 64-bit space.
const lastPage = math.MaxUint64 >> pageBits

var errMalformed = errors.New("malformed ledger")

// AppendBinary appends all that the ledger holds to dst. No Put comes between,
// so what it appends was true at one time. The error is always nil.
func (l *Ledger) AppendBinary(dst []byte) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	numbers := l.numbers()
	size := binary.MaxVarintLen64
	for _, p := range l.pages {
		size += 2*binary.MaxVarintLen64 + min(2*p.count, denseLen)
	}
	dst = slices.Grow(dst, size)
	dst = binary.AppendUvarint(dst, uint64(len(numbers)))
	var entries []uint16
	next := uint64(0)
	for _, n := range numbers {
		dst = binary.AppendUvarint(dst, n-next)
		next = n + 1
		p := l.pages[n]
		if p.count > sparseMost {
			dst = append(binary.AppendUvarint(dst, 0), p.dense[:]...)
			continue
		}
		entries = p.entries(entries[:0])
		dst = binary.AppendUvarint(dst, uint64(len(entries)))
		for _, e := range entries {
			dst = binary.LittleEndian.AppendUint16(dst, e)
		}
	}
	return dst, nil
}

// UnmarshalBinary replaces what the ledger holds by what AppendBinary appended.
// Other bytes are an error, and change nothing. It keeps no reference to data.
func (l *Ledger) UnmarshalBinary(data []byte) error {
	r := reader{data: data}
	count := r.number()
	if count > uint64(len(data)/4) { // a page has no fewer bytes
		return errMalformed
	}
	pages := make(map[uint64]*page, count)
	var counts [Open + 1]uint64
	next := uint64(0)
	for range count {
		skipped, entries := r.number(), r.number()
		if skipped > lastPage || next > lastPage-skipped || entries > sparseMost {
			return errMalformed
		}
		p := &page{}
		if entries == 0 {
			if b := r.bytes(denseLen); b != nil {
				p.dense = (*[denseLen]byte)(slices.Clone(b))
			}
		} else if b := r.bytes(2 * int(entries)); b != nil {
			p.sparse = make([]uint16, entries)
			for i := range p.sparse {
				p.sparse[i] = binary.LittleEndian.Uint16(b[2*i:])
			}
		}
		if r.short || !p.tally(&counts) {
			return errMalformed
		}
		pages[next+skipped] = p
		next += skipped + 1
	}
	if r.short || len(r.data) > 0 {
		return errMalformed
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pages, l.counts = pages, counts
	clear(l.hand[:])
	return nil
}

// tally counts the marks of a page that was read, for itself and into counts. It
// returns whether the page is one that Put could have made.
func (p *page) tally(counts *[Open + 1]uint64) bool {
	if p.dense == nil {
		previous := -1
		for _, e := range p.sparse {
			if Mark(e&3) == None || int(e>>2) <= previous {
				return false
			}
			previous = int(e >> 2)
			counts[e&3]++
		}
		p.count = len(p.sparse)
		return true
	}
	for offset := 0; offset < pageLen; offset += perWord {
		w := p.word(offset)
		one, two := w&low, w>>1&low
		open := bits.OnesCount64(one & two)
		counts[Open] += uint64(open)
		counts[Rejected] += uint64(bits.OnesCount64(one) - open)
		counts[Answered] += uint64(bits.OnesCount64(two) - open)
		p.count += bits.OnesCount64(one | two)
	}
	return p.count > sparseMost
}

// reader takes numbers and bytes from data, until it is short of them.
type reader struct {
	data  []byte
	short bool
}

func (r *reader) number() uint64 {
	v, n := binary.Uvarint(r.data)
	// A last byte of 0 would be a second way to write a number.
	if n <= 0 || n > 1 && r.data[n-1] == 0 {
		r.short, r.data = true, nil
		return 0
	}
	r.data = r.data[n:]
	return v
}

func (r *reader) bytes(n int) []byte {
	if len(r.data) < n {
		r.short, r.data = true, nil
		return nil
	}
	b := r.data[:n]
	r.data = r.data[n:]
	return b
}
