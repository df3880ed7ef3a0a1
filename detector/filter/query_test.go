package filter

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"

	"synoptic/bpf/watch"
)

// query is what an expression means, written down a second time: it is printed
// in the spellings of the language and decides about a packet by itself.
type query struct {
	op   string // "and", "or", "not"; "" for a primitive
	x, y *query // y only of and, or

	protocol string // "tcp", "udp", "icmp", "ip", "ip6" or ""
	kind     string // "host", "net", "port", "portrange", "proto"; "" for a bare protocol
	dir      string // "src", "dst", "and", "or"
	prefix   netip.Prefix
	lo, hi   uint16
}

func (q *query) matches(p *watch.Packet) bool {
	switch q.op {
	case "and":
		return q.x.matches(p) && q.y.matches(p)
	case "or":
		return q.x.matches(p) || q.y.matches(p)
	case "not":
		return !q.x.matches(p)
	}
	switch q.protocol {
	case "tcp":
		if p.Protocol != 6 {
			return false
		}
	case "udp":
		if p.Protocol != 17 {
			return false
		}
	case "icmp":
		if p.Protocol != 1 || !p.Source.Is4() {
			return false
		}
	case "ip":
		if !p.Source.Is4() {
			return false
		}
	case "ip6":
		if !p.Source.Is6() {
			return false
		}
	}
	var src, dst bool
	switch q.kind {
	case "":
		return true
	case "proto":
		return q.lo == uint16(p.Protocol)
	case "host":
		src, dst = p.Source == q.prefix.Addr(), p.Destination == q.prefix.Addr()
	case "net":
		src, dst = q.prefix.Contains(p.Source), q.prefix.Contains(p.Destination)
	default:
		src = p.HasPorts && p.SourcePort >= q.lo && p.SourcePort <= q.hi
		dst = p.HasPorts && p.DestinationPort >= q.lo && p.DestinationPort <= q.hi
	}
	switch q.dir {
	case "src":
		return src
	case "dst":
		return dst
	case "and":
		return src && dst
	}
	return src || dst
}

// values are what random queries and packets are made of.
type values struct {
	v4, v6    []netip.Addr
	ports     []uint16
	protocols []uint8
}

// few values, so that they meet, and the neighbours of each. Beside TCP, UDP and
// SCTP stand the numbers next to theirs; either ICMP may come by either family.
func few() *values {
	return &values{
		v4:        addrs("10.0.0.1", "10.0.0.2", "10.0.0.255", "10.1.0.1", "11.0.0.1", "192.168.0.1", "192.168.1.7", "172.16.0.1", "255.255.255.255", "0.0.0.0"),
		v6:        addrs("fd00::1", "fd00::2", "fd00::1:1", "fd01::1", "2001:db8::1", "2001:db8:0:1::1", "::1", "ff02::1", "fe80::1"),
		ports:     []uint16{0, 1, 21, 22, 23, 53, 80, 443, 1023, 1024, 1025, 8080, 65534, 65535},
		protocols: []uint8{6, 6, 6, 17, 17, 132, 1, 58, 47, 5, 7, 16, 18, 131, 133, 50, 255},
	}
}

func addrs(texts ...string) []netip.Addr {
	list := make([]netip.Addr, len(texts))
	for i, s := range texts {
		list[i] = netip.MustParseAddr(s)
	}
	return list
}

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

func (v *values) packet(r *rand.Rand) watch.Packet {
	pool := v.v4
	if r.IntN(2) == 0 {
		pool = v.v6
	}
	p := watch.Packet{Source: pick(r, pool), Destination: pick(r, pool), Protocol: pick(r, v.protocols)}
	if (p.Protocol == 6 || p.Protocol == 17 || p.Protocol == 132) && r.IntN(8) > 0 {
		p.HasPorts, p.SourcePort, p.DestinationPort = true, pick(r, v.ports), pick(r, v.ports)
	}
	return p
}

// query has n primitives.
func (v *values) query(r *rand.Rand, n int) *query {
	switch {
	case r.IntN(5) == 0:
		return &query{op: "not", x: v.query(r, n)}
	case n == 1:
		return v.primitive(r)
	}
	left := 1 + r.IntN(n-1)
	return &query{op: pick(r, []string{"and", "or"}), x: v.query(r, left), y: v.query(r, n-left)}
}

