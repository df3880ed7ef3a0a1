package lab

import (
	"fmt"
	"net/netip"
	"slices"

	"synoptic/bpf/respond"
)

// Ports is a range of TCP ports, both ends included.
type Ports struct{ First, Last uint16 }

// Port is a range of one.
func Port(p uint16) Ports { return Ports{p, p} }

// Contains tells whether the port is in the range.
func (p Ports) Contains(port uint16) bool { return p.First <= port && port <= p.Last }

func anyContains(ranges []Ports, port uint16) bool {
	return slices.ContainsFunc(ranges, func(p Ports) bool { return p.Contains(port) })
}

// Verdict is what a host's firewall does with a segment.
type Verdict string

const (
	Drop        Verdict = "drop"
	RejectReset Verdict = "reject with tcp reset"
	RejectPort  Verdict = "reject with port-unreachable"
	RejectHost  Verdict = "reject with host-unreachable"
	RejectAdmin Verdict = "reject with admin-prohibited"
)

// icmp holds the errors of the verdicts that send one, as nftables translates
// its family-independent codes (nft_reject_icmp_code in net/netfilter).
var icmp = map[Verdict]respond.ICMPError{
	RejectPort:  respond.PortUnreach,
	RejectHost:  {Type4: 3, Code4: 1, Type6: 1, Code6: 3},
	RejectAdmin: respond.AdminProhibited,
}

// Rule is a firewall rule for segments to any of the ports.
type Rule struct {
	Ports   []Ports
	Verdict Verdict
}

// Facts is what is known of a real host beforehand.
type Facts struct {
	Name   string
	Addr4  netip.Addr
	Addr6  netip.Addr
	Listen []Ports // ports with a listener
	Rules  []Rule  // the first that matches decides, before the listener does
}

// Has tells whether the address is one of the host's.
func (f *Facts) Has(a netip.Addr) bool { return a == f.Addr4 || a == f.Addr6 }

// rule returns the verdict that applies to a port, empty for none.
func (f *Facts) rule(port uint16) Verdict {
	for _, r := range f.Rules {
		if anyContains(r.Ports, port) {
			return r.Verdict
		}
	}
	return ""
}

// State returns the state of a port, as a SYN finds it.
func (f *Facts) State(ap netip.AddrPort) respond.State {
	if !f.Has(ap.Addr()) {
		return respond.Outside
	}
	switch f.rule(ap.Port()) {
	case Drop:
		return respond.Silent
	case RejectReset:
		return respond.Closed
	case RejectPort, RejectHost, RejectAdmin:
		return respond.Rejected
	}
	if anyContains(f.Listen, ap.Port()) {
		return respond.Open
	}
	return respond.Closed
}

// Answer returns what comes back to a first probe with this TCP flags byte.
// The window of a SYN+ACK is the kernel's affair: it is given as 1 for "not 0".
func (f *Facts) Answer(flags uint8, ap netip.AddrPort) respond.Answer {
	state := f.State(ap)
	if state == respond.Rejected { // a firewall does not ask for the flags
		code := icmp[f.rule(ap.Port())]
		a := respond.Answer{Kind: respond.ICMP, From: ap.Addr(), Type: code.Type6, Code: code.Code6}
		if ap.Addr().Is4() {
			a.Type, a.Code = code.Type4, code.Code4
		}
		return a
	}
	a := respond.Standard.Reply(state, flags)
	if a.Kind == respond.SynAck {
		a.Window = 1
	}
	return a
}

func (v Verdict) check() error {
	switch v {
	case Drop, RejectReset, RejectPort, RejectHost, RejectAdmin:
		return nil
	}
	return fmt.Errorf("firewall verdict %q: unknown", string(v))
}
