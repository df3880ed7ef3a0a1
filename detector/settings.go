package detector

import (
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

// rules returns them in the form that the kernel half works by.
func (s *Settings) rules() (watch.Rules, error) {
	rules, err := s.Ruleset.Rules()
	if err != nil {
		return rules, err
	}
	rules.Count = s.Filter
	rules.Score, err = filter.Exclude(s.Allow, s.Ignore)
	return rules, err
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
