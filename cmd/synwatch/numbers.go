package main

import (
	"fmt"
	"time"

	"synoptic/internal/cli"
)

// count writes a number for people: 1,234,567.
func count(n uint64) string { return cli.Grouped(fmt.Sprint(n)) }

// number writes a number with what it counts: "1 packet", "2 packets".
func number(n uint64, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return count(n) + " " + noun
}

// age writes a time that has passed, in whole seconds from one on.
func age(d time.Duration) string {
	if d < time.Second {
		return max(d, 0).Round(time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// rate writes how many there were in a time, for a second.
func rate(n uint64, in time.Duration) string {
	if in <= 0 {
		return "-"
	}
	return count(uint64(float64(n)/in.Seconds() + 0.5))
}
