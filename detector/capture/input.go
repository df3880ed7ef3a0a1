package capture

import (
	"bufio"
	"io"
)

// input is the file as a stream that knows how far it has been read.
type input struct {
	r      *bufio.Reader
	offset uint64 // bytes read
	packed bool   // the bytes come from a decompressor
}

// read fills b. If it cannot, n says how much of b it has filled; with an
// error of io.EOF that is nothing.
func (in *input) read(b []byte) (n int, err error) {
	n, err = io.ReadFull(in.r, b)
	in.offset += uint64(n)
	return n, err
}

// skip reads n bytes and forgets them. If it cannot, skipped says how many
// there were.
func (in *input) skip(n uint64) (skipped uint64, err error) {
	for skipped < n && err == nil {
		var step int
		step, err = in.r.Discard(int(min(n-skipped, 1<<30)))
		skipped += uint64(step)
	}
	in.offset += skipped
	return skipped, err
}
