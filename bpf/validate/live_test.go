package validate_test

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"

	"synoptic/bpf/respond"
	"synoptic/bpf/validate"
	"synoptic/internal/cookie"
	"synoptic/internal/lab"
	"synoptic/internal/method"
	"synoptic/internal/netif"
	"synoptic/internal/plan"
	"synoptic/internal/result"
	"synoptic/internal/scan"
	"synoptic/internal/target"
	"synoptic/internal/wire"
	"synoptic/rx"
)

// stack is what the namespace's own TCP and ICMP have seen and said.
type stack struct{ segments, resets, errors int }

func (s stack) minus(o stack) stack {
	return stack{s.segments - o.segments, s.resets - o.resets, s.errors - o.errors}
}

// readStack reads /proc/net/snmp, whose TCP counters are of both families, and
// snmp6.
func readStack(t *testing.T) (s stack) {
	t.Helper()
	file, err := os.ReadFile("/proc/net/snmp")
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]int{}
	var names []string
	for line := range strings.Lines(string(file)) {
		fields := strings.Fields(line)
		if _, err := strconv.Atoi(fields[1]); err != nil {
			names = fields
			continue
		}
		for i := range fields {
			values[fields[0]+names[i]], _ = strconv.Atoi(fields[i])
		}
	}
	if file, err = os.ReadFile("/proc/net/snmp6"); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(file)) {
		fields := strings.Fields(line)
		values[fields[0]], _ = strconv.Atoi(fields[1])
	}
	if _, ok := values["Tcp:InSegs"]; !ok {
		t.Fatalf("no InSegs in %v", values)
	}
	return stack{values["Tcp:InSegs"], values["Tcp:OutRsts"], values["Icmp:InDestUnreachs"] + values["Icmp6InDestUnreachs"]}
}

// records is a scan's Sink.
type records map[netip.AddrPort]result.Record

func (r records) Record(one *result.Record) error { r[one.Addr] = *one; return nil }
func (r records) Flush() error                    { return nil }

// sweep is a scan of some targets whose answers come by a validator, or by a
// socket where the mode is empty.
type sweep struct {
	method  string
	targets []string
	ports   string
	mode    validate.Mode
	ask     validate.Mode // mode if empty
	device  string        // lab.ScannerDevice if empty
	tries   int           // 1 if 0
	repairs int
	config  validate.Config // Ring and NoReset
	around  func(*rx.Kernel) rx.Source
	rate    float64
}

