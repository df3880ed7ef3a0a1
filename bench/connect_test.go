package bench

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"synoptic/internal/lab"
	"synoptic/internal/method"
)

// BenchmarkConnect opens connections by the system, 2^16 of them, to ports that all
// answer: those of simulated hosts, one in two open, or of a real one at the far end of a
// cable, whose kernel has as much to do as this one.
func BenchmarkConnect(b *testing.B) {
	m := method.Connect
	for _, target := range []string{"simulated", "real_host"} {
		for _, senders := range []int{1, 2} {
			b.Run(fmt.Sprintf("target=%s/senders=%d", target, senders), func(b *testing.B) {
				l := lab.New(b, lab.Config{Respond: answering(100)})
				shape, far := network("", "10.0.0.0/24", 256), atResponder(l, m.Flags)
				if target == "real_host" {
					h := l.MustAddHost(b, lab.HostConfig{Place: lab.OwnLink, Listen: []lab.Ports{lab.Port(22), {First: 1000, Last: 1255}}})
					shape, far = network("", h.Addr4.String()+"/32", 65535), atHost(h)
				}
				want := expect(b, l, &shape, m)
				var runs []exact
				for b.Loop() {
					runs = append(runs, runExact(b, l, far, &shape, m, &want, "--senders", fmt.Sprint(senders)))
				}
				reportExact(b, runs)
			})
		}
	}
}

// atHost counts the connections that a real host was asked for: those that it has
// accepted and those that it has reset.
func atHost(h *lab.Host) seen {
	return func() (n uint64, err error) {
		var text []byte
		if err := h.Namespace.Do(func() (err error) {
			text, err = os.ReadFile("/proc/thread-self/net/snmp")
			return err
		}); err != nil {
			return 0, err
		}
		var names []string
		for line := range strings.Lines(string(text)) {
			fields := strings.Fields(line)
			if fields[0] != "Tcp:" {
				continue
			}
			if names == nil {
				names = fields // the first line of two
				continue
			}
			for i, name := range names {
				if name == "PassiveOpens" || name == "OutRsts" {
					var v uint64
					if _, err := fmt.Sscan(fields[i], &v); err != nil {
						return 0, err
					}
					n += v
				}
			}
		}
		return n, nil
	}
}
