package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"lukechampine.com/uint128"

	"synoptic/internal/method"
	"synoptic/internal/netif"
	"synoptic/internal/plan"
	"synoptic/internal/scan"
	"synoptic/internal/target"
)

// options is what the command line asks for, checked as far as it can be
// without looking at files, names and the network.
type options struct {
	targets, excludes []target.Word // those of the command line
	files             files
	ports             target.Ports
	method            *method.Method
	confirmed         uint128.Uint128

	rate      float64 // 0: unlimited
	retries   int     // autoRetries: chosen by the size of the scan
	wait      time.Duration
	seed      uint64
	shard     plan.Shard
	maxProbes uint64 // 0: all
	senders   int

	path       netif.Options
	sourcePort uint16 // 0: chosen
	ttl        uint8  // 0: the default

	places                   []place
	verbose                  int
	open, allStates, reasons bool
	dryRun                   bool
	statusJSON, quiet        bool
}

// silence says which silent endpoints the outputs need.
func (o *options) silence() scan.Silence {
	switch {
	case o.allStates:
		return scan.SilenceOfAll
	case !o.open && slices.ContainsFunc(o.places, func(p place) bool { return p.report }):
		return scan.SilenceOfLiving // a host's ports are told all together
	}
	return scan.NoSilence
}

// files are the lists of targets and exclusions to read.
type files struct{ targets, excludes []string }

const (
	auto        = "auto"
	autoRetries = -1
)

// options reads the words.
func (w *words) options() (o options, err error) {
	o = options{
		files: files{w.targetFiles, w.excludeFiles}, open: w.open, allStates: w.allStates, reasons: w.reason,
		verbose: w.verbose, dryRun: w.dryRun, statusJSON: w.statusJSON && !w.quiet, quiet: w.quiet,
	}
	for _, read := range []func(*options) error{w.readTargets, w.readPorts, w.readMethod, w.readOrder, w.readSpeed, w.readNetwork, w.readResults} {
		if err := read(&o); err != nil {
			return options{}, err
		}
	}
	return o, nil
}

func (w *words) readTargets(o *options) error {
	if len(w.targets)+len(w.targetFiles) == 0 {
		return errors.New("name at least one target: an address, a block, a range or a host name, or a file of them with -iL")
	}
	o.targets = target.Words(w.targets...)
	for _, e := range w.excludes {
		o.excludes = append(o.excludes, target.Words(splitExclusions(e)...)...)
	}
	stdin := 0
	for _, f := range append(w.targetFiles[:len(w.targetFiles):len(w.targetFiles)], w.excludeFiles...) {
		if f == "-" {
			stdin++
		}
	}
	if stdin > 1 {
		return errors.New("two lists on stdin: give one of them as a file")
	}
	if w.confirm != "" {
		n, err := uint128.FromString(w.confirm)
		if err != nil || strings.Trim(w.confirm, digits) != "" {
			return fmt.Errorf("--yes-really-scan takes the number of addresses, not %q", w.confirm)
		}
		o.confirmed = n
	}
	return nil
}

// splitExclusions splits nmap's comma-separated list, but not an octet list:
// 10.0.0.1,10.0.0.2 are two addresses, 10.0.0.1,5 is one word.
func splitExclusions(text string) []string {
	parts := strings.Split(text, ",")
	for _, p := range parts {
		whole := strings.Count(p, ".") == 3 || strings.Trim(p, digits+".-*/") != ""
		if !whole {
			return []string{text}
		}
	}
	return parts
}

func (w *words) readPorts(o *options) (err error) {
	if len(w.ports) == 0 {
		return errors.New("name the ports with -p, as in -p 22,80,8000-8100, or -p- for all")
	}
	o.ports, err = target.ParsePorts(strings.Join(w.ports, ","))
	return err
}

// readMethod takes exactly one raw method. A scan that we cannot do is never
// replaced by one that we can.
func (w *words) readMethod(o *options) error {
	for _, p := range w.ping {
		if !strings.Contains("nN0", p) || len(p) != 1 {
			return fmt.Errorf("-P%s cannot be honoured: hosts are never pinged first, which is what -Pn says", p)
		}
	}
	o.method = method.ByLetter('S')
	if len(w.methods) == 0 {
		return nil
	}
	for i, letters := range w.methods {
		if len(letters) == 1 {
			o.method = method.ByLetter(letters[0])
		}
		if len(letters) != 1 || o.method == nil || o.method == method.Connect {
			return fmt.Errorf("-s%s cannot be honoured: the methods are %s", letters, methods())
		}
		if i > 0 && letters != w.methods[0] {
			return fmt.Errorf("-s%s and -s%s: a scan has one method", w.methods[0], letters)
		}
	}
	return nil
}

// methods lists the methods for a message.
func methods() string {
	var b strings.Builder
	for i, m := range method.Table {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "-s%c (%s)", m.Letter, m.Name)
	}
	return b.String()
}

func (w *words) readOrder(o *options) (err error) {
	if o.seed, err = parseSeed(w.seed); err != nil {
		return err
	}
	if o.shard, err = parseShard(w.shard); err != nil {
		return err
	}
	if w.maxProbes != "" {
		o.maxProbes, err = parseCount("--max-probes", w.maxProbes, 1, 1<<64-1)
	}
	return err
}

func (w *words) readSpeed(o *options) (err error) {
	if o.rate, err = parseRate(w.rate); err != nil {
		return err
	}
	if o.wait, err = parseWait(w.wait); err != nil {
		return err
	}
	o.retries = autoRetries
	if w.retries != auto {
		if o.retries, err = parseInt("--retries", w.retries, 0, maxRetries); err != nil {
			return err
		}
	}
	o.senders = defaultSenders()
	if w.senders != "" {
		o.senders, err = parseInt("--senders", w.senders, 1, maxSenders)
	}
	return err
}

func (w *words) readNetwork(o *options) (err error) {
	o.path.Interface = w.device
	for _, s := range w.sources {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" || a.Is4In6() {
			return fmt.Errorf("-S takes an address to send from, not %q", s)
		}
		source := &o.path.Source6
		if a.Is4() {
			source = &o.path.Source4
		}
		if source.IsValid() && *source != a {
			return fmt.Errorf("-S %v and -S %v: a scan has one source address for each family", *source, a)
		}
		*source = a
	}
	if w.sourcePort != "" {
		port, err := parseCount("-g", w.sourcePort, 1, 65535)
		if err != nil {
			return err
		}
		o.sourcePort = uint16(port)
	}
	if w.routerMAC != "" {
		mac, err := net.ParseMAC(w.routerMAC)
		if err != nil || len(mac) != 6 {
			return fmt.Errorf("--router-mac takes an Ethernet address, as in 02:00:00:00:00:01, not %q", w.routerMAC)
		}
		o.path.RouterMAC = mac
	}
	if w.ttl != "" {
		ttl, err := parseCount("--ttl", w.ttl, 1, 255)
		if err != nil {
			return err
		}
		o.ttl = uint8(ttl)
	}
	return nil
}

func (w *words) readResults(o *options) (err error) {
	if w.open && w.allStates {
		return errors.New("--open and --all-states contradict each other: leave one out")
	}
	if o.places, err = w.places(); err == nil && !slices.ContainsFunc(o.places, onStdout) {
		o.places = append(o.places, textOnStdout)
	}
	return err
}
