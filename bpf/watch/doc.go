// Package watch is the detector's kernel half: an XDP program that counts
// packets and remembers, for each source, the probes it has sent lately, and
// the Go code that loads, attaches and reads it.
//
// The program never drops or changes a packet. What it remembers of a source
// (a Snapshot) decides every policy exactly: the last MaxProbes distinct
// ports with the time at which each was last probed, and when the chain of new
// ports that the last probe belongs to began. It hands a Snapshot to user space
// when the source has become interesting; whether that is a scan is decided
// there, by package detector.
package watch
