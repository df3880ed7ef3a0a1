package filter

import (
	"math/bits"
	"net/netip"
	"strconv"
	"strings"

	"synoptic/bpf/watch"
)

// wants says what stands behind the qualifiers.
func (q qualifiers) wants() string {
	switch q.kind {
	case "host":
		return "an address"
	case "net":
		return "a network"
	case "port":
		return "a port"
	case "portrange":
		return "a port range"
	}
	return "a protocol's number"
}

// value reads one value of the kind that q says.
func (p *parser) value(q qualifiers) *tree {
	w := p.next()
	if why := missing(w.text); why != "" {
		return p.fail(w.offset, "%q is not part of this language: %s", w.text, why)
	}
	switch w.text {
	case "and", "&&", "or", "||", ")":
		return p.fail(w.offset, "a test is missing before %q", w.text)
	}
	switch q.kind {
	case "host":
		return p.host(q, w)
	case "net":
		return p.net(q, w)
	case "port":
		n, ok := p.number(w, 65535, "a port")
		if !ok {
			return &tree{}
		}
		return q.ports(n, n)
	case "portrange":
		return p.portRange(q, w)
	case "proto":
		return p.protocolNumber(q, w)
	}
	_, notAddress := netip.ParseAddr(w.text)
	switch lower := strings.ToLower(w.text); {
	case notAddress == nil:
		return p.fail(w.offset, `%q needs a word before it that says what it is: write "host %s"`, w.text, w.text)
	case isDigits(w.text):
		return p.fail(w.offset, `%q needs a word before it that says what it is: write "port %s"`, w.text, w.text)
	case begins(lower) || lower == "and" || lower == "or" || lower == "not":
		return p.fail(w.offset, "%q is not part of this language: write %q", w.text, lower)
	}
	return p.fail(w.offset, `%q is not part of this language: a test begins with one of "host", "net", "port", "portrange", "src", "dst", `+
		`"tcp", "udp", "icmp", "ip", "ip6", "proto"`, w.text)
}

// protocol is what the bare name of a protocol means. As in tcpdump, icmp is
// IPv4's alone.
func protocol(name string) *tree {
	switch name {
	case "ip":
		return number(watch.TestFamily, 4)
	case "ip6":
		return number(watch.TestFamily, 6)
	case "tcp":
		return number(watch.TestProtocol, 6)
	case "udp":
		return number(watch.TestProtocol, 17)
	}
	return both(number(watch.TestFamily, 4), number(watch.TestProtocol, 1))
}

// ends applies a test to the ends that dir says.
func (q qualifiers) ends(atSource, atDestination *tree) *tree {
	switch q.dir {
	case source:
		return atSource
	case destination:
		return atDestination
	case bothEnds:
		return both(atSource, atDestination)
	}
	return either(atSource, atDestination)
}

func (q qualifiers) prefix(p netip.Prefix) *tree {
	return q.ends(addresses(watch.TestSource, p), addresses(watch.TestDestination, p))
}

// ports needs no test that the protocol has ports: no other has any.
func (q qualifiers) ports(lo, hi uint16) *tree {
	t := q.ends(numbers(watch.TestSourcePort, lo, hi), numbers(watch.TestDestinationPort, lo, hi))
	if q.protocol != "" {
		t = both(protocol(q.protocol), t)
	}
	return t
}

func (p *parser) host(q qualifiers, w word) *tree {
	a, err := netip.ParseAddr(w.text)
	switch {
	case err == nil: // without a zone: % is a word of its own
	case isDigits(w.text):
		return p.fail(w.offset, `%q is not an address: write "port %s" if it is a port`, w.text, w.text)
	case isDotted(w.text) && strings.Count(w.text, ".") < 3:
		return p.fail(w.offset, `%q is not a whole address: write "net %s" if it is a network`, w.text, w.text)
	case isDotted(w.text), strings.Contains(w.text, ":"):
		return p.fail(w.offset, "%q is not an IP address", w.text)
	default:
		return p.fail(w.offset, "%q is not an address, and names are not looked up: write the address", w.text)
	}
	if slash := p.peek(); slash.text == "/" {
		return p.fail(w.offset, `"host" takes one address, not a network: write "net %s/%s"`, w.text, p.words[p.at+1].text)
	}
	if !p.fitsFamily(q, w, a) {
		return &tree{}
	}
	return q.prefix(netip.PrefixFrom(a, a.BitLen()))
}

// fitsFamily fails unless a is of the family of q.
func (p *parser) fitsFamily(q qualifiers, w word, a netip.Addr) bool {
	switch {
	case q.protocol == "ip" && !a.Is4():
		p.fail(w.offset, `"ip" is IPv4, and %q is not: write "ip6"`, w.text)
	case q.protocol == "ip6" && a.Is4():
		p.fail(w.offset, `"ip6" is IPv6, and %q is not: write "ip"`, w.text)
	case a.Is4In6():
		p.fail(w.offset, "%q is how programs write an IPv4 address, not what packets carry: write %s", w.text, a.Unmap())
	}
	return p.err == nil
}

