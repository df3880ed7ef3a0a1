package main

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/pflag"

	"synoptic/internal/checkpoint"
	"synoptic/internal/target"
)

// recipe is all that makes a scan, so that it can be made again: the options in
// effect, and what was read at its beginning and may not be there twice.
type recipe struct {
	Program string                  `json:"program"`
	Args    []string                `json:"args"` // the command line, for reports
	Start   time.Time               `json:"start"`
	Dir     string                  `json:"dir"` // relative names are of this folder
	Options []option                `json:"options"`
	Targets []string                `json:"targets"` // of the command line
	Stdin   []target.Word           `json:"stdin"`   // what was read there
	Hosts   map[string][]netip.Addr `json:"hosts"`   // host names that were looked up
	Ports   string                  `json:"ports"`
	Chosen  bool                    `json:"chosen"` // nobody named the checkpoint

	targets []byte // their addresses, see rangesOf
}

// option is a long name and what it was given.
type option struct {
	Name   string   `json:"name"`
	Values []string `json:"values"`
}

// besideResume are the options that may be given with --resume: none of them
// changes what the scan does to the network but its pace.
var besideResume = []string{"resume", "rate", "rate-per-prefix", "max-loss", "max-errors", "senders", "path", "no-reset", "quiet", "status-json", "verbose"}

// newRecipe writes down a scan that is about to begin.
func (a *app) newRecipe(w *words, all *pflag.FlagSet, s *scope) (*recipe, error) {
	dir, err := os.Getwd()
	if err != nil {
		return nil, fmt.Errorf("find the working directory: %w", err)
	}
	r := &recipe{
		Program: program(), Args: a.args, Start: a.start, Dir: dir, Targets: w.targets, Stdin: a.read.stdin, Hosts: a.read.hosts,
		Ports: a.opt.ports.String(), Chosen: a.opt.checkpoint == "" || a.resumed != nil && a.resumed.Chosen, targets: rangesOf(s.plan.Targets()),
	}
	all.Visit(func(f *pflag.Flag) {
		if slices.Contains(append([]string{"checkpoint", "seed"}, unfit...), f.Name) {
			return
		}
		values := []string{f.Value.String()}
		if list, ok := f.Value.(pflag.SliceValue); ok {
			values = list.GetSlice()
		}
		r.Options = append(r.Options, option{f.Name, values})
	})
	r.Options = append(r.Options, option{"seed", []string{strconv.FormatUint(a.opt.seed, 10)}})
	return r, nil
}

// rangesOf writes the addresses of a set: a line for each range, as in
// 10.0.0.0-10.0.0.255, ascending.
func rangesOf(set *target.Set) []byte {
	var lines []byte
	for first, last := range set.Ranges() {
		lines = append(first.AppendTo(lines), '-')
		lines = append(last.AppendTo(lines), '\n')
	}
	return lines
}

// resume makes the words those of a checkpoint, but for what is said beside
// --resume.
func (a *app) resume(w *words, all *pflag.FlagSet, said []*pflag.Flag) error {
	for _, f := range said {
		if !slices.Contains(besideResume, f.Name) {
			return fmt.Errorf("--resume takes every option from the checkpoint and has no use for %s: leave it out", spelling(f))
		}
	}
	if len(w.targets) > 0 {
		return fmt.Errorf("--resume takes the targets from the checkpoint: leave out %s", w.targets[0])
	}
	path, err := filepath.Abs(w.resume)
	if err != nil {
		return fmt.Errorf("find %s: %w", w.resume, err)
	}
	if file, err := filepath.EvalSymlinks(path); err == nil {
		path = file
	}
	if a.held, err = checkpoint.Hold(path); err != nil {
		return err
	}
	s, parts, err := load(path)
	if err != nil {
		return err
	}
	// Names of files mean what they meant.
	if err := os.Chdir(s.Dir); err != nil {
		return fmt.Errorf("resume %s: go to the folder that the scan was begun in: %w", w.resume, err)
	}
	here := func(name string) bool {
		return slices.ContainsFunc(said, func(f *pflag.Flag) bool { return f.Name == name })
	}
	for _, o := range s.Options {
		if here(o.Name) || here("status-json") && o.Name == "quiet" {
			continue
		}
		for _, v := range o.Values {
			if err := all.Set(o.Name, v); err != nil {
				return fmt.Errorf("resume %s: --%s: %w", w.resume, o.Name, err)
			}
		}
	}
	w.targets, w.checkpoint = s.Targets, path
	a.args, a.start, a.resumed, a.reports = s.Args, s.Start, s, parts[reportSection]
	a.read.stdin, a.read.hosts = s.Stdin, s.Hosts
	return nil
}

// checkSame refuses to go on when what is to be scanned is not what it was.
func (a *app) checkSame(s *scope) error {
	r := a.resumed
	if ports := a.opt.ports.String(); ports != r.Ports {
		return fmt.Errorf("the ports have changed since the scan began: they were %s, and are %s now", r.Ports, ports)
	}
	now := rangesOf(s.plan.Targets())
	if bytes.Equal(now, r.targets) {
		return nil
	}
	addr, isNew := difference(now, r.targets)
	what := "is not among them any more"
	if isNew {
		what = "was not among them"
	}
	return fmt.Errorf("the targets have changed since the scan began: %v %s; restore the lists, or begin a new scan", addr, what)
}

// difference returns the first address that only one of two sets of ranges has,
// and whether that is the new one. They are not equal.
func difference(now, was []byte) (addr netip.Addr, isNew bool) {
	for {
		a, moreNow := nextRange(&now)
		b, moreWas := nextRange(&was)
		switch {
		case a == b && moreNow:
			continue
		case !moreWas || moreNow && a[0].Less(b[0]):
			return a[0], true
		case !moreNow || b[0].Less(a[0]):
			return b[0], false
		case a[1].Less(b[1]):
			return a[1].Next(), false
		}
		return b[1].Next(), true
	}
}

// nextRange takes a line off the ranges; it reports false when there is none.
func nextRange(lines *[]byte) (r [2]netip.Addr, ok bool) {
	line, rest, ok := bytes.Cut(*lines, []byte("\n"))
	*lines = rest
	first, last, _ := bytes.Cut(line, []byte("-"))
	// What rangesOf has written is well-formed.
	r[0], _ = netip.ParseAddr(string(first))
	r[1], _ = netip.ParseAddr(string(last))
	return r, ok
}
