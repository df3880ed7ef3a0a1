package main

import (
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"synoptic/internal/output"
	"synoptic/internal/result"
)

// stdoutNames are ways to write stdout as a file.
var stdoutNames = []string{"-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"}

func isStdout(name string) bool { return slices.Contains(stdoutNames, filepath.Clean(name)) }

// kind is one of the formats and its option. A format has lines, one for each
// record, or is a report, with an entry for each host.
type kind struct {
	option string
	format output.Format
	style  output.Style
	report bool
}

// namesHosts tells whether a format has a place for the names of addresses.
func namesHosts(p place) bool { return p.report || p.option == "-oD" }

var kinds = []kind{
	{option: "-oD", format: output.JSON},
	{option: "-oJ", format: output.Array},
	{option: "-oL", format: output.List},
	{option: "-oG", style: output.Grepable, report: true},
	{option: "-oN", style: output.Normal, report: true},
	{option: "-oX", style: output.XML, report: true},
}

// place is an output that was asked for.
type place struct {
	kind
	name string // of a file, or "-"
}

// places lists what was asked for, in the order of kinds.
func (w *words) places() ([]place, error) {
	asked := [][]string{w.json, w.array, w.list, w.grepable, w.normal, w.xml}
	for _, base := range w.reports {
		if base == "" || isStdout(base) {
			return nil, errors.New("-oA needs the name that three files have in common: BASE.gnmap, BASE.nmap and BASE.xml")
		}
		for i, extension := range []string{".gnmap", ".nmap", ".xml"} {
			asked[3+i] = append(asked[3+i], base+extension)
		}
	}
	var all []place
	for i, names := range asked {
		for _, name := range names {
			if name == "" {
				return nil, fmt.Errorf("%s needs the name of a file, or - for stdout", kinds[i].option)
			}
			if isStdout(name) {
				name = "-"
			}
			all = append(all, place{kinds[i], name})
		}
	}
	return all, checkPlaces(all)
}

// textOnStdout is what nobody needs to ask for.
var textOnStdout = place{kind{format: output.Text}, "-"}

func onStdout(p place) bool { return p.name == "-" }

// checkPlaces refuses two outputs in one place.
func checkPlaces(all []place) error {
	var seen []string
	for _, p := range all {
		name := filepath.Clean(p.name)
		switch {
		case !slices.Contains(seen, name):
			seen = append(seen, name)
		case name == "-":
			return errors.New("two outputs on stdout: give one of them a file")
		default:
			return fmt.Errorf("two outputs in %s: give each a file of its own", name)
		}
	}
	return nil
}

// lineWriter is an output of lines.
type lineWriter interface {
	output.Writer
	Record(*result.Record) error
}

// outputs is where the results go. It implements scan.Sink. When one output
// fails, the scan is stopped, and the others still get everything that is known.
type outputs struct {
	lines     []lineWriter // without names of hosts
	named     []lineWriter // with
	reports   []output.Writer
	opened    []placed      // all of these, in the order in which they were asked for
	hosts     *output.Hosts // what the reports are made of
	allStates bool          // in lines
	terminal  bool          // stdout is one
	stop      func()        // ends the scan; called by any goroutine
	failed    []*output.Error
	waiting   []result.Record // resumed, and not yet recorded where names have a place
}

// openOutputs opens every output before anything is sent, and changes none. stop
// is called when an output fails.
func openOutputs(places []place, stdout *os.File, say *console, stop func()) (_ *outputs, err error) {
	o := &outputs{hosts: output.NewHosts(), stop: stop}
	defer func() {
		if err != nil {
			o.discard()
		}
	}()
	if _, err := unix.IoctlGetTermios(int(stdout.Fd()), unix.TCGETS); err == nil {
		o.terminal = true
	}
	var files []os.FileInfo
	for _, p := range places {
		if p.name != "-" && sameFile(p.name, stdout) {
			return nil, fmt.Errorf("two outputs on stdout: %s is the file that stdout goes to", p.name)
		}
		if err := o.open(p, stdout, say); err != nil {
			return nil, err
		}
		if p.name == "-" {
			continue
		}
		// Two names may be one file.
		info, err := os.Stat(p.name)
		if err != nil {
			return nil, fmt.Errorf("create %s: %w", p.name, bare(err))
		}
		if info.Mode().IsRegular() {
			if slices.ContainsFunc(files, func(f os.FileInfo) bool { return os.SameFile(f, info) }) {
				return nil, fmt.Errorf("two outputs in %s, which has another name too: give each a file of its own", p.name)
			}
			files = append(files, info)
		}
	}
	return o, nil
}

