package main

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
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
	top               int    // ports are the most common ones, this many; 0: they were named
	network           string // of host names: ip, ip4 or ip6
	method            *method.Method
	methodAsked       bool // and not the default
	confirmed         uint128.Uint128

	rate        float64 // 0: unlimited
	adaptive    bool    // rate is a ceiling
	perPrefix   float64 // packets a second to each /24 or /48, 0: unlimited
	retries     int     // autoRetries: chosen by the size of the scan
	repairs     int
	maxLoss     float64 // share, 0: any
	maxErrors   uint64  // 0: any
	wait        time.Duration
	seed        uint64
	shard       plan.Shard
	maxProbes   uint64 // 0: all
	senders     int
	autoSenders bool // the number is the default

	path       netif.Options
	pathway    scan.Pathway
	noReset    bool
	sourcePort uint16 // 0: chosen
	ttl        uint8  // 0: the default

	checkpoint string // file, "": chosen where there is to be one

	places                   []place
	verbose                  int
	open, allStates, reasons bool
	dryRun, list, resolve    bool
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
	auto           = "auto"
	autoRetries    = -1
	defaultRepairs = "3"
)

// options reads the words.
func (w *words) options() (o options, err error) {
	o = options{
		files: files{w.targetFiles, w.excludeFiles}, adaptive: w.adaptive, checkpoint: w.checkpoint, open: w.open, allStates: w.allStates, reasons: w.reason, verbose: w.verbose,
		dryRun: w.dryRun, resolve: w.resolve, statusJSON: w.statusJSON && !w.quiet, quiet: w.quiet,
	}
	for _, read := range []func(*options) error{w.readPorts, w.readMethod, w.readOrder, w.readSpeed, w.readNetwork, w.readResults, o.checkCanaries,
		w.readTargets, // last, for the only one may have become an option's value
	} {
		if err := read(&o); err != nil {
			return options{}, err
		}
	}
	return o, nil
}

