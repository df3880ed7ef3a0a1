package connect

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"synoptic/internal/lab"
	"synoptic/internal/method"
	"synoptic/internal/plan"
	"synoptic/internal/result"
	"synoptic/internal/scan"
	"synoptic/internal/target"
)

func newPlan(t testing.TB, ports string, words ...string) *plan.Plan {
	t.Helper()
	set, _, err := target.Parse(t.Context(), target.Words(words...), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	list, err := target.ParsePorts(ports)
	if err != nil {
		t.Fatal(err)
	}
	p, err := plan.New(set, list, 1, plan.Whole)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// records is a sink that calls a function for every record.
type records struct {
	found map[netip.AddrPort]result.Record
	each  func() error
}

func (r *records) Record(rec *result.Record) error {
	r.found[rec.Addr] = *rec
	if r.each != nil {
		return r.each()
	}
	return nil
}

func (r *records) Flush() error { return nil }

// begin prepares a scan of a plan for Run.
func begin(t testing.TB, cfg scan.Config, o Options) (*scan.Scan, *Prober, *records) {
	t.Helper()
	o.IPv4, o.IPv6 = cfg.Plan.Targets().Has4(), cfg.Plan.Targets().Has6()
	if o.Senders == 0 {
		o.Senders = 2
	}
	prober, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { prober.Close() })
	cfg.Method, cfg.Seed, cfg.Silence = method.Connect, 1, scan.SilenceOfAll
	if cfg.Wait == 0 {
		cfg.Wait = 8 * time.Second
	}
	s, err := scan.New(cfg, prober)
	if err != nil {
		t.Fatal(err)
	}
	return s, prober, &records{found: map[netip.AddrPort]result.Record{}}
}

// run scans to the end.
func run(t testing.TB, cfg scan.Config, o Options) (map[netip.AddrPort]result.Record, scan.Summary) {
	t.Helper()
	s, _, sink := begin(t, cfg, o)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	sum, err := s.Run(ctx, sink)
	if err != nil || sum.Interrupted {
		t.Fatalf("%+v, %v", sum, err)
	}
	return sink.found, sum
}

// sockets returns the states of this namespace's TCP sockets but the listening
// ones, as /proc/net/tcp has them: "06" is TIME_WAIT (include/net/tcp_states.h).
func sockets(t testing.TB) (states []string) {
	t.Helper()
	for _, file := range []string{"/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n")[1:] {
			if state := strings.Fields(line)[3]; state != "0A" {
				states = append(states, state)
			}
		}
	}
	return states
}

// Every port of loopback, in a namespace where nothing else listens: a connection
// that meets itself is never taken for an open port.
func TestLoopback(t *testing.T) {
	if !lab.InNamespace(t) {
		return
	}
	lab.New(t, lab.Config{Here: true})
	for _, host := range []string{"127.0.0.1", "127.1.2.3", "::1"} {
		t.Run(host, func(t *testing.T) {
			listener, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
			if err != nil {
				t.Fatal(err)
			}
			defer listener.Close()
			open := listener.Addr().(*net.TCPAddr).AddrPort()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			found, sum := run(t, scan.Config{Plan: newPlan(t, "1-65535", host), Retries: 1}, Options{})
			runtime.ReadMemStats(&after)
			for addr, got := range found {
				want, reason := result.Closed, result.ConnRefused
				if addr == open {
					want, reason = result.Open, result.SynAck
				}
				if got.State != want || got.Reason != reason || got.RTT <= 0 || got.TTL != 0 || got.ReasonIP.IsValid() {
					t.Errorf("%+v, want %v", got, want)
				}
			}
			if len(found) != 65535 || sum.Open != 1 || sum.Answered != 65534 || sum.Refused > 0 || sum.HostsAlive != 1 {
				t.Errorf("%d records, %+v", len(found), sum)
			}
			// The map of records grows, and sockets are remembered; probes cost none.
			if n := after.Mallocs - before.Mallocs; n > sum.Sent/50 {
				t.Errorf("%d allocations for %d probes", n, sum.Sent)
			}
		})
	}
}

