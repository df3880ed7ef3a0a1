package output

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"synoptic/internal/result"
)

// XML is nmap's XML, as its DTD and the programs that import it want it: one
// host element for each address, in it a status, and times as whole seconds.
// The DTD allows no scanner but "nmap"; args and version name this one.
var XML = Style{style{xmlHead, xmlHost, xmlTail}}

func xmlHead(dst []byte, scan *Scan) []byte {
	args, program, started := escape(commandLine(scan.Args)), escape(scan.Program), scan.Start.Format(time.ANSIC)
	dst = fmt.Appendf(dst, `<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE nmaprun>
<!-- %s scan initiated %s as: %s -->
<nmaprun scanner="nmap" args="%s" start="%d" startstr="%s" version="%s" xmloutputversion="1.05">
`, program, started, args, args, scan.Start.Unix(), started, program)
	for _, method := range scan.Methods {
		dst = fmt.Appendf(dst, `<scaninfo type="%s" protocol="tcp" numservices="%d" services="%s"/>`+"\n", method, scan.NPorts, scan.Ports)
	}
	return fmt.Appendf(dst, `<verbose level="%d"/>
<debugging level="0"/>
`, scan.Verbose)
}

func xmlHost(dst []byte, scan *Scan, hosts *Hosts, h *host) []byte {
	kind := "ipv4"
	if h.addr.Is6() {
		kind = "ipv6"
	}
	dst = fmt.Appendf(dst, `<host><status state="up" reason="%s" reason_ttl="%d"/>
<address addr="%s" addrtype="%s"/>
<hostnames>
`, h.reason, h.ttl, h.addr, kind)
	if h.name != "" {
		dst = fmt.Appendf(dst, `<hostname name="%s" type="PTR"/>`+"\n", escape(h.name))
	}
	dst = append(dst, "</hostnames>\n<ports>"...)
	for _, g := range h.groups {
		dst = fmt.Appendf(dst, `<extraports state="%s" count="%d">`+"\n", g.state, g.count)
		for _, r := range g.reasons {
			dst = fmt.Appendf(dst, `<extrareasons reason="%s" count="%d" proto="tcp" ports="%s"/>`+"\n", r.reason, r.count, r.ports)
		}
		dst = append(dst, "</extraports>\n"...)
	}
	for i := range h.ports {
		dst = xmlPort(dst, scan, hosts, &h.ports[i])
	}
	return append(dst, "</ports>\n</host>\n"...)
}

// xmlPort appends a port. The DTD wants a reason_ttl even when none is known,
// and nmap then writes 0.
func xmlPort(dst []byte, scan *Scan, hosts *Hosts, a *answer) []byte {
	dst = append(dst, `<port protocol="tcp" portid="`...)
	dst = strconv.AppendUint(dst, uint64(a.port), 10)
	dst = append(dst, `"><state state="`...)
	dst = append(dst, a.state.String()...)
	dst = append(dst, `" reason="`...)
	dst = append(dst, a.reason.String()...)
	dst = append(dst, `" reason_ttl="`...)
	dst = strconv.AppendUint(dst, uint64(a.ttl), 10)
	if a.sender != 0 {
		dst = append(dst, `" reason_ip="`...)
		dst = hosts.senders[a.sender-1].AppendTo(dst)
	}
	dst = append(dst, `"/>`...)
	if name := scan.service(a.port); name != "" {
		dst = append(dst, `<service name="`...)
		dst = append(dst, escape(name)...)
		dst = append(dst, `" method="table" conf="3"/>`...)
	}
	if a.suspect != result.NotSuspect {
		dst = fmt.Appendf(dst, `<script id="%s" output="%s"/>`, suspectID, a.suspect)
	}
	return append(dst, "</port>\n"...)
}

// suspectID is the name under which a label stands where nmap has what its
// scripts found.
const suspectID = "suspect"

func xmlTail(dst []byte, scan *Scan, hosts *Hosts, end *End) []byte {
	up := uint64(hosts.Len())
	if end == nil {
		end, up = &End{Time: scan.Start, Err: unfinished}, 0
	}
	done := end.Time.Format(time.ANSIC)
	dst = fmt.Appendf(dst, `<runstats><finished time="%d" timestr="%s" summary="%s %s at %s; %s" elapsed="%.2f"`,
		end.Time.Unix(), done, escape(scan.Program), end.word(), done, end.count(up), end.Elapsed.Seconds())
	if end.Err != "" {
		dst = fmt.Appendf(dst, ` exit="error" errormsg="%s"`, escape(end.Err))
	} else {
		dst = append(dst, ` exit="success"`...)
	}
	total := max(end.Addresses, up)
	return fmt.Appendf(dst, `/><hosts up="%d" down="%d" total="%d"/>
</runstats>
</nmaprun>
`, up, total-up, total)
}

// escape makes a text an attribute's value that may stand in a comment as well:
// nmap does the same to two hyphens. What XML 1.0 cannot hold becomes U+FFFD.
func escape(text string) string {
	var b strings.Builder
	last := rune(0)
	for _, r := range text {
		switch {
		case r == '&':
			b.WriteString("&amp;")
		case r == '<':
			b.WriteString("&lt;")
		case r == '>':
			b.WriteString("&gt;")
		case r == '"':
			b.WriteString("&quot;")
		case r == '-' && last == '-':
			b.WriteString("&#45;")
		case r < ' ', r == 0xFFFE, r == 0xFFFF:
			b.WriteRune(utf8.RuneError)
		default:
			b.WriteRune(r)
		}
		last = r
	}
	return b.String()
}
