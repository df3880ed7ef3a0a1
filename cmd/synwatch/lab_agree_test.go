package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"testing"
	"time"

	"synoptic/internal/lab"
	"synoptic/internal/method"
)

// TestTheTwoHalvesAgree: without drops between them, the detector has counted
// for each method's flags exactly what the scanner says it sent.
func TestTheTwoHalvesAgree(t *testing.T) {
	lab.NeedRoot(t)
	synwatch, synscan := build(t, "synwatch"), build(t, "synscan")
	l := lab.New(t, lab.Config{})
	for _, m := range method.All() {
		t.Run(m.Name, func(t *testing.T) {
			// All ports are closed: after a handshake the scanner's kernel would
			// send packets of its own.
			h := l.MustAddHost(t, lab.HostConfig{Place: lab.OwnLink})
			w := start(t, synwatch, h.Namespace, h.Far)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			scan := l.Scanner.Command(ctx, synscan, "-s"+string(m.Letter), "-p1-5000", "--rate", "20000", "--retries", "1", "--wait", "0.2s", "--status-json", h.Addr4.String())
			var said bytes.Buffer
			scan.Stderr = &said
			if err := scan.Run(); err != nil {
				t.Fatalf("synscan: %v\n%s", err, &said)
			}
			counted := w.counters()
			w.stop()
			sent := sentBy(t, said.Bytes())
			if sent < 5000 {
				t.Fatalf("the scanner sent %d probes to 5,000 ports", sent)
			}
			if got := counted.TCP[m.Flags]; got != sent {
				t.Errorf("%d packets with these flags were counted, %d were sent", got, sent)
			}
			var others uint64
			for flags, n := range counted.TCP {
				if flags != int(m.Flags) {
					others += n
				}
			}
			if others != 0 {
				t.Errorf("%d packets with other flags were counted: %v", others, counted.TCP)
			}
		})
	}
}

// sentBy finds the number of packets sent in the scanner's summary.
func sentBy(t *testing.T, lines []byte) uint64 {
	t.Helper()
	for line := range bytes.Lines(lines) {
		var said struct {
			Summary *struct{ Sent uint64 }
		}
		if json.Unmarshal(line, &said) == nil && said.Summary != nil {
			return said.Summary.Sent
		}
	}
	t.Fatalf("no summary in\n%s", lines)
	return 0
}