func (s sweep) run(t *testing.T) (records, scan.Summary, validate.Counters) {
	t.Helper()
	set, _, err := target.Parse(t.Context(), target.Words(s.targets...), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	list, err := target.ParsePorts(s.ports)
	if err != nil {
		t.Fatal(err)
	}
	p, err := plan.New(set, list, 1, plan.Whole)
	if err != nil {
		t.Fatal(err)
	}
	routes, err := netif.Resolve(t.Context(), set, netif.Options{})
	if err != nil {
		t.Fatal(err)
	}
	retries := max(s.tries, 1) - 1
	n := scan.Ports(retries, s.repairs)
	first, err := netif.SourcePorts(n, 1)
	if err != nil {
		t.Fatal(err)
	}
	network, err := scan.Dial(t.Context(), scan.Options{Routes: routes, SourcePort: first, Ports: uint16(n), Senders: 1, Probes: 1000})
	if err != nil {
		t.Fatal(err)
	}
	defer network.Close()
	cfg := scan.Config{
		Plan: p, Method: method.ByName(s.method), Seed: 1, Retries: retries, Repairs: s.repairs, Rate: s.rate, Wait: time.Second, Silence: scan.SilenceOfAll,
	}
	var v *validate.Validator
	if s.mode != "" {
		way := &network.Ways[0]
		way.Source.Close()
		s.config.Method, s.config.Key = cfg.Method, cookie.NewKey(cfg.Seed)
		s.config.Source4, s.config.Source6, s.config.Port, s.config.Ports = way.Match.Source4, way.Match.Source6, way.Match.Port, way.Match.Ports
		if v, err = validate.New(s.config); err != nil {
			t.Fatalf("%+v", err)
		}
		kernel := rx.NewKernel(v)
		if way.Source = kernel; s.around != nil {
			way.Source = s.around(kernel)
		}
		dev, err := netlink.LinkByName(cmp.Or(s.device, lab.ScannerDevice))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := v.Attach(dev.Attrs().Index, cmp.Or(s.ask, s.mode)); err != nil || got != s.mode {
			t.Fatalf("mode %s: %v", got, err)
		}
	}
	run, err := scan.New(cfg, network)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	found := records{}
	sum, err := run.Run(ctx, found)
	if err != nil {
		t.Fatal(err)
	}
	if v == nil {
		return found, sum, validate.Counters{}
	}
	return found, sum, counters(t, v)
}

var modes = []validate.Mode{validate.Native, validate.TCX, validate.Generic}

// Real kernels and simulated hosts, all methods, both families, all modes: the
// scan finds what it finds by a socket, while the machine's own stack sees and
// says nothing, and what other programs say to each other passes.
func TestTheStackSeesNoAnswer(t *testing.T) {
	lab.NeedRoot(t)
	if !lab.InNamespace(t) {
		return
	}
	simulated := respond.DefaultConfig()
	simulated.Open, simulated.Closed, simulated.Rejected = respond.Fraction(1, 4), respond.Fraction(1, 4), respond.Fraction(1, 4)
	simulated.Router4, simulated.Router6 = lab.Gate4, lab.Gate6
	l := lab.New(t, lab.Config{Here: true, Respond: &simulated})
	host := l.MustAddHost(t, lab.HostConfig{
		Listen: []lab.Ports{{First: 20, Last: 24}, lab.Port(5000)},
		Rules: []lab.Rule{
			{Ports: []lab.Ports{lab.Port(10)}, Verdict: lab.Drop},
			{Ports: []lab.Ports{lab.Port(11)}, Verdict: lab.RejectPort},
			{Ports: []lab.Ports{lab.Port(21)}, Verdict: lab.RejectReset},
		},
	})
	families := map[string][]string{"ipv4": {host.Addr4.String(), "10.0.0.0/29"}, "ipv6": {host.Addr6.String(), "fd00:10::/125"}}
	for _, m := range method.Table {
		for family, targets := range families {
			s := sweep{method: m.Name, targets: targets, ports: "1-30"}
			before := readStack(t)
			want, sum, _ := s.run(t)
			bare := readStack(t).minus(before)
			if bare.segments == 0 || bare.errors == 0 || m.Name == "syn" && bare.resets == 0 {
				t.Fatalf("%s/%s: without the validator the stack sees %+v: this test proves nothing", m.Name, family, bare)
			}
			for _, mode := range modes {
				t.Run(fmt.Sprintf("%s/%s/%s", m.Name, family, mode), func(t *testing.T) {
					var seen atomic.Int64
					stop, err := l.Scanner.Watch(lab.ScannerDevice, func(frame []byte) {
						var p wire.Packet
						p.Decode(frame, wire.Ethernet)
						if p.Kind == wire.Segment || p.Kind == wire.ICMPError {
							seen.Add(1)
						}
					})
					if err != nil {
						t.Fatal(err)
					}
					if err := l.Responder.Reset(); err != nil {
						t.Fatal(err)
					}
					s.mode = mode
					before := readStack(t)
					got, again, count := s.run(t)
					if err := stop(); err != nil {
						t.Fatal(err)
					}
					if is := readStack(t).minus(before); is != (stack{}) {
						t.Errorf("the stack saw and said %+v", is)
					}
					// tcx stands behind those who capture all.
					if behind := mode == validate.TCX; behind && seen.Load() < int64(count.Valid) || !behind && seen.Load() > 0 {
						t.Errorf("of %d answers a capture saw %d", count.Valid, seen.Load())
					}
					same(t, got, want)
					if again.Open != sum.Open || again.Answered != sum.Answered || again.Rejected != sum.Rejected || again.Dropped > 0 ||
						again.BadCookie+again.OutOfPlan > 0 || again.Valid != sum.Valid || again.RTT99 <= 0 || again.RTT99 > 100*time.Millisecond {
						t.Errorf("%+v\nby a socket %+v", again, sum)
					}
					if count.Valid != again.Valid || count.Full > 0 || count.Unreset > 0 {
						t.Errorf("%+v, and %d valid answers", count, again.Valid)
					}
					resets, err := l.Responder.Counters()
					if err != nil {
						t.Fatal(err)
					}
					if m.Name == "syn" {
						if resets.SynAck == 0 || resets.TCP[wire.RST] != resets.SynAck || resets.BadChecksum+resets.Malformed > 0 {
							t.Errorf("%d simulated hosts opened a connection, and heard %d resets, %d of them broken", resets.SynAck, resets.TCP[wire.RST], resets.BadChecksum+resets.Malformed)
						}
						if n := halfOpen(t, host); n > 0 {
							t.Errorf("the real host has %d half-open connections", n)
						}
					}
				})
			}
		}
	}
	t.Run("without_resets_connections_stay_half_open", func(t *testing.T) {
		before := readStack(t)
		_, sum, count := sweep{method: "syn", targets: []string{host.Addr4.String(), host.Addr6.String()}, ports: "20-24", mode: validate.Native, config: validate.Config{NoReset: true}}.run(t)
		if sum.Open != 8 || count.Resets > 0 {
			t.Errorf("%+v\n%+v", sum, count)
		}
		if n := halfOpen(t, host); n != 8 {
			t.Errorf("%d half-open connections, want 8", n)
		}
		if sum.Received != sum.Valid+sum.Duplicate+sum.Repeated+sum.BadCookie+sum.OutOfPlan+sum.Foreign {
			t.Errorf("the books do not balance: %+v", sum)
		}
		if is := readStack(t).minus(before); is != (stack{}) {
			t.Errorf("the stack saw and said %+v", is)
		}
	})
	for _, mode := range modes {
		t.Run(fmt.Sprintf("conversations_pass/%s", mode), func(t *testing.T) { conversations(t, l, host, mode) })
	}
}

// A veth's peer that does not poll takes no frames from XDP, one that has GRO on
// takes those that are redirected: the reset arrives in the mode that is chosen
// where it is not known, and in native mode if the peer can.
func TestResetsArriveOnEveryVeth(t *testing.T) {
	lab.NeedRoot(t)
	if !lab.InNamespace(t) {
		return
	}
	l := lab.New(t, lab.Config{Here: true})
	for _, c := range []struct {
		ask, mode validate.Mode
		polls     bool
	}{{validate.Auto, validate.TCX, false}, {validate.Generic, validate.Generic, false}, {validate.Native, validate.Native, true}} {
		host := l.MustAddHost(t, lab.HostConfig{Place: lab.OwnLink, Listen: []lab.Ports{{First: 20, Last: 24}}})
		if err := host.Namespace.SetGRO(host.Far, c.polls); err != nil {
			t.Fatal(err)
		}
		s := sweep{method: "syn", targets: []string{host.Addr4.String(), host.Addr6.String()}, ports: "20-29", mode: c.mode, ask: c.ask, device: host.Near}
		_, sum, count := s.run(t)
		if sum.Open != 10 || sum.Answered != 10 || count.Resets != 10 {
			t.Errorf("%s: %+v\n%+v", c.ask, sum, count)
		}
		if n := halfOpen(t, host); n > 0 {
			t.Errorf("%s: %d half-open connections", c.ask, n)
		}
	}
}

// same compares what two scans found.
func same(t *testing.T, got, want records) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%d records, want %d", len(got), len(want))
	}
	for at, w := range want {
		g := got[at]
		if g.State != w.State || g.Reason != w.Reason || g.ReasonIP != w.ReasonIP || g.Suspect != w.Suspect || g.TTL != w.TTL || g.Window != w.Window {
			t.Errorf("%v is %+v, by a socket %+v", at, g, w)
		}
	}
}

