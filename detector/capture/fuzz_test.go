package capture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"testing"
	"testing/iotest"
)

// Any bytes: the reader comes to an end, which is io.EOF or a fault with a
// place, gives frames within their bounds, takes no more memory than it is made
// with and a list of interfaces, and reads the same however the bytes arrive.
func FuzzReader(f *testing.F) {
	for _, s := range samples() {
		f.Add(s.file)
		f.Add(compressed(s.file))
		f.Add(s.file[:len(s.file)-5])
	}
	for _, link := range []uint32{0, 9, 12, 50, 51, 101, 104, 108, 113, 228, 229, 276, 147} {
		f.Add(many(newPcap(binary.BigEndian, link&1 == 0, link)).file[:24+3*76])
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		if len(file) > 1<<16 {
			t.Skip("size is nothing new")
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		packets, sum, err := digest(t, bytes.NewReader(file))
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > 16<<20 {
			t.Errorf("%d bytes were allocated for %d", used, len(file))
		}
		if len(file) > 4096 {
			return
		}
		again, sumAgain, errAgain := digest(t, iotest.OneByteReader(bytes.NewReader(file)))
		if packets != again || sum != sumAgain || err.Error() != errAgain.Error() {
			t.Errorf("%d packets and %v, byte by byte %d packets and %v", packets, err, again, errAgain)
		}
	})
}

// digest reads a capture to its end and checks what must always be true.
func digest(t *testing.T, source io.Reader) (packets, sum uint64, err error) {
	r, err := NewReader(source)
	given := uint64(0)
	for err == nil {
		var frame []byte
		var at uint64
		var device int
		if frame, at, device, err = r.Next(); err != nil {
			break
		}
		given++
		if len(frame) > headroom+MaxFrame || at < earliest || at > latest || device < 0 {
			t.Fatalf("a frame of %d bytes at %d from interface %d", len(frame), at, device)
		}
		for _, b := range frame {
			sum = sum*31 + uint64(b)
		}
		sum = sum*31 + at + uint64(device)
	}
	var fault *Fault
	if errors.As(err, &fault) {
		if r != nil && fault.Frame != r.Stats().Packets+1 {
			t.Fatalf("%v is of frame %d, after %d", err, fault.Frame, r.Stats().Packets)
		}
	} else if err != io.EOF || r == nil {
		t.Fatalf("the end is neither clean nor a fault: %v", err)
	}
	if r == nil {
		return 0, 0, err
	}
	if _, _, _, again := r.Next(); again != err {
		t.Fatalf("the end was %v, and then %v", err, again)
	}
	stats := r.Stats()
	for _, n := range stats.Skipped {
		given += n
	}
	if given != stats.Packets {
		t.Fatalf("%d packets were given or skipped, and %d counted", given, stats.Packets)
	}
	return stats.Packets, sum, err
}
