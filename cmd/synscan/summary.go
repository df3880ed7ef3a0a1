package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"synoptic/internal/estimate"
	"synoptic/internal/method"
	"synoptic/internal/netif"
	"synoptic/internal/scan"
)

// report is what is known at the end of a scan.
type report struct {
	scan.Summary
	scope  *scope
	routes *netif.Routes
	opt    options
	code   int // exit code

	unrouted uint64 // connections to which this machine has no route
}

// unprobed returns how many endpoints the scan did not get to.
func (r *report) unprobed() uint64 {
	return r.Planned - min(r.Planned, r.Probed+r.Unreachable)
}

// conclude writes the summary to stderr.
func (a *app) conclude(r *report) {
	switch {
	case a.opt.quiet:
	case a.opt.statusJSON:
		a.say.json("summary", r.object())
	default:
		a.say.line([]byte(r.String()))
	}
}

// String returns the summary for people, some aligned lines.
func (r *report) String() string {
	var b strings.Builder
	end := "finished in"
	switch r.code {
	case exitInterrupted:
		end = "interrupted after"
	case exitFailed:
		end = "failed after"
	}
	fmt.Fprintf(&b, "synscan: %s %v", end, seconds(r.Elapsed))
	row := func(label, format string, args ...any) {
		fmt.Fprintf(&b, "\n  %-10s "+format, append([]any{label}, args...)...)
	}
	row("scanned", "%s by -s%c (%s), seed %d", r.scope.describe(r.opt), r.opt.method.Letter, r.Method, r.Seed)
	connections := r.opt.method == method.Connect
	if connections {
		row("probed", "%s, %s not probed; %s", number(r.Probed, "endpoint"), count(r.unprobed()), r.tries())
	} else {
		row("probed", "%s, %s not probed, %s without a link address; %s", number(r.Probed, "endpoint"), count(r.unprobed()), count(r.Unreachable), r.tries())
	}
	answered := "closed"
	if r.opt.method.Letter == 'A' {
		answered = "unfiltered"
	}
	silent := count(r.Silent) + " silent"
	if r.OpenFiltered > 0 {
		silent += fmt.Sprintf(" (%s open|filtered)", count(r.OpenFiltered))
	}
	row("results", "%s open, %s %s, %s rejected by ICMP, %s; %s answered",
		count(r.Open), count(r.Answered), answered, count(r.Rejected), silent, number(r.HostsAlive, "address"))
	if connections {
		row("connected", "%s = %s begun + %s put off by this machine; %s a second", number(r.Generated, "attempt"), count(r.Sent), count(r.Refused), count(uint64(r.Rate)))
		row("answered", "%s = %s valid + %s duplicate", number(r.Received, "attempt"), count(r.Valid), count(r.Duplicate+r.OutOfPlan))
	} else {
		row("sent", "%s generated = %s sent + %s refused; %s packets/s", count(r.Generated), count(r.Sent), count(r.Refused), count(uint64(r.Rate)))
		row("received", "%s = %s valid + %s duplicate + %s of canaries + %s bad cookie + %s out of plan + %s foreign",
			count(r.Received), count(r.Valid), count(r.Duplicate), count(r.Repeated), count(r.BadCookie), count(r.OutOfPlan), count(r.Foreign))
		row("dropped", "%s by the device that sends, %s by the kernel, %s by the ring%s", count(r.DeviceDropped), count(r.KernelDropped), count(r.Dropped), r.repaired())
	}
	if r.Path != nil {
		row("path", "loses %s of the answers by %s; about %s missed", share(r.Path.Loss), number(r.Path.Answered+r.Path.Lost, "canary"), number(uint64(r.Missed+0.5), "endpoint"))
	}
	if r.Tries != nil && r.Tries.Second > 0 {
		row("", "loses %s of them by what the second try found", share(r.Tries.Loss))
	}
	if r.RTTMedian > 0 {
		row("round trip", "%v median, %v at the 99th percentile", r.RTTMedian.Round(time.Microsecond), r.RTT99.Round(time.Microsecond))
	}
	for _, line := range r.scope.leftOut() {
		row("left out", "%s", line)
	}
	for _, line := range r.warnings() {
		row("warning", "%s", line)
	}
	return b.String()
}

// repaired says what became of what this machine may have dropped.
func (r *report) repaired() string {
	switch {
	case r.Repairs == 0 && r.Lost == 0:
		return ""
	case r.Lost == 0:
		return fmt.Sprintf("; all of it sent again, in %s", number(uint64(r.Repairs), "more pass"))
	}
	return fmt.Sprintf("; sent again in %s, %s may be lost", number(uint64(r.Repairs), "more pass"), number(r.Lost, "endpoint"))
}

// share writes an estimate in percent, with its 95 % interval.
func share(e estimate.Interval) string {
	return fmt.Sprintf("%.3g%% (%.3g-%.3g%%)", 100*e.Estimate, 100*e.Low, 100*e.High)
}

func (r *report) tries() string {
	chosen := ""
	if r.opt.retries == autoRetries {
		chosen = " (chosen by size)"
	}
	return number(uint64(r.Retries), "retry") + chosen
}