// With four source ports to choose from, the system often chooses the port that
// a probe goes to.
func TestAConnectionWithItselfIsNoOpenPort(t *testing.T) {
	if !lab.InNamespace(t) {
		return
	}
	lab.New(t, lab.Config{Here: true})
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte("40000 40003"), 0); err != nil {
		t.Fatal(err)
	}
	met := uint64(0)
	for _, host := range []string{"127.0.0.1", "::1"} {
		for range 50 {
			found, sum := run(t, scan.Config{Plan: newPlan(t, "40000-40003", host)}, Options{Senders: 1})
			met += sum.Generated - sum.Planned
			if len(found) != 4 || sum.Answered != 4 {
				t.Fatalf("%v, %+v", found, sum)
			}
		}
		found, sum := run(t, scan.Config{Plan: newPlan(t, "30000", host)}, Options{SourcePort: 30000})
		if len(found) != 1 || sum.Answered != 1 || sum.Generated <= repeats {
			t.Errorf("%v, %+v", found, sum)
		}
	}
	if met == 0 {
		t.Error("no connection was with itself, so nothing was tested")
	}
}

// A service that resets a connection at once was open all the same.
func TestAResetAfterTheHandshakeIsNoClosedPort(t *testing.T) {
	var ports []string
	for range 20 {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		ports = append(ports, fmt.Sprint(listener.Addr().(*net.TCPAddr).Port))
		go func() {
			for {
				c, err := listener.Accept()
				if err != nil {
					return
				}
				c.(*net.TCPConn).SetLinger(0)
				c.Close()
			}
		}()
	}
	for range 50 {
		if _, sum := run(t, scan.Config{Plan: newPlan(t, strings.Join(ports, ","), "127.0.0.1")}, Options{}); sum.Open != 20 {
			t.Fatalf("%+v", sum)
		}
	}
}

// What cannot be reached from here is filtered, this machine says so, and it is
// no sign of life.
func TestNoRoute(t *testing.T) {
	if !lab.InNamespace(t) {
		return
	}
	lab.New(t, lab.Config{Here: true})
	for host, self := range map[string]string{
		"203.0.113.1": "127.0.0.1", "2001:db8::1": "::1", "0.0.0.0": "127.0.0.1", "::": "::1", "172.16.0.255": "127.0.0.1", "ff02::1": "::1",
	} {
		t.Run(host, func(t *testing.T) {
			s, prober, sink := begin(t, scan.Config{Plan: newPlan(t, "1-100", host), Retries: 1}, Options{})
			begin := time.Now()
			sum, err := s.Run(t.Context(), sink)
			if err != nil || len(sink.found) != 100 || sum.Rejected != 100 || sum.HostsAlive != 0 || prober.Unrouted() != 100 || time.Since(begin) > time.Second {
				t.Errorf("%d records, %+v, %v", len(sink.found), sum, err)
			}
			for _, r := range sink.found {
				if r.State != result.Filtered || r.Reason != result.NetUnreach || r.ReasonIP != netip.MustParseAddr(self) || r.RTT != 0 {
					t.Fatalf("%+v", r)
				}
			}
		})
	}
}

func TestAnInterruptClosesAllSockets(t *testing.T) {
	if !lab.InNamespace(t) {
		return
	}
	l := lab.New(t, lab.Config{Here: true})
	h := l.MustAddHost(t, lab.HostConfig{Rules: []lab.Rule{{Ports: []lab.Ports{{First: 1, Last: 60000}}, Verdict: lab.Drop}}})
	full := errors.New("no space left on device")
	for name, end := range map[string]func(cancel func()) error{
		"interrupt":   func(cancel func()) error { cancel(); return nil },
		"failed_sink": func(func()) error { return full },
	} {
		t.Run(name, func(t *testing.T) {
			goroutines := runtime.NumGoroutine()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			// Few ports answer, late in the plan, and then the scan ends.
			s, _, sink := begin(t, scan.Config{Plan: newPlan(t, "1-65535", h.Addr4.String()), Rate: 50_000, Wait: time.Second}, Options{})
			var want error
			sink.each = func() error {
				if len(sink.found) == 500 {
					if flying := len(sockets(t)); flying < 1000 {
						t.Errorf("only %d connections were on their way", flying)
					}
					want = end(cancel)
					return want
				}
				return nil
			}
			began := time.Now()
			sum, err := s.Run(ctx, sink)
			if !errors.Is(err, want) || sum.Interrupted == (want != nil) || sum.Probed == sum.Planned || time.Since(began) > 5*time.Second {
				t.Errorf("%+v, %v", sum, err)
			}
			if left := sockets(t); len(left) > 0 {
				t.Errorf("%d sockets are left: %v", len(left), left[0])
			}
			for deadline := time.Now().Add(time.Second); runtime.NumGoroutine() > goroutines && time.Now().Before(deadline); {
				time.Sleep(time.Millisecond)
			}
			if n := runtime.NumGoroutine(); n > goroutines {
				t.Errorf("%d goroutines, %d before", n, goroutines)
			}
			for addr, r := range sink.found {
				if filtered := addr.Port() <= 60000; filtered != (r.State == result.Filtered) {
					t.Errorf("%+v", r)
				}
			}
		})
	}
}

