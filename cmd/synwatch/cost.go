package main

import (
	"fmt"
	"time"
)

// Cost is what the program took of a processor between two readings.
type Cost struct {
	NSPerPacket float64 `json:"ns_per_packet"`
	PacketRate  float64 `json:"packets_per_second"`
	Core        float64 `json:"core"` // share of one processor, 1 is all of it
}

// costBetween compares two readings. It is nil if no run was counted in
// between: without packets, or without run statistics.
func costBetween(before, after *Document) *Cost {
	took := after.Time.Sub(before.Time)
	if after.RunTime.Count <= before.RunTime.Count || after.RunTime.NS < before.RunTime.NS || took <= 0 {
		return nil
	}
	packets, ns := float64(after.RunTime.Count-before.RunTime.Count), float64(after.RunTime.NS-before.RunTime.NS)
	return &Cost{ns / packets, packets / took.Seconds(), ns / float64(took.Nanoseconds())}
}

// costLine says it in one line. why is why run statistics could not be had.
func costLine(c *Cost, why error, waited time.Duration) string {
	switch {
	case c != nil:
		return fmt.Sprintf("%.0f ns a packet, %.2f %% of a core at %s packets/s", c.NSPerPacket, 100*c.Core, count(uint64(c.PacketRate+0.5)))
	case why != nil:
		return "not known: " + why.Error()
	case waited <= 0:
		return "not measured"
	}
	return "no packets in " + age(waited)
}
