// Package validate is the kernel path's receive half: programs, one for XDP and one
// for tcx, that take the answers to a scan's probes off a device before the machine's
// own stack sees them, and the Go code that loads, attaches and reads them.
//
// What becomes of a frame:
//
//	foreign      not what could answer a probe of ours   passes, untouched
//	bad cookie   looks like it, and is not                passes, untouched
//	valid        brings the cookie back                   a record for Read; SYN+ACK: reset, else dropped
//	duplicate    said the same half a second ago or less  SYN+ACK: reset, else dropped
//	full         valid, and no room for the record        dropped
//
// Every frame is counted as one of them. The verdict is that of the classifier
// in package rx, byte for byte, but for two things: the program does not know
// the plan, so an answer of an endpoint that the scan does not probe is valid
// here if its cookie is right; and it takes no VLAN tags for its own.
//
// A bad cookie passes, because the machine may have a conversation of its own on
// one of the scan's source ports, and because the stack's reset is what a stray
// SYN+ACK deserves: it would have had it without this program, too.
//
// A valid answer for which the ring had no room never reaches the stack, which
// would reset the connection, nor is it reset from here. It counts as lost
// (Full), so that the scan probes that endpoint again; and a target that has had
// no reset says its SYN+ACK once more after a second, when there may be room.
//
// Duplicates are thinned, not found: the program remembers some 65,536 answers
// for half a second at most, and what it has forgotten is valid again. To know
// them all is the ledger's task. Answers that differ in what they say are never
// taken for duplicates.
//
// While a program of XDP is attached, packet sockets and captures on the machine see
// none of the answers that it takes, nor the resets that it sends; those that capture
// all protocols see what tcx takes and sends. Several scans can have a device, one of
// them by XDP; but those that have the same key and source ports, such as shards of the
// same scan, would lose answers to each other.
//
// Reading allocates nothing. Needs Linux 5.18: XDP for frames larger than a page; 6.6
// for tcx.
package validate
