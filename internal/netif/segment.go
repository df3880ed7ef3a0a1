package netif

import (
	"iter"
	"math"
	"net/netip"
	"slices"
)

// class is what the kernel would do with a probe.
type class uint8

const (
	gateway class = iota // hand it to answer.via
	direct               // hand it to the target itself, which is on the link
	local                // deliver it to this machine
	skipped              // send it to nobody in particular
)

// answer is the kernel's decision for a segment; comparable.
type answer struct {
	class  class
	link   int        // interface index; 0 for local and skipped
	via    netip.Addr // class gateway: of either family, zero with a router's link address given
	source netip.Addr // zero if the kernel knows none
	why    string     // class skipped: see Skip.Why
}

// segment is a run of targets for which one answer holds. Addresses between
// first and last which are no targets may have another.
type segment struct {
	answer
	first, last netip.Addr
	targets     uint64 // saturating
}

// walk cuts the targets where the answer can change, asks once for every
// resulting segment, and returns the segments, sorted; neighbours differ in
// their answers. starts returns, sorted, where a family's answer can
// change: from each start up to the next, every address has the same answer.
func walk(targets Ranges, starts func(is4 bool) ([]netip.Addr, error), ask func(netip.Addr) (answer, error)) ([]segment, error) {
	var segments []segment
	var cuts [2][]netip.Addr // IPv6, IPv4; nil until a target needs them
	var current answer
	var currentLast netip.Addr // of the stretch current is for; zero before the first
	for first, last := range targets.Ranges() {
		family := 0
		if first.Is4() {
			family = 1
		}
		if cuts[family] == nil {
			var err error
			if cuts[family], err = starts(first.Is4()); err != nil {
				return nil, err
			}
		}
		for from := first; ; {
			if !currentLast.IsValid() || currentLast.Less(from) {
				a, err := ask(from)
				if err != nil {
					return nil, err
				}
				current, currentLast = a, stretchEnd(cuts[family], from)
			}
			to := last
			if currentLast.Less(to) {
				to = currentLast
			}
			segments = appendSegment(segments, current, from, to)
			if to == last {
				break
			}
			from = to.Next()
		}
	}
	return segments, nil
}

// appendSegment appends the targets [first, last], or widens the last segment if
// its answer is the same: what lies between is no target.
func appendSegment(segments []segment, a answer, first, last netip.Addr) []segment {
	if n := len(segments); n > 0 {
		if seg := &segments[n-1]; seg.answer == a && seg.first.Is4() == first.Is4() {
			seg.last = last
			seg.targets = addSat(seg.targets, count(first, last))
			return segments
		}
	}
	return append(segments, segment{answer: a, first: first, last: last, targets: count(first, last)})
}

// cut yields the targets again, cut where segments meet, with the segment that
// each stretch is in.
func cut(segments []segment, targets Ranges) iter.Seq2[*segment, Stretch] {
	return func(yield func(*segment, Stretch) bool) {
		from := 0 // the first segment that is not below the range
		for first, last := range targets.Ranges() {
			for segments[from].last.Less(first) {
				from++ // both are sorted, and every target is in a segment
			}
			for i := from; i < len(segments) && !last.Less(segments[i].first); i++ {
				seg := &segments[i]
				s := Stretch{first, last}
				if s.First.Less(seg.first) {
					s.First = seg.first
				}
				if seg.last.Less(s.Last) {
					s.Last = seg.last
				}
				if !yield(seg, s) {
					return
				}
			}
		}
	}
}

// stretchEnd returns the last address of the stretch that a is in.
func stretchEnd(starts []netip.Addr, a netip.Addr) netip.Addr {
	i, found := slices.BinarySearchFunc(starts, a, netip.Addr.Compare)
	if found {
		i++
	}
	if i < len(starts) {
		return starts[i].Prev()
	}
	return maxAddr(a.Is4())
}

// addStarts appends where p begins and where the addresses after it do.
func addStarts(starts []netip.Addr, p netip.Prefix) []netip.Addr {
	p = p.Masked()
	starts = append(starts, p.Addr())
	if after := lastOf(p).Next(); after.IsValid() {
		starts = append(starts, after)
	}
	return starts
}

// lastOf returns the highest address of p.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for bit := p.Bits(); bit < len(b)*8; bit++ {
		b[bit/8] |= 0x80 >> (bit % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

func maxAddr(is4 bool) netip.Addr {
	if is4 {
		return netip.AddrFrom4([4]byte{255, 255, 255, 255})
	}
	b := [16]byte{}
	for i := range b {
		b[i] = 0xff
	}
	return netip.AddrFrom16(b)
}

// count returns how many addresses [first, last] holds, at most 2^64-1.
func count(first, last netip.Addr) uint64 {
	f, l := first.As16(), last.As16()
	fHi, fLo := halves(f)
	lHi, lLo := halves(l)
	hi, n := lHi-fHi, lLo-fLo
	if lLo < fLo {
		hi--
	}
	if hi > 0 {
		return math.MaxUint64
	}
	return addSat(n, 1)
}

func halves(b [16]byte) (hi, lo uint64) {
	for i := range 8 {
		hi, lo = hi<<8|uint64(b[i]), lo<<8|uint64(b[8+i])
	}
	return hi, lo
}

func addSat(a, b uint64) uint64 {
	if a > math.MaxUint64-b {
		return math.MaxUint64
	}
	return a + b
}
