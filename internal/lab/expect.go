package lab

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"synoptic/bpf/respond"
	"synoptic/internal/result"
)

// reading is what a scan method makes of what comes back. It is written down
// here a second time on purpose, from the description of the methods and not
// from their code, so that a test compares two opinions.
type reading struct {
	method  string
	flags   uint8
	reset   result.State // what an RST says
	silence result.State // and what silence does
	windows bool         // an RST with a window says open
	system  bool         // the system connects, and tells nothing of the answer's header
}

var readings = []reading{
	{method: "syn", flags: respond.SYN, reset: result.Closed, silence: result.Filtered},
	{method: "connect", flags: respond.SYN, reset: result.Closed, silence: result.Filtered, system: true},
	{method: "null", flags: 0, reset: result.Closed, silence: result.OpenFiltered},
	{method: "fin", flags: respond.FIN, reset: result.Closed, silence: result.OpenFiltered},
	{method: "xmas", flags: respond.FIN | respond.PSH | respond.URG, reset: result.Closed, silence: result.OpenFiltered},
	{method: "maimon", flags: respond.FIN | respond.ACK, reset: result.Closed, silence: result.OpenFiltered},
	{method: "ack", flags: respond.ACK, reset: result.Unfiltered, silence: result.Filtered},
	{method: "window", flags: respond.ACK, reset: result.Closed, silence: result.Filtered, windows: true},
}

// Scan names a scan of which the result is wanted.
type Scan struct {
	Method string
	Tries  int // probes that an endpoint gets until it answers; 0 means 1
}

// Expect returns what a scan has to say of each of the ports of one host, in
// their order, if the path drops nothing by chance or for the rate of the scan
// ([respond.Config.Loss] and [respond.Config.Police]). If it does, every answer
// that was found is as expected, and no more are missing than
// [respond.Counters.Dropped]. Filtered ports without an answer are among them; silent ports of
// a host that gives no sign of life are not, where silence is the signal. An
// ICMP error is a sign of life if the host itself sent it.
func (t Truth) Expect(s Scan, host netip.Addr, ports []uint16) ([]result.Record, error) {
	i := slices.IndexFunc(readings, func(r reading) bool { return r.method == s.Method })
	if i < 0 {
		return nil, fmt.Errorf("scan method %q: want one of %s", s.Method, strings.Join(Methods(), ", "))
	}
	read, alive := readings[i], false
	records := make([]result.Record, 0, len(ports))
	for _, port := range ports {
		at := netip.AddrPortFrom(host, port)
		answer := t.answered(read.flags, max(s.Tries, 1), at)
		alive = alive || answer.Kind != respond.NoAnswer && (answer.Kind != respond.ICMP || answer.From == host)
		records = append(records, read.record(at, answer))
	}
	if !alive {
		records = slices.DeleteFunc(records, func(r result.Record) bool { return r.State == result.OpenFiltered })
	}
	return records, nil
}

// Methods returns the names of the methods that Expect knows.
func Methods() []string {
	var names []string
	for _, r := range readings {
		names = append(names, r.method)
	}
	return names
}

func (r reading) record(at netip.AddrPort, a respond.Answer) result.Record {
	rec := result.Record{Addr: at, Method: r.method, State: r.silence, Reason: result.NoResponse}
	switch a.Kind {
	case respond.SynAck:
		rec.State, rec.Reason, rec.Window = result.Open, result.SynAck, a.Window
		if r.flags != respond.SYN {
			rec.Suspect = result.Anomaly
		} else if a.Window == 0 {
			rec.Suspect = result.SynProxy
		}
	case respond.Reset:
		rec.State, rec.Reason, rec.Window = r.reset, result.Reset, a.Window
		if r.windows && a.Window > 0 {
			rec.State = result.Open
		}
	case respond.ICMP:
		rec.State, rec.Reason = result.Filtered, errorReason(at.Addr().Is4(), a.Type, a.Code)
		if a.From != at.Addr() {
			rec.ReasonIP = a.From
		}
	}
	if r.system {
		rec.Window, rec.Suspect = 0, result.NotSuspect
		if rec.Reason == result.Reset {
			rec.Reason = result.ConnRefused
		}
	}
	return rec
}

// errorReason names the ICMP errors that a lab can send.
func errorReason(ipv4 bool, typ, code uint8) result.Reason {
	type key struct {
		ipv4      bool
		typ, code uint8
	}
	return map[key]result.Reason{
		{true, 3, 0}:  result.NetUnreach,
		{true, 3, 1}:  result.HostUnreach,
		{true, 3, 2}:  result.ProtoUnreach,
		{true, 3, 3}:  result.PortUnreach,
		{true, 3, 9}:  result.NetProhibited,
		{true, 3, 10}: result.HostProhibited,
		{true, 3, 13}: result.AdminProhibited,
		{true, 11, 0}: result.TimeExceeded,
		{false, 1, 0}: result.NetUnreach,
		{false, 1, 1}: result.AdminProhibited,
		{false, 1, 3}: result.HostUnreach,
		{false, 1, 4}: result.PortUnreach,
		{false, 3, 0}: result.TimeExceeded,
		{false, 4, 0}: result.ProtoUnreach,
	}[key{ipv4, typ, code}]
}
