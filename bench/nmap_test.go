package bench

import (
	"fmt"
	"net/netip"
	"testing"

	"synoptic/bpf/respond"
	"synoptic/internal/lab"
)

// work is a scan that nmap and synscan are both asked for. Only what both must
// say is fixed: synscan may not be wrong at all, nmap's slips are logged.
type work struct {
	name    string
	text    string
	host    *lab.Host // if there is a real one
	ports   uint16
	methods []byte
	args    []string
	truth   func(letter byte) findings
}

// TestScanAgainstNmapIsExact is the synscan half of the benchmark, once.
func TestScanAgainstNmapIsExact(t *testing.T) {
	l, works := nmapWorks(t, fullScale)
	for _, w := range works {
		for _, letter := range w.methods {
			t.Run(fmt.Sprintf("work=%s/method=-s%c", w.name, letter), func(t *testing.T) {
				found, took := raceSynscan(t, l.Scanner, letter, w.args...)
				t.Logf("took %v", took)
				want := w.truth(letter)
				for at, f := range want {
					if found[at].state != f.state {
						t.Fatalf("%v is %v, want %v; wrong about %d of %d endpoints", at, found[at], f, differ(found, want), len(want))
					}
				}
				if wrong := differ(found, want); wrong > 0 {
					t.Errorf("%d endpoints too many", wrong)
				}
			})
		}
	}
}

// differ counts endpoints whose states are not the same.
func differ(a, b findings) (n int) {
	for _, at := range union(a, b) {
		if a[at].state != b[at].state {
			n++
		}
	}
	return n
}

// nmapWorks builds a lab and describes what is to be done in it.
func nmapWorks(t testing.TB, s scale) (*lab.Lab, []work) {
	t.Helper()
	cfg := respond.DefaultConfig()
	cfg.Open, cfg.Closed = respond.Fraction(1, 8), respond.Fraction(5, 8) // a quarter is silent
	l := lab.New(t, lab.Config{Respond: &cfg})
	truth := func(addrs []netip.Addr, last uint16) func(byte) findings {
		var ports []uint16
		for port := range int(last) {
			ports = append(ports, uint16(port+1))
		}
		return func(letter byte) findings {
			want, all := findings{}, l.MustTruth(t)
			for _, m := range scanTypes {
				for _, a := range addrs {
					if m.letter != letter {
						continue
					}
					records, err := all.Expect(lab.Scan{Method: m.name}, a, ports)
					if err != nil {
						t.Fatal(err)
					}
					for _, r := range records {
						want[r.Addr] = finding{r.State.String(), r.Reason.String()}
					}
				}
			}
			return want
		}
	}
	listening := l.MustAddHost(t, lab.HostConfig{Place: lab.OwnLink, Listen: []lab.Ports{lab.Port(22), lab.Port(80), {First: 60000, Last: 60009}}})
	closed := l.MustAddHost(t, lab.HostConfig{Place: lab.OwnLink}) // where FIN, too, is answered on every port
	var many []netip.Addr
	net := netip.MustParsePrefix(s.hosts)
	for a := net.Addr(); net.Contains(a); a = a.Next() {
		many = append(many, a)
	}
	var works []work
	for _, c := range []struct {
		ports   uint16
		methods string
		host    *lab.Host
	}{{s.ports, "ST", listening}, {s.ports, "NFXMAW", closed}, {s.few, "ST", listening}, {s.few, "F", closed}} {
		name := "one_host_all_ports"
		if c.ports == s.few {
			name = "one_host_few_ports"
		}
		works = append(works, work{
			name, fmt.Sprintf("%d ports of a real kernel at the other end of a link, all of which are answered", c.ports), c.host, c.ports,
			[]byte(c.methods), []string{fmt.Sprintf("-p1-%d", c.ports), c.host.Addr4.String()}, truth([]netip.Addr{c.host.Addr4}, c.ports),
		})
	}
	return l, append(works, work{
		"many_hosts", fmt.Sprintf("100 ports each of %d simulated hosts, 1/8 of them open, 5/8 closed and a quarter silent", len(many)), nil, 100,
		[]byte("ST"), []string{"-p1-100", net.String()}, truth(many, 100),
	})
}
