package sink

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"synoptic/detector"
)

// NewSyslog returns a sink of syslog messages. host names this machine in them.
// A collector that is not there yet is no error.
func NewSyslog(to Address, host string, c Config) *Sink {
	process := os.Getpid()
	message := func(b []byte, a *detector.Alert) []byte { return appendSyslog(b, a, host, process) }
	if to.local {
		message = func(b []byte, a *detector.Alert) []byte { return appendLocal(b, a, process) }
	}
	return begin("syslog", message, &socket{to: to}, c)
}

// facility is authpriv, where a machine keeps what is about who comes to it, RFC
// 5424 section 6.2.1.
const facility = 10

// app is our name in a log.
const app = "synwatch"

// dataID names our structured data, RFC 5424 section 6.3.2. Names without an @
// are IANA's; 32473 is the enterprise number that RFC 5612 keeps for examples, so
// it is nobody else's.
const dataID = app + "@32473"

// syslogTime is RFC 3339 with microseconds, of which RFC 5424 allows no more.
const syslogTime = "2006-01-02T15:04:05.000000Z07:00"

// appendSyslog appends an RFC 5424 message. It has less than 2,048 bytes, which
// every collector takes (RFC 5426 section 3.2).
func appendSyslog(b []byte, a *detector.Alert, host string, process int) []byte {
	id := "scan"
	if a.Summary {
		id = "scan-end"
	}
	b = fmt.Appendf(b, "<%d>1 %s %s %s %d %s [%s", facility*8+severity(a), a.Time.UTC().Format(syslogTime), word(host, "-"), app, process, id, dataID)
	param := func(name, value string) {
		if value != "" {
			b = fmt.Appendf(b, ` %s="%s"`, name, escape(value))
		}
	}
	param("policy", a.Policy)
	param("kind", string(a.Kind))
	param("direction", string(a.Direction))
	param("episode", strconv.FormatUint(a.Episode, 10))
	param("src", a.Source.String())
	param("source", a.Prefix.String())
	param("spt", strconv.Itoa(int(a.SourcePort)))
	param("dst", a.Destination.String())
	param("dpt", strconv.Itoa(int(a.DestinationPort)))
	param("proto", a.Protocol)
	param("interface", a.Interface)
	param("points", strconv.Itoa(a.Points))
	param("threshold", strconv.Itoa(a.Threshold))
	param("span", a.Span.String())
	param("ports", strings.Join(ports(a), ","))
	param("hosts", strconv.Itoa(a.Hosts))
	param("probes", strconv.FormatUint(a.Probes, 10))
	param("handshakes", strconv.FormatUint(a.Handshakes, 10))
	return fmt.Appendf(b, "] %s", Describe(a))
}

// appendLocal appends what syslog(3) writes into /dev/log, because its readers
// there know nothing else: journald has no parser for RFC 5424, and rsyslog uses
// another one.
func appendLocal(b []byte, a *detector.Alert, process int) []byte {
	return fmt.Appendf(b, "<%d>%s %s[%d]: %s", facility*8+severity(a), a.Time.Local().Format("Jan _2 15:04:05"), app, process, Describe(a))
}

// escape protects what RFC 5424 section 6.3.3 asks for.
func escape(text string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, `]`, `\]`).Replace(text)
}

// word is a text of printable ASCII without spaces, or else what stands for
// none.
func word(text, none string) string {
	text = strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return -1
		}
		return r
	}, text)
	if text == "" {
		return none
	}
	return text[:min(len(text), 255)]
}
