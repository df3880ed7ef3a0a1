package detector

import (
	"fmt"
	"net/netip"

	"synoptic/bpf/watch"
	"synoptic/detector/filter"
)

// Settings are what may change while a detector runs.
type Settings struct {
	Ruleset
	Filter watch.Filter      // which packets count; empty: all
	Allow  []netip.Prefix    // sources that are no scanners, whatever they send
	Ignore []filter.Endpoint // destinations that do not matter
}

// Validate says in one sentence what is wrong, also what the kernel half would
// refuse, as more tests of a packet than it can make.
func (s *Settings) Validate() error {
	rules, err := s.rules()
	if err != nil {
		return err
	}
	return rules.Validate()
}

// rules returns them in the form that the kernel half works by.
func (s *Settings) rules() (watch.Rules, error) {
	rules, err := s.Ruleset.Rules()
	if err != nil {
		return rules, err
	}
	rules.Count = s.Filter
	if rules.Score, err = filter.Exclude(s.Allow, s.Ignore); err != nil {
		return rules, fmt.Errorf("make the lists of sources and destinations to leave out: %w", err)
	}
	return rules, nil
}

// overPackets reports whether a policy counts packets instead of ports, for
// which the kernel half must be loaded.
func (s *Settings) overPackets() bool {
	for _, p := range s.Policies {
		if p.Name == SophosPacket {
			return true
		}
	}
	return false
}