func TestOptionsOfSockets(t *testing.T) {
	if !lab.InNamespace(t) {
		return
	}
	l := lab.New(t, lab.Config{Here: true})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	open := fmt.Sprint(listener.Addr().(*net.TCPAddr).Port)
	t.Run("source", func(t *testing.T) {
		_, sum := run(t, scan.Config{Plan: newPlan(t, open, "127.0.0.1")}, Options{Source4: netip.MustParseAddr("127.0.0.9"), SourcePort: 999})
		if sum.Open != 1 {
			t.Fatalf("%+v", sum)
		}
		c, err := listener.Accept()
		if err != nil || c.RemoteAddr().String() != "127.0.0.9:999" {
			t.Errorf("%v, %v", c, err)
		}
	})
	t.Run("one_port_for_all", func(t *testing.T) {
		_, sum := run(t, scan.Config{Plan: newPlan(t, "1-2000", "127.0.0.1", "::1")}, Options{SourcePort: 31000})
		if sum.Answered != 4000 || sum.Refused > 0 {
			t.Errorf("%+v", sum)
		}
	})
	t.Run("hops", func(t *testing.T) {
		h := l.MustAddHost(t, lab.HostConfig{Place: lab.Routed})
		found, _ := run(t, scan.Config{Plan: newPlan(t, "80", h.Addr4.String(), h.Addr6.String())}, Options{TTL: 1})
		for addr, gate := range map[netip.Addr]netip.Addr{h.Addr4: lab.Gate4, h.Addr6: lab.Gate6} {
			if r := found[netip.AddrPortFrom(addr, 80)]; r.State != result.Filtered || r.Reason != result.TimeExceeded || r.ReasonIP != gate {
				t.Errorf("%+v", r)
			}
		}
	})
	t.Run("interface", func(t *testing.T) {
		h := l.MustAddHost(t, lab.HostConfig{})
		_, sum := run(t, scan.Config{Plan: newPlan(t, "80", h.Addr4.String()), Wait: 100 * time.Millisecond}, Options{Interface: "lo"})
		_, right := run(t, scan.Config{Plan: newPlan(t, "80", h.Addr4.String())}, Options{Interface: lab.ScannerDevice})
		if sum.Answered != 0 || right.Answered != 1 {
			t.Errorf("by lo: %+v\nby %s: %+v", sum, lab.ScannerDevice, right)
		}
	})
	for _, tt := range []struct {
		fact    string
		options Options
		message string
	}{
		{"no_such_interface", Options{IPv4: true, Interface: "nix0"}, "connect by interface nix0: no such device"},
		{"foreign_source", Options{IPv4: true, Source4: netip.MustParseAddr("203.0.113.9")}, "connect from 203.0.113.9: it is no address of this machine: only raw methods can send from another's"},
		{"port_in_use", Options{IPv4: true, SourcePort: listener.Addr().(*net.TCPAddr).AddrPort().Port()}, "connect from port " + open + ": another program uses it: choose another one"},
	} {
		t.Run(tt.fact, func(t *testing.T) {
			tt.options.Senders = 1
			if _, err := New(tt.options); err == nil || err.Error() != tt.message {
				t.Errorf("%v, want %s", err, tt.message)
			}
		})
	}
}

// The runtime raises the soft limit of descriptors, which New relies on.
func TestTheSoftLimitIsTheHardOne(t *testing.T) {
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil || files.Cur != files.Max {
		t.Errorf("%+v, %v", files, err)
	}
}
