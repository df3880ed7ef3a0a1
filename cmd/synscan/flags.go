package main

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"synoptic/internal/cli"
)

// words is the command line as the user wrote it, sorted by option. Everything
// that has a value stays text until options.go reads it, so that all errors
// speak the same language.
type words struct {
	targets, targetFiles   []string
	excludes, excludeFiles []string
	ports, methods         []string
	ping                   []string
	confirm                string
	topPorts, timing       string
	fast, ipv4, ipv6       bool

	rate, ratePerPrefix, retries, wait, seed, shard, senders, maxProbes string
	adaptive                                                            bool
	repairs, maxLoss, maxErrors                                         string
	checkpoint, resume                                                  string

	device, sourcePort, routerMAC, ttl string
	path                               string
	noReset                            bool
	sources                            []string

	json, array, list              []string // files, by format
	grepable, normal, xml, reports []string
	open, allStates, reason        bool
	dryRun, resolve, noDNS         bool
	statusJSON, quiet              bool
	version, echo, iflist          bool
	verbose                        int
	config                         string
}

// aliases are other programs' names for our options.
var aliases = map[string]string{
	"adapter":      "interface",
	"adapter-ip":   "source-ip",
	"adapter-port": "source-port",
	"conf":         "config",
	"exclude-file": "excludefile",
	"gateway-mac":  "router-mac",
	"include-file": "iL",
	"includefile":  "iL",
	"max-rate":     "rate",
	"max-retries":  "retries",
	"offline":      "dry-run",
	"open-only":    "open",
	"port":         "ports",
	"shards":       "shard",
}

