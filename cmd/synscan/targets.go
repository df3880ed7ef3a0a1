package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"

	"lukechampine.com/uint128"

	"synoptic/internal/cli"
	"synoptic/internal/plan"
	"synoptic/internal/target"
)

// More addresses than this need --yes-really-scan.
var unconfirmed = uint128.From64(1_000_000_000)

// Endpoints up to this many are tried twice unless --retries says otherwise: for
// more, a second pass costs more than the few answers that a network loses.
const retryUpTo = 1 << 20

// scope is what is to be scanned.
type scope struct {
	plan    *plan.Plan
	report  target.Report
	retries int
	visit   uint64 // positions of the plan, from the first
}

// addresses reads the targets.
func (a *app) addresses() (*target.Set, target.Report, error) {
	words, err := a.readFiles(a.opt.targets, a.opt.files.targets)
	if err != nil {
		return nil, target.Report{}, err
	}
	excludes, err := a.readFiles(a.opt.excludes, a.opt.files.excludes)
	if err != nil {
		return nil, target.Report{}, err
	}
	set, found, err := target.Parse(a.signals.ctx, words, excludes, a.lookUp)
	if err != nil {
		return nil, found, err
	}
	// As in nmap, these are about addresses as well as names.
	if other := map[string]bool{"ip4": set.Has6(), "ip6": set.Has4()}; other[a.opt.network] {
		for first := range set.Ranges() {
			if first.Is4() == (a.opt.network == "ip6") {
				return nil, found, fmt.Errorf("-%s leaves no place for %v: leave out one of the two", a.opt.network[2:], first)
			}
		}
	}
	return set, found, nil
}

// scope reads the targets and makes the plan.
func (a *app) scope() (*scope, error) {
	set, found, err := a.addresses()
	if err != nil {
		return nil, err
	}
	s := &scope{retries: a.opt.retries, report: found}
	if set.Len().Cmp(unconfirmed) > 0 && a.opt.confirmed.Cmp(set.Len()) < 0 && !a.opt.dryRun {
		return nil, fmt.Errorf("these targets are %s: if you may scan them all, say so with --yes-really-scan %s", big(set.Len(), "address"), set.Len())
	}
	if a.opt.path.Source4.IsValid() && !set.Has4() {
		return nil, fmt.Errorf("-S %v is of no use: no target is an IPv4 address", a.opt.path.Source4)
	}
	if a.opt.path.Source6.IsValid() && !set.Has6() {
		return nil, fmt.Errorf("-S %v is of no use: no target is an IPv6 address", a.opt.path.Source6)
	}
	if s.plan, err = plan.New(set, a.opt.ports, a.opt.seed, a.opt.shard); err != nil {
		return nil, err
	}
	s.visit = s.plan.Len()
	if a.opt.maxProbes > 0 {
		s.visit = min(s.visit, a.opt.maxProbes)
	}
	if s.retries == autoRetries {
		s.retries = 0
		if s.visit <= retryUpTo {
			s.retries = 1
		}
	}
	return s, nil
}

// reading is what was read at the beginning of a scan that may not be there, or
// be something else, when it is resumed.
type reading struct {
	mu    sync.Mutex // names are looked up side by side
	stdin []target.Word
	hosts map[string][]netip.Addr
}

func (a *app) lookUp(ctx context.Context, host string) ([]netip.Addr, error) {
	a.read.mu.Lock()
	known, ok := a.read.hosts[host]
	a.read.mu.Unlock()
	if ok {
		return known, nil
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, a.opt.network, host)
	if err == nil {
		a.read.mu.Lock()
		defer a.read.mu.Unlock()
		if a.read.hosts == nil {
			a.read.hosts = map[string][]netip.Addr{}
		}
		a.read.hosts[host] = addrs
	}
	return addrs, err
}

// readFiles appends the words of the named lists.
func (a *app) readFiles(words []target.Word, names []string) ([]target.Word, error) {
	for _, name := range names {
		more, err := a.readFile(name)
		if err != nil {
			return nil, err
		}
		words = append(words, more...)
	}
	return words, nil
}

func (a *app) readFile(name string) ([]target.Word, error) {
	if name == "-" {
		if a.resumed != nil {
			return a.read.stdin, nil
		}
		words, err := target.ReadWords(a.stdin, "stdin")
		a.read.stdin = words
		return words, err
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, bare(err))
	}
	defer f.Close()
	return target.ReadWords(f, name)
}

// commands are what may stand in the place of options and targets.
var commands = []string{"completion", "convert", "diff", "doctor", "man"}

// checkTargets refuses what is a target only because every word of letters could
// be the name of a host: an option without its hyphens, a command that does not
// exist.
func checkTargets(words, options []string) error {
	for _, w := range words {
		if strings.HasPrefix(w, "-") || strings.ContainsAny(w, ".:/*[]") || strings.Trim(w, digits+"-,") == "" {
			continue
		}
		if near := cli.Nearest(w, options); near != "" {
			return fmt.Errorf("is %q the option --%s? A host of that name is written with a dot at its end: %s", w, near, w+".")
		}
		if near := cli.Nearest(w, commands); near != "" {
			return fmt.Errorf("unknown command %q: did you mean %s, the first word after synscan? A host of that name is written with a dot at its end: %s", w, near, w+".")
		}
		if cli.Nearest(w, []string{"scan"}) != "" {
			return fmt.Errorf("unknown command %q: targets and options are all that synscan takes, see --help. A host of that name is written with a dot at its end: %s", w, w+".")
		}
	}
	return nil
}
