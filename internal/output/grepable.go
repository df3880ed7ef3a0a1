package output

import (
	"fmt"
	"strconv"
)

// Grepable is nmap's -oG: for each host a line with its status and one with its
// ports, fields between tabs.
var Grepable = Style{style{grepableHead, grepableHost, grepableTail}}

func grepableHead(dst []byte, scan *Scan) []byte {
	dst = append(dst, initiated(scan)...)
	if scan.Verbose > 0 {
		dst = fmt.Appendf(dst, "# Ports scanned: TCP(%d;%s) UDP(0;) SCTP(0;) PROTOCOLS(0;)\n", scan.NPorts, scan.Ports)
	}
	return dst
}

// grepableHost leaves the ports' line out when none is listed and more than one
// state is ignored, and names an ignored state only when it is the only one: as
// nmap does.
func grepableHost(dst []byte, scan *Scan, _ *Hosts, h *host) []byte {
	dst = fmt.Appendf(dst, "Host: %s (%s)\tStatus: Up\n", h.addr, h.name)
	if len(h.ports) == 0 && len(h.groups) > 1 {
		return dst
	}
	dst = fmt.Appendf(dst, "Host: %s (%s)\tPorts: ", h.addr, h.name)
	for i := range h.ports {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		a := &h.ports[i]
		dst = strconv.AppendUint(dst, uint64(a.port), 10)
		dst = append(dst, '/')
		dst = append(dst, a.state.String()...)
		dst = append(dst, "/tcp//"...)
		dst = append(dst, scan.service(a.port)...)
		dst = append(dst, "///"...)
	}
	if len(h.groups) == 1 {
		dst = fmt.Appendf(dst, "\tIgnored State: %s (%d)", h.groups[0].state, h.groups[0].count)
	}
	return append(dst, '\n')
}

func grepableTail(dst []byte, scan *Scan, hosts *Hosts, end *End) []byte {
	return append(dst, finished(scan, hosts, end)...)
}
