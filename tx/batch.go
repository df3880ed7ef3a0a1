package tx

import (
	"net/netip"

	"synoptic/internal/plan"
)

// Batch is the frames of one span, in a buffer that is reused.
type Batch struct {
	n      int
	frames [plan.MaxSpan][]byte
	dst    [plan.MaxSpan]netip.Addr
	buf    [plan.MaxSpan * FrameCap]byte
}

// Len returns the number of frames.
func (b *Batch) Len() int { return b.n }

// Frame returns the i-th frame and its target; the bytes are valid until the
// batch is filled again.
func (b *Batch) Frame(i int) ([]byte, netip.Addr) { return b.frames[i], b.dst[i] }

// fill builds the frames of a span and returns how many of its targets have no
// link address and so no frame.
func (b *Batch) fill(f *Framer, span plan.Span) (unreachable int) {
	b.n = 0
	for i := range span.Len() {
		dst := b.buf[b.n*FrameCap : (b.n+1)*FrameCap]
		size, addr := f.Build(dst, span.At(i), span.Try)
		if size == 0 {
			unreachable++
			continue
		}
		b.frames[b.n], b.dst[b.n] = dst[:size], addr
		b.n++
	}
	return unreachable
}
