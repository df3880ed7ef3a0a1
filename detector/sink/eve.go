package sink

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"time"

	"synoptic/detector"
)

// NewEVE returns a sink of Suricata's EVE JSON lines in a file, to which it
// appends. host names this machine in them and may be empty. An error is one
// that would not be better later.
func NewEVE(name, host string, c Config) (*Sink, error) {
	out, err := openFile(name)
	if err != nil {
		return nil, err
	}
	return begin("eve", eveLines(host), out, c), nil
}

// NewEVEStream is NewEVE for an open file, which it does not close.
func NewEVEStream(f *os.File, name, host string, c Config) *Sink {
	return begin("eve", eveLines(host), newStream(f, name), c)
}

func eveLines(host string) format {
	return func(b []byte, a *detector.Alert) []byte { return appendEVE(b, a, host) }
}

// eveTime is the schema's timestamp with a numeric offset, in UTC: CrowdSec's
// parser takes no offset but one with a plus, and takes the time before it for
// UTC.
const eveTime = "2006-01-02T15:04:05.000000-0700"

// eve is an event. Suricata's etc/schema.json allows no other keys here and in
// alert, but any in alert's metadata, with lists of at least one text.
type eve struct {
	Timestamp       string     `json:"timestamp"`
	EventType       string     `json:"event_type"`
	Source          netip.Addr `json:"src_ip"`
	SourcePort      uint16     `json:"src_port"`
	Destination     netip.Addr `json:"dest_ip"`
	DestinationPort uint16     `json:"dest_port"`
	Protocol        string     `json:"proto"`
	Interface       string     `json:"in_iface,omitempty"`
	Host            string     `json:"host,omitempty"`
	Alert           eveAlert   `json:"alert"`
}

type eveAlert struct {
	Action      string              `json:"action"`
	Generator   int                 `json:"gid"`
	SignatureID int                 `json:"signature_id"`
	Revision    int                 `json:"rev"`
	Signature   string              `json:"signature"`
	Category    string              `json:"category"`
	Severity    int                 `json:"severity"`
	Metadata    map[string][]string `json:"metadata"`
}

// What is the same in all alerts.
const (
	eveGenerator = 1 // text rules: what tools look for first
	eveRevision  = 1
	eveSeverity  = 3 // CrowdSec bans on a single one of severity 1, and on three of 2
	// The words of Suricata's classification.config for network-scan.
	eveCategory = "Detection of a Network Scan"
)

// The types of events. A summary is no alert: what counts alerts would count the
// scan twice.
const (
	eveBegin = "alert"
	eveEnd   = "metadata"
)

// signatures number the kinds. The numbers are of the range that is kept for
// local rules, 1000000 to 1999999, and never change.
func signatures() map[detector.Kind]int {
	return map[detector.Kind]int{
		detector.Mixed: 1903400, detector.Connect: 1903401, detector.SYN: 1903402, detector.NULL: 1903403, detector.FIN: 1903404,
		detector.XMAS: 1903405, detector.Maimon: 1903406, detector.ACK: 1903407, detector.UDP: 1903408, detector.Tiny: 1903409,
	}
}

// appendEVE appends an event and a newline.
func appendEVE(b []byte, a *detector.Alert, host string) []byte {
	e := eve{
		Timestamp: a.Time.UTC().Format(eveTime), EventType: eveBegin,
		Source: a.Source, SourcePort: a.SourcePort, Destination: a.Destination, DestinationPort: a.DestinationPort,
		Protocol: a.Protocol, Interface: a.Interface, Host: host,
		Alert: eveAlert{
			Action: "allowed", Generator: eveGenerator, SignatureID: signatures()[a.Kind], Revision: eveRevision,
			Signature: fmt.Sprintf("SYNWATCH port scan (%s)", a.Kind), Category: eveCategory, Severity: eveSeverity,
			Metadata: metadata(a),
		},
	}
	if a.Summary {
		e.EventType = eveEnd
	}
	var line bytes.Buffer
	j := json.NewEncoder(&line)
	j.SetEscapeHTML(false)
	if err := j.Encode(e); err != nil {
		panic(err) // texts and numbers
	}
	return append(b, line.Bytes()...)
}

// metadata is the proof.
func metadata(a *detector.Alert) map[string][]string {
	m := map[string][]string{
		"event":     {"begin"},
		"policy":    {a.Policy},
		"kind":      {string(a.Kind)},
		"direction": {string(a.Direction)},
		"episode":   {strconv.FormatUint(a.Episode, 10)},
		"source":    {a.Prefix.String()},
		"threshold": {strconv.Itoa(a.Threshold)},
		"compare":   {"exceeds"},
		"span":      {a.Span.String()},
		"points":    {strconv.Itoa(a.Points)},
		"begin":     {a.Begin.UTC().Format(eveTime)},
		"hosts":     {strconv.Itoa(a.Hosts)},
		"probes":    {strconv.FormatUint(a.Probes, 10)},
		"ttl":       {strconv.Itoa(int(a.MinTTL))},
	}
	if a.Summary {
		m["event"] = []string{"summary"}
	}
	if a.Reaches {
		m["compare"] = []string{"reaches"}
	}
	if a.MaxTTL != a.MinTTL {
		m["ttl"] = append(m["ttl"], strconv.Itoa(int(a.MaxTTL)))
	}
	if a.Handshakes > 0 {
		m["handshakes"] = []string{strconv.FormatUint(a.Handshakes, 10)}
	}
	for _, p := range a.Proof {
		protocol := "tcp"
		if p.UDP {
			protocol = "udp"
		}
		m["ports"] = append(m["ports"], strconv.Itoa(int(p.Port)))
		m["proof"] = append(m["proof"], fmt.Sprintf("%s %s/%d %d", p.Time.UTC().Format(time.RFC3339Nano), protocol, p.Port, p.Points))
	}
	return m
}