// net reads a network: an address or the first parts of one, and how many bits
// of it count. Without that, as many count as were written.
func (p *parser) net(q qualifiers, w word) *tree {
	a, written := netip.Addr{}, 0
	if parts := strings.Count(w.text, ".") + 1; isDotted(w.text) && parts < 4 {
		a, _ = netip.ParseAddr(w.text + strings.Repeat(".0", 4-parts))
		written = 8 * parts
	} else {
		a, _ = netip.ParseAddr(w.text)
		written = a.BitLen()
	}
	if !a.IsValid() {
		if isDotted(w.text) || strings.Contains(w.text, ":") {
			return p.fail(w.offset, `%q is not a network: write it like 10.0.0.0/8 or fd00::/8`, w.text)
		}
		return p.fail(w.offset, "%q is not a network, and names are not looked up: write it like 10.0.0.0/8 or fd00::/8", w.text)
	}
	if !p.fitsFamily(q, w, a) {
		return &tree{}
	}
	switch {
	case p.accept("/"):
		n, ok := p.number(p.next(), uint64(a.BitLen()), "a prefix length")
		if !ok {
			return &tree{}
		}
		written = int(n)
	case p.accept("mask"):
		n, ok := p.mask(p.next(), a)
		if !ok {
			return &tree{}
		}
		written = n
	case w.text == "0": // tcpdump's manual has it as 0.0.0.0/8, tcpdump as 0.0.0.0/32
		return p.fail(w.offset, `"net 0" is read in two ways: write "net 0.0.0.0/8" or "host 0.0.0.0"`)
	}
	network := netip.PrefixFrom(a, written)
	if masked := network.Masked(); masked != network {
		return p.fail(w.offset, `%s has bits beyond the first %d: write "net %s"`, a, written, masked)
	}
	return q.prefix(network)
}

// mask reads a netmask and returns how many bits it has.
func (p *parser) mask(w word, of netip.Addr) (int, bool) {
	m, err := netip.ParseAddr(w.text)
	switch {
	case !of.Is4():
		p.fail(w.offset, `IPv6 networks have no masks: write "net %s/..."`, of)
		return 0, false
	case err != nil || !m.Is4():
		p.fail(w.offset, "%q is not a netmask: write all four parts, as in 255.0.0.0", w.text)
		return 0, false
	}
	b := m.As4()
	ones := ^(uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3]))
	if ones&(ones+1) != 0 {
		p.fail(w.offset, `%q has ones behind zeros: join networks with "or" instead`, w.text)
		return 0, false
	}
	return bits.LeadingZeros32(ones), true
}

// portRange reads two ports. As in tcpdump they are decimal and the higher may
// come first, and a single port is a range too.
func (p *parser) portRange(q qualifiers, w word) *tree {
	first, last, ranged := strings.Cut(w.text, "-")
	if !ranged {
		n, ok := p.number(w, 65535, "a port range")
		if !ok {
			return &tree{}
		}
		return q.ports(n, n)
	}
	if !isDigits(first) || !isDigits(last) {
		return p.fail(w.offset, "%q is not a port range, and names are not looked up: write it like 1-1024", w.text)
	}
	lo, err := strconv.ParseUint(first, 10, 16)
	hi, err2 := strconv.ParseUint(last, 10, 16)
	if err != nil || err2 != nil {
		return p.fail(w.offset, "%q goes beyond the ports, which are 0 to 65535", w.text)
	}
	return q.ports(uint16(min(lo, hi)), uint16(max(lo, hi)))
}

// protocolNumber reads the number behind proto.
func (p *parser) protocolNumber(q qualifiers, w word) *tree {
	if known := protocolNumber(strings.TrimPrefix(w.text, `\`)); known != "" {
		return p.fail(w.offset, "%q is a name, and protocols are given by number: write %s", w.text, known)
	}
	n, ok := p.number(w, 255, "a protocol")
	if !ok {
		return &tree{}
	}
	t := number(watch.TestProtocol, n)
	switch q.protocol {
	case "ip":
		return both(protocol("ip"), t)
	case "ip6":
		t = both(protocol("ip6"), t)
	}
	switch n {
	case 0, 43, 44, 51, 60:
		return p.fail(w.offset, `%s is an extension header of IPv6, which are looked behind: write "ip proto %s" if you mean IPv4`, w.text, w.text)
	}
	return t
}

// number reads a number in C's notation, as tcpdump does.
func (p *parser) number(w word, most uint64, what string) (uint16, bool) {
	digits, base := w.text, 10
	switch {
	case strings.HasPrefix(digits, "0x"), strings.HasPrefix(digits, "0X"):
		digits, base = digits[2:], 16
	case len(digits) > 1 && digits[0] == '0':
		base = 8
	case !isDigits(digits) && digits != "":
		p.fail(w.offset, "%q is not %s, and names are not looked up: write a number", w.text, what)
		return 0, false
	}
	n, err := strconv.ParseUint(digits, base, 16)
	switch {
	case err != nil && base == 8:
		p.fail(w.offset, "%q is not %s: a number that begins with 0 is octal", w.text, what)
		return 0, false
	case err != nil || n > most:
		p.fail(w.offset, "%q is not %s, which is a number from 0 to %d", w.text, what, most)
		return 0, false
	}
	return uint16(n), true
}

func isDigits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

func isDotted(s string) bool { return s != "" && strings.Trim(s, "0123456789.") == "" }
