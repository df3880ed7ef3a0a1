// Package output writes the records of a scan, in the formats that people and
// programs read:
//
//	Text    127.0.0.1:80 open syn-ack
//	JSON    one JSON object per line
//
// A [Format] is a pure function that appends one record to a buffer. [Lines]
// puts what it appends into a file, a whole number of lines at a time, so that
// a reader never sees half a result, not even after an interrupt.
//
// Recording allocates nothing. A Writer is used by one goroutine at a time.
package output

import "synoptic/internal/result"

// Writer writes records in one format to one place.
type Writer interface {
	// Record takes one record; what it points to is the caller's again after
	// the call.
	Record(*result.Record) error
	// Flush hands everything recorded so far to the operating system.
	Flush() error
	// Close flushes and ends the output. It is called once, last.
	Close() error
}

// Format appends a record to dst as one line, with its newline, and returns the
// extended buffer.
type Format func(dst []byte, r *result.Record) []byte