func (o *outputs) open(p place, stdout *os.File, say *console) (err error) {
	var lines *output.Lines
	var report *output.Report
	switch {
	case p.report && p.name == "-":
		report = output.NewReport(say.beside(stdout), "stdout", p.style, o.hosts)
		report.Into(stdout)
	case p.report:
		report, err = output.CreateReport(p.name, p.style, o.hosts)
	case p.name == "-":
		lines = output.New(say.beside(stdout), "stdout", p.format)
		lines.Into(stdout)
	default:
		lines, err = output.Create(p.name, p.format)
	}
	switch {
	case err != nil:
		return err
	case p.report:
		o.reports = append(o.reports, report)
		o.opened = append(o.opened, placed{p, report})
		return nil
	case namesHosts(p):
		o.named = append(o.named, lines)
	default:
		o.lines = append(o.lines, lines)
	}
	lines.Queue(o.stop)
	o.opened = append(o.opened, placed{p, lines})
	return nil
}

// begin empties the files, now that nothing stands in the way of the scan.
func (o *outputs) begin(scan *output.Scan) error {
	for w := range o.all() {
		if err := w.Begin(scan); err != nil {
			return err
		}
	}
	return nil
}

// discard gives up outputs that have not begun, and leaves no new files behind.
func (o *outputs) discard() {
	for w := range o.all() {
		w.Discard()
	}
}

// all yields every output.
func (o *outputs) all() iter.Seq[output.Writer] {
	return func(yield func(output.Writer) bool) {
		for _, lines := range [][]lineWriter{o.lines, o.named} {
			for _, w := range lines {
				if !yield(w) {
					return
				}
			}
		}
		for _, w := range o.reports {
			if !yield(w) {
				return
			}
		}
	}
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
	o.recordNameless(r)
	o.recordNamed(r)
	return o.left()
}

// recordNameless gives a record to the outputs that have no place for a name.
func (o *outputs) recordNameless(r *result.Record) { o.record(o.lines, r) }

// recordNamed gives a record to those that have.
func (o *outputs) recordNamed(r *result.Record) {
	if len(o.reports) > 0 {
		o.hosts.Record(r)
	}
	o.record(o.named, r)
}

func (o *outputs) record(lines []lineWriter, r *result.Record) {
	if !o.shows(r) {
		return
	}
	for _, w := range lines {
		o.check(w.Record(r))
	}
}

// Flush implements scan.Sink.
func (o *outputs) Flush() error {
	for w := range o.all() {
		o.check(w.Flush())
	}
	return o.left()
}

// close ends the outputs; what went wrong is in failed.
func (o *outputs) close(end *output.End) {
	for w := range o.all() {
		o.check(w.Close(end))
	}
}

// errNoOutput is what the scan is told when there is no use in going on.
var errNoOutput = errors.New("no output is left")

// left fails when all outputs have; a report can only fail when it is closed.
func (o *outputs) left() error {
	if len(o.reports) == 0 && len(o.failed) > 0 && len(o.failed) == len(o.lines)+len(o.named) {
		return errNoOutput
	}
	return nil
}

// check keeps an output's error and stops the scan for it.
func (o *outputs) check(err error) {
	// A writer's error is the same value every time.
	if e, ok := errors.AsType[*output.Error](err); ok && !slices.Contains(o.failed, e) {
		o.failed = append(o.failed, e)
		o.stop()
	}
}

// hungUp tells whether nothing has failed but the terminal, because it was closed.
func (o *outputs) hungUp() bool {
	return o.terminal && len(o.failed) == 1 && o.failed[0].Name == "stdout" && errors.Is(o.failed[0], unix.EIO)
}

// lost says which outputs failed and what they miss, or "".
func (o *outputs) lost() string {
	var parts []string
	for _, e := range o.failed {
		parts = append(parts, fmt.Sprintf("%v: %s lost there", e, number(e.Lost, e.Unit)))
	}
	return strings.Join(parts, "; ")
}