// define declares the options, in the order of the help text. A word in
// backquotes names the value.
func (w *words) define(all *pflag.FlagSet) []cli.Group {
	targets := cli.NewFlags()
	targets.StringArrayVar(&w.targetFiles, "iL", nil, "read targets from `FILE`, - for stdin; # begins a comment")
	targets.StringArrayVar(&w.excludes, "exclude", nil, "never probe this `TARGET`, whatever else asks for it")
	targets.StringArrayVar(&w.excludeFiles, "excludefile", nil, "read such targets from `FILE`")
	targets.StringArrayVarP(&w.ports, "ports", "p", nil, "probe these ports: a `LIST` as in 22,80,8000-8100 or http,https; -p- means 1-65535 (the 1,000 most common)")
	targets.StringVar(&w.topPorts, "top-ports", "", "probe the `N` most common ports, of those of -p if it is given")
	targets.BoolVarP(&w.fast, "fast", "F", false, "probe the 100 most common ports")
	targets.BoolVarP(&w.ipv4, "ipv4", "4", false, "take only the IPv4 addresses of host names")
	targets.BoolVarP(&w.ipv6, "ipv6", "6", false, "take only the IPv6 addresses of host names")
	targets.StringVar(&w.confirm, "yes-really-scan", "", "confirm a scan of more than 10^9 addresses by their `NUMBER`")

	method := cli.NewFlags()
	method.StringArrayVarP(&w.methods, "scan", "s", nil, "send SYN, the default; or -sT connect, the default without privileges, -sN NULL, -sF FIN, -sX XMAS, -sM Maimon, -sA ACK, -sW window; -sL lists the addresses and sends nothing")
	method.StringArrayVarP(&w.ping, "no-ping", "P", nil, "accepted: hosts are never pinged first")
	method.BoolVarP(&w.noDNS, "no-dns", "n", false, "never turn addresses into names; the default")
	method.BoolVarP(&w.resolve, "resolve", "R", false, "look up the names of the addresses in the results")

	speed := cli.NewFlags()
	speed.StringVarP(&w.timing, "timing", "T", "", "preset `N` of rate and wait: "+presetList())
	speed.StringVar(&w.rate, "rate", "", "send `N` packets a second: 2500, 100k, 1.5M, or max for as fast as it goes (10000)")
	speed.BoolVar(&w.adaptive, "adaptive", false, "take --rate for a ceiling, and send as fast as nothing is lost")
	speed.StringVar(&w.ratePerPrefix, "rate-per-prefix", "", "send at most `N` packets a second to each /24 (IPv4) or /48 (IPv6), within --rate; -sT: begin as many connections")
	speed.StringVar(&w.retries, "retries", auto, "probe silent endpoints `N` times more (auto: once for up to 2^20 endpoints, else not)")
	speed.StringVar(&w.repairs, "repairs", defaultRepairs, "probe again, up to `N` times, what this machine may have lost")
	speed.StringVar(&w.wait, "wait", "", "wait at most this `TIME` for the last answers: 3, 500ms (8s)")
	speed.StringVar(&w.seed, "seed", "", "choose the order of the probes by this `NUMBER` (random)")
	speed.StringVar(&w.shard, "shard", "1/1", "do part `I/N` of the scan; all parts need the same seed")
	speed.StringVar(&w.maxProbes, "max-probes", "", "stop after the first `N` endpoints")
	speed.StringVar(&w.maxLoss, "max-loss", "", "stop when more than `PERCENT` of the answers are lost on the way")
	speed.StringVar(&w.maxErrors, "max-errors", "", "stop when this machine has refused probes more than `N` times")
	speed.StringVar(&w.senders, "senders", "", "send from `N` threads (one less than there are processors, but two of two; -sT: as many)")

	network := cli.NewFlags()
	network.StringVarP(&w.device, "interface", "e", "", "send by the interface `NAME`")
	network.StringArrayVarP(&w.sources, "source-ip", "S", nil, "send from `ADDRESS`, once for each family")
	network.StringVarP(&w.sourcePort, "source-port", "g", "", "send every probe from `PORT` (a free one for each try)")
	network.StringVar(&w.routerMAC, "router-mac", "", "send everything to the Ethernet address `MAC`")
	network.BoolVar(&w.iflist, "iflist", false, "print interfaces and routes, and which probes can go there")
	network.StringVar(&w.path, "path", auto, "have probes made and answers judged in the `WAY` kernel, or by this program: packet (auto: in the kernel for large, fast scans where the device can)")
	network.BoolVar(&w.noReset, "no-reset", false, "leave half open at the target what an answer in the kernel's path has opened")
	network.StringVar(&w.ttl, "ttl", "", "set the TTL or hop limit of the probes to `N` (64)")

	results := cli.NewFlags()
	results.BoolVar(&w.open, "open", false, "show open, open|filtered and unfiltered ports and suspect answers; the default")
	results.BoolVar(&w.allStates, "all-states", false, "show every endpoint, the silent ones too: for -sN, -sF, -sX and -sM those of hosts that answered")
	w.defineOutputs(results)
	results.BoolVar(&w.dryRun, "dry-run", false, "print the endpoints in the order of the scan, and send nothing")
	results.BoolVar(&w.statusJSON, "status-json", false, "report progress and summary as JSON lines on stderr")
	results.BoolVarP(&w.quiet, "quiet", "q", false, "no progress and no summary, errors only")
	results.CountVarP(&w.verbose, "verbose", "v", "say how the targets are reached, and list more ports of a host: 25 in a state other than open, and as many again for each -v; -vv also which ports are probed")
	results.BoolVarP(&w.version, "version", "V", false, "print the version")
	results.BoolP("help", "h", false, "print this text")

	progress := cli.NewFlags()
	progress.StringVar(&w.checkpoint, "checkpoint", "", "keep in `FILE` where the scan is, every few seconds (beside the first output, if it takes over a minute or is interrupted)")
	progress.StringVar(&w.resume, "resume", "", "go on with the scan that `FILE` is the checkpoint of; it knows all options")

	settings := cli.NewFlags()
	settings.StringVarP(&w.config, "config", "c", "", "read options from the TOML `FILE`: long names as keys, and targets")
	settings.BoolVar(&w.echo, "echo", false, "print the options in effect as such a file, and send nothing")

	groups := []cli.Group{
		{Heading: "Targets", Flags: targets},
		{Heading: "Method", Flags: method},
		{Heading: "Speed and order", Flags: speed},
		{Heading: "Network", Flags: network},
		{Heading: "Results", Flags: results},
		{Heading: "Interrupts and crashes", Flags: progress},
		{Heading: "Configuration", Flags: settings},
	}
	all.SetNormalizeFunc(canonical)
	for _, g := range groups {
		all.AddFlagSet(g.Flags)
	}
	return groups
}

