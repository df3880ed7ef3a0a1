// Package output writes the records of a scan, in the formats that people and
// programs read. Four of them have a line for each record and can be read while
// the scan runs:
//
//	Text    127.0.0.1:80 open syn-ack
//	JSON    one JSON object per line
//	List    masscan's list
//	Array   masscan's JSON array
//
// Three are nmap's reports, with one entry for each host. [Hosts] keeps the
// answers until the end, when a host is complete:
//
//	Grepable   one line for each host
//	Normal     a table for each host
//	XML        nmap's XML
//
// [Lines] puts what a format makes into a file, a whole number of lines at a
// time, so that a reader never sees half a result, not even after an interrupt.
// What closes a document stands at the end of the file at any time, and the next
// lines are written over it: a killed scan leaves a valid file. A pipe gets it at
// the end.
//
// Another process can go on with an output where a [Mark] was taken, and with
// Hosts from a [Snapshot]: what came after the mark is cut off, and recorded again.
//
// Recording a line waits for no reader of a pipe ([Lines.Queue]), and allocates
// nothing as long as nothing waits. A Writer is used by one goroutine at a
// time.
package output

import (
	"time"

	"synoptic/internal/result"
)

// Writer is one output: Lines or a Report.
type Writer interface {
	// Begin empties the output and opens the document. It is called once, first;
	// the Scan stays as it is until Close.
	Begin(*Scan) error
	// Discard closes an output that is not to be begun, and removes the file if
	// it was not there before.
	Discard()
	// Flush hands everything recorded so far to the operating system.
	Flush() error
	// Close flushes and ends the output. It is called once, last.
	Close(*End) error
}

// Scan is what a report says about a scan before its results.
type Scan struct {
	Program string    // name and version, "synscan 1.0"
	Args    []string  // the command line, program included
	Start   time.Time // reports give it in its own time zone
	Methods []string  // nmap's words; one, or those of a conversion's lines
	Ports   string    // asked for, as in 22,80,8000-8100
	NPorts  int       // how many these are

	// Service names a port, or returns ""; nil when no names are known.
	Service func(port uint16) string

	Verbose   int  // as many times -v
	AllStates bool // list every port, however many there are in a state
	OpenOnly  bool // list what may be open, and no host without such a port
	Reasons   bool // say in the normal report why a port is in its state
}

// End is what a report says about a scan after its results.
type End struct {
	Time      time.Time
	Elapsed   time.Duration
	Addresses uint64 // that were scanned
	Dropped   uint64 // packets that may have been an answer
	Err       string // why the scan ended early, "" if it did not
}

// Format is how records become a file of lines.
type Format struct {
	// Line appends a record to dst as one line, with its newline, and returns
	// the extended buffer.
	Line func(dst []byte, r *result.Record) []byte

	// What stands around the lines: at the beginning, before the first line,
	// between two lines, and at the end.
	open, first, between, close string
	// end is what ends a line and nothing else, the newline included.
	end string
}