// describe says what is scanned: "254 addresses x 2 ports = 508 endpoints".
func (s *scope) describe(opt options) string {
	p := s.plan
	ports := number(uint64(p.Ports().Len()), "port")
	if opt.top > 0 {
		ports = "the top " + ports
	}
	text := fmt.Sprintf("%s x %s = %s", big(p.Targets().Len(), "address"), ports, big(p.Total(), "endpoint"))
	if opt.shard.Count > 1 {
		text = fmt.Sprintf("shard %d/%d of %s, %s", opt.shard.Index, opt.shard.Count, text, count(p.Len()))
	}
	if s.visit < p.Len() {
		text += fmt.Sprintf(", the first %s", count(s.visit))
	}
	return text
}

// leftOut says which addresses of the targets are not scanned, and why.
func (s *scope) leftOut() []string {
	var lines []string
	if n := s.report.Special; !n.IsZero() {
		lines = append(lines, big(n, "special-purpose address")+" (name a block outright to scan it)")
	}
	if n := s.report.Excluded; !n.IsZero() {
		lines = append(lines, big(n, "excluded address"))
	}
	return lines
}

// warnings are what the reader should know before trusting the results.
func (r *report) warnings() []string {
	var lines []string
	for _, s := range r.routes.Skipped() {
		lines = append(lines, fmt.Sprintf("%s not probed: %s", span(s), s.Why))
	}
	if n := r.Neighbours; n.Silent > 0 && !r.Interrupted {
		example := n.Example.String()
		if n.Silent > 1 {
			example += ", ..."
		}
		lines = append(lines, fmt.Sprintf("%s told no link address when asked, so there is no such host and nothing was probed: %s",
			ofAll(n.Silent, n.Targets, "neighbour"), example))
	}
	if n := r.HostsAllReset; n > 0 {
		lines = append(lines, fmt.Sprintf("%s reset every port, as Windows and many routers do whatever the port's state: only -sS can tell which are open", number(n, "address")))
	}
	if r.unrouted > 0 {
		lines = append(lines, number(r.unrouted, "connection")+" ended at once, because this machine has no route to the target: filtered, net-unreach")
	}
	if r.routes.SourceForeign {
		lines = append(lines, "the source address is not this machine's: answers went to its owner")
	}
	return lines
}

func span(s netif.Skip) string {
	if s.First == s.Last {
		return s.First.String()
	}
	return fmt.Sprintf("%v-%v", s.First, s.Last)
}

// verdict returns the exit code, and a sentence if it is not exitDone.
func (r *report) verdict(err error, out *outputs) (int, error) {
	var faults []string
	if text := out.lost(); text != "" {
		faults = append(faults, text)
	}
	for _, e := range apart(err) {
		if !errors.Is(e, errNoOutput) {
			faults = append(faults, e.Error())
		}
	}
	rest := ""
	if n := r.unprobed(); n > 0 {
		rest = fmt.Sprintf("%s of %s were not probed", count(n), number(r.Planned, "endpoint"))
	}
	switch {
	case len(faults) > 0:
		alone := len(faults) == 1
		if rest != "" {
			faults = append(faults, rest)
		}
		text := strings.Join(faults, "; ")
		if alone && r.Interrupted && out.hungUp() { // which is what the signal was about
			return exitInterrupted, errors.New("interrupted: " + text)
		}
		return exitFailed, errors.New(text)
	case r.Interrupted:
		if rest == "" {
			rest = "every endpoint had been probed"
		}
		return exitInterrupted, errors.New("interrupted: " + rest)
	case r.Lost > 0:
		return exitLost, fmt.Errorf("finished, %s of %s may have gone unanswered because this machine dropped packets: scan again with a lower --rate", count(r.Lost), number(r.Probed, "probe"))
	}
	return exitDone, nil
}

// apart takes joined errors apart.
func apart(err error) []error {
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok || !strings.Contains(err.Error(), "\n") && len(joined.Unwrap()) > 1 {
		return []error{err}
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, apart(e)...)
	}
	return all
}

// object returns the summary for programs.
func (r *report) object() any {
	type left struct {
		Special  string `json:"special_purpose"` // decimal: may exceed 64 bits
		Excluded string `json:"excluded"`
	}
	return struct {
		scan.Summary
		Addresses string   `json:"addresses"`
		Ports     int      `json:"ports"`
		Total     string   `json:"endpoints_of_all_shards"`
		Shard     string   `json:"shard"`
		NotProbed uint64   `json:"not_probed"`
		LeftOut   left     `json:"left_out"`
		Warnings  []string `json:"warnings,omitempty"`
	}{
		r.Summary, r.scope.plan.Targets().Len().String(), r.scope.plan.Ports().Len(), r.scope.plan.Total().String(),
		fmt.Sprintf("%d/%d", r.opt.shard.Index, r.opt.shard.Count), r.unprobed(),
		left{r.scope.report.Special.String(), r.scope.report.Excluded.String()},
		r.warnings(),
	}
}

func seconds(s float64) time.Duration {
	return time.Duration(s * float64(time.Second)).Round(time.Millisecond)
}
