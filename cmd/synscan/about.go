package main

import (
	"slices"
	"strings"
	"time"

	"lukechampine.com/uint128"

	"synoptic/internal/output"
	"synoptic/internal/services"
)

// about says what reports say about a scan before its results.
func (a *app) about(s *scope) (*output.Scan, error) {
	var names services.Names
	if slices.ContainsFunc(a.opt.places, func(p place) bool { return p.report }) {
		var err error
		if names, err = services.Load(services.File); err != nil {
			return nil, err
		}
	}
	ports := s.plan.Ports()
	return &output.Scan{
		Program: program(), Args: append([]string{"synscan"}, a.args...), Start: a.start,
		Methods: []string{a.opt.method.Name}, Ports: ports.String(), NPorts: ports.Len(), Service: names.Name,
		Verbose: a.opt.verbose, AllStates: a.opt.allStates, OpenOnly: a.opt.open, Reasons: a.opt.reasons,
	}, nil
}

// program is the name and the version.
func program() string { return strings.Join(strings.Fields(versionLine())[:2], " ") }

// end says what reports say after the results. Which addresses were scanned is
// known only of a whole scan; of one that ended early, the number of endpoints is
// a bound. Neighbours that do not exist are among them, and down.
func (r *report) end(err error, out *outputs) *output.End {
	addresses := r.Probed + r.Unreachable
	if n := r.scope.plan.Targets().Len(); n.Cmp(uint128.From64(addresses)) < 0 {
		addresses = n.Lo
	}
	end := &output.End{Time: time.Now(), Elapsed: seconds(r.Elapsed), Addresses: addresses, Dropped: r.Dropped + r.KernelDropped}
	if code, why := r.verdict(err, out); code == exitFailed || code == exitInterrupted {
		end.Err = why.Error()
	}
	return end
}
