package netif

import (
	"net/netip"
	"slices"
)

// Kind says what a probe needs around its IP header, and what carries it.
type Kind uint8

const (
	// Ethernet probes carry an Ethernet header and leave by a packet socket.
	Ethernet Kind = iota
	// Loopback probes go to this machine itself: to 127.0.0.0/8, ::1 or one of
	// its own addresses.
	//
	// The kernel drops IPv4 frames which a packet socket writes to lo: their
	// source is one of its own addresses, a martian, unless the sysctls
	// route_localnet and accept_local say otherwise. A raw IP socket
	// (IPPROTO_RAW) works, from any local address to any other, and its
	// answers can be read on lo. For IPv6 both sockets work, with one
	// exception: to a raw probe from ::1 to another own address a closed port
	// sends no reset. (Tried on Linux 6.18.) Source4 and Source6 are chosen so
	// that answers come back in all these cases.
	Loopback
)

// String returns the kind in one lower-case word.
func (k Kind) String() string {
	if k == Loopback {
		return "loopback"
	}
	return "ethernet"
}

// Path is how packets reach every address of one target set over one
// interface. It is made by Resolve and never changes; its methods may be called
// concurrently. The zero Path reaches nobody.
type Path struct {
	Kind  Kind
	Index int     // of the interface, as in sll_ifindex; lo for Loopback
	Name  string  // of the interface
	MTU   int     // of the interface, in bytes, without the link header
	MAC   [6]byte // of the interface, the probes' source; zero for Loopback

	// Source4 and Source6 are the probes' source addresses, valid iff the
	// targets contain that family.
	Source4, Source6 netip.Addr
	// SourceForeign tells that Source4 or Source6 is not an address of this
	// machine: the user asked for it, and the answers go to whoever owns it.
	SourceForeign bool

	hops       []hop                  // sorted by first
	neighbours map[netip.Addr][6]byte // the targets on the link which answered
	unresolved []netip.Addr
	skipped    []Skip
}

// hop says where the targets from first on go, up to the next hop's first.
type hop struct {
	first netip.Addr
	kind  hopKind
	mac   [6]byte // of kind fixed
}

type hopKind uint8

const (
	fixed   hopKind = iota // all to mac
	onLink                 // each to its own link address
	nowhere                // not probed: see Skip
)

// NextHop returns the link address a probe to a goes to. a must be one of the
// targets. ok is false where no probe can go: the target is on the link and
// did not answer (Unresolved), or is no target for a scan (Skipped). For
// Loopback the address is zero.
func (p *Path) NextHop(a netip.Addr) (mac [6]byte, ok bool) {
	// The last hop that begins at or before a.
	lo, hi := 0, len(p.hops)
	for lo+1 < hi {
		mid := int(uint(lo+hi) / 2)
		if a.Less(p.hops[mid].first) {
			hi = mid
		} else {
			lo = mid
		}
	}
	if hi == 0 {
		return mac, false
	}
	switch h := &p.hops[lo]; h.kind {
	case fixed:
		return h.mac, true
	case onLink:
		mac, ok = p.neighbours[a]
		return mac, ok
	}
	return mac, false
}

// Unresolved returns the targets on the link whose link address nobody told,
// sorted. NextHop answers ok=false for them: a host that is down.
func (p *Path) Unresolved() []netip.Addr { return slices.Clone(p.unresolved) }

// Skip is a stretch of targets which no probe goes to.
type Skip struct {
	First, Last netip.Addr // the first and the last target of the stretch
	Targets     uint64     // how many; saturates at 2^64-1
	Why         string     // "broadcast address", "multicast address", "unspecified address", "this machine's own address"
}

// Skipped returns the targets that a scan cannot have, sorted: broadcast,
// multicast and unspecified addresses, which TCP must not answer (RFC 1122,
// 4.2.3.10), and this machine's own address amid those of its network.
func (p *Path) Skipped() []Skip { return slices.Clone(p.skipped) }
