package watch

import "net/netip"

// Filter is a decision about a packet as a table of tests; the first Node is
// tried first. The empty Filter passes everything.
type Filter []Node

// MaxNodes is the most that Rules.Count and Rules.Score may have together.
const MaxNodes = 256

// Where a Node's Yes and No end.
const (
	Pass   uint16 = 0xffff
	Reject uint16 = 0xfffe
)

// Node is one test of a packet. Yes and No are the index of the Node to go on
// with, which is always a later one, or Pass or Reject.
type Node struct {
	Test    Test
	Lo, Hi  uint16       // valid iff Test is one of numbers; both ends inclusive
	Prefix  netip.Prefix // valid iff Test is one of addresses
	Yes, No uint16
}

// Test is what a Node looks at.
type Test uint8

const (
	TestFamily          Test = iota // 4 or 6 is within Lo..Hi
	TestProtocol                    // the protocol behind all IP headers, IPPROTO_*
	TestSource                      // the source address is in Prefix; false for the other family
	TestDestination                 // the destination address
	TestSourcePort                  // the source port; false for a Packet without HasPorts
	TestDestinationPort             // the destination port
)

// Packet is what a Filter knows of a packet.
type Packet struct {
	Source, Destination netip.Addr // never 4-in-6
	SourcePort          uint16     // valid iff HasPorts
	DestinationPort     uint16     // valid iff HasPorts
	Protocol            uint8      // IPPROTO_*
	// HasPorts is set for TCP, UDP and SCTP whose first four bytes are there:
	// not for later fragments.
	HasPorts bool
}

// Match decides about a packet as the kernel does.
func (f Filter) Match(p *Packet) bool {
	if len(f) == 0 {
		return true
	}
	for i := uint16(0); int(i) < len(f); {
		n := &f[i]
		next := n.No
		if n.holds(p) {
			next = n.Yes
		}
		switch {
		case next == Pass:
			return true
		case next == Reject || next <= i:
			return false
		}
		i = next
	}
	return false
}

func (n *Node) holds(p *Packet) bool {
	within := func(v uint16) bool { return n.Lo <= v && v <= n.Hi }
	switch n.Test {
	case TestFamily:
		if p.Source.Is4() {
			return within(4)
		}
		return within(6)
	case TestProtocol:
		return within(uint16(p.Protocol))
	case TestSource:
		return n.Prefix.Contains(p.Source)
	case TestDestination:
		return n.Prefix.Contains(p.Destination)
	case TestSourcePort:
		return p.HasPorts && within(p.SourcePort)
	case TestDestinationPort:
		return p.HasPorts && within(p.DestinationPort)
	}
	return false
}
