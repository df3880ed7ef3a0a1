package main

import (
	"errors"
	"fmt"
	"runtime"

	"synoptic/internal/connect"
	"synoptic/internal/method"
	"synoptic/internal/netif"
	"synoptic/internal/scan"
)

// prober is an open way to probe.
type prober interface {
	scan.Prober
	Close() error
}

// chooseMethod makes sure that the method can be used. Connections replace raw
// probes where no method was asked for and there is no privilege for them, and
// that is said.
func (a *app) chooseMethod() error {
	if a.opt.method != method.Connect && !a.opt.dryRun {
		err := checkPrivileges(a.opt.method)
		switch {
		case err == nil:
		case errors.Is(err, errNoPrivilege) && !a.opt.methodAsked:
			a.opt.method = method.Connect
			a.say.note("no privilege for raw packets: using -sT, the system's own connections, which targets log; with sudo it would be -sS")
		default:
			return err
		}
	}
	if a.opt.method == method.Connect && a.opt.path.RouterMAC != nil {
		return errors.New("--router-mac cannot be honoured by -sT: the system finds the way of its connections; leave it out")
	}
	if a.opt.method == method.Connect && a.opt.noReset {
		return errors.New("--no-reset cannot be honoured by -sT: the system ends its connections itself; leave it out")
	}
	if a.opt.method == method.Connect && a.opt.pathway == scan.KernelPath {
		return errors.New("--path kernel cannot be honoured by -sT: the system's connections take their own; leave it out")
	}
	return nil
}

// open opens the way to the targets that the method takes.
func (a *app) open(scope *scope) (prober, *netif.Routes, error) {
	if a.opt.method != method.Connect {
		return a.dial(scope)
	}
	targets, path, senders := scope.plan.Targets(), a.opt.path, a.opt.senders
	if a.opt.autoSenders {
		senders = runtime.GOMAXPROCS(0) // which take most answers themselves
	}
	// They keep their Ps, in connect(2) too, and the rest needs one.
	runtime.GOMAXPROCS(max(runtime.GOMAXPROCS(0), senders+1))
	if err := path.Own(); err != nil {
		return nil, nil, err
	}
	if path.Interface == "" {
		for first, last := range targets.Ranges() {
			if first.IsLinkLocalUnicast() && first.Is6() || last.IsLinkLocalUnicast() && last.Is6() {
				return nil, nil, fmt.Errorf("connect to %v: a link-local address exists on every link: name the interface with -e", first)
			}
		}
	}
	p, err := connect.New(connect.Options{
		IPv4: targets.Has4(), IPv6: targets.Has6(), Interface: path.Interface, Source4: path.Source4, Source6: path.Source6,
		SourcePort: a.opt.sourcePort, TTL: a.opt.ttl, Senders: senders, Rate: a.opt.rate,
	})
	if err != nil {
		return nil, nil, err
	}
	if a.opt.verbose > 0 {
		by := "as the system routes"
		if path.Interface != "" {
			by = "by " + path.Interface
		}
		a.say.note(fmt.Sprintf("connecting %s, at most %s at a time, seed %d", by, count(uint64(p.Limit())), a.opt.seed))
	}
	return p, &netif.Routes{}, nil
}
