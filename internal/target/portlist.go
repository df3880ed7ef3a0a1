package target

import (
	"net"
	"strconv"
	"strings"
)

// ParsePorts reads a list of ports as nmap's -p takes it. Items are separated
// by commas:
//
//	80            a port; 0 only when it is written
//	8000-8100     a range
//	-100          from 1
//	60000-        up to 65535
//	-             1-65535
//	http          a service name
//	T:80          the same as 80; any other protocol is an error
//
// Repetition and order do not matter. Wildcards in names and nmap's [brackets]
// are not supported, and a list that has them is an error that says so.
// Service names come from the system's services database (services(5)).
func ParsePorts(list string) (Ports, error) {
	return ParsePortsFunc(list, func(service string) (uint16, error) {
		n, err := net.LookupPort("tcp", service)
		return uint16(n), err
	})
}

// ParsePortsFunc is ParsePorts with another source of service names. lookup
// returns the TCP port of a service, which has at least one letter in its name.
func ParsePortsFunc(list string, lookup func(service string) (uint16, error)) (Ports, error) {
	if strings.TrimSpace(list) == "" {
		return Ports{}, malformed("the port list is empty")
	}
	var asked [1 << 16]bool
	for item := range strings.SplitSeq(list, ",") {
		lo, hi, err := parsePortItem(strings.TrimSpace(item), lookup)
		if err != nil {
			return Ports{}, err
		}
		for p := lo; p <= hi; p++ {
			asked[p] = true
		}
	}
	var ports []uint16
	for p, ok := range asked {
		if ok {
			ports = append(ports, uint16(p))
		}
	}
	return PortsOf(ports...), nil
}

// parsePortItem returns the first and last port of an item. They are int so
// that a loop can pass 65535.
func parsePortItem(item string, lookup func(string) (uint16, error)) (lo, hi int, err error) {
	if protocol, rest, ok := strings.Cut(item, ":"); ok {
		if err := checkProtocol(item, protocol); err != nil {
			return 0, 0, err
		}
		item = strings.TrimSpace(rest)
	}
	switch {
	case item == "":
		return 0, 0, malformed("the port list has an empty item: is there a comma too many?")
	case strings.ContainsAny(item, "*?"):
		return 0, 0, malformed("port %s: wildcards are not supported", quote(item))
	case strings.ContainsAny(item, "[]"):
		return 0, 0, malformed("port %s: brackets are not supported", quote(item))
	case strings.Trim(item, "0123456789-") != "":
		port, err := lookUpService(item, lookup)
		return port, port, err
	}
	first, last, isRange := strings.Cut(item, "-")
	if !isRange {
		lo, err = parsePort(item)
		return lo, lo, err
	}
	lo, hi = 1, 65535
	if first != "" {
		if lo, err = parsePort(first); err != nil {
			return 0, 0, err
		}
	}
	if last != "" {
		if hi, err = parsePort(last); err != nil {
			return 0, 0, err
		}
	}
	if lo > hi {
		return 0, 0, malformed("the port range %s is reversed", quote(item))
	}
	return lo, hi, nil
}

func checkProtocol(item, protocol string) error {
	switch protocol {
	case "T", "t":
		return nil
	case "U", "u", "S", "s", "P", "p":
		return malformed("port %s: only TCP is supported", quote(item))
	}
	return malformed("port %s: %s is not a protocol", quote(item), quote(protocol))
}

func parsePort(text string) (int, error) {
	if !isDecimal(text) {
		return 0, malformed("port %s is not a number", quote(text))
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return 0, malformed("port %s is above 65535", quote(text))
	}
	return int(n), nil
}

// lookUpService looks up a name made of what service names are made of: RFC
// 6335 section 5.1 with the dots, underscores and plus signs that older ones
// in /etc/services have.
func lookUpService(name string, lookup func(string) (uint16, error)) (int, error) {
	const characters = hostCharacters + ".+"
	if strings.ContainsFunc(name, func(r rune) bool { return !strings.ContainsRune(characters, r) }) {
		return 0, malformed("port %s is neither a number nor a service name", quote(name))
	}
	if strings.HasPrefix(name, "-") {
		return 0, malformed("port %s is neither a range nor a service name", quote(name))
	}
	port, err := lookup(name)
	if err != nil {
		return 0, malformed("the TCP service %s is unknown", quote(name))
	}
	return int(port), nil
}
