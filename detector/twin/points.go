package twin

import "synoptic/bpf/watch"

// line is a watch.Line with its span in the unit of the observations, and the
// trap ports that all lines share.
type line struct {
	watch.Line
	span  uint64 // nanoseconds
	traps *portSet
}

// points of a port, the same for TCP and UDP.
func (l *line) points(port uint16) uint64 {
	switch {
	case l.Trap > 0 && l.traps.has(port):
		return uint64(l.Trap)
	case port < lowPorts:
		return uint64(l.Low)
	}
	return uint64(l.High)
}

// crossed tells whether sum is over the line.
func (l *line) crossed(sum uint64) bool {
	threshold := uint64(l.Threshold)
	return sum > threshold || l.Reaches && sum == threshold
}

// interesting tells whether sum is at two thirds of the threshold or above:
// then user space hears of the source before the line is crossed.
func (l *line) interesting(sum uint64) bool {
	return 3*sum >= 2*uint64(l.Threshold)
}

// lowPorts is the number of the privileged ports, which come first.
const lowPorts = 1024

// portSet has a bit for each port.
type portSet [1 << 16 / 64]uint64

func (s *portSet) add(port uint16) { s[port/64] |= 1 << (port % 64) }

func (s *portSet) has(port uint16) bool { return s[port/64]>>(port%64)&1 != 0 }

// classOf is what a probe's port counts as in watch.Snapshot.Classes. A trap is
// one even if no line gives it points of its own.
func classOf(port uint16, udp bool, traps *portSet) watch.Class {
	switch {
	case udp:
		return watch.Datagram
	case traps.has(port):
		return watch.Trap
	case port < lowPorts:
		return watch.Low
	}
	return watch.High
}
