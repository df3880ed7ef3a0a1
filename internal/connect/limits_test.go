package connect

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"synoptic/bpf/respond"
	"synoptic/internal/cookie"
	"synoptic/internal/lab"
	"synoptic/internal/method"
	"synoptic/internal/result"
	"synoptic/internal/scan"
	"synoptic/tx"
)

// allow sets how many descriptors this process may have. It stays so: only for a
// process of the test's own.
func allow(t *testing.T, n int) {
	t.Helper()
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(n), Max: uint64(n)}); err != nil {
		t.Fatal(err)
	}
}

// leave opens files until only so many descriptors are left.
func leave(t *testing.T, n int) {
	t.Helper()
	var files []*os.File
	for {
		f, err := os.Open("/dev/null")
		if err != nil {
			break
		}
		files = append(files, f)
	}
	t.Cleanup(func() {
		for _, f := range files {
			f.Close()
		}
	})
	for range min(n, len(files)) {
		files[len(files)-1].Close()
		files = files[:len(files)-1]
	}
}

func TestManyDroppedPortsWithFewDescriptors(t *testing.T) {
	if !lab.InNamespace(t) {
		return
	}
	l := lab.New(t, lab.Config{Here: true})
	h := l.MustAddHost(t, lab.HostConfig{Rules: []lab.Rule{{Ports: []lab.Ports{{First: 1, Last: 20000}}, Verdict: lab.Drop}}})
	allow(t, 1024)
	begin := time.Now()
	found, sum := run(t, scan.Config{Plan: newPlan(t, "1-20000", h.Addr4.String())}, Options{})
	// No round trip is known, so each of 992 slots is waited for for a second.
	took := time.Since(begin)
	t.Attr("s", fmt.Sprint(took.Seconds()))
	if took < 20*time.Second || took > 25*time.Second {
		t.Errorf("took %v", took)
	}
	if len(found) != 20000 || sum.Silent != 20000 || sum.Sent != 20000 || sum.Refused != 0 {
		t.Errorf("%d records, %+v", len(found), sum)
	}
	for _, r := range found {
		if r.State != result.Filtered || r.Reason != result.NoResponse {
			t.Fatalf("%+v", r)
		}
	}
}

// Where descriptors run out, fewer connections are on their way, and nothing is
// said of a port because of it.
func TestFewDescriptorsAreNoState(t *testing.T) {
	if !lab.InNamespace(t) {
		return
	}
	l := lab.New(t, lab.Config{Here: true})
	h := l.MustAddHost(t, lab.HostConfig{
		Listen: []lab.Ports{{First: 1, Last: 20}},
		Rules:  []lab.Rule{{Ports: []lab.Ports{{First: 500, Last: 510}}, Verdict: lab.Drop}},
	})
	p := newPlan(t, "1-1000", h.Addr4.String(), h.Addr6.String())
	s, _, sink := begin(t, scan.Config{Plan: p, Retries: 1}, Options{})
	allow(t, 200)
	leave(t, 5)
	sum, err := s.Run(t.Context(), sink)
	if err != nil || sum.Refused == 0 || sum.Refused > 10 || sum.Sent != 2022 || sum.Silent != 22 || len(sink.found) != 2000 {
		t.Fatalf("%d records, %+v, %v", len(sink.found), sum, err)
	}
	compare(t, l, p, 2, h.Addr4, sink.found)
	compare(t, l, p, 2, h.Addr6, sink.found)
}

// A connection that is given up at once, because nothing is waited for, is asked
// first: it may have been answered by then, and over a cable always has, once the
// neighbour's link address is known.
func TestAnAnswerIsTakenBeforeItsSlot(t *testing.T) {
	if !lab.InNamespace(t) {
		return
	}
	l := lab.New(t, lab.Config{Here: true})
	h := l.MustAddHost(t, lab.HostConfig{Rules: []lab.Rule{{Ports: []lab.Ports{{First: 1, Last: 2000}}, Verdict: lab.Drop}}})
	if _, err := net.DialTimeout("tcp", netip.AddrPortFrom(h.Addr4, 9999).String(), 5*time.Second); !errors.Is(err, unix.ECONNREFUSED) {
		t.Fatal(err)
	}
	allow(t, 64)
	_, sum := run(t, scan.Config{Plan: newPlan(t, "1-10000", h.Addr4.String()), Wait: time.Nanosecond}, Options{})
	if sum.Answered != 8000 || sum.Silent != 2000 {
		t.Errorf("%+v", sum)
	}
}

// A rate that keeps one sender busy gives it all there is, not a share of many.
func TestSlotsAreForSendersThatSend(t *testing.T) {
	slots := func(senders int) int {
		p, err := New(Options{IPv4: true, Senders: senders, Rate: 900})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		p.Start(scan.Config{Plan: newPlan(t, "80", "127.0.0.1"), Method: method.Connect, Rate: 900}, cookie.Key{}, tx.NewPacer(900))
		return p.Limit()
	}
	if one, many := slots(1), slots(16); one != many || one < 100 {
		t.Errorf("%d slots of one sender, %d of sixteen", one, many)
	}
}