// halfOpen counts the connections of a host in state SYN_RECV, which is 03 in
// /proc/net/tcp (include/net/tcp_states.h).
func halfOpen(t *testing.T, host *lab.Host) (n int) {
	t.Helper()
	err := host.Namespace.Do(func() error {
		for _, name := range []string{"tcp", "tcp6"} {
			file, err := os.ReadFile("/proc/thread-self/net/" + name)
			if err != nil {
				return err
			}
			for line := range strings.Lines(string(file)) {
				if fields := strings.Fields(line); fields[3] == "03" {
					n++
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// conversations sends data both ways between a host and the scanner's machine
// while a scan of many answers runs, and a connection to a closed port.
func conversations(t *testing.T, l *lab.Lab, host *lab.Host, mode validate.Mode) {
	const size = 32 << 20
	done := make(chan struct{})
	var talking sync.WaitGroup
	var bytesMoved atomic.Int64
	talk := func(at string, from, to *lab.Namespace) {
		var listener net.Listener
		if err := to.Do(func() (err error) { listener, err = net.Listen("tcp", net.JoinHostPort(at, "0")); return err }); err != nil {
			t.Error(err)
			return
		}
		defer listener.Close()
		for first := true; ; first = false {
			select {
			case <-done:
				if !first {
					return
				}
			default:
			}
			sums := make(chan [sha256.Size]byte, 1)
			go func() {
				c, err := listener.Accept()
				if err != nil {
					t.Error(err)
					close(sums)
					return
				}
				defer c.Close()
				h := sha256.New()
				n, err := io.Copy(h, c)
				bytesMoved.Add(n)
				if err != nil {
					t.Error(err)
				}
				sums <- [sha256.Size]byte(h.Sum(nil))
			}()
			var c net.Conn
			if err := from.Do(func() (err error) { c, err = net.Dial("tcp", listener.Addr().String()); return err }); err != nil {
				t.Error(err)
				return
			}
			h := sha256.New()
			_, err := io.CopyN(io.MultiWriter(h, c), rand.NewChaCha8([32]byte{}), size)
			c.Close()
			if got := <-sums; err != nil || !bytes.Equal(got[:], h.Sum(nil)) {
				t.Errorf("%s: what arrived is not what was sent: %v", at, err)
				return
			}
		}
	}
	s := sweep{method: "syn", targets: []string{"10.0.0.0/20", "fd00:10::/116"}, ports: "1-4", mode: mode, rate: 50_000}
	talking.Go(func() { talk(lab.Scanner4.String(), host.Namespace, l.Scanner) })
	talking.Go(func() { talk(host.Addr6.String(), l.Scanner, host.Namespace) })
	refused := 0
	talking.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(5 * time.Millisecond):
			}
			// Closed: the reset is the stack's to hear.
			_, err := net.DialTimeout("tcp", net.JoinHostPort(host.Addr4.String(), "9"), 2*time.Second)
			if err == nil || !strings.Contains(err.Error(), "refused") {
				t.Errorf("a closed port answers with %v", err)
				return
			}
			refused++
		}
	})
	_, sum, count := s.run(t)
	close(done)
	talking.Wait()
	t.Logf("%d bytes moved, %d connections refused, %+v", bytesMoved.Load(), refused, count)
	if bytesMoved.Load() < 2*size || refused < 10 || sum.Valid < 10_000 {
		t.Errorf("%d bytes, %d refused connections, %d answers: too little to prove anything", bytesMoved.Load(), refused, sum.Valid)
	}
	if count.Foreign < 1000 || sum.BadCookie > 0 {
		t.Errorf("%+v", count)
	}
}

// A ring of one page is full again and again. What it lost is told exactly, and
// repaired.
func TestAFullRingIsRepaired(t *testing.T) {
	lab.NeedRoot(t)
	if !lab.InNamespace(t) {
		return
	}
	simulated := respond.DefaultConfig()
	simulated.Open, simulated.Closed = respond.Fraction(1, 4), respond.Fraction(1, 4)
	lab.New(t, lab.Config{Here: true, Respond: &simulated})
	got, sum, count := sweep{
		method: "syn", targets: []string{"10.0.0.0/22"}, ports: "1-8", mode: validate.Native, repairs: 6,
		config: validate.Config{Ring: os.Getpagesize()},
	}.run(t)
	t.Logf("%d lost, %d repairs, %+v", count.Full, sum.Repairs, count)
	if count.Full == 0 || sum.Dropped != count.Full {
		t.Errorf("%d answers found no room, the summary says %d", count.Full, sum.Dropped)
	}
	truth := simulated.Truth()
	want := uint64(0)
	for i := range 1024 {
		for port := uint16(1); port <= 8; port++ {
			at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), port)
			if truth.State(at) == respond.Open {
				want++
				if got[at].State != result.Open {
					t.Errorf("%v is %v", at, got[at].State)
				}
			}
		}
	}
	if sum.Open != want || sum.Lost > 0 {
		t.Errorf("%d open of %d, %d said to be lost", sum.Open, want, sum.Lost)
	}
}

