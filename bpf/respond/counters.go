package respond

import (
	"fmt"
	"strings"
)

// Counters is what a responder saw and did since it was loaded or reset.
//
// Each frame in the range is in one of TCP, NonTCP, Fragments, Malformed and
// BadChecksum; each segment of TCP in one of Policed, PathLost, SynAck, Reset,
// ICMP, Silent, Accepted, Lost and Failed. A reply counts as sent when the
// program returns it to the driver.
type Counters struct {
	TCP         [64]uint64 // well-formed segments by flags byte without ECE and CWR
	NonTCP      uint64
	Fragments   uint64
	Malformed   uint64 // headers that contradict themselves or the frame's length
	BadChecksum uint64 // IPv4 header or TCP

	Policed  uint64 // dropped by the policer
	PathLost uint64 // dropped by chance, of those that the policer let through

	SynAck uint64
	Reset  uint64
	ICMP   uint64
	Silent uint64 // no answer, as the truth has it
	// Accepted counts the bare ACKs that end a handshake, as a connect scan
	// sends them. They, and data behind them, get no answer.
	Accepted uint64
	Lost     uint64 // first answers withheld by lossy endpoints
	Failed   uint64 // answers due that could not be built: a fault

	ECN      uint64 // of TCP, those with ECE or CWR set
	LossFull uint64 // answers not lost because no more endpoints could be kept count of
}

// Segments returns the number of well-formed TCP segments.
func (c Counters) Segments() uint64 {
	var n uint64
	for _, v := range c.TCP {
		n += v
	}
	return n
}

// Frames returns the number of frames in the range.
func (c Counters) Frames() uint64 {
	return c.Segments() + c.NonTCP + c.Fragments + c.Malformed + c.BadChecksum
}

// Replies returns the number of frames sent.
func (c Counters) Replies() uint64 { return c.SynAck + c.Reset + c.ICMP }

// Dropped returns the number of segments that were lost on the path: no
// simulated host saw them.
func (c Counters) Dropped() uint64 { return c.Policed + c.PathLost }

// Check returns an error unless every segment has one outcome. Counters that
// are read while frames arrive may be out of balance by those frames.
func (c Counters) Check() error {
	if in, out := c.Segments(), c.Dropped()+c.Replies()+c.Silent+c.Accepted+c.Lost+c.Failed; in != out {
		return fmt.Errorf("responder's books: %d segments seen, %d decided", in, out)
	}
	return nil
}

// FlagNames spells the low six bits of a TCP flags byte: "FIN+ACK", "none".
func FlagNames(flags uint8) string {
	var names []string
	for i, n := range [...]string{"FIN", "SYN", "RST", "PSH", "ACK", "URG"} {
		if flags&(1<<i) != 0 {
			names = append(names, n)
		}
	}
	if names == nil {
		return "none"
	}
	return strings.Join(names, "+")
}

func (c *Counters) add(b *bpfCounters) {
	for i, v := range b.Tcp {
		c.TCP[i] += v
	}
	c.NonTCP += b.NonTcp
	c.Fragments += b.Fragment
	c.Malformed += b.Malformed
	c.BadChecksum += b.BadChecksum
	c.Policed += b.Policed
	c.PathLost += b.PathLost
	c.SynAck += b.SynAck
	c.Reset += b.Rst
	c.ICMP += b.Icmp
	c.Silent += b.Silent
	c.Accepted += b.Accepted
	c.Lost += b.Lost
	c.Failed += b.Failed
	c.ECN += b.Ecn
	c.LossFull += b.LossFull
}
