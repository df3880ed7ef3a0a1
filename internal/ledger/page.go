package ledger

import (
	"encoding/binary"
	"math"
	"math/bits"
	"slices"
)

const (
	pageBits = 14
	pageLen  = 1 << pageBits
	// denseLen is the size of a page at 2 bits a position, in bytes; a list of
	// as many bytes is when it pays to change over.
	denseLen   = pageLen / 4
	sparseMost = denseLen / 2
	// perWord is how many marks 64 bits hold.
	perWord = 32
)

// page holds the marks of pageLen positions, in one of two forms.
type page struct {
	// sparse holds offset<<2 | mark in ascending order, at most sparseMost.
	sparse []uint16
	// dense, if not nil, holds four marks a byte, the first in the low bits.
	dense *[denseLen]byte
	count int // of positions that have a mark
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
		at, shift := &p.dense[offset>>2], offset&3*2
		old := Mark(*at >> shift & 3)
		if mark > old {
			*at = *at&^(3<<shift) | byte(mark)<<shift
			if old == None {
				p.count++
			}
		}
		return old
	}
	at, found := p.find(offset)
	if found {
		old := Mark(p.sparse[at] & 3)
		if mark > old {
			p.sparse[at] = offset<<2 | uint16(mark)
		}
		return old
	}
	if len(p.sparse) == sparseMost {
		p.unpack()
		return p.put(offset, mark)
	}
	p.sparse = slices.Insert(p.sparse, at, offset<<2|uint16(mark))
	p.count++
	return None
}

// unpack turns a list into 2 bits per position.
func (p *page) unpack() {
	p.dense = new([denseLen]byte)
	for _, e := range p.sparse {
		offset := e >> 2
		p.dense[offset>>2] |= byte(e&3) << (offset & 3 * 2)
	}
	p.sparse = nil
}

// words is a set of a page's words.
type words [pageLen / perWord / 64]uint64

// add adds the word of a position.
func (w *words) add(pos uint64) {
	w[pos/(64*perWord)%uint64(len(w))] |= 1 << (pos / perWord % 64)
}

// pack turns 2 bits per position into a list, and returns their memory, cleared. All
// marks are in some words.
func (p *page) pack(some *words) *[denseLen]byte {
	memory := p.dense
	list, n := make([]uint16, p.count+1), 0
	for i, left := range some {
		for ; left != 0; left &= left - 1 {
			n = p.list(list, n, perWord*(64*i+bits.TrailingZeros64(left)))
		}
	}
	p.sparse, p.dense = list[:n], nil
	clear(memory[:])
	return memory
}

// entries appends the entries of a page in either form, in ascending order.
func (p *page) entries(dst []uint16) []uint16 {
	if p.dense == nil {
		return append(dst, p.sparse...)
	}
	n := len(dst)
	dst = slices.Grow(dst, p.count+1)[:n+p.count+1] // see list
	for offset := 0; offset < pageLen; offset += perWord {
		n = p.list(dst, n, offset)
	}
	return dst[:n]
}

// list writes the entries of the word at an offset to dst from n on, and returns where
// they end. There is room for one more than there are: in a page with few answers a
// word has one or none, and to write it in any case is faster than to ask.
func (p *page) list(dst []uint16, n, offset int) int {
	w := p.word(offset)
	for left := marked(w); ; {
		at := bits.TrailingZeros64(left) % 64
		dst[n] = uint16(offset<<2+at<<1) | uint16(w>>at&3)
		n += int(left >> at & 1)
		if left &= left - 1; left == 0 {
			return n
		}
	}
}

// pending appends base plus the offsets of [from, to) that have no mark, as many
// as the capacity of dst holds, and returns the offset to go on from.
func (p *page) pending(dst []uint64, base uint64, from, to int) ([]uint64, int) {
	if p.count == pageLen {
		return dst, to
	}
	if p.dense == nil {
		next, _ := p.find(uint16(from))
		for ; from < to && len(dst) < cap(dst); from++ {
			if next < len(p.sparse) && int(p.sparse[next]>>2) == from {
				next++
				continue
			}
			dst = append(dst, base+uint64(from))
		}
		return dst, from
	}
	for from < to {
		before := from % perWord
		free := ^marked(p.word(from)) & low >> (2 * before) << (2 * before)
		from -= before
		for ; free != 0; free &= free - 1 {
			offset := from + bits.TrailingZeros64(free)/2
			if offset >= to {
				return dst, to
			}
			if len(dst) == cap(dst) {
				return dst, offset
			}
			dst = append(dst, base+uint64(offset))
		}
		from = min(from+perWord, to)
	}
	return dst, to
}

// low has the low bit of every mark of a word.
const low = 0x5555555555555555

// marked has the low bit of each mark of w that is not None.
func marked(w uint64) uint64 { return (w | w>>1) & low }

// word returns the perWord marks of a dense page around an offset, the first in
// the low bits.
func (p *page) word(offset int) uint64 {
	return binary.LittleEndian.Uint64(p.dense[offset/perWord*8:])
}

var _ [math.MaxUint16 - (pageLen-1)<<2 - 3]struct{} // an entry fits 16 bits
