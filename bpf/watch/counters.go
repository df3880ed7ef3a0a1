package watch

// Context is what the world around the packet knows of it, asked only where
// its flags do not decide. Live, the kernel's sockets tell; in replay, the
// conversations in the capture.
type Context uint8

const (
	Unknown   Context = iota // no socket has this conversation
	Known                    // one has
	Handshake                // one has, and this ACK completes its handshake
)

// Counters count packets since the start.
type Counters struct {
	// Every frame adds to exactly one of these. Those of the first line have
	// no addresses or ports that could be read, and no filter sees them.
	NotIP, Malformed, TooDeep uint64 // TooDeep: more than 8 IPv6 extension headers
	Filtered                  uint64 // Rules.Count rejected it
	TCP                       [64]uint64
	UDP, ICMP, Other          uint64 // Other: another protocol over IP
	Fragments                 uint64 // later fragments, of any protocol
	Tiny                      uint64 // first fragments that end before the TCP flags

	Cached      uint64 // ACKs and datagrams of a conversation that was known a moment ago
	Known       uint64 // those for which a socket was found
	Handshakes  uint64
	Ignored     uint64 // possible probes that Rules.Score rejected
	Backscatter uint64 // SYN+ACKs without a socket that joined no chain
	Probes      uint64 // packets that were probes of a source
	Repeats     uint64 // of Probes, those to a port that was new for no policy

	Sources     uint64 // that were given a place in the table
	EvictedIdle uint64 // places taken from sources that no policy could still accuse
	EvictedLive uint64 // places taken from others: the detector has forgotten something
	Events      uint64 // snapshots handed to user space
	LostEvents  uint64 // snapshots for which there was no room
}

// Frames is the number of all frames seen.
func (c *Counters) Frames() uint64 {
	n := c.NotIP + c.Malformed + c.TooDeep + c.Filtered + c.UDP + c.ICMP + c.Other + c.Fragments + c.Tiny
	for _, t := range c.TCP {
		n += t
	}
	return n
}
