// Package report keeps what a comparison with the peers has measured, and writes
// it down for people: compare.json in, tables and plots out. Every figure in
// REPORT.md, and those of the README, come from that file.
//
// A comparison is a list of works. Each was done by several programs in turn, some
// rounds long; a round is a pair of numbers that can be divided by each other,
// two rounds are not. So a ratio is the median of the rounds' ratios.
package report

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
)

// Comparison is what compare.json holds.
type Comparison struct {
	Machine  string            `json:"machine"` // processor and number of cores
	Kernel   string            `json:"kernel"`
	Date     string            `json:"date"`     // of the first run, year-month-day
	Command  string            `json:"command"`  // that made it
	Rounds   int               `json:"rounds"`   // at least of each work
	Versions map[string]string `json:"versions"` // of each program, as it says itself
	Works    []Work            `json:"works"`
}

// Work is something that programs were asked for.
type Work struct {
	Name    string `json:"name"`            // for the claims: "sweep/cores=1"
	Section string `json:"section"`         // of the report
	Text    string `json:"text"`            // one sentence: what is to be done, and where
	Truth   int    `json:"truth,omitempty"` // how many endpoints are to be reported, if that is judged
	Runs    []Run  `json:"runs"`
}

// Run is what one program did of a work, all rounds of it.
type Run struct {
	Program string `json:"program"`           // "synscan --path kernel", "zmap", "limit: sendmmsg"
	Command string `json:"command,omitempty"` // its last command line
	// Limit is the program of the same work that does only what this one does last.
	Limit string `json:"limit,omitempty"`
	// Cannot says why the program was not run; then there are no figures.
	Cannot  string               `json:"cannot,omitempty"`
	Figures map[string][]float64 `json:"figures,omitempty"` // by metric, one for each round
}

// The metrics. Of the first ones more is better, of the others less.
const (
	PPS     = "pps"       // probes a second, as the far end counted them
	Packets = "packets/s" // of the detector
	Answers = "answers/s"
	Seen    = "seen"  // of a detector: 1 if it told of the scan, 0 if not
	Right   = "right" // 1 if that was once for each policy, with its source and kind, and of nobody else

	CPU     = "cpu-ns/probe"    // user and system time of the process
	Cost    = "ns/packet"       // of the detector
	BPF     = "bpf-ns/packet"   // of it, by its XDP program beyond an empty one
	Core    = "core-share"      // of a processor, by the detector's process; 1 is all of one
	Lost    = "lost-share"      // of the packets: those that the detector did not get
	Probes  = "probes/endpoint" // that arrived: what was lost is sent again by some
	Seconds = "s"               // from start to end
	Delay   = "delay-ms"        // from the packet that crossed the line to the alert
	Missing = "missing"         // of the truth, endpoints
	Wrong   = "wrong"           // endpoints reported otherwise than they are
	Doubled = "doubled"         // endpoints reported more than once
	Memory  = "MiB"             // resident, at most
)

// Work returns the one of a name, or nil.
func (c *Comparison) Work(name string) *Work {
	for i := range c.Works {
		if c.Works[i].Name == name {
			return &c.Works[i]
		}
	}
	return nil
}

// Run returns that of a program, or nil.
func (w *Work) Run(program string) *Run {
	for i := range w.Runs {
		if w.Runs[i].Program == program {
			return &w.Runs[i]
		}
	}
	return nil
}

// Ratio returns those of the rounds: of this run's figure to another's.
func (r *Run) Ratio(other *Run, metric string) []float64 {
	a, b := r.Figures[metric], other.Figures[metric]
	ratios := make([]float64, min(len(a), len(b)))
	for i := range ratios {
		ratios[i] = a[i] / b[i]
	}
	return ratios
}

// Median returns that of some figures, and the least and the greatest of them.
func Median(figures []float64) (median, least, most float64) {
	if len(figures) == 0 {
		return 0, 0, 0
	}
	sorted := slices.Sorted(slices.Values(figures))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2, sorted[0], sorted[n-1]
}

// Read reads a comparison from a file.
func Read(name string) (*Comparison, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	c := new(Comparison)
	if err := json.Unmarshal(text, c); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return c, nil
}

// Write writes it to a file.
func (c *Comparison) Write(name string) error {
	text, err := json.MarshalIndent(c, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(name, append(text, '\n'), 0o644)
}
