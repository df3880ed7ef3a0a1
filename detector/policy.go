package detector

import "time"

// Policy is a rule by which a source is called a scanner. Policies returns
// those that exist.
type Policy struct {
	Name      string
	Span      time.Duration // sophos and sophos-packet: the sliding window; scanlogd: the longest gap between new ports; inclusive
	Threshold int
	Reaches   bool // crossed at Threshold, not above it
	High, Low int  // points of a port from 1024, and below
	Trap      int  // points of a trap port; 0: none are traps
	Quiet     time.Duration
}

// Names of the policies.
const (
	Sophos       = "sophos"
	Scanlogd     = "scanlogd"
	SophosPacket = "sophos-packet"
)
