package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"synoptic/internal/method"
	"synoptic/internal/output"
	"synoptic/internal/result"
	"synoptic/internal/scan"
)

// sink is where the records of a scan go, and what a checkpoint asks how far they
// are.
type sink interface {
	scan.Sink
	// snapshot flushes and returns what the outputs have of the records so far: their
	// state, which is JSON, and a function that appends the rest and may be called
	// once, by any goroutine, while the scan goes on. It is false when that cannot
	// be told now, as of an output that has failed or of a pipe whose reader is
	// behind: a later call may be luckier.
	snapshot() (outputsState, func(dst []byte) []byte, bool)
}

// outputsState is how far the outputs are, in the order in which they were opened.
type outputsState struct {
	Outputs []mark `json:"outputs"`
}

// mark is how far one of them is.
type mark struct {
	Option string      `json:"option"` // "": text
	Name   string      `json:"name"`   // of a file, or "-"
	Mark   output.Mark `json:"mark,omitzero"`
}

// String names an output as on the command line.
func (m mark) String() string {
	if m.Option == "" {
		return "text on stdout"
	}
	return m.Option + " " + m.Name
}

// placed is an output that has been opened.
type placed struct {
	place
	marker
}

// marker is an output that another process can go on with.
type marker interface {
	Mark() (output.Mark, bool)
	Check(output.Mark) error
	Continue(*output.Scan, output.Mark) error
}

// marks returns where all outputs are, after Flush.
func (o *outputs) marks() ([]mark, bool) {
	marks := make([]mark, len(o.opened))
	for i, p := range o.opened {
		m, ok := p.Mark()
		if !ok {
			return nil, false
		}
		marks[i] = mark{p.option, p.name, m}
	}
	return marks, true
}

// snapshot implements sink.
func (o *outputs) snapshot() (outputsState, func([]byte) []byte, bool) {
	return o.snapshotWith([][]result.Record{o.waiting})
}

// snapshotWith takes a snapshot when some records have not come to the outputs with
// a place for names. They stay as they are until the snapshot is encoded.
func (o *outputs) snapshotWith(waiting [][]result.Record) (outputsState, func([]byte) []byte, bool) {
	if o.Flush() != nil || len(o.failed) > 0 {
		return outputsState{}, nil, false
	}
	marks, ok := o.marks()
	if !ok {
		return outputsState{}, nil, false
	}
	hosts := o.hosts.Snapshot()
	return outputsState{marks}, func(dst []byte) []byte {
		dst = appendWaiting(dst, slices.Concat(waiting...))
		dst, _ = hosts.AppendBinary(dst) // has no error
		return dst
	}, true
}

// resume opens the outputs in place of begin, and goes on from a snapshot. Nothing
// is changed before every output is known to be the one that it was. Records that
// waited for a name do so in o.waiting until named takes them.
func (o *outputs) resume(about *output.Scan, state outputsState, section []byte) error {
	if err := o.sameAs(state); err != nil {
		return err
	}
	waiting, rest, err := parseWaiting(section)
	if err != nil {
		return err
	}
	if err := o.hosts.UnmarshalBinary(rest); err != nil {
		return err
	}
	of := func(p placed) output.Mark { return state.Outputs[slices.IndexFunc(state.Outputs, p.has)].Mark }
	for _, p := range o.opened {
		if err := p.Check(of(p)); err != nil {
			return err
		}
	}
	for _, p := range o.opened {
		if err := p.Continue(about, of(p)); err != nil {
			return err
		}
	}
	o.waiting = waiting
	return nil
}

func (p placed) has(m mark) bool { return m.Option == p.option && m.Name == p.name }

// sameAs refuses other outputs than those of a snapshot.
func (o *outputs) sameAs(state outputsState) error {
	for _, m := range state.Outputs {
		if !slices.ContainsFunc(o.opened, func(p placed) bool { return p.has(m) }) {
			return fmt.Errorf("the scan to be resumed had the output %v: it is missing now", m)
		}
	}
	for _, p := range o.opened {
		if !slices.ContainsFunc(state.Outputs, p.has) {
			return fmt.Errorf("the scan to be resumed did not have the output %v: leave it out", mark{Option: p.option, Name: p.name})
		}
	}
	return nil
}

// appendWaiting appends records that wait for a name: how many, the round trip of
// each in nanoseconds, which JSON does not have, and their lines of JSON behind
// the length of all; numbers are varints.
func appendWaiting(dst []byte, records []result.Record) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(records)))
	var lines []byte
	for i := range records {
		dst = binary.AppendUvarint(dst, uint64(records[i].RTT))
		lines = output.JSON.Line(lines, &records[i])
	}
	dst = binary.AppendUvarint(dst, uint64(len(lines)))
	return append(dst, lines...)
}

// errWaiting is the error of what appendWaiting has not written.
var errWaiting = errors.New("malformed records that wait for a name")

// parseWaiting reads what appendWaiting wrote, and returns what follows.
func parseWaiting(data []byte) (records []result.Record, rest []byte, err error) {
	bad := false
	number := func(most uint64) uint64 {
		v, n := binary.Uvarint(data)
		if n <= 0 || v > most {
			bad = true
			return 0
		}
		data = data[n:]
		return v
	}
	trips := make([]time.Duration, number(uint64(len(data))))
	for i := range trips {
		trips[i] = time.Duration(number(math.MaxInt64))
	}
	length := number(uint64(len(data)))
	if bad || length > uint64(len(data)) {
		return nil, nil, errWaiting
	}
	err = output.ReadJSON(bytes.NewReader(data[:length]), "the checkpoint", func(r *result.Record) error {
		if len(records) == len(trips) || method.ByName(r.Method) == nil {
			return errWaiting
		}
		r.RTT = trips[len(records)]
		records = append(records, *r)
		return nil
	})
	if err == nil && len(records) < len(trips) {
		err = errWaiting
	}
	return records, data[length:], err
}
