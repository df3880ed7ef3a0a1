// Package twin does in Go what the kernel program of package watch does with a
// frame: the same counters and the same snapshots, for replay without
// privileges and as the oracle of the other. It knows no sockets; who calls Run
// says what the world around the packet knows of it.
//
//	frame ─► 1 Decode ─► 2 Rules.Count ─► 3 a possible probe? ─► 4 Rules.Score ─► 5 table ─► 6 a snapshot waits
//	            │            │                   │                    │              │              │
//	         Malformed …   Filtered         Known, no ACK …        Ignored      Backscatter …    Read
//
//	1 decode.go, extensions.go   what the bytes are; lenient with what a capture's snap length has cut
//	3 possible.go                by flags, and by Context where they do not decide
//	5 table.go                   which place a source has, and who makes room for it
//	  entry.go                   what a place remembers of its source's probes and packets
//	  points.go                  what those are worth by the lines of the policies
//	6 tell.go, snapshot.go       when user space is told, and what
//
// Nothing allocates per frame, but where more snapshots wait than ever before.
// A Twin belongs to one goroutine.
package twin
