package output

import (
	"strings"
	"testing"
)

func TestPlainName(t *testing.T) {
	for name, want := range map[string]bool{
		"a": true, "www.example.com": true, "A-1_b.example": true, "1.2.3": true,
		"": false, `a"b`: false, "a b": false, "-a": false, "a\n": false, "é.example": false, strings.Repeat("a", 254): false,
		"10.0.0.1": false, "::1": false,
	} {
		if PlainName(name) != want {
			t.Errorf("%q: %v", name, !want)
		}
	}
}
