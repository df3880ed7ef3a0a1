package detector

import (
	"math"
	"testing"
)

func TestGrown(t *testing.T) {
	for _, tt := range []struct {
		was, now, count uint32
		want            uint64
	}{
		{1, 5, 5, 4}, {5, 5, 5, 0}, {5, 1, 5, 0}, {math.MaxUint32, 2, 2, 3},
	} {
		count := tt.was
		if got := grown(&count, tt.now); got != tt.want || count != tt.count {
			t.Errorf("from %d to %d grown() = %d and leaves %d, want %d and %d", tt.was, tt.now, got, count, tt.want, tt.count)
		}
	}
}
