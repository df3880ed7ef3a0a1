package watch

import "time"

// Line is where a policy draws its line, as far as the kernel has to know: it
// tells which sources are interesting.
type Line struct {
	On        bool
	Span      time.Duration // the window, or the longest gap; inclusive
	Threshold uint32        // points
	Reaches   bool          // the line is crossed at Threshold, not above it
	High, Low uint8         // points of a port, at least 1
	Trap      uint8         // points of a trap port; 0: traps are ports like others
}

// UDPMode says what datagrams that no socket waits for are.
type UDPMode uint8

const (
	UDPScore UDPMode = iota // probes, with the weights of TCP
	UDPCount                // counted by source, but of no points
	UDPOff                  // counted only in the totals
)

// Rules are what may change while the program runs.
type Rules struct {
	Window  Line // distinct ports in a sliding window
	Gap     Line // distinct ports in a chain of new ports
	Packets Line // TCP packets in a sliding window
	Traps   []uint16
	UDP     UDPMode
	V6Bits  int // leading bits of an IPv6 address that make a source, 1 to 128

	Count Filter // which packets are counted and scored at all
	Score Filter // which of those may be probes
}