// defineOutputs declares where results go; `synscan convert` has these too.
func (w *words) defineOutputs(results *pflag.FlagSet) {
	results.BoolVar(&w.reason, "reason", false, "say in a normal report (-oN) why a port is in its state; the text on stdout always does")
	results.StringArrayVar(&w.json, "oD", nil, "write JSON lines to `FILE`, - for stdout in place of text")
	results.StringArrayVar(&w.array, "oJ", nil, "write masscan's JSON array to `FILE`")
	results.StringArrayVar(&w.list, "oL", nil, "write masscan's list to `FILE`")
	results.StringArrayVar(&w.grepable, "oG", nil, "write nmap's grepable report to `FILE`, one line for each host")
	results.StringArrayVar(&w.normal, "oN", nil, "write nmap's normal report to `FILE`")
	results.StringArrayVar(&w.xml, "oX", nil, "write nmap's XML to `FILE`")
	results.StringArrayVar(&w.reports, "oA", nil, "write the three reports to `BASE`.gnmap, BASE.nmap and BASE.xml")
}

func canonical(_ *pflag.FlagSet, name string) pflag.NormalizedName {
	if ours, ok := aliases[name]; ok {
		name = ours
	}
	return pflag.NormalizedName(name)
}

// spelling returns an option as users write it.
func spelling(f *pflag.Flag) string {
	switch {
	case len(f.Name) == 2:
		return "-" + f.Name
	case slices.Contains([]string{"scan", "no-ping", "no-dns", "resolve", "fast", "timing", "ipv4", "ipv6"}, f.Name):
		return "-" + f.Shorthand
	}
	return "--" + f.Name
}

// flagError words what pflag could not parse.
func flagError(all *pflag.FlagSet, err error) error {
	if e, ok := errors.AsType[*pflag.NotExistError](err); ok {
		if short := e.GetSpecifiedShortnames(); short != "" {
			if why := refusals["-"+short[:1]]; why != "" {
				return fmt.Errorf("-%s cannot be honoured: %s", short, why)
			}
			return fmt.Errorf("unknown option -%s: see --help", short)
		}
		return unknownLong(all, e.GetSpecifiedName())
	}
	if e, ok := errors.AsType[*pflag.ValueRequiredError](err); ok {
		return fmt.Errorf("%s needs a value: see --help", spelling(e.GetFlag()))
	}
	if e, ok := errors.AsType[*pflag.InvalidValueError](err); ok { // of a switch, the only flags with a type
		return fmt.Errorf("%s takes no value: leave out %q", spelling(e.GetFlag()), "="+e.GetValue())
	}
	return err
}

func unknownLong(all *pflag.FlagSet, name string) error {
	if why := refusals["--"+name]; why != "" {
		return fmt.Errorf("--%s cannot be honoured: %s", name, why)
	}
	if near := cli.Nearest(name, longNames(all)); near != "" {
		return fmt.Errorf("unknown option --%s: did you mean --%s?", name, near)
	}
	return fmt.Errorf("unknown option --%s: see --help", name)
}

// longNames returns every name that works with two hyphens, aliases included.
func longNames(all *pflag.FlagSet) []string {
	var names []string
	all.VisitAll(func(f *pflag.Flag) {
		if len(f.Name) > 2 {
			names = append(names, f.Name)
		}
	})
	for alias := range aliases {
		names = append(names, alias)
	}
	return names
}

// asWritten undoes what longArgs does to an option.
func asWritten(word string) string {
	if slices.Contains(twoLetter, strings.TrimPrefix(word, "-")) {
		return word[1:]
	}
	return word
}

var looksLikeOption = regexp.MustCompile(`^--?[A-Za-z]`)

// checkSwallowed refuses an option in the place of another option's value, as in
// `-oD --open`. A hyphen and a number may be a value: the ports -100, or a
// mistake that has a better message.
func checkSwallowed(all *pflag.FlagSet) error {
	var err error
	all.Visit(func(f *pflag.Flag) {
		values := []string{f.Value.String()}
		if list, ok := f.Value.(pflag.SliceValue); ok {
			values = list.GetSlice()
		} else if values[0] == "" {
			err = fmt.Errorf("%s needs a value, and this one is empty", spelling(f))
		}
		for _, v := range values {
			if looksLikeOption.MatchString(v) {
				err = fmt.Errorf("%s needs a value, and %s looks like an option", spelling(f), asWritten(v))
			}
		}
	})
	return err
}
