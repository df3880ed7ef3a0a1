package main

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"synoptic/bpf/watch"
	"synoptic/internal/cli"
)

// parseCount reads a number of an option.
func parseCount(option, text string, low, high uint64) (uint64, error) {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n < low || n > high {
		return 0, fmt.Errorf("%s takes a number from %d to %d, not %q", option, low, high, text)
	}
	return n, nil
}

// parseTime reads a duration with its unit.
func parseTime(option, text string, low, high time.Duration) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d < low || d > high {
		return 0, fmt.Errorf("%s takes a time up to %v with its unit, as in 300ms or 3s, not %q", option, high, text)
	}
	return d, nil
}

// parseWord checks a word that is one of a few.
func parseWord(option, text string, words ...string) error {
	if slices.Contains(words, text) {
		return nil
	}
	if near := cli.Nearest(text, words); near != "" {
		return fmt.Errorf("%s takes %s, not %q: did you mean %s?", option, strings.Join(words, ", "), text, near)
	}
	return fmt.Errorf("%s takes %s, not %q", option, strings.Join(words, ", "), text)
}

// parseSize reads bytes, as in 64MiB.
func parseSize(option, text string) (uint64, error) {
	number := strings.TrimRight(text, "KMGiB")
	unit, ok := map[string]uint64{"": 1, "B": 1, "K": 1 << 10, "KiB": 1 << 10, "M": 1 << 20, "MiB": 1 << 20, "G": 1 << 30, "GiB": 1 << 30}[text[len(number):]]
	n, err := strconv.ParseUint(number, 10, 64)
	if !ok || err != nil || n > watch.MaxMemory || n*unit < watch.MinMemory || n*unit > watch.MaxMemory {
		return 0, fmt.Errorf("%s takes a size from 4MiB to 16GiB, as in 64MiB, not %q", option, text)
	}
	return n * unit, nil
}

// parsePorts reads a list of ports, or none.
func parsePorts(option, text string) (ports []uint16, err error) {
	if text == "none" {
		return nil, nil
	}
	for word := range strings.SplitSeq(text, ",") {
		n, err := strconv.ParseUint(word, 10, 16)
		if err != nil || n == 0 {
			return nil, fmt.Errorf("%s takes ports from 1 to 65535 with commas between them, or none, not %q", option, text)
		}
		ports = append(ports, uint16(n))
	}
	slices.Sort(ports)
	return slices.Compact(ports), nil
}

// parsePrefix reads a block of addresses, or one address. Bits beyond the prefix
// are a mistake: a block that is larger than meant would hide scanners.
func parsePrefix(option, text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	switch {
	case err != nil || p.Addr().Is4In6():
		return netip.Prefix{}, fmt.Errorf("%s takes an address or a block, as in 192.0.2.7 or 10.0.0.0/8, not %q", option, text)
	case p != p.Masked():
		return netip.Prefix{}, fmt.Errorf("%s %s has bits beyond its prefix: did you mean %v, or %v alone?", option, text, p.Masked(), p.Addr())
	}
	return p, nil
}

// parseEndpoint reads a destination address and its port. An invalid address is
// any.
func parseEndpoint(option, text string) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(text)
	n, portErr := strconv.ParseUint(port, 10, 16)
	if err == nil && portErr == nil && n > 0 && port == strings.TrimLeft(port, "+") {
		if host == "*" {
			return netip.AddrPortFrom(netip.Addr{}, uint16(n)), nil
		}
		if a, err := netip.ParseAddr(host); err == nil && a.Zone() == "" {
			return netip.AddrPortFrom(a.Unmap(), uint16(n)), nil
		}
	}
	return netip.AddrPort{}, fmt.Errorf("%s takes an address and a port, as in 10.0.0.1:53, [fd00::1]:53 or *:53, not %q", option, text)
}

// checkListen checks an address to listen at. Its host must be said, so that
// nobody listens to the whole world by a missing word.
func checkListen(option, text string) error {
	host, port, err := net.SplitHostPort(text)
	if _, portErr := strconv.ParseUint(port, 10, 16); err != nil || portErr != nil || host == "" {
		return fmt.Errorf("%s takes an address and a port to listen at, as in 127.0.0.1:9464, not %q", option, text)
	}
	return nil
}