// repeating is a Kernel of which hosts repeat themselves.
type repeating struct{ *rx.Kernel }

func (r repeating) Judged() (badCookie, duplicate uint64, err error) {
	badCookie, duplicate, err = r.Kernel.Judged()
	return badCookie + 3, duplicate + 5, err
}

func TestThinnedDuplicatesAreInTheBooks(t *testing.T) {
	lab.NeedRoot(t)
	if !lab.InNamespace(t) {
		return
	}
	l := lab.New(t, lab.Config{Here: true})
	host := l.MustAddHost(t, lab.HostConfig{})
	_, sum, _ := sweep{
		method: "syn", targets: []string{host.Addr4.String()}, ports: "1-20", mode: validate.Generic,
		around: func(k *rx.Kernel) rx.Source { return repeating{k} },
	}.run(t)
	if sum.Received != 28 || sum.Valid != 20 || sum.Duplicate != 5 || sum.BadCookie != 3 || sum.Repeated+sum.OutOfPlan+sum.Foreign > 0 {
		t.Errorf("%+v", sum)
	}
}

// The machine itself, over loopback, where its own stack is the target.
func TestLoopback(t *testing.T) {
	lab.NeedRoot(t)
	if !lab.InNamespace(t) {
		return
	}
	lab.New(t, lab.Config{Here: true})
	for _, at := range []string{"127.0.0.1", "::1"} {
		listener, err := net.Listen("tcp", net.JoinHostPort(at, "80"))
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		for _, m := range method.Table {
			s := sweep{method: m.Name, targets: []string{at}, ports: "70-90", device: "lo"}
			want, sum, _ := s.run(t)
			for _, s.mode = range []validate.Mode{validate.TCX, validate.Generic} {
				got, again, count := s.run(t)
				same(t, got, want)
				if count.Valid != sum.Valid || again.Valid != sum.Valid || again.Dropped > 0 {
					t.Errorf("%s of %s, mode %s: %+v\n%+v\nby a socket %+v", m.Name, at, s.mode, count, again, sum)
				}
			}
		}
	}
}

