package scan

import (
	"math/bits"
	"sync"
	"time"
)

// histogram counts durations in buckets of at most 1/32 relative width, so that
// quantiles cost a kilobyte or two and no sorting.
type histogram struct {
	mu      sync.Mutex
	count   uint64
	largest time.Duration
	buckets [64 * mantissas]uint32
}

const (
	mantissaBits = 5
	mantissas    = 1 << mantissaBits
)

// bucket numbers durations below 2^mantissaBits ns exactly, larger ones by
// exponent and leading bits.
func bucket(d time.Duration) int {
	v := uint64(d)
	exponent := max(bits.Len64(v)-mantissaBits-1, 0)
	return exponent*mantissas + int(v>>exponent)
}

// middle returns a duration in the middle of a bucket.
func middle(b int) time.Duration {
	if b < 2*mantissas {
		return time.Duration(b)
	}
	exponent := b/mantissas - 1
	return time.Duration((uint64(b%mantissas+mantissas)<<1 + 1) << exponent >> 1)
}

func (h *histogram) add(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.count++
	h.largest = max(h.largest, d)
	h.buckets[bucket(max(d, 0))]++
}

func (h *histogram) max() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.largest
}

// quantile returns the duration below which a share q of all lie, 0 if there
// are none.
func (h *histogram) quantile(q float64) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	rank := uint64(q * float64(h.count))
	for b, n := range h.buckets {
		if rank < uint64(n) {
			return min(middle(b), h.largest)
		}
		rank -= uint64(n)
	}
	return h.largest
}
