package sink

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"testing"
	"time"

	"synoptic/detector"
)

// What Suricata's etc/schema.json (8.0) says of the keys that an event of ours
// may have: it allows no others at the top and in alert. Of the metadata it
// describes some keys and leaves the others open; those it describes are lists
// of at least one text.
var (
	schemaTop = map[string]string{
		"timestamp": "string", "event_type": "string", "src_ip": "string", "src_port": "integer", "dest_ip": "string", "dest_port": "integer",
		"proto": "string", "in_iface": "string", "host": "string", "alert": "object",
	}
	schemaAlert = map[string]string{
		"action": "string", "gid": "integer", "signature_id": "integer", "rev": "integer", "signature": "string", "category": "string",
		"severity": "integer", "metadata": "object",
	}
	schemaTime = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d+[+\-]\d+$`)
)

// What CrowdSec's parser for EVE takes for a timestamp (grok's
// TIMESTAMP_ISO8601, a plus, and a number); it reads what stands before the
// plus as UTC.
var crowdsecTime = regexp.MustCompile(`^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+)\+\d+$`)

func checkKeys(t *testing.T, where string, object map[string]any, schema map[string]string) {
	t.Helper()
	for key, v := range object {
		kind := "object"
		switch v := v.(type) {
		case string:
			kind = "string"
		case float64:
			kind = "number"
			if v == float64(int64(v)) {
				kind = "integer"
			}
		}
		if want, ok := schema[key]; !ok || want != kind {
			t.Errorf("%s has %s, a %s; the schema says %q", where, key, kind, want)
		}
	}
}

func decodeEVE(t *testing.T, line []byte) map[string]any {
	t.Helper()
	if !bytes.HasSuffix(line, []byte("}\n")) || bytes.Count(line, []byte("\n")) != 1 {
		t.Fatalf("not one line: %q", line)
	}
	var e map[string]any
	if err := json.Unmarshal(line, &e); err != nil {
		t.Fatal(err)
	}
	return e
}

func TestEVEFollowsTheSchema(t *testing.T) {
	for _, zone := range []int{0, 5*3600 + 1800, -8 * 3600} {
		in(t, "zone", zone)
		for i, a := range []*detector.Alert{sample(), summary(), datagrams()} {
			t.Run(fmt.Sprintf("zone=%d/alert=%d", zone, i), func(t *testing.T) {
				e := decodeEVE(t, appendEVE(nil, a, "web1"))
				checkKeys(t, "the event", e, schemaTop)
				alert := e["alert"].(map[string]any)
				checkKeys(t, "alert", alert, schemaAlert)
				for key, v := range alert["metadata"].(map[string]any) {
					list, ok := v.([]any)
					if !ok || len(list) == 0 {
						t.Errorf("metadata %s is no list of something: %v", key, v)
					}
					for _, item := range list {
						if _, ok := item.(string); !ok {
							t.Errorf("metadata %s has %v, which is no text", key, item)
						}
					}
				}
				stamp := e["timestamp"].(string)
				if !schemaTime.MatchString(stamp) {
					t.Errorf("the schema refuses timestamp %q", stamp)
				}
				m := crowdsecTime.FindStringSubmatch(stamp)
				if m == nil {
					t.Fatalf("CrowdSec refuses timestamp %q", stamp)
				}
				if at, err := time.Parse(time.RFC3339Nano, m[1]+"Z"); err != nil || !at.Equal(a.Time.Truncate(time.Microsecond)) {
					t.Errorf("CrowdSec reads %v (%v), want %v", at, err, a.Time)
				}
				for _, key := range []string{"src_ip", "src_port", "dest_ip", "dest_port", "proto", "host"} {
					if _, ok := e[key]; !ok {
						t.Errorf("%s is missing", key)
					}
				}
			})
		}
	}
}

func TestEVELine(t *testing.T) {
	want := `{"timestamp":"2026-11-25T04:00:00.123456+0000","event_type":"alert","src_ip":"192.0.2.7","src_port":40000,"dest_ip":"10.0.0.1","dest_port":443,` +
		`"proto":"TCP","in_iface":"eth0","host":"web1","alert":{"action":"allowed","gid":1,"signature_id":1903402,"rev":1,"signature":"SYNWATCH port scan (syn)",` +
		`"category":"Detection of a Network Scan","severity":3,"metadata":{"begin":["2026-11-25T04:00:00.102456+0000"],"compare":["exceeds"],"direction":["vertical"],` +
		`"episode":["7"],"event":["begin"],"hosts":["1"],"kind":["syn"],"points":["24"],"policy":["sophos"],"ports":["23","22","21","80","53","110","111","443"],"probes":["8"],` +
		`"proof":["2026-11-25T04:00:00.102456789Z tcp/23 3","2026-11-25T04:00:00.105456789Z tcp/22 3","2026-11-25T04:00:00.108456789Z tcp/21 3",` +
		`"2026-11-25T04:00:00.111456789Z tcp/80 3","2026-11-25T04:00:00.114456789Z tcp/53 3","2026-11-25T04:00:00.117456789Z tcp/110 3",` +
		`"2026-11-25T04:00:00.120456789Z tcp/111 3","2026-11-25T04:00:00.123456789Z tcp/443 3"],"source":["192.0.2.7/32"],"span":["300ms"],"threshold":["21"],"ttl":["64"]}}}` + "\n"
	if got := string(appendEVE(nil, sample(), "web1")); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

// What is not known is left out.
func TestEVELeavesOut(t *testing.T) {
	e := decodeEVE(t, appendEVE(nil, datagrams(), ""))
	for _, key := range []string{"in_iface", "host"} {
		if v, ok := e[key]; ok {
			t.Errorf("%s is %v", key, v)
		}
	}
	m := e["alert"].(map[string]any)["metadata"].(map[string]any)
	if got := fmt.Sprint(m["compare"], m["threshold"], m["source"], m["proof"].([]any)[1:2]); got != "[reaches] [21] [2001:db8::/64] [2026-11-25T04:00:00.105456789Z udp/22 3]" {
		t.Errorf("metadata: %s", got)
	}
}

// Readers count events of the type alert: each scan has one of them.
func TestASummaryIsNoAlert(t *testing.T) {
	begin, end := decodeEVE(t, appendEVE(nil, sample(), "")), decodeEVE(t, appendEVE(nil, summary(), ""))
	if begin["event_type"] != "alert" || end["event_type"] != "metadata" {
		t.Errorf("types %v and %v", begin["event_type"], end["event_type"])
	}
	m := end["alert"].(map[string]any)["metadata"].(map[string]any)
	if got := fmt.Sprint(m["event"], m["episode"], m["probes"], m["hosts"], m["handshakes"], m["ttl"]); got != "[summary] [7] [1000] [3] [12] [60 64]" {
		t.Errorf("the summary says %s", got)
	}
}

func TestEachKindHasItsSignature(t *testing.T) {
	var seen []int
	for _, k := range kinds(t) {
		id := signatures()[k]
		if id < 1_000_000 || id > 1_999_999 || slices.Contains(seen, id) {
			t.Errorf("%s has signature %d", k, id)
		}
		seen = append(seen, id)
	}
	if len(seen) != len(signatures()) {
		t.Errorf("%d kinds and %d signatures", len(seen), len(signatures()))
	}
}

// CrowdSec's stock scenarios act on severities 1 and 2.
func TestSeverityBansNobody(t *testing.T) {
	for _, k := range kinds(t) {
		a := sample()
		a.Kind = k
		alert := decodeEVE(t, appendEVE(nil, a, ""))["alert"].(map[string]any)
		if alert["severity"] != 3.0 || alert["action"] != "allowed" {
			t.Errorf("%s: %v %v", k, alert["severity"], alert["action"])
		}
	}
}