const holdVar = "SYNOPTIC_VALIDATE_HOLD"

// TestHold is not a test but the process that TestAKillLeavesNothing kills: it
// attaches, says so, and waits.
func TestHold(t *testing.T) {
	mode := os.Getenv(holdVar)
	if mode == "" {
		return
	}
	dev, err := netlink.LinkByName(lab.ScannerDevice)
	if err != nil {
		t.Fatal(err)
	}
	v, err := validate.New(config(method.ByName("syn")))
	if err != nil {
		t.Fatalf("%+v", err)
	}
	if _, err := v.Attach(dev.Attrs().Index, validate.Mode(mode)); err != nil {
		t.Fatal(err)
	}
	fmt.Println("attached")
	select {}
}

func attached(t *testing.T, ns *lab.Namespace, device string) (on bool) {
	t.Helper()
	if err := ns.Do(func() error {
		dev, err := netlink.LinkByName(device)
		if err != nil {
			return err
		}
		tcx, err := link.QueryPrograms(link.QueryOptions{Target: dev.Attrs().Index, Attach: ebpf.AttachTCXIngress})
		if err != nil {
			return err
		}
		on = dev.Attrs().Xdp != nil && dev.Attrs().Xdp.Attached || len(tcx.Programs) > 0
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return on
}

func TestAKillLeavesNothing(t *testing.T) {
	l := lab.New(t, lab.Config{})
	for _, mode := range modes {
		c := l.Scanner.Command(t.Context(), "/proc/self/exe", "-test.run=^TestHold$", "-test.timeout=1m")
		c.Env = append(os.Environ(), holdVar+"="+string(mode))
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(out).ReadString('\n'); line != "attached\n" {
			rest, _ := io.ReadAll(out)
			t.Fatalf("%q %v %s", line, err, rest)
		}
		if !attached(t, l.Scanner, lab.ScannerDevice) {
			t.Errorf("mode %s: it says that it is attached, and is not", mode)
		}
		if err := c.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		c.Wait()
		for deadline := time.Now().Add(5 * time.Second); attached(t, l.Scanner, lab.ScannerDevice); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("mode %s: still attached 5 s after kill -9", mode)
			}
		}
	}
}

