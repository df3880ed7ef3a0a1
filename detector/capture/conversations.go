package capture

import (
	"net/netip"

	"synoptic/bpf/watch"
)

// DefaultConversations is how many conversations a generation holds by
// default: some 50 MB of memory, and twice that for both generations.
const DefaultConversations = 1 << 19

// Conversations stand in replay for the sockets of the machine that captured:
// they tell which packets belong to what the hosts in the capture have agreed
// on. What a host sends shows what its sockets know.
//
// TCP, for packets with ACK and without RST: such a packet is Known if its
// destination has sent anything but RST between the same two endpoints, for
// then its system has the connection. It is a Handshake if it is the first of
// the side that sent SYN after the other side's SYN+ACK. An RST of either side
// ends the conversation: what comes after it is Unknown again. A FIN does not,
// as a closed socket still answers for its time-wait.
//
// A capture that begins in the midst of connections, or sees only one
// direction of them, shows ACKs that nobody has answered. The first costs its
// source one Unknown; more of them between the same endpoints are Known until
// somebody objects with RST. This holds for packets without SYN only: what
// repeats a SYN+ACK nobody asked for stays Unknown. The price is that an ACK
// probe repeated from the same port and answered by nobody is one probe.
//
// UDP: a datagram is Known if its destination address and port have ever sent
// one, to anybody: then a socket is bound there. So answers to many ephemeral
// ports are Known, and the datagrams to a service that only listens are not.
// Datagrams to multicast and to 255.255.255.255 probe no host and are Known.
// The broadcast addresses of subnets look like hosts and are treated as such.
//
// Memory is bounded by two generations of conversations: what is seen is in
// the younger, and when that is full the older is forgotten. A conversation
// that is forgotten while it lives costs what one costs that the capture
// begins in. Nothing is allocated for conversations that are there.
//
// Conversations are not safe for concurrent use.
type Conversations struct {
	limit      int
	young, old generation
	forgotten  uint64
}

type generation struct {
	tcp map[pair]talk
	udp map[endpoint]struct{} // that have sent a datagram
}

func (g *generation) size() int { return len(g.tcp) + len(g.udp) }

// endpoint is an address (IPv4 as ::ffff:a.b.c.d) and a port, big endian.
type endpoint [18]byte

// pair is two endpoints, the smaller first.
type pair [2]endpoint

// talk is what two endpoints have said to each other. The sides are numbered
// as in the pair.
type talk struct {
	spoke   [2]bool // has sent anything but RST
	doubted [2]bool // has sent an ACK that was Unknown
	opener  uint8   // valid iff stage is not none
	stage   stage
}

type stage uint8

const (
	none     stage = iota
	asked          // the opener has sent SYN
	answered       // the other side has sent SYN+ACK
	agreed         // the opener has sent its ACK
)

const (
	protoTCP = 6
	protoUDP = 17

	flagFIN = 0x01
	flagSYN = 0x02
	flagRST = 0x04
	flagACK = 0x10
)

// NewConversations remembers up to limit conversations in each of two
// generations, DefaultConversations if limit is not positive. A conversation
// is a pair of TCP endpoints, or an endpoint that has sent datagrams.
func NewConversations(limit int) *Conversations {
	if limit <= 0 {
		limit = DefaultConversations
	}
	c := &Conversations{limit: limit}
	for _, g := range []*generation{&c.young, &c.old} {
		g.tcp, g.udp = make(map[pair]talk), make(map[endpoint]struct{})
	}
	return c
}

// Forgotten is how many conversations were dropped for want of room.
func (c *Conversations) Forgotten() uint64 { return c.forgotten }

// See tells what is known of a packet and learns from it. It wants every TCP
// and UDP packet of the capture that has ports, in order; flags are TCP's. What
// it returns for TCP packets without ACK or with RST, and for other protocols,
// is Unknown and means nothing.
func (c *Conversations) See(src, dst netip.AddrPort, protocol, flags uint8) watch.Context {
	switch protocol {
	case protoTCP:
		return c.segment(src, dst, flags)
	case protoUDP:
		return c.datagram(src, dst)
	}
	return watch.Unknown
}

func (c *Conversations) segment(src, dst netip.AddrPort, flags uint8) watch.Context {
	key, us := pairOf(src, dst)
	if flags&flagRST != 0 {
		delete(c.young.tcp, key)
		delete(c.old.tcp, key)
		return watch.Unknown
	}
	t, ok := c.young.tcp[key]
	if !ok {
		t = c.old.tcp[key]
	}
	was := t
	context := t.see(us, flags)
	if ok && t == was {
		return context
	}
	if !ok {
		delete(c.old.tcp, key)
		c.room()
	}
	c.young.tcp[key] = t
	return context
}

// see judges a packet of the side us, without RST, and learns from it.
func (t *talk) see(us, flags uint8) watch.Context {
	them := 1 - us
	context := watch.Unknown
	if flags&flagACK != 0 {
		switch {
		case t.stage == answered && t.opener == us && flags&flagSYN == 0:
			context, t.stage = watch.Handshake, agreed
		case t.spoke[them]:
			context = watch.Known
		case flags&flagSYN != 0:
		case t.doubted[us]:
			context = watch.Known
		default:
			t.doubted[us] = true
		}
	}
	switch flags & (flagSYN | flagACK | flagFIN) {
	case flagSYN: // the SYN of a handshake under way may be sent again
		if t.stage != answered || t.opener != us {
			t.stage, t.opener = asked, us
		}
	case flagSYN | flagACK:
		if t.stage == asked && t.opener == them {
			t.stage = answered
		}
	}
	t.spoke[us] = true
	return context
}

func (c *Conversations) datagram(src, dst netip.AddrPort) watch.Context {
	context := watch.Unknown
	if to := dst.Addr(); to.IsMulticast() || to == broadcast || c.sends(endpointOf(dst)) {
		context = watch.Known
	}
	from := endpointOf(src)
	if _, ok := c.young.udp[from]; !ok {
		delete(c.old.udp, from)
		c.room()
		c.young.udp[from] = struct{}{}
	}
	return context
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// sends tells whether an endpoint has sent a datagram. One that is asked is not
// thereby younger: it has to speak.
func (c *Conversations) sends(e endpoint) bool {
	if _, ok := c.young.udp[e]; ok {
		return true
	}
	_, ok := c.old.udp[e]
	return ok
}

// room makes room for one more in the younger generation.
func (c *Conversations) room() {
	if c.young.size() < c.limit {
		return
	}
	c.forgotten += uint64(c.old.size())
	clear(c.old.tcp)
	clear(c.old.udp)
	c.young, c.old = c.old, c.young
}

// pairOf names a conversation, and which side of it src is.
func pairOf(src, dst netip.AddrPort) (key pair, side uint8) {
	from, to := endpointOf(src), endpointOf(dst)
	if string(from[:]) <= string(to[:]) {
		return pair{from, to}, 0
	}
	return pair{to, from}, 1
}

func endpointOf(p netip.AddrPort) endpoint {
	var e endpoint
	a := p.Addr().As16()
	copy(e[:], a[:])
	e[16], e[17] = byte(p.Port()>>8), byte(p.Port())
	return e
}
