package connect

import (
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"synoptic/bpf/respond"
	"synoptic/internal/lab"
	"synoptic/internal/plan"
	"synoptic/internal/result"
	"synoptic/internal/scan"
	"synoptic/internal/wire"
)

// compare checks what a scan found on a host with what the lab expects of it.
func compare(t *testing.T, l *lab.Lab, p *plan.Plan, tries int, host netip.Addr, found map[netip.AddrPort]result.Record) {
	t.Helper()
	var ports []uint16
	for i := range p.Ports().Len() {
		ports = append(ports, p.Ports().At(i))
	}
	want, err := l.MustTruth(t).Expect(lab.Scan{Method: "connect", Tries: tries}, host, ports)
	if err != nil {
		t.Fatal(err)
	}
	wrong := 0
	for _, w := range want {
		g := found[w.Addr]
		if g.State == w.State && g.Reason == w.Reason && g.ReasonIP == w.ReasonIP && g.TTL == 0 && g.Suspect == w.Suspect {
			continue
		}
		if wrong++; wrong < 10 {
			t.Errorf("%v is %v %v %v, want %v %v %v", w.Addr, g.State, g.Reason, g.ReasonIP, w.State, w.Reason, w.ReasonIP)
		}
	}
	if wrong > 0 {
		t.Errorf("%d are wrong", wrong)
	}
}

// Real kernels with every kind of port, on the link and behind a router.
func TestRealHosts(t *testing.T) {
	lab.NeedRoot(t)
	if !lab.InNamespace(t) {
		return
	}
	l := lab.New(t, lab.Config{Here: true})
	var all []string
	for _, place := range []lab.Place{lab.OnLink, lab.Routed, lab.AtGate} {
		h := l.MustAddHost(t, lab.HostConfig{
			Place:  place,
			Listen: []lab.Ports{lab.Port(22), lab.Port(80), {First: 50, Last: 59}},
			Rules: []lab.Rule{
				{Ports: []lab.Ports{{First: 10, Last: 12}, {First: 50, Last: 51}}, Verdict: lab.Drop},
				{Ports: []lab.Ports{{First: 20, Last: 21}, {First: 52, Last: 53}}, Verdict: lab.RejectReset},
				// Few, because a kernel limits the errors that it sends.
				{Ports: []lab.Ports{lab.Port(30)}, Verdict: lab.RejectPort},
				{Ports: []lab.Ports{lab.Port(40)}, Verdict: lab.RejectAdmin},
				{Ports: []lab.Ports{lab.Port(41)}, Verdict: lab.RejectHost},
			},
		})
		all = append(all, h.Addr4.String(), h.Addr6.String())
	}
	check := func(t *testing.T, targets ...string) {
		p := newPlan(t, "1-100", targets...)
		found, sum := run(t, scan.Config{Plan: p, Retries: 1, Wait: time.Second}, Options{})
		for _, target := range targets {
			compare(t, l, p, 2, netip.MustParseAddr(target), found)
		}
		if sum.Refused+sum.Duplicate > 0 || sum.Open != uint64(8*len(targets)) || sum.Rejected != uint64(3*len(targets)) {
			t.Errorf("%+v", sum)
		}
	}
	for _, target := range all {
		t.Run(target, func(t *testing.T) { check(t, target) })
		time.Sleep(time.Second) // see above
	}
	t.Run("both_families_on_link_and_routed_in_one_scan", func(t *testing.T) { check(t, all...) })
}

// Simulated hosts behind a router that rejects in their name, at speed.
func TestARoutersRejectionNamesTheRouter(t *testing.T) {
	lab.NeedRoot(t)
	if !lab.InNamespace(t) {
		return
	}
	cfg := respond.DefaultConfig()
	cfg.Open, cfg.Closed, cfg.Rejected = respond.Fraction(1, 4), respond.Fraction(1, 4), respond.Fraction(1, 4)
	cfg.Router4, cfg.Router6 = lab.Gate4, lab.Gate6
	l := lab.New(t, lab.Config{Here: true, Respond: &cfg})
	for _, host := range []string{"10.1.2.3", "fd00:10::17"} {
		t.Run(host, func(t *testing.T) {
			p := newPlan(t, "1-4000", host)
			found, sum := run(t, scan.Config{Plan: p, Wait: time.Second}, Options{})
			compare(t, l, p, 1, netip.MustParseAddr(host), found)
			if sum.RTT99 > 500*time.Millisecond {
				t.Errorf("%+v", sum)
			}
		})
	}
}

// A dense network beside a thousand with one address each: none gets more SYNs
// than its rate and a percent in any second, by a capture of what left, and
// everything is found.
func TestNoNetworkGetsMoreThanItsRate(t *testing.T) {
	lab.NeedRoot(t)
	if !lab.InNamespace(t) {
		return
	}
	const perPrefix, burst = 200, 2
	cfg := respond.DefaultConfig()
	cfg.Open, cfg.Closed = respond.Fraction(1, 4), respond.Fraction(3, 4)
	l := lab.New(t, lab.Config{Here: true, Respond: &cfg})
	path := filepath.Join(t.TempDir(), "left.pcap")
	stop, err := l.Scanner.Record(lab.ScannerDevice, path, lab.Scanner4)
	if err != nil {
		t.Fatal(err)
	}
	p := newPlan(t, "1-3", "10.0.0.0/24", "10.64-67.0-255.7")
	found, sum := run(t, scan.Config{Plan: p, Rate: 20_000, RatePerPrefix: perPrefix, Wait: 2 * time.Second}, Options{})
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	for pos := range p.Len() {
		want := result.Closed
		if cfg.Truth().Answer(wire.SYN, p.At(pos)).Kind == respond.SynAck {
			want = result.Open
		}
		if got := found[p.At(pos)].State; got != want {
			t.Fatalf("%v is %v, want %v; %+v", p.At(pos), got, want, sum)
		}
	}
	times := synTimes(t, path)
	fullest, all := 0, uint64(0)
	for _, network := range times {
		all += uint64(len(network))
		first := 0
		for last, at := range network {
			for at.Sub(network[first]) > time.Second {
				first++
			}
			fullest = max(fullest, last-first+1)
		}
	}
	t.Logf("%d SYNs, %d in the fullest second, in %.1f s", all, fullest, sum.Elapsed)
	// More than half, or nothing was put to the test.
	if fullest > perPrefix+burst || fullest < perPrefix/2 {
		t.Errorf("a second with %d SYNs to one network, %d+%d are allowed", fullest, perPrefix, burst)
	}
	if all != p.Len() || sum.Sent != all {
		t.Errorf("%d SYNs left, %d were sent, want %d", all, sum.Sent, p.Len())
	}
}

// synTimes returns when a capture's SYNs left, by their target's /24.
func synTimes(t *testing.T, path string) map[netip.Prefix][]time.Time {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := pcapgo.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	times := map[netip.Prefix][]time.Time{}
	for {
		data, info, err := r.ReadPacketData()
		if err == io.EOF {
			return times
		} else if err != nil {
			t.Fatal(err)
		}
		packet := gopacket.NewPacket(data, layers.LayerTypeEthernet, gopacket.Default)
		tcp, ok := packet.Layer(layers.LayerTypeTCP).(*layers.TCP)
		if !ok || !tcp.SYN {
			continue
		}
		dst, _ := netip.AddrFromSlice(packet.NetworkLayer().NetworkFlow().Dst().Raw())
		network := netip.PrefixFrom(dst, 24).Masked()
		times[network] = append(times[network], info.Timestamp)
	}
}