func (v *values) primitive(r *rand.Rand) *query {
	q := &query{
		kind: pick(r, []string{"", "host", "net", "port", "port", "portrange", "proto"}),
		dir:  pick(r, []string{"src", "dst", "and", "or", "or"}),
	}
	a := pick(r, v.v4)
	if r.IntN(2) == 0 {
		a = pick(r, v.v6)
	}
	family := "ip"
	if a.Is6() {
		family = "ip6"
	}
	switch q.kind {
	case "":
		q.protocol = pick(r, []string{"tcp", "udp", "icmp", "ip", "ip6"})
	case "host":
		q.protocol, q.prefix = pick(r, []string{"", family}), netip.PrefixFrom(a, a.BitLen())
	case "net":
		bits := r.IntN(a.BitLen() + 1)
		if r.IntN(2) == 0 {
			bits &^= 7
		}
		q.protocol, q.prefix = pick(r, []string{"", family}), netip.PrefixFrom(a, bits).Masked()
	case "port":
		q.protocol, q.lo = pick(r, []string{"", "tcp", "udp"}), pick(r, v.ports)
		q.hi = q.lo
	case "portrange":
		q.protocol = pick(r, []string{"", "tcp", "udp"})
		q.lo, q.hi = pick(r, v.ports), pick(r, v.ports)
		if q.lo > q.hi {
			q.lo, q.hi = q.hi, q.lo
		}
	case "proto":
		q.protocol = pick(r, []string{"", "ip", "ip6"})
		q.lo = uint16(pick(r, v.protocols))
	}
	return q
}

// printer writes queries, each time in another of the spellings that mean the
// same.
type printer struct {
	r *rand.Rand
	// last is the qualifiers that a bare value would have here: "" if there is
	// no value before it, or if a parenthesis has just been opened, where
	// tcpdump's grammar wants qualifiers again.
	last string
}

func (w *printer) maybe() bool { return w.r.IntN(2) == 0 }

func (w *printer) oneOf(s ...string) string { return pick(w.r, s) }

func (w *printer) blank() string { return w.oneOf("", " ", "  ", "\t") }

func (q *query) print(w *printer) string {
	switch q.op {
	case "not":
		x := q.x.print
		if q.x.op != "" && q.x.op != "not" {
			x = q.x.parenthesized
		}
		return w.oneOf("!"+w.blank(), "not ") + x(w)
	case "and", "or":
		join := " " + q.op + " "
		if w.maybe() {
			join = w.blank() + map[string]string{"and": "&&", "or": "||"}[q.op] + w.blank()
		}
		x := q.x.print(w) // from the left: never needs parentheses
		y := q.y.print
		if q.y.op == "and" || q.y.op == "or" || w.r.IntN(6) == 0 {
			y = q.y.parenthesized
		}
		return x + join + y(w)
	}
	return q.primitive(w)
}

func (q *query) parenthesized(w *printer) string {
	before := w.last
	w.last = ""
	s := "(" + w.blank() + q.print(w) + w.blank() + ")"
	w.last = before
	return s
}

func (q *query) primitive(w *printer) string {
	if q.kind == "" {
		w.last = ""
		return q.protocol
	}
	words := q.protocol
	switch q.dir {
	case "src", "dst":
		words += " " + q.dir
	case "and":
		words += " " + w.oneOf("src and dst", "dst and src", "src && dst")
	default:
		words += w.oneOf("", "", " src or dst", " dst||src")
	}
	if q.kind == "proto" {
		words = q.protocol // it has no direction
	}
	if q.kind != "host" || words == q.protocol || w.maybe() {
		words += " " + q.kind
	}
	// Whatever the spelling, the qualifiers mean this:
	meaning := strings.Join([]string{q.protocol, q.dir, q.kind}, " ")
	if q.kind == "proto" {
		meaning = strings.Join([]string{q.protocol, q.kind}, " ")
	}
	if w.last == meaning && w.r.IntN(3) > 0 {
		return q.value(w)
	}
	w.last = meaning
	if w.r.IntN(6) == 0 {
		return words + w.blank() + "(" + w.blank() + q.value(w) + w.blank() + ")"
	}
	return words + " " + q.value(w)
}

func (q *query) value(w *printer) string {
	number := func(n uint16) string { return fmt.Sprintf(w.oneOf("%d", "%#x", "%#o"), n) }
	switch q.kind {
	case "host":
		return q.prefix.Addr().String()
	case "net":
		return q.network(w)
	case "portrange":
		if q.lo == q.hi && w.maybe() {
			return number(q.lo)
		}
		if w.r.IntN(4) == 0 {
			return fmt.Sprintf("%d-%d", q.hi, q.lo)
		}
		return fmt.Sprintf("%d-%d", q.lo, q.hi)
	}
	return number(q.lo)
}

func (q *query) network(w *printer) string {
	a, bits := q.prefix.Addr(), q.prefix.Bits()
	switch {
	case bits == a.BitLen() && w.maybe():
		return a.String()
	case a.Is4() && w.r.IntN(3) == 0:
		mask := ^uint32(0)
		if bits < 32 {
			mask = ^(mask >> bits)
		}
		return fmt.Sprintf("%s mask %d.%d.%d.%d", a, mask>>24, mask>>16&255, mask>>8&255, mask&255)
	case a.Is4() && bits%8 == 0 && bits > 0 && w.maybe():
		b := a.As4()
		if bits > 8 || b[0] != 0 { // tcpdump has "net 0" as a host
			return strings.Trim(strings.ReplaceAll(fmt.Sprint(b[:bits/8]), " ", "."), "[]")
		}
	}
	return a.String() + w.oneOf("/", " / ") + fmt.Sprint(bits)
}
