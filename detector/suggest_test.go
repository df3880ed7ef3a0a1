package detector

import (
	"fmt"
	"strings"
	"testing"
)

// The distance against its definition, on words of two letters.
func TestEdits(t *testing.T) {
	var naive func(a, b string) int
	naive = func(a, b string) int {
		if a == "" || b == "" {
			return len(a) + len(b)
		}
		d := naive(a[1:], b[1:])
		if a[0] != b[0] {
			d++
		}
		return min(d, naive(a[1:], b)+1, naive(a, b[1:])+1)
	}
	word := func(n int) string {
		return strings.NewReplacer("0", "x", "1", "y").Replace(fmt.Sprintf("%b", n))
	}
	for i := range 40 {
		for j := range 40 {
			if a, b := word(i), word(j); edits(a, b) != naive(a, b) {
				t.Fatalf("edits(%s, %s) = %d, want %d", a, b, edits(a, b), naive(a, b))
			}
		}
	}
}
