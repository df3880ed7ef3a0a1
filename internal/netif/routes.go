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
	// RawIP probes are IP packets on a device that has no link header, as tun
	// and wireguard are; they leave by a packet socket too.
	RawIP
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

var kindNames = [...]string{"ethernet", "ip", "loopback"}

// String returns the kind in one lower-case word.
func (k Kind) String() string { return kindNames[k] }

// Link is an interface that probes leave by, with a source for each family: an
// interface with addresses of several networks can be several links.
type Link struct {
	Kind  Kind
	Index int     // of the interface, as in sll_ifindex
	Name  string  // of the interface
	MTU   int     // of the interface, in bytes, without the link header
	MAC   [6]byte // of the interface, the probes' source; zero unless Ethernet

	// Source4 and Source6 are the probes' source addresses, valid iff targets
	// of that family are reached by this link.
	Source4, Source6 netip.Addr

	// Ask are the stretches of targets on the link itself whose link addresses
	// are to be asked for, sorted; Gateways are the routers behind which other
	// targets are. Known are those that somebody entered for good.
	Ask      []Stretch
	Gateways []netip.Addr
	Known    map[netip.Addr][6]byte
	// Asker4 and Asker6 are this machine's own addresses to ask from; an
	// invalid one means that the link has none, and ARP asks without (RFC 5227
	// section 2.1.1). They are not the sources where the user gave a foreign one.
	Asker4, Asker6 netip.Addr

	noARP bool
}

// takes reports whether a source is the link's, or becomes it.
func (l *Link) takes(source netip.Addr) bool {
	own := &l.Source6
	if source.Is4() {
		own = &l.Source4
	}
	if !own.IsValid() {
		*own = source
	}
	return *own == source
}

// Stretch is the addresses from First to Last, both included and of one family.
type Stretch struct{ First, Last netip.Addr }

// Len returns how many there are, at most 2^64-1.
func (s Stretch) Len() uint64 { return count(s.First, s.Last) }

// Routes say how packets reach every address of one target set. They are made
// by Resolve and change by SetGateway only; otherwise methods may be called
// concurrently. The zero Routes reach nobody.
type Routes struct {
	Links []Link
	// SourceForeign tells that a link's source is not an address of this
	// machine: the user asked for it, and the answers go to whoever owns it.
	SourceForeign bool

	hops    []hop // sorted by first
	skipped []Skip
}

// Hop is where a probe goes.
type Hop struct {
	Link int // index into Links
	// Next is the neighbour whose link address the frame needs; invalid where
	// that is known already, which is MAC, or where the link has none.
	Next netip.Addr
	MAC  [6]byte
}

// hop says where the targets from first on go, up to the next hop's first.
type hop struct {
	first netip.Addr
	kind  hopKind
	Hop   // without Next where kind is onLink
}

type hopKind uint8

const (
	fixed   hopKind = iota // all to the same Hop
	onLink                 // each to its own link address
	nowhere                // not probed: see Skip
)

// Hop returns where a probe to a goes, which must be one of the targets. ok is
// false where none can go: see Skipped. It allocates nothing.
func (r *Routes) Hop(a netip.Addr) (to Hop, ok bool) {
	// The last hop that begins at or before a.
	lo, hi := 0, len(r.hops)
	for lo+1 < hi {
		mid := int(uint(lo+hi) / 2)
		if a.Less(r.hops[mid].first) {
			hi = mid
		} else {
			lo = mid
		}
	}
	if hi == 0 {
		return Hop{}, false
	}
	h := &r.hops[lo]
	to = h.Hop
	if h.kind == onLink {
		to.Next = a
	}
	return to, h.kind != nowhere
}

// Uniform returns the hop that all targets of a family share. It is false if they
// have different ones, some have none, or that needs a link address still.
func (r *Routes) Uniform(ipv4 bool) (to Hop, ok bool) {
	for i := range r.hops {
		h := &r.hops[i]
		switch {
		case h.first.Is4() != ipv4:
		case h.kind != fixed, h.Next.IsValid(), ok && h.Hop != to:
			return Hop{}, false
		default:
			to, ok = h.Hop, true
		}
	}
	return to, ok
}

// SetGateway enters the link address of a router, which Hop then gives without
// a Next. It must not be called beside Hop.
func (r *Routes) SetGateway(link int, gateway netip.Addr, mac [6]byte) {
	for i := range r.hops {
		if to := &r.hops[i].Hop; to.Link == link && to.Next == gateway {
			to.Next, to.MAC = netip.Addr{}, mac
		}
	}
}

// Skip is a stretch of targets which no probe goes to.
type Skip struct {
	First, Last netip.Addr // the first and the last target of the stretch
	Targets     uint64     // how many; saturates at 2^64-1
	Why         string     // "broadcast address", "multicast address", "unspecified address", "this machine's own address"
}

// Skipped returns the targets that a scan cannot have, sorted: broadcast,
// multicast and unspecified addresses, which TCP must not answer (RFC 1122,
// 4.2.3.10), and this machine's own addresses where the user named an
// interface, because packets to them never leave by one.
func (r *Routes) Skipped() []Skip { return slices.Clone(r.skipped) }
