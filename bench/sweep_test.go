package bench

import (
	"encoding/json"
	"fmt"
	"iter"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"synoptic/bpf/respond"
	"synoptic/internal/lab"
	"synoptic/internal/method"
	"synoptic/internal/result"
	"synoptic/internal/scan"
)

// shape is a set of endpoints: every port of every address.
type shape struct {
	name  string
	addrs iter.Seq[netip.Addr]
	hosts int
	ports int      // from 1 on
	args  []string // how synscan is told
}

// network is the shape of all addresses of a prefix.
func network(name, prefix string, ports int) shape {
	p := netip.MustParsePrefix(prefix)
	return shape{
		name: name, hosts: 1 << (p.Addr().BitLen() - p.Bits()), ports: ports, args: []string{fmt.Sprintf("-p1-%d", ports), prefix},
		addrs: func(yield func(netip.Addr) bool) {
			for a := p.Addr(); p.Contains(a) && yield(a); a = a.Next() {
			}
		},
	}
}

// scattered is a shape of so many ranges of four addresses, twelve apart.
func scattered(t testing.TB, ranges, ports int) shape {
	t.Helper()
	at := func(i, k int) netip.Addr {
		return netip.AddrFrom4([4]byte{10, byte(i >> 12), byte(i >> 4), byte(i<<4 + k)})
	}
	var list strings.Builder
	for i := range ranges {
		fmt.Fprintf(&list, "%v-%v\n", at(i, 0), at(i, 3))
	}
	file := filepath.Join(t.TempDir(), "targets")
	if err := os.WriteFile(file, []byte(list.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return shape{
		name: fmt.Sprintf("%d_ranges", ranges), hosts: 4 * ranges, ports: ports, args: []string{fmt.Sprintf("-p1-%d", ports), "-iL", file},
		addrs: func(yield func(netip.Addr) bool) {
			for i := range 4 * ranges {
				if !yield(at(i/4, i%4)) {
					return
				}
			}
		},
	}
}

func (s *shape) endpoints() uint64 { return uint64(s.hosts * s.ports) }

// line is an endpoint of a list of results, and what it says of it.
type line struct {
	at    netip.AddrPort
	state string
}

func (a line) compare(b line) int { return a.at.Compare(b.at) }

// expected is what a scan has to say: the lines of its list, sorted, and how many
// endpoints there are besides that answered and are in no list.
type expected struct {
	lines    []line
	answered uint64
}

// expect asks the lab for the truth of a shape.
func expect(t testing.TB, l *lab.Lab, s *shape, m *method.Method) (e expected) {
	t.Helper()
	truth := l.MustTruth(t)
	ports := make([]uint16, s.ports)
	for i := range ports {
		ports[i] = uint16(i + 1)
	}
	for a := range s.addrs {
		records, err := truth.Expect(lab.Scan{Method: m.Name}, a, ports)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			switch r.State {
			case result.Open, result.OpenFiltered, result.Unfiltered: // what is shown by default
				e.lines = append(e.lines, line{r.Addr, r.State.String()})
			case result.Closed:
				e.answered++
			}
			if r.State == result.Unfiltered {
				e.answered++
			}
		}
	}
	slices.SortFunc(e.lines, line.compare)
	return e
}

// readList reads a list in masscan's format, sorted.
func readList(t testing.TB, name string) (lines []line) {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for l := range strings.Lines(string(text)) {
		if l[0] == '#' {
			continue
		}
		f := strings.Fields(l)
		port, err1 := strconv.ParseUint(f[2], 10, 16)
		addr, err2 := netip.ParseAddr(f[3])
		if err1 != nil || err2 != nil {
			t.Fatalf("%s: %q", name, l)
		}
		lines = append(lines, line{netip.AddrPortFrom(addr, uint16(port)), f[0]})
	}
	slices.SortFunc(lines, line.compare)
	return lines
}

// differences counts endpoints that are wanted and not there, those that are there
// again, and those that are not wanted, or in another state. Both lists are sorted.
func differences(got, want []line) (missing, doubled, wrong int) {
	for len(got) > 0 || len(want) > 0 {
		switch {
		case len(got) == 0 || len(want) > 0 && want[0].compare(got[0]) < 0:
			missing++
			want = want[1:]
		case len(want) == 0 || got[0].compare(want[0]) < 0:
			wrong++
			got = got[1:]
		default:
			if got[0] != want[0] {
				wrong++
			}
			for got = got[1:]; len(got) > 0 && got[0].at == want[0].at; got = got[1:] {
				doubled++
			}
			want = want[1:]
		}
	}
	return missing, doubled, wrong
}

// exact is one run of synscan of which everything is held against the lab: its books
// against themselves and against the far end's, its results against the truth. runExact
// fails unless all agree, so of missing and doubled there are none.
type exact struct {
	outcome
	scan.Summary
	missing, doubled int
}

func runExact(t testing.TB, l *lab.Lab, far seen, s *shape, m *method.Method, want *expected, options ...string) (e exact) {
	t.Helper()
	results := filepath.Join(t.TempDir(), "results")
	args := slices.Concat([]string{"-s" + string(m.Letter), "--rate", "max", "--retries", "0", "--wait", "500ms", "--status-json", "-oL", results}, options, s.args)
	var said []byte
	e.outcome, said = measureAt(t, l, far, false, synscanPath, args...)
	for text := range strings.Lines(string(said)) {
		message := struct{ Summary *scan.Summary }{&e.Summary}
		if err := json.Unmarshal([]byte(text), &message); err != nil {
			t.Fatalf("synscan %v says %q: %v", args, text, err)
		}
	}
	if err := e.balance(s.endpoints()); err != nil {
		t.Fatalf("synscan %v: %v: %+v", args, err, e.Summary)
	}
	c, err := l.Responder.Counters()
	if err != nil {
		t.Fatal(err)
	}
	if e.probes != e.Sent || c.BadChecksum+c.Malformed != 0 {
		t.Fatalf("synscan %v: the far end has seen %d probes of %d, and %d bad frames", args, e.probes, e.Sent, c.BadChecksum+c.Malformed)
	}
	got := readList(t, results)
	var wrong int
	if e.missing, e.doubled, wrong = differences(got, want.lines); e.missing+e.doubled+wrong > 0 || e.Answered != want.answered {
		probes, replies, err := l.Overruns()
		t.Fatalf("synscan %v: %d missing, %d doubled, %d wrong of %d; %d answered otherwise, not %d; the lab refused %d probes and %d replies (%v): %+v",
			args, e.missing, e.doubled, wrong, len(want.lines), e.Answered, want.answered, probes, replies, err, e.Summary)
	}
	return e
}

// balance is an error unless every endpoint was probed and every packet is accounted
// for.
func (e *exact) balance(endpoints uint64) error {
	switch s := &e.Summary; {
	case s.Planned != endpoints || s.Probed != endpoints || s.Lost != 0:
		return fmt.Errorf("%d endpoints planned, %d probed, %d lost, of %d", s.Planned, s.Probed, s.Lost, endpoints)
	case s.Generated != s.Sent+s.Refused || s.Sent < endpoints:
		return fmt.Errorf("%d generated, %d sent, %d refused", s.Generated, s.Sent, s.Refused)
	case s.Received != s.Valid+s.Duplicate+s.Repeated+s.BadCookie+s.OutOfPlan+s.Foreign || s.BadCookie+s.OutOfPlan != 0:
		return fmt.Errorf("%d received", s.Received)
	case s.Valid != s.Open+s.Answered+s.Rejected:
		return fmt.Errorf("%d valid answers, of %d endpoints", s.Valid, s.Open+s.Answered+s.Rejected)
	}
	return nil
}

// reportExact reports the medians of some runs.
func reportExact(b *testing.B, runs []exact) {
	b.Helper()
	of := func(f func(*exact) float64) float64 {
		values := make([]float64, len(runs))
		for i := range runs {
			values[i] = f(&runs[i])
		}
		return median(values)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(of(func(e *exact) float64 { return e.pps }), "pps")
	b.ReportMetric(of(func(e *exact) float64 { return float64(e.Valid) * e.pps / float64(e.probes) }), "answers/s")
	b.ReportMetric(of(func(e *exact) float64 { return float64(e.missing) }), "missing")
	b.ReportMetric(of(func(e *exact) float64 { return float64(e.doubled) }), "doubled")
	b.ReportMetric(of(func(e *exact) float64 { return e.cpu }), "cpu-ns/probe")
	b.ReportMetric(of(func(e *exact) float64 { return float64(e.peak) / (1 << 20) }), "MiB")
}

// answering is a simulated network of which so many of 100 ports answer a SYN, half of
// them as open ones.
func answering(percent int64) *respond.Config {
	cfg := respond.DefaultConfig()
	cfg.Open = respond.Fraction(percent, 200)
	cfg.Closed = cfg.Open
	return &cfg
}

// BenchmarkSweep varies one thing at a time from a SYN sweep of 2^20 endpoints in one
// range of IPv4, by one sender, of which one in 100 answers. The ranges hold 1.2 million,
// and one host 65,535: there the start of the program shows in the cost of a probe.
func BenchmarkSweep(b *testing.B) {
	type sweep struct {
		method  string
		family  int
		senders int
		answers int64 // percent
		shape   shape
	}
	base := sweep{"syn", 4, 1, 1, network("one_range", "10.0.0.0/16", 16)}
	sweeps := []sweep{base}
	vary := func(change func(*sweep)) {
		s := base
		change(&s)
		sweeps = append(sweeps, s)
	}
	for _, name := range []string{"fin", "null", "xmas", "maimon", "ack", "window"} {
		vary(func(s *sweep) { s.method = name })
	}
	vary(func(s *sweep) { s.family, s.shape = 6, network("one_range", "fd00:10::/112", 16) })
	vary(func(s *sweep) { s.senders = 2 })
	for _, percent := range []int64{50, 100} {
		vary(func(s *sweep) { s.answers = percent })
	}
	for _, shape := range []shape{scattered(b, 100_000, 3), network("one_host", "10.0.0.1/32", 65535)} {
		vary(func(s *sweep) { s.shape = shape })
	}
	for _, path := range []string{"packet", "kernel"} {
		for _, s := range sweeps {
			b.Run(fmt.Sprintf("path=%s/method=%s/family=%d/senders=%d/answers=%d%%/plan=%s", path, s.method, s.family, s.senders, s.answers, s.shape.name), func(b *testing.B) {
				l := lab.New(b, lab.Config{Respond: answering(s.answers)})
				m := method.ByName(s.method)
				far := atResponder(l, m.Flags)
				want := expect(b, l, &s.shape, m)
				var runs []exact
				for b.Loop() {
					runs = append(runs, runExact(b, l, far, &s.shape, m, &want, "--path", path, "--senders", strconv.Itoa(s.senders)))
				}
				reportExact(b, runs)
			})
		}
	}
}
