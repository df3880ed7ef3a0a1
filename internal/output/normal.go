package output

import (
	"fmt"
	"strconv"
	"time"

	"synoptic/internal/result"
)

// Normal is nmap's -oN: a table for each host.
var Normal = Style{style{normalHead, normalHost, normalTail}}

func normalHead(dst []byte, scan *Scan) []byte { return append(dst, initiated(scan)...) }

func normalHost(dst []byte, scan *Scan, hosts *Hosts, h *host) []byte {
	dst = fmt.Appendf(dst, "Nmap scan report for %s\nHost is up", h.title())
	if scan.Reasons {
		dst = fmt.Appendf(dst, ", received %s%s", h.reason, ttlWords(h.ttl))
	}
	if h.rtt > 0 {
		dst = fmt.Appendf(dst, " (%ss latency)", latency(h.rtt))
	}
	dst = append(dst, ".\n"...)
	if len(h.ports) == 0 {
		dst = fmt.Appendf(dst, "All %d scanned ports on %s are in ignored states.\n", h.hidden, h.title())
	}
	separator := "Not shown: "
	for _, g := range h.groups {
		for _, r := range g.reasons {
			dst = append(append(dst, separator...), strconv.Itoa(r.count)...)
			dst = fmt.Appendf(dst, " %s tcp ports (%s)", g.state, r.reason) // nmap has a plural of one, too
			separator = ", "
		}
	}
	dst = append(dst, '\n') // ends "Not shown", or is an empty line
	if len(h.ports) > 0 {
		dst = normalTable(dst, scan, hosts, h.ports)
	}
	return append(dst, '\n')
}

// normalTable appends the ports in columns, each as wide as its longest word.
func normalTable(dst []byte, scan *Scan, hosts *Hosts, ports []answer) []byte {
	const unknown = "unknown" // what nmap calls a service without a name
	port, state, service := len("PORT"), len("STATE"), len("SERVICE")
	for i := range ports {
		a := &ports[i]
		port = max(port, len(strconv.Itoa(int(a.port)))+len("/tcp"))
		state = max(state, len(a.state.String()))
		name := scan.service(a.port)
		service = max(service, len(name))
	}
	line := func(first, second, third, fourth string) {
		if fourth != "" {
			dst = fmt.Appendf(dst, "%-*s %-*s %-*s %s\n", port, first, state, second, service, third, fourth)
		} else {
			dst = fmt.Appendf(dst, "%-*s %-*s %s\n", port, first, state, second, third)
		}
	}
	heading := ""
	if scan.Reasons {
		heading = "REASON"
	}
	line("PORT", "STATE", "SERVICE", heading)
	for i := range ports {
		a := &ports[i]
		name, why := scan.service(a.port), ""
		if name == "" {
			name = unknown
		}
		if scan.Reasons {
			why = a.reason.String()
			if a.sender != 0 {
				why += " from " + hosts.senders[a.sender-1].String()
			}
			why += ttlWords(a.ttl)
		}
		line(strconv.Itoa(int(a.port))+"/tcp", a.state.String(), name, why)
		if a.suspect != result.NotSuspect {
			dst = fmt.Appendf(dst, "|_%s: %s\n", suspectID, a.suspect)
		}
	}
	return dst
}

func normalTail(dst []byte, scan *Scan, hosts *Hosts, end *End) []byte {
	return append(dst, finished(scan, hosts, end)...)
}

func ttlWords(ttl uint8) string {
	if ttl == 0 {
		return ""
	}
	return fmt.Sprintf(" ttl %d", ttl)
}

// latency writes seconds with two digits that count, as nmap does.
func latency(rtt time.Duration) string {
	seconds := rtt.Seconds()
	digits := 1
	for unit := 1.0; seconds < unit && digits < 8; unit /= 10 {
		digits++
	}
	return strconv.FormatFloat(seconds, 'f', digits, 64)
}
