package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"synoptic/internal/output"
	"synoptic/internal/result"
)

// stdoutNames are ways to write stdout as a file.
var stdoutNames = []string{"-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"}

func isStdout(name string) bool { return slices.Contains(stdoutNames, filepath.Clean(name)) }

// checkOutputs refuses two outputs in one place.
func checkOutputs(names []string) error {
	var seen []string
	for _, name := range names {
		if name == "" {
			return errors.New("-oD needs the name of a file, or - for stdout")
		}
		if isStdout(name) {
			name = "-"
		}
		name = filepath.Clean(name)
		if slices.Contains(seen, name) {
			if name == "-" {
				return errors.New("two outputs on stdout: give one of them a file")
			}
			return fmt.Errorf("two outputs in %s: give each a file of its own", name)
		}
		seen = append(seen, name)
	}
	return nil
}

// outputs is where the results go. It implements scan.Sink. When one output
// fails, the scan is stopped, and the others still get everything that is known.
type outputs struct {
	writers   []output.Writer
	files     []*output.Lines // those of the writers that are files
	allStates bool
	stop      func() // ends the scan
	failed    []*output.Error
}

// openOutputs opens every output before anything is sent, and changes none.
func openOutputs(opt options, stdout *os.File, say *console) (*outputs, error) {
	o := &outputs{allStates: opt.allStates}
	text := true
	for _, name := range opt.json {
		if isStdout(name) {
			text = false
			o.writers = append(o.writers, output.New(say.beside(stdout), "stdout", output.JSON))
			continue
		}
		if sameFile(name, stdout) {
			return nil, fmt.Errorf("two outputs on stdout: %s is the file that stdout goes to", name)
		}
		w, err := output.Create(name, output.JSON)
		if err != nil {
			return nil, err
		}
		o.writers, o.files = append(o.writers, w), append(o.files, w)
	}
	if text {
		o.writers = append(o.writers, output.New(say.beside(stdout), "stdout", output.Text))
	}
	return o, nil
}

// begin empties the files, now that nothing stands in the way of the scan.
func (o *outputs) begin() error {
	for _, f := range o.files {
		if err := f.Begin(); err != nil {
			return err
		}
	}
	return nil
}

// sameFile reports whether a name is that of an open file with a content, not of
// a device.
func sameFile(name string, f *os.File) bool {
	named, err := os.Stat(name)
	if err != nil {
		return false
	}
	open, err := f.Stat()
	return err == nil && open.Mode()&os.ModeCharDevice == 0 && os.SameFile(named, open)
}

// shows tells whether a record is one that the user wants to see.
func (o *outputs) shows(r *result.Record) bool { return o.allStates || r.MaybeOpen() }

// Record implements scan.Sink.
func (o *outputs) Record(r *result.Record) error {
	if !o.shows(r) {
		return nil
	}
	return o.each(func(w output.Writer) error { return w.Record(r) })
}

// Flush implements scan.Sink.
func (o *outputs) Flush() error { return o.each(output.Writer.Flush) }

// close ends the outputs; what went wrong is in failed.
func (o *outputs) close() { o.each(output.Writer.Close) }

// errNoOutput is what the scan is told when there is no use in going on.
var errNoOutput = errors.New("no output is left")

// each does something with every output, and fails when all have failed.
func (o *outputs) each(do func(output.Writer) error) error {
	broken := 0
	for _, w := range o.writers {
		err := do(w)
		if err == nil {
			continue
		}
		broken++
		// A writer's error is the same value every time.
		if e, ok := errors.AsType[*output.Error](err); ok && !slices.Contains(o.failed, e) {
			o.failed = append(o.failed, e)
			o.stop()
		}
	}
	if broken == len(o.writers) {
		return errNoOutput
	}
	return nil
}

// lost says which outputs failed and what they miss, or "".
func (o *outputs) lost() string {
	var parts []string
	for _, e := range o.failed {
		parts = append(parts, fmt.Sprintf("%v: %s lost there", e, number(e.Lost, "result")))
	}
	return strings.Join(parts, "; ")
}
