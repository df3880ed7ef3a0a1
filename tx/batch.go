package tx

import (
	"cmp"
	"net/netip"
	"slices"

	"synoptic/internal/plan"
)

// Batch is the frames of one span, in a buffer that is reused.
type Batch struct {
	n      int
	frames [plan.MaxSpan]frame
	buf    [plan.MaxSpan * FrameCap]byte
}

// frame is one of a batch.
type frame struct {
	bytes []byte
	dst   netip.Addr
	link  int // index into the Probe's Links
}

// Len returns the number of frames.
func (b *Batch) Len() int { return b.n }

// Frame returns the i-th frame and its target; the bytes are valid until the
// batch is filled again.
func (b *Batch) Frame(i int) ([]byte, netip.Addr) { return b.frames[i].bytes, b.frames[i].dst }

// room returns the bytes of the next frame.
func (b *Batch) room() []byte { return b.buf[b.n*FrameCap : (b.n+1)*FrameCap] }

// add takes the next frame, whose bytes are the first of room.
func (b *Batch) add(size int, dst netip.Addr, link int) {
	b.frames[b.n] = frame{b.room()[:size], dst, link}
	b.n++
}

// fill builds the frames of a span and writes into it how many of its targets
// have no way to them and so no frame. Frames of one link stand together, and of one
// family within it, so that each socket is handed its frames in few calls.
func (b *Batch) fill(f *Framer, span *plan.Span) {
	span.Unreachable, b.n = 0, 0
	for i := range span.Len() {
		size, dst, link := f.Build(b.room(), span.At(i), span.Try)
		if size == 0 {
			span.Unreachable++
			continue
		}
		b.add(size, dst, link)
	}
	if f.mixed {
		slices.SortStableFunc(b.frames[:b.n], func(x, y frame) int {
			return cmp.Or(cmp.Compare(x.link, y.link), cmp.Compare(x.dst.BitLen(), y.dst.BitLen()))
		})
	}
}

// run returns the end of the frames from i on that have the same link and
// family.
func (b *Batch) run(i int) (end int) {
	first := &b.frames[i]
	for end = i + 1; end < b.n && b.frames[end].link == first.link && b.frames[end].dst.Is4() == first.dst.Is4(); end++ {
	}
	return end
}
