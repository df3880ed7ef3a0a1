package output

import (
	"fmt"
	"io"
	"os"
)

// style is how a report looks. Each function appends to dst.
type style struct {
	head func(dst []byte, scan *Scan) []byte
	host func(dst []byte, scan *Scan, h *Hosts, entry *host) []byte
	// tail ends the report; end is nil while the scan is running.
	tail func(dst []byte, scan *Scan, h *Hosts, end *End) []byte
}

// Style is how a report looks: Grepable, Normal or XML.
type Style struct{ style }

// Report is a Writer of what Hosts keeps. Until Close it says that the scan is
// not finished.
type Report struct {
	lines *Lines
	style style
	hosts *Hosts
	scan  *Scan
	began Mark
}

// NewReport returns a report to w, which stays the caller's to close. The name
// is for errors.
func NewReport(w io.Writer, name string, style Style, hosts *Hosts) *Report {
	return newReport(New(w, name, Format{}), style, hosts)
}

// CreateReport opens a file to write a report to, as Create does.
func CreateReport(path string, style Style, hosts *Hosts) (*Report, error) {
	lines, err := Create(path, Format{})
	if err != nil {
		return nil, err
	}
	return newReport(lines, style, hosts), nil
}

func newReport(lines *Lines, style Style, hosts *Hosts) *Report {
	lines.unit = "host"
	return &Report{lines: lines, style: style.style, hosts: hosts}
}

// Begin implements Writer.
func (r *Report) Begin(scan *Scan) error {
	r.scan = scan
	if r.lines.into != nil {
		var err error
		if r.began, err = here(r.lines.into); err != nil {
			return fmt.Errorf("write %s: %w", r.lines.name, err)
		}
	}
	r.lines.format.open = string(r.style.head(nil, scan))
	r.lines.closing = r.style.tail(nil, scan, r.hosts, nil)
	return r.lines.Begin(scan)
}

// Into says in which open file the writer ends that NewReport was given, as Into of
// Lines does. It is called before Begin or Continue.
func (r *Report) Into(f *os.File) { r.lines.Into(f) }

// Mark returns what Continue needs, which is nothing but where a report on stdout
// began. It is false when the report has failed.
func (r *Report) Mark() (Mark, bool) { return r.began, r.lines.err == nil }

// Check is that of Lines; no file is refused, as none is gone on with.
func (r *Report) Check(Mark) error { return nil }

// Continue begins a report anew in place of Begin, as Hosts has what it is made
// of. What is of it on stdout is cut off if that is still the same regular file.
func (r *Report) Continue(scan *Scan, m Mark) error {
	if r.lines.same(m) {
		if err := cut(r.lines.into, r.lines.name, m.At); err != nil {
			return err
		}
	}
	return r.Begin(scan)
}

// Flush implements Writer: nothing is known of a host before the end.
func (r *Report) Flush() error { return r.lines.Flush() }

// Discard implements Writer.
func (r *Report) Discard() { r.lines.Discard() }

// Close implements Writer.
func (r *Report) Close(end *End) error {
	l := r.lines
	for entry := range r.hosts.all(r.scan) {
		if l.err != nil {
			l.err.Lost++
			continue
		}
		l.buf = r.style.host(l.buf, r.scan, r.hosts, entry)
		l.pending++
		if len(l.buf) > bufferLen/2 {
			_ = l.Flush() // it stays, and Close returns it
		}
	}
	l.closing = r.style.tail(nil, r.scan, r.hosts, end)
	return l.Close(end)
}