// checkCanaries refuses what needs canaries where there can be none.
func (o *options) checkCanaries(*options) error {
	option := ""
	switch {
	case o.adaptive:
		option = "--adaptive"
	case o.maxLoss > 0:
		option = "--max-loss"
	}
	switch {
	case option == "":
	case o.method == method.Connect:
		return fmt.Errorf("%s cannot be honoured by -sT: the system repeats what is lost, and does not say so; leave it out", option)
	case o.sourcePort != 0:
		return fmt.Errorf("%s cannot be honoured with -g: what it goes by is probes from a port of their own; leave out one of the two", option)
	}
	return nil
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
	switch o.network = "ip"; {
	case w.ipv4 && w.ipv6:
		return errors.New("-4 and -6 contradict each other: without them, a host name stands for its addresses of both families")
	case w.ipv4:
		o.network = "ip4"
	case w.ipv6:
		o.network = "ip6"
	}
	if w.noDNS && w.resolve {
		return errors.New("-n and -R contradict each other: leave one out")
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
// 10.0.0.1,10.0.0.2 are two addresses, 10.0.0.1,5 is one word. An address has
// three dots, a range of two has six.
func splitExclusions(text string) []string {
	parts := strings.Split(text, ",")
	for _, p := range parts {
		dots := strings.Count(p, ".")
		whole := dots == 3 || dots == 6 || strings.Trim(p, digits+".-*/") != ""
		if !whole {
			return []string{text}
		}
	}
	return parts
}

// Without -p, -F or --top-ports a scan has as many ports as nmap's.
const (
	defaultPorts = 1000
	fastPorts    = 100
)

func (w *words) readPorts(o *options) (err error) {
	if len(w.ports) > 0 {
		if o.ports, err = target.ParsePorts(strings.Join(w.ports, ",")); err != nil {
			return err
		}
	}
	switch {
	case w.fast && len(w.ports) > 0:
		return errors.New("-F and -p contradict each other: the most common ports of a list are those of -p LIST --top-ports N")
	case w.fast && w.topPorts != "":
		return fmt.Errorf("-F and --top-ports contradict each other: -F is --top-ports %d", fastPorts)
	case w.fast:
		o.top = fastPorts
	case w.topPorts != "":
		if o.top, err = parseInt("--top-ports", w.topPorts, 1, 65535); err != nil {
			return err
		}
	case len(w.ports) == 0:
		o.top = defaultPorts
	default:
		return nil
	}
	if o.ports = target.TopPorts(o.top, o.ports); o.ports.Len() == 0 {
		return errors.New("--top-ports is of no use with -p 0: port 0 is not in the order of ports")
	}
	return nil
}

// readMethod takes exactly one method. A scan that we cannot do is never
// replaced by one that we can.
func (w *words) readMethod(o *options) error {
	for _, p := range w.ping {
		if !strings.Contains("nN0", p) || len(p) != 1 {
			return fmt.Errorf("-P%s cannot be honoured: hosts are never pinged first, which is what -Pn says", p)
		}
	}
	o.method, o.methodAsked = method.ByLetter('S'), len(w.methods) > 0
	for i, letters := range w.methods {
		if letters == "L" {
			o.list = true
		} else if len(letters) == 1 {
			o.method = method.ByLetter(letters[0])
		}
		if len(letters) != 1 || o.method == nil {
			why := ""
			for _, l := range letters {
				if why = refusals["-s"+string(l)]; why != "" {
					why += "; "
					break
				}
			}
			return fmt.Errorf("-s%s cannot be honoured: %sthe methods are %s", letters, why, methods())
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
	for i, m := range method.All() {
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
	preset, err := parsePreset(w.timing)
	if err != nil {
		return err
	}
	if o.rate, err = parseRate(cmp.Or(w.rate, preset.rate)); err != nil {
		return err
	}
	if w.ratePerPrefix != "" {
		if o.perPrefix, err = parseRatePerPrefix(w.ratePerPrefix); err != nil {
			return err
		}
	}
	if o.wait, err = parseWait(cmp.Or(w.wait, preset.wait)); err != nil {
		return err
	}
	o.retries = autoRetries
	if w.retries != auto {
		if o.retries, err = parseInt("--retries", w.retries, 0, maxRetries); err != nil {
			return err
		}
	}
	if o.repairs, err = parseInt("--repairs", w.repairs, 0, maxRetries); err != nil {
		return err
	}
	if w.maxLoss != "" {
		if o.maxLoss, err = parsePercent("--max-loss", w.maxLoss); err != nil {
			return err
		}
	}
	if w.maxErrors != "" {
		if o.maxErrors, err = parseCount("--max-errors", w.maxErrors, 1, 1<<64-1); err != nil {
			return err
		}
	}
	o.senders, o.autoSenders = defaultSenders(), w.senders == ""
	if !o.autoSenders {
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
	switch o.pathway, o.noReset = scan.Pathway(w.path), w.noReset; o.pathway {
	case scan.AutoPath, scan.KernelPath, scan.PacketPath:
	default:
		return fmt.Errorf("--path takes auto, kernel or packet, not %q", w.path)
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

// maxVerbose is as many -v as somebody could mean: each adds 25 ports to a list.
const maxVerbose = 9

func (w *words) readVerbose() error {
	if w.verbose < 0 || w.verbose > maxVerbose {
		return fmt.Errorf("-v may be there up to %d times, or --verbose=N for N times, not %d", maxVerbose, w.verbose)
	}
	return nil
}

func (w *words) readResults(o *options) (err error) {
	if err := w.readVerbose(); err != nil {
		return err
	}
	if w.open && w.allStates {
		return errors.New("--open and --all-states contradict each other: leave one out")
	}
	if o.places, err = w.places(); err != nil {
		return err
	}
	for _, p := range o.places {
		if w.checkpoint != "" && filepath.Clean(p.name) == filepath.Clean(w.checkpoint) {
			return fmt.Errorf("an output and the checkpoint in %s: give each a file of its own", w.checkpoint)
		}
	}
	if !slices.ContainsFunc(o.places, onStdout) {
		o.places = append(o.places, textOnStdout)
	}
	return nil
}

// useful are the options that both listings have a use for, and usefulDry those
// that --dry-run takes besides, as it is added to the command line of a scan.
var (
	useful = []string{"scan", "iL", "exclude", "excludefile", "ipv4", "ipv6", "no-ping", "no-dns", "dry-run",
		"yes-really-scan", "quiet", "config", "echo"}
	usefulDry = []string{"ports", "top-ports", "fast", "seed", "shard", "max-probes", "timing", "rate", "rate-per-prefix", "adaptive", "retries", "repairs",
		"max-loss", "max-errors", "wait", "senders", "checkpoint",
		"interface", "source-ip", "source-port", "router-mac", "ttl", "open", "all-states"}
)

// checkListing refuses what the command line says beside -sL or --dry-run, which
// have no use for it. A file may have options for scans too.
func (o *options) checkListing(said []*pflag.Flag) error {
	for _, f := range said {
		switch {
		case slices.Contains(useful, f.Name):
		case o.list:
			return fmt.Errorf("-sL lists addresses and has no use for %s: leave out one of the two", spelling(f))
		case o.dryRun && !slices.Contains(usefulDry, f.Name):
			return fmt.Errorf("--dry-run lists endpoints on stdout and has no use for %s: leave out one of the two", spelling(f))
		}
	}
	return nil
}