// A link that is lost is waited for, as long as it may take, and one that is there is
// not.
func TestALinkIsWaitedFor(t *testing.T) {
	l := lab.New(t, lab.Config{})
	set := func(up func(netlink.Link) error) error {
		return l.Gate.Do(func() error {
			dev, err := netlink.LinkByName(lab.GateDevice)
			if err != nil {
				return err
			}
			return up(dev)
		})
	}
	if err := l.Scanner.Do(func() error {
		dev, err := netlink.LinkByName(lab.ScannerDevice)
		if err != nil {
			return err
		}
		wait := func(most time.Duration) time.Duration {
			begin := time.Now()
			validate.AwaitLink(dev.Attrs().Index, most)
			return time.Since(begin)
		}
		if took := wait(time.Minute); took > time.Second {
			t.Errorf("a link that is up was waited for: %v", took)
		}
		if err := set(netlink.LinkSetDown); err != nil {
			return err
		}
		if took := wait(100 * time.Millisecond); took < 100*time.Millisecond {
			t.Errorf("a link that is down was waited for only %v", took)
		}
		up := make(chan error)
		go func() {
			time.Sleep(300 * time.Millisecond)
			up <- set(netlink.LinkSetUp)
		}()
		if took := wait(time.Minute); took < 300*time.Millisecond || took > 10*time.Second {
			t.Errorf("a link that comes back was waited for %v", took)
		}
		return <-up
	}); err != nil {
		t.Fatal(err)
	}
}

func TestAttach(t *testing.T) {
	l := lab.New(t, lab.Config{})
	tunnel := l.MustAddHost(t, lab.HostConfig{Place: lab.Tunnel})
	attach := func(v *validate.Validator, device string, mode validate.Mode) (got validate.Mode, err error) {
		l.Scanner.Do(func() error {
			dev, err2 := netlink.LinkByName(device)
			if err2 != nil {
				t.Fatal(err2)
			}
			got, err = v.Attach(dev.Attrs().Index, mode)
			return nil
		})
		return got, err
	}
	syn := config(method.ByName("syn"))
	for _, m := range []struct{ ask, got validate.Mode }{
		{validate.Auto, validate.TCX}, {validate.Native, validate.Native}, {validate.TCX, validate.TCX}, {validate.Generic, validate.Generic},
	} {
		v := load(t, syn)
		if got, err := attach(v, lab.ScannerDevice, m.ask); err != nil || got != m.got || !attached(t, l.Scanner, lab.ScannerDevice) {
			t.Errorf("asked for %s: %s, %v", m.ask, got, err)
		}
		// Of XDP there is room for one, of tcx for many.
		for _, mode := range modes {
			second := load(t, syn)
			_, err := attach(second, lab.ScannerDevice, mode)
			if occupied := m.got != validate.TCX && mode != validate.TCX; occupied != errors.Is(err, validate.ErrOccupied) || occupied != (err != nil) {
				t.Errorf("mode %s behind one in mode %s: %v", mode, m.got, err)
			}
			if err != nil && !strings.Contains(err.Error(), lab.ScannerDevice) {
				t.Errorf("where? %v", err)
			}
			second.Close()
		}
		if err := v.Close(); err != nil || attached(t, l.Scanner, lab.ScannerDevice) {
			t.Errorf("after Close: %v, attached %v", err, attached(t, l.Scanner, lab.ScannerDevice))
		}
	}
	if err := l.Scanner.Do(func() error {
		return netlink.LinkAdd(&netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: "tap0"}, Mode: netlink.TUNTAP_MODE_TAP})
	}); err != nil {
		t.Fatal(err)
	}
	v := load(t, syn)
	if got, err := attach(v, "tap0", validate.Auto); err != nil || got != validate.Native {
		t.Errorf("on a tap: mode %s, %v", got, err)
	}
	v = load(t, syn)
	if got, err := attach(v, "lo", validate.Auto); err != nil || got != validate.TCX {
		t.Errorf("on lo: mode %s, %v", got, err)
	}
	if _, err := attach(v, lab.ScannerDevice, validate.Auto); err == nil {
		t.Error("it can be attached twice")
	}
	v.Close()
	v = load(t, syn)
	if _, err := attach(v, "lo", validate.Native); err == nil || !strings.Contains(err.Error(), "generic") {
		t.Errorf("on lo in native mode: %v", err)
	}
	if _, err := attach(v, tunnel.Near, validate.Auto); !errors.Is(err, validate.ErrNoEthernet) {
		t.Errorf("on a tunnel: %v", err)
	}
	if _, err := attach(v, "lo", "offload"); err == nil || !strings.Contains(err.Error(), "offload") {
		t.Errorf("in mode offload: %v", err)
	}
}
