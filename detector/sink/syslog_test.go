package sink

import (
	"regexp"
	"strings"
	"testing"
	"time"
)

// rfc5424 is the grammar of RFC 5424 section 6, for one structured element.
var rfc5424 = regexp.MustCompile(`^<(\d{1,3})>1 (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|[+-]\d\d:\d\d)) ([!-~]{1,255}) ([!-~]{1,48}) ([!-~]{1,128}) ([!-~]{1,32}) ` +
	`\[([!#-<>-\\^-~]{1,32})((?: [!#-<>-\\^-~]{1,32}="(?:[^"\\\]]|\\["\\\]])*")*)\] ([^\n]*)$`)

func TestSyslogMessage(t *testing.T) {
	in(t, "CET", 3600)
	const want = `<84>1 2026-11-25T04:00:00.123456Z web1 synwatch 42 scan [synwatch@32473 policy="sophos" kind="syn" direction="vertical" episode="7" ` +
		`src="192.0.2.7" source="192.0.2.7/32" spt="40000" dst="10.0.0.1" dpt="443" proto="TCP" interface="eth0" points="24" threshold="21" span="300ms" ` +
		`ports="21-23,53,80,110,111,443" hosts="1" probes="8" handshakes="0"] `
	got := string(appendSyslog(nil, sample(), "web1", 42))
	if got != want+Describe(sample()) {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	m := rfc5424.FindStringSubmatch(got)
	if m == nil {
		t.Fatalf("the grammar refuses %s", got)
	}
	if at, err := time.Parse(time.RFC3339Nano, m[2]); err != nil || !at.Equal(sample().Time.Truncate(time.Microsecond)) {
		t.Errorf("time %v, %v", at, err)
	}
	if end := string(appendSyslog(nil, summary(), "", 42)); !rfc5424.MatchString(end) || !strings.HasPrefix(end, "<85>1 ") || !strings.Contains(end, " - synwatch 42 scan-end [") {
		t.Errorf("the summary is %s", end)
	}
}

// Interfaces may have any name but a slash and spaces.
func TestSyslogEscapes(t *testing.T) {
	a := sample()
	a.Interface = `e"t]h\0`
	got := string(appendSyslog(nil, a, "w\x01 é.b", 42))
	m := rfc5424.FindStringSubmatch(got)
	if m == nil {
		t.Fatalf("the grammar refuses %s", got)
	}
	if m[3] != "w.b" || !strings.Contains(m[8], ` interface="e\"t\]h\\0" `) {
		t.Errorf("host %q, data %s", m[3], m[8])
	}
	if host := word(strings.Repeat("x", 300), "-"); len(host) != 255 {
		t.Errorf("a host's name of %d bytes", len(host))
	}
}

// What 22 ports of five digits over IPv6 make is what every collector takes.
func TestSyslogMessagesFit(t *testing.T) {
	a := datagrams()
	a.Source = a.Source.Next()
	a.Proof = a.Proof[:0]
	for i := range 22 {
		a.Proof = append(a.Proof, sample().Proof[0])
		a.Proof[i].Port, a.Proof[i].UDP = uint16(60000+2*i), true
	}
	if n := len(appendSyslog(nil, a, strings.Repeat("h", 255), 1<<22)); n < 1000 || n > 2048 {
		t.Errorf("%d bytes", n)
	}
}

func TestLocalMessage(t *testing.T) {
	in(t, "CET", 3600)
	if got, want := string(appendLocal(nil, sample(), 42)), "<84>Nov 25 05:00:00 synwatch[42]: "+Describe(sample()); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

func TestParseAddress(t *testing.T) {
	for text, want := range map[string]string{
		"local": "/dev/log", "udp://10.0.0.1:514": "udp://10.0.0.1:514", "tcp://[::1]:601": "tcp://[::1]:601", "udp://logs.example:1": "udp://logs.example:1", "unix:///run/log": "unix:///run/log",
	} {
		if a, err := ParseAddress(text); err != nil || a.String() != want {
			t.Errorf("%s: %v, %v", text, a, err)
		}
	}
	for _, text := range []string{"", "10.0.0.1:514", "udp://10.0.0.1", "udp://:514", "udp://10.0.0.1:0", "udp://10.0.0.1:65536", "udp://::1:514", "tcp://", "unix://run/log",
		"unix:///" + strings.Repeat("x", 107), "http://a:1", "LOCAL"} {
		if a, err := ParseAddress(text); err == nil || !strings.Contains(err.Error(), "udp://HOST:PORT") {
			t.Errorf("%q: %v, %v", text, a, err)
		}
	}
}
