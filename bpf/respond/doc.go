// Package respond plays all hosts of an address range, at the speed of the
// network, with a truth that is known beforehand.
//
// An XDP program on the far end of a lab's link answers every TCP segment that
// is addressed into the range as the host at that address would. Which ports
// are open, closed, rejected or silent is decided by a keyed hash of address
// and port; the same hash in Go is [Truth], from which a test computes what a
// scan has to find, for any method, without asking the network. Everything
// that is not addressed into the range passes to the kernel.
//
// The path there may be a bad one, with loss by chance ([Config.Loss]) and a
// policer ([Config.Police]). What these take from a scan is a matter of luck and
// of its rate, but their probability and rate are given, and how many probes
// each has dropped is counted, so that a scanner's estimates can be held against
// both.
//
// The program counts every frame in its range exactly once ([Counters]), so
// that "sent" on the one side can be compared with "seen" on the other for
// equality.
//
// A loaded [Responder] may be configured anew while it runs. Attached, it
// outlives its process; [Find] finds it again through the device. It is meant
// for labs: it answers for addresses that are not its own.
//
// Ethernet without VLAN tags, frames up to 2,047 bytes of TCP segment. UDP and
// ICMP to the range are counted and dropped.
package respond
