package target

import "net/netip"

// block is one entry of the special-purpose table.
type block struct {
	prefix string
	rfc    string // number, with the section where it helps
	use    string // the registry's name
	scan   bool   // globally reachable: part of a sweep like any other address
}

// The IANA IPv4 and IPv6 special-purpose address registries (RFC 6890, RFC
// 8190), with multicast, which has registries of its own.
//
// A block is left out of a sweep when its registry entry says that it is not
// globally reachable, and where blocks nest, the more specific one decides:
// 192.0.0.9 stays although it lies in 192.0.0.0/24. Where the registry says
// neither yes nor no we follow the life of the block:
//
//   - Teredo and 6to4 (2001::/32, 2002::/16) stay. Hosts answer there.
//   - The 6to4 relay anycast block 192.88.99.0/24 and the first ORCHID block
//     2001:10::/28 are left out. Both were withdrawn, and nobody may live there.
//
// 64:ff9b::/96 stays: the registry calls it globally reachable, and whether a
// NAT64 is on the way is for its operator to say. Nothing else outside 2000::/3
// is left out merely because it is not allocated yet.
var specialTable = [...]block{
	{"0.0.0.0/8", "791 section 3.2", "this network", false},
	{"10.0.0.0/8", "1918", "private use", false},
	{"100.64.0.0/10", "6598", "shared address space", false},
	{"127.0.0.0/8", "1122 section 3.2.1.3", "loopback", false},
	{"169.254.0.0/16", "3927", "link local", false},
	{"172.16.0.0/12", "1918", "private use", false},
	{"192.0.0.0/24", "6890 section 2.1", "IETF protocol assignments", false},
	{"192.0.0.0/29", "7335", "IPv4 service continuity prefix", false},
	{"192.0.0.8/32", "7600", "IPv4 dummy address", false},
	{"192.0.0.9/32", "7723", "port control protocol anycast", true},
	{"192.0.0.10/32", "8155", "traversal using relays around NAT anycast", true},
	{"192.0.0.170/31", "8880, 7050 section 2.2", "NAT64/DNS64 discovery", false},
	{"192.0.2.0/24", "5737", "documentation (TEST-NET-1)", false},
	{"192.31.196.0/24", "7535", "AS112-v4", true},
	{"192.52.193.0/24", "7450", "AMT", true},
	{"192.88.99.0/24", "7526", "deprecated (6to4 relay anycast)", false},
	{"192.88.99.2/32", "6751", "6a44 relay anycast address", false},
	{"192.168.0.0/16", "1918", "private use", false},
	{"192.175.48.0/24", "7534", "direct delegation AS112 service", true},
	{"198.18.0.0/15", "2544", "benchmarking", false},
	{"198.51.100.0/24", "5737", "documentation (TEST-NET-2)", false},
	{"203.0.113.0/24", "5737", "documentation (TEST-NET-3)", false},
	{"224.0.0.0/4", "5771", "multicast", false},
	{"240.0.0.0/4", "1112 section 4", "reserved", false},
	{"255.255.255.255/32", "919 section 7", "limited broadcast", false},

	{"::/128", "4291 section 2.5.2", "unspecified address", false},
	{"::1/128", "4291 section 2.5.3", "loopback address", false},
	{mappedBlock, "4291 section 2.5.5.2", "IPv4-mapped address", false},
	{"64:ff9b::/96", "6052", "IPv4-IPv6 translation", true},
	{"64:ff9b:1::/48", "8215", "IPv4-IPv6 translation, local use", false},
	{"100::/64", "6666", "discard-only address block", false},
	{"100:0:0:1::/64", "9780", "dummy IPv6 prefix", false},
	{"2001::/23", "2928", "IETF protocol assignments", false},
	{"2001::/32", "4380", "Teredo", true},
	{"2001:1::1/128", "7723", "port control protocol anycast", true},
	{"2001:1::2/128", "8155", "traversal using relays around NAT anycast", true},
	{"2001:1::3/128", "9665", "DNS-SD service registration protocol anycast", true},
	{"2001:2::/48", "5180", "benchmarking", false},
	{"2001:3::/32", "7450", "AMT", true},
	{"2001:4:112::/48", "7535", "AS112-v6", true},
	{"2001:10::/28", "4843", "deprecated (ORCHID)", false},
	{"2001:20::/28", "7343", "ORCHIDv2", true},
	{"2001:30::/28", "9374", "drone remote ID protocol entity tags", true},
	{"2001:db8::/32", "3849", "documentation", false},
	{"2002::/16", "3056", "6to4", true},
	{"2620:4f:8000::/48", "7534", "direct delegation AS112 service", true},
	{"3fff::/20", "9637", "documentation", false},
	{"5f00::/16", "9602", "segment routing (SRv6) SIDs", false},
	{"fc00::/7", "4193", "unique local", false},
	{"fe80::/10", "4291 section 2.5.6", "link-local unicast", false},
	{"ff00::/8", "4291 section 2.7", "multicast", false},
}

// mappedBlock holds IPv4 addresses as programs see them through IPv6 sockets.
// It never appears on a wire, so it is not even a target when named.
const mappedBlock = "::ffff:0:0/96"

// special is the table ready for use.
type special struct {
	blocks spans // one span for each block left out, nested ones included
	out    spans // every address left out, normalised
}

func newSpecial() special {
	var s special
	var reachable spans
	for _, b := range specialTable {
		lo, hi := bounds(netip.MustParsePrefix(b.prefix))
		if b.scan {
			reachable.add(lo, hi)
		} else {
			s.blocks.add(lo, hi)
		}
	}
	// No block that is left out lies inside one that stays, so one subtraction
	// lets the more specific entry decide.
	reachable.normalise()
	s.out.addAll(s.blocks)
	s.out.normalise()
	s.out = s.out.minus(reachable)
	return s
}

// namedOutright reports whether everything from lo to hi lies inside one block,
// which only happens to somebody who means that block.
func (s *special) namedOutright(lo, hi netip.Addr) bool {
	if lo.Is4() {
		return insideOne(s.blocks.v4, span[addr4]{point4(lo), point4(hi)})
	}
	return insideOne(s.blocks.v6, span[addr6]{point6(lo), point6(hi)})
}

func insideOne[P point[P]](blocks []span[P], t span[P]) bool {
	for _, b := range blocks {
		if b.holds(t) {
			return true
		}
	}
	return false
}

// bounds returns the first and the last address of a prefix.
func bounds(p netip.Prefix) (lo, hi netip.Addr) {
	lo = p.Masked().Addr()
	if lo.Is4() {
		return lo, (point4(lo) | addr4(^uint32(0)>>p.Bits())).addr()
	}
	last := point6(lo)
	if n := p.Bits(); n < 64 {
		last.Hi |= ^uint64(0) >> n
		last.Lo = ^uint64(0)
	} else {
		last.Lo |= ^uint64(0) >> (n - 64)
	}
	return lo, last.addr()
}