// With none left at all, the sockets that New has opened do; New without any is
// an error.
func TestNoDescriptorLeft(t *testing.T) {
	if !lab.InNamespace(t) {
		return
	}
	lab.New(t, lab.Config{Here: true})
	s, _, sink := begin(t, scan.Config{Plan: newPlan(t, "1-1000", "127.0.0.1", "::1")}, Options{})
	allow(t, 200)
	leave(t, 0)
	sum, err := s.Run(t.Context(), sink)
	if err != nil || sum.Refused == 0 || sum.Sent != 2000 || sum.Answered != 2000 {
		t.Errorf("%+v, %v", sum, err)
	}
	leave(t, 2) // for the epoll set and its eventfd
	_, err = New(Options{IPv4: true, Senders: 1})
	if want := "open a socket: too many open files: raise the limit of open files (ulimit -n)"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

// No source port is left: all four are taken by connections to the same port.
func TestNoSourcePortIsAnError(t *testing.T) {
	if !lab.InNamespace(t) {
		return
	}
	l := lab.New(t, lab.Config{Here: true})
	h := l.MustAddHost(t, lab.HostConfig{Listen: []lab.Ports{lab.Port(80)}})
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte("40000 40000"), 0); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: 80, Addr: h.Addr4.As4()}); err != nil {
		t.Fatal(err)
	}
	s, _, sink := begin(t, scan.Config{Plan: newPlan(t, "80", h.Addr4.String())}, Options{})
	sum, err := s.Run(t.Context(), sink)
	if err == nil || !strings.Contains(err.Error(), "cannot assign requested address for 5s: no source address or port is left") || len(sink.found) > 0 || sum.Refused == 0 {
		t.Errorf("%+v, %v", sum, err)
	}
}

func TestALocalRefusalIsAnError(t *testing.T) {
	if !lab.InNamespace(t) {
		return
	}
	lab.New(t, lab.Config{Here: true})
	for host, kind := range map[string]int{"10.66.0.1": unix.RTN_PROHIBIT, "10.67.0.1": unix.RTN_BLACKHOLE} {
		want := map[int]string{unix.RTN_PROHIBIT: "a local firewall rule or route refuses it", unix.RTN_BLACKHOLE: "or a blackhole route"}[kind]
		prefix := netlink.NewIPNet(netip.MustParseAddr(host).AsSlice())
		if err := netlink.RouteAdd(&netlink.Route{Dst: prefix, Type: kind}); err != nil {
			t.Fatal(err)
		}
		s, _, sink := begin(t, scan.Config{Plan: newPlan(t, "80", host)}, Options{})
		sum, err := s.Run(t.Context(), sink)
		if err == nil || !strings.Contains(err.Error(), want) || len(sink.found) > 0 || sum.Probed > 0 {
			t.Errorf("%+v, %v", sum, err)
		}
	}
}

// Ten thousand open ports leave no connection behind, on which a system keeps
// hold for a minute after an orderly end.
func TestOpenPortsLeaveNothingBehind(t *testing.T) {
	if !lab.InNamespace(t) {
		return
	}
	cfg := respond.DefaultConfig()
	cfg.Open, cfg.Closed = respond.Whole, 0
	l := lab.New(t, lab.Config{Here: true, Respond: &cfg})
	_, sum := run(t, scan.Config{Plan: newPlan(t, "1-10000", "10.1.2.3")}, Options{})
	if sum.Open != 10000 {
		t.Errorf("%+v", sum)
	}
	h := l.MustAddHost(t, lab.HostConfig{Listen: []lab.Ports{{First: 1, Last: 1000}}})
	_, sum = run(t, scan.Config{Plan: newPlan(t, "1-1000", h.Addr4.String(), h.Addr6.String())}, Options{})
	if sum.Open != 2000 {
		t.Errorf("%+v", sum)
	}
	// A connection that opens too late for the scan is only closed.
	late, err := new(Options).open(false)
	if err != nil {
		t.Fatal(err)
	}
	var d dialer
	for to := netip.AddrPortFrom(h.Addr4, 1); d.connect(late, to) != 0; {
		time.Sleep(time.Millisecond)
	}
	unix.Close(late)
	if left := sockets(t); len(left) > 0 {
		t.Errorf("%d connections are left, one in state %s", len(left), left[0])
	}
	// An orderly end would have been seen.
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	err = unix.Connect(fd, &unix.SockaddrInet4{Port: 1, Addr: h.Addr4.As4()})
	unix.Close(fd)
	if left := sockets(t); err != nil || len(left) != 1 {
		t.Errorf("after an orderly end there are %v, %v", left, err)
	}
}

// The first SYN to each port is lost.
func TestRetries(t *testing.T) {
	if !lab.InNamespace(t) {
		return
	}
	cfg := respond.DefaultConfig()
	cfg.Open, cfg.Closed = respond.Fraction(1, 2), respond.Fraction(1, 2)
	cfg.LoseShare, cfg.LoseTries = respond.Whole, 1
	l := lab.New(t, lab.Config{Here: true, Respond: &cfg})
	for _, o := range []Options{{}, {SourcePort: 31000}} {
		for retries, found := range []uint64{0, 1000} {
			if err := l.Responder.Reset(); err != nil {
				t.Fatal(err)
			}
			// The system's own repetition comes after a second.
			_, sum := run(t, scan.Config{Plan: newPlan(t, "1-1000", "10.1.2.3"), Retries: retries, Wait: 500 * time.Millisecond}, o)
			if sum.Open+sum.Answered != found || sum.Sent != uint64(1000*(retries+1)) || sum.Refused > 0 {
				t.Errorf("%+v, %d retries: %+v", o, retries, sum)
			}
		}
	}
}
