package output

import (
	"net/netip"
	"strings"
)

// PlainName reports whether a name is made of what host names are made of (RFC
// 1123 section 2.1, and the underscore), and is not an address. Whoever owns an
// address names it, and outputs write names as they are.
func PlainName(name string) bool {
	if name == "" || len(name) > 253 || name[0] == '-' ||
		strings.Trim(strings.ToLower(name), "0123456789abcdefghijklmnopqrstuvwxyz-._") != "" {
		return false
	}
	_, err := netip.ParseAddr(name)
	return err != nil
}
