package main

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/spf13/pflag"

	"synoptic/internal/cli"
)

// words is the command line as the user wrote it, sorted by option. Everything
// that has a value stays text until options.go reads it, so that all errors
// speak the same language.
type words struct {
	filter []string

	interfaces            []string
	capture, mode, memory string
	gateway               bool

	policies            []string
	traps, udp, v6Bits  string
	allow, ignore       []string
	parameters          map[string]*string // of policies, by option
	eve, syslog         string
	scanlogd            string
	quiet               bool
	metrics, control    string
	config              string
	checkConfig, banner bool
}

// Defaults of options that have one.
const (
	defaultMemory  = "64MiB"
	defaultMode    = "auto"
	defaultUDP     = "score"
	defaultV6Bits  = "64"
	defaultControl = "/run/synwatch/control.sock"
)

// define declares the options, in the order of the help text. A word in
// backquotes names the value.
func (w *words) define(all *pflag.FlagSet) []cli.Group {
	watched := cli.NewFlags()
	watched.StringArrayVarP(&w.interfaces, "interface", "i", nil, "watch what comes in by the interface `NAME`; may be given several times")
	watched.StringVarP(&w.capture, "read", "r", "", "read packets from the capture `FILE`, pcap or pcapng, - for stdin, in place of an interface; times are the capture's")
	watched.StringVar(&w.mode, "xdp-mode", defaultMode, "attach in this `MODE`: native, generic, tcx (behind another XDP program), or auto, the first that works ("+defaultMode+")")
	watched.BoolVar(&w.gateway, "gateway", false, "watch a machine that passes packets on to others: it has no sockets that tell answers from probes, so TCP with ACK and UDP are never probes")
	watched.StringVar(&w.memory, "memory", defaultMemory, "remember sources in memory of this `SIZE`, which never grows ("+defaultMemory+")")

	who := cli.NewFlags()
	who.StringArrayVar(&w.policies, "policy", nil, "tell scanners by the policies of `LIST`: sophos, scanlogd, sophos-packet ("+defaultPolicies+")")
	who.StringVar(&w.traps, "traps", defaultTraps, "give a policy's trap points to the ports of `LIST`, or none ("+defaultTraps+")")
	who.StringVar(&w.udp, "udp", defaultUDP, "let datagrams that nobody waits for do as `HOW` says: score as TCP does, count without points, or off ("+defaultUDP+")")
	who.StringVar(&w.v6Bits, "v6-prefix", defaultV6Bits, "take IPv6 addresses with the same first `N` bits for one source ("+defaultV6Bits+")")
	who.StringArrayVar(&w.allow, "allow", nil, "never accuse sources in `CIDR`; may be given several times")
	who.StringArrayVar(&w.ignore, "ignore", nil, "give no points for `ADDR:PORT`, *:PORT for any address; may be given several times")

	alerts := cli.NewFlags()
	alerts.StringVar(&w.eve, "eve", "", "append alerts to `FILE` as Suricata's EVE JSON lines, - for stdout")
	alerts.StringVar(&w.syslog, "syslog", "", "send alerts to `ADDR`: local, udp://HOST:PORT, tcp://HOST:PORT or unix:///PATH (RFC 5424)")
	alerts.StringVar(&w.scanlogd, "scanlogd-line", "", "append alerts to `FILE` as scanlogd's log lines, - for stdout")
	alerts.BoolVarP(&w.quiet, "quiet", "q", false, "no alerts and notes on stderr, errors only")

	operation := cli.NewFlags()
	operation.StringVar(&w.metrics, "metrics", "", "serve Prometheus at `ADDR`, as in 127.0.0.1:9464")
	operation.StringVar(&w.control, "control", "", "answer status and top at the socket `PATH`, or off ("+defaultControl+")")
	operation.StringVarP(&w.config, "config", "c", "", "read options from the TOML `FILE`: long names as keys, and filter")
	operation.BoolVar(&w.checkConfig, "check-config", false, "check the options and the file, and attach nothing")
	operation.BoolVarP(&w.banner, "version", "V", false, "print the version")
	operation.BoolP("help", "h", false, "print this text")

	groups := []cli.Group{
		{Heading: "What is watched", Flags: watched},
		{Heading: "Who is a scanner", Flags: who},
		{Heading: "Alerts", Flags: alerts},
		{Heading: "Operation", Flags: operation},
	}
	groups = append(groups, w.definePolicies()...)
	for _, g := range groups {
		all.AddFlagSet(g.Flags)
	}
	return groups
}

// spelling returns an option as users write it.
func spelling(f *pflag.Flag) string {
	if f.Name == "interface" || f.Name == "read" {
		return "-" + f.Shorthand
	}
	return "--" + f.Name
}

// flagError words what pflag could not parse.
func flagError(all *pflag.FlagSet, err error) error {
	if e, ok := errors.AsType[*pflag.NotExistError](err); ok {
		if short := e.GetSpecifiedShortnames(); short != "" {
			return fmt.Errorf("unknown option -%s: see --help", short)
		}
		if near := cli.Nearest(e.GetSpecifiedName(), longNames(all)); near != "" {
			return fmt.Errorf("unknown option --%s: did you mean --%s?", e.GetSpecifiedName(), near)
		}
		return fmt.Errorf("unknown option --%s: see --help", e.GetSpecifiedName())
	}
	if e, ok := errors.AsType[*pflag.ValueRequiredError](err); ok {
		return fmt.Errorf("%s needs a value: see --help", spelling(e.GetFlag()))
	}
	if e, ok := errors.AsType[*pflag.InvalidValueError](err); ok { // of a switch, the only flags with a type
		return fmt.Errorf("%s takes no value: leave out %q", spelling(e.GetFlag()), "="+e.GetValue())
	}
	return err
}

// longNames returns every name that works with two hyphens.
func longNames(all *pflag.FlagSet) (names []string) {
	all.VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	return names
}

var looksLikeOption = regexp.MustCompile(`^--?[A-Za-z]`)

// checkSwallowed refuses an option in the place of another option's value, as in
// `--eve --quiet`.
func checkSwallowed(all *pflag.FlagSet) (err error) {
	all.Visit(func(f *pflag.Flag) {
		values := []string{f.Value.String()}
		if list, ok := f.Value.(pflag.SliceValue); ok {
			values = list.GetSlice()
		}
		for _, v := range values {
			switch {
			case v == "":
				err = fmt.Errorf("%s needs a value, and this one is empty", spelling(f))
			case looksLikeOption.MatchString(v):
				err = fmt.Errorf("%s needs a value, and %s looks like an option", spelling(f), v)
			}
		}
	})
	return err
}

// list joins words for a sentence.
func list(words []string) string { return strings.Join(words, ", ") }
