package lab

import (
	"net/netip"
	"slices"

	"synoptic/bpf/respond"
)

// Truth is all that is known of a lab beforehand. It is safe for concurrent
// use.
type Truth struct {
	Simulated respond.Truth
	Hosts     []Facts
}

// Truth returns the truth as it is now: the responder may be configured anew.
func (l *Lab) Truth() (Truth, error) {
	cfg, err := l.Responder.Config()
	if err != nil {
		return Truth{}, err
	}
	t := Truth{Simulated: cfg.Truth()}
	for _, h := range l.Hosts() {
		t.Hosts = append(t.Hosts, h.Facts)
	}
	return t, nil
}

// MustTruth returns the truth or fails the test.
func (l *Lab) MustTruth(t TB) Truth {
	t.Helper()
	truth, err := l.Truth()
	if err != nil {
		t.Fatalf("%v", err)
	}
	return truth
}

// host returns the real host that has the address, or nil.
func (t Truth) host(a netip.Addr) *Facts {
	if i := slices.IndexFunc(t.Hosts, func(f Facts) bool { return f.Has(a) }); i >= 0 {
		return &t.Hosts[i]
	}
	return nil
}

// Has tells whether the address is that of a simulated or a real host.
func (t Truth) Has(a netip.Addr) bool { return t.Simulated.Contains(a) || t.host(a) != nil }

// State returns the state of a port, Outside if nothing is known of it.
func (t Truth) State(ap netip.AddrPort) respond.State {
	if h := t.host(ap.Addr()); h != nil {
		return h.State(ap)
	}
	return t.Simulated.State(ap)
}

// Answer returns what comes back to a first probe with this TCP flags byte.
func (t Truth) Answer(flags uint8, ap netip.AddrPort) respond.Answer {
	if h := t.host(ap.Addr()); h != nil {
		return h.Answer(flags, ap)
	}
	return t.Simulated.Answer(flags, ap)
}

// answered is Answer to the given number of tries, with the configured loss.
func (t Truth) answered(flags uint8, tries int, ap netip.AddrPort) respond.Answer {
	a := t.Answer(flags, ap)
	if a.Kind != respond.NoAnswer && t.host(ap.Addr()) == nil && t.Simulated.Losses(ap) >= tries {
		return respond.Answer{}
	}
	return a
}
