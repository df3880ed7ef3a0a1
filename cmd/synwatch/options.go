package main

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"synoptic/bpf/watch"
	"synoptic/detector"
	"synoptic/detector/sink"
)

// options is what the command line and the file ask for, checked as far as it
// can be without looking at the machine.
type options struct {
	interfaces []string
	capture    string // in place of interfaces
	mode       string
	gateway    bool
	memory     uint64
	rules      Rules

	eve, scanlogd string // files, "-" for stdout, "" for none
	syslog        sink.Address
	hasSyslog     bool
	quiet         bool
	metrics       string // "" for none
	control       string // "" for none
	controlAsked  bool   // and not the default
}

// stdoutNames are ways to write stdout as a file.
var stdoutNames = []string{"-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"}

func isStdout(name string) bool { return slices.Contains(stdoutNames, filepath.Clean(name)) }

// options reads the words.
func (w *words) options() (o options, err error) {
	o = options{interfaces: w.interfaces, capture: w.capture, mode: w.mode, gateway: w.gateway, quiet: w.quiet}
	for _, read := range []func(*options) error{w.readWatched, w.readPolicies, w.readWho, w.readOutputs, w.readOperation} {
		if err := read(&o); err != nil {
			return options{}, err
		}
	}
	return o, nil
}

func (w *words) readWatched(o *options) (err error) {
	for i, name := range o.interfaces {
		if slices.Contains(o.interfaces[:i], name) {
			return fmt.Errorf("-i %s is there twice: leave one out", name)
		}
	}
	if err := parseWord("--xdp-mode", o.mode, "auto", "native", "generic", "tcx"); err != nil {
		return err
	}
	o.memory, err = parseSize("--memory", w.memory)
	return err
}

func (w *words) readWho(o *options) (err error) {
	r := &o.rules
	if r.Traps, err = parsePorts("--traps", w.traps); err != nil {
		return err
	}
	if err := parseWord("--udp", w.udp, "score", "count", "off"); err != nil {
		return err
	}
	r.UDP = map[string]watch.UDPMode{"score": watch.UDPScore, "count": watch.UDPCount, "off": watch.UDPOff}[w.udp]
	bits, err := parseCount("--v6-prefix", w.v6Bits, 1, 128)
	if err != nil {
		return err
	}
	r.V6Bits = int(bits)
	for _, text := range w.allow {
		p, err := parsePrefix("--allow", text)
		if err != nil {
			return err
		}
		r.Allow = append(r.Allow, p)
	}
	for _, text := range w.ignore {
		e, err := parseEndpoint("--ignore", text)
		if err != nil {
			return err
		}
		r.Ignore = append(r.Ignore, e)
	}
	r.Filter = strings.Join(w.filter, " ")
	return nil
}

func (w *words) readOutputs(o *options) (err error) {
	o.eve, o.scanlogd = w.eve, w.scanlogd
	for _, name := range []*string{&o.eve, &o.scanlogd} {
		if *name != "" && isStdout(*name) {
			*name = "-"
		}
	}
	switch {
	case o.eve != "" && o.eve == o.scanlogd && o.eve == "-":
		return errors.New("--eve and --scanlogd-line on stdout: give one of them a file")
	case o.eve != "" && filepath.Clean(o.eve) == filepath.Clean(o.scanlogd):
		return fmt.Errorf("--eve and --scanlogd-line in %s: give each a file of its own", o.eve)
	}
	if o.hasSyslog = w.syslog != ""; o.hasSyslog {
		if o.syslog, err = sink.ParseAddress(w.syslog); err != nil {
			return fmt.Errorf("--syslog %s: %w", w.syslog, err)
		}
	}
	return nil
}

func (w *words) readOperation(o *options) error {
	if o.metrics = w.metrics; o.metrics != "" {
		if err := checkListen("--metrics", o.metrics); err != nil {
			return err
		}
	}
	return w.readControl(o)
}

// maxSocketPath is as long as the path of a socket may be, unix(7).
const maxSocketPath = 107

// readControl is what the commands status and top need, too.
func (w *words) readControl(o *options) error {
	o.controlAsked = w.control != ""
	o.control = cmp.Or(w.control, defaultControl)
	if o.control == "off" {
		o.control = ""
	}
	if len(o.control) > maxSocketPath {
		return fmt.Errorf("--control takes the path of a socket of at most %d bytes, not %q", maxSocketPath, o.control)
	}
	return nil
}

// useless are the options that a capture has no use for.
var useless = []string{"xdp-mode", "metrics", "control"}

// check checks what the options mean together. said are those of the command
// line: a file may have more than one run needs.
func (o *options) check(said []*pflag.Flag) error {
	for _, f := range said {
		if o.capture != "" && slices.Contains(useless, f.Name) {
			return fmt.Errorf("-r reads a capture and has no use for %s: leave out one of the two", spelling(f))
		}
		if p := policyOf(f.Name); p != "" && !o.uses(p) {
			return fmt.Errorf("%s is of no use: policy %s is off, --policy turns it on", spelling(f), p)
		}
	}
	switch {
	case len(o.interfaces) > 0 && o.capture != "":
		return errors.New("-i and -r contradict each other: packets come from interfaces or from a capture")
	case o.quiet && o.eve == "" && o.scanlogd == "" && !o.hasSyslog && o.metrics == "":
		return errors.New("--quiet leaves nobody to be told of alerts: name --eve, --syslog, --scanlogd-line or --metrics")
	}
	return checkPolicies(o.rules.Policies)
}

// policyOf returns the policy that an option is a number of, or "".
func policyOf(option string) string {
	for _, p := range detector.Policies() {
		for _, n := range parameters(p.Name) {
			if option == p.Name+"-"+n.name {
				return p.Name
			}
		}
	}
	return ""
}

// live tells whether interfaces are watched.
func (o *options) live() bool { return o.capture == "" }
