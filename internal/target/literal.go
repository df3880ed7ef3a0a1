package target

import (
	"net/netip"
	"strconv"
	"strings"
)

// spec is what one word says: a host name, or the addresses from lo to hi, of
// which octets, if not nil, picks some.
type spec struct {
	host   bool
	lo, hi netip.Addr
	octets *octets
}

// parseWord tells the kinds of words apart by their characters alone, so that a
// malformed address is never taken for a host name.
func parseWord(text string) (spec, error) {
	switch {
	case text == "":
		return spec{}, malformed("a target cannot be empty")
	case text[0] == '-':
		return spec{}, malformed("a target does not begin with a hyphen: is this a mistyped option?")
	case strings.Contains(text, "://"):
		return spec{}, malformed("a URL is not a target: give its host name")
	case strings.Contains(text, "%"):
		return spec{}, malformed("a target has no zone: choose the interface with -e")
	case strings.ContainsAny(text, ":[]"):
		return parse6(text)
	case strings.Trim(text, "0123456789.,-*/") == "":
		return parse4(text)
	}
	return spec{host: true}, checkHost(text)
}

// parse4 reads a word made of what IPv4 targets are made of.
func parse4(text string) (spec, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		return spec{lo: a, hi: a}, nil
	}
	if lo, hi, ok := strings.Cut(text, "-"); ok && strings.Count(lo, ".") == 3 && strings.Count(hi, ".") == 3 {
		if strings.Contains(text, "/") {
			return spec{}, malformed("a range of addresses takes no prefix length")
		}
		return parseRange(lo, hi, parseAddr4)
	}
	text, mask, masked := strings.Cut(text, "/")
	list, err := parseOctets(text)
	if err != nil {
		return spec{}, err
	}
	if masked {
		n, err := parseBits(mask, 32)
		if err != nil {
			return spec{}, err
		}
		list.mask(n)
	}
	return spec{lo: list.first().addr(), hi: list.last().addr(), octets: list}.simplified(), nil
}

// simplified drops an octet list that picks everything between its ends: a
// block, or a range in the last octet.
func (s spec) simplified() spec {
	if s.octets.numRanges() == 1 {
		s.octets = nil
	}
	return s
}

func parseAddr4(text string) (netip.Addr, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		return a, nil
	}
	if _, err := parseOctets(text); err != nil {
		return netip.Addr{}, err
	}
	return netip.Addr{}, malformed("an address range reaches from one plain address to another, and %s is not one", quote(text))
}

// parse6 reads a word with a colon or a bracket in it.
func parse6(text string) (spec, error) {
	if lo, hi, ok := strings.Cut(text, "-"); ok {
		if strings.Contains(text, "/") {
			return spec{}, malformed("a range of addresses takes no prefix length")
		}
		return checkMapped(parseRange(lo, hi, parseAddr6))
	}
	addr, mask, masked := strings.Cut(text, "/")
	a, err := parseAddr6(addr)
	if err != nil {
		return spec{}, err
	}
	if !masked {
		return checkMapped(spec{lo: a, hi: a}, nil)
	}
	n, err := parseBits(mask, 128)
	if err != nil {
		return spec{}, err
	}
	lo, hi := bounds(netip.PrefixFrom(a, n))
	return checkMapped(spec{lo: lo, hi: hi}, nil)
}

func parseAddr6(text string) (netip.Addr, error) {
	inner := text
	if strings.HasPrefix(text, "[") && strings.HasSuffix(text, "]") {
		inner = text[1 : len(text)-1]
	}
	if a, err := netip.ParseAddr(inner); err == nil && a.Is6() {
		return a, nil
	}
	colon := strings.LastIndexByte(text, ':')
	if colon > 0 && isDecimal(text[colon+1:]) && (text[colon-1] == ']' || strings.Count(text, ":") == 1) {
		return netip.Addr{}, malformed("a target has no port: give it with -p %s", text[colon+1:])
	}
	return netip.Addr{}, malformed("%s is not an IPv6 address", quote(text))
}

// parseRange reads the two ends of a range with parse.
func parseRange(lo, hi string, parse func(string) (netip.Addr, error)) (spec, error) {
	a, err := parse(lo)
	if err != nil {
		return spec{}, err
	}
	b, err := parse(hi)
	if err != nil {
		return spec{}, err
	}
	if b.Less(a) {
		return spec{}, malformed("the range is reversed: %v is above %v", a, b)
	}
	return spec{lo: a, hi: b}, nil
}

// checkMapped refuses what lies among the IPv4-mapped addresses: as a target it
// could not be scanned, as an exclusion it would protect nobody.
func checkMapped(s spec, err error) (spec, error) {
	if err == nil && s.lo.Is4In6() && s.hi.Is4In6() {
		return spec{}, malformed("an IPv4-mapped address never appears on a network: write %v", s.lo.Unmap())
	}
	return s, err
}

// parseBits reads the prefix length after the slash.
func parseBits(text string, limit int) (int, error) {
	n, err := strconv.Atoi(text)
	if !isDecimal(text) || err != nil || n > limit || len(text) > 1 && text[0] == '0' {
		return 0, malformed("the prefix length %s is not a number from 0 to %d", quote(text), limit)
	}
	return n, nil
}

func isDecimal(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}
