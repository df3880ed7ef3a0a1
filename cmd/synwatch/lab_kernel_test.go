package main_test

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"synoptic/internal/lab"
	"synoptic/internal/method"
)

// What the kernel path says it sent, as fast as the cable takes it, the detector at its
// other end has counted: each probe once, by its flags.
func TestTheDetectorCountsWhatTheKernelSends(t *testing.T) {
	lab.NeedRoot(t)
	synwatch, synscan := build(t, "synwatch"), build(t, "synscan")
	l := lab.New(t, lab.Config{})
	h := l.MustAddHost(t, lab.HostConfig{Place: lab.OwnLink})
	// Behind the host, so that there is one next hop. Two addresses answer; of the
	// others' IPv6 the host says that there is no way to them.
	behind := []netip.Prefix{netip.MustParsePrefix("198.18.0.0/16"), netip.MustParsePrefix("fd00:198:18::/112")}
	if err := errors.Join(
		h.Namespace.AddAddrs(h.Far, netip.MustParsePrefix("198.18.0.1/32"), netip.MustParsePrefix("fd00:198:18::1/128")),
		l.Scanner.AddRoute(behind[0], h.Addr4), l.Scanner.AddRoute(behind[1], h.Addr6),
	); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"syn", "fin", "maimon"} {
		m := method.ByName(name)
		t.Run(name, func(t *testing.T) {
			w := start(t, synwatch, h.Namespace, h.Far)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			scan := l.Scanner.Command(ctx, synscan, "-s"+string(m.Letter), "--path", "kernel", "-p1-3", "--rate", "max", "--senders", "2", "--retries", "1",
				"--wait", "0.5s", "--status-json", behind[0].String(), behind[1].String())
			var said bytes.Buffer
			scan.Stderr, scan.Dir = &said, t.TempDir()
			if err := scan.Run(); err != nil {
				t.Fatalf("synscan: %v\n%s", err, &said)
			}
			counted := w.counters()
			w.stop()
			sent := sentBy(t, said.Bytes())
			if endpoints := uint64(2 * 3 << 16); sent < endpoints || !bytes.Contains(said.Bytes(), []byte(`"transmit":"kernel"`)) {
				t.Fatalf("%d probes were sent to %d endpoints:\n%s", sent, endpoints, &said)
			}
			var others uint64
			for flags, n := range counted.TCP {
				if flags != int(m.Flags) {
					others += n
				}
			}
			if got := counted.TCP[m.Flags]; got != sent || others != 0 {
				t.Errorf("%d packets with these flags were counted and %d with others, %d were sent", got, others, sent)
			}
			t.Logf("%d sent and counted", sent)
		})
	}
}
