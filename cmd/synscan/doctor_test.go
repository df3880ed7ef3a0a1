package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"synoptic/internal/lab"
	"synoptic/internal/method"
	"synoptic/internal/netif"
	"synoptic/internal/plan"
	"synoptic/internal/scan"
	"synoptic/internal/target"
)

// What the doctor says of a device is what a scan finds there.
func TestDoctorIsRight(t *testing.T) {
	if !lab.InNamespace(t) {
		return
	}
	l := lab.New(t, lab.Config{Here: true})
	add := func(name string, link netlink.Link, others ...string) {
		t.Helper()
		link.Attrs().Name, link.Attrs().TxQLen = name, -1
		if err := netlink.LinkAdd(link); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, n := range append(others, name) {
			dev, err := netlink.LinkByName(n)
			if err == nil {
				err = netlink.LinkSetUp(dev)
			}
			if err != nil {
				t.Fatalf("%s: %v", n, err)
			}
		}
	}
	add("deaf", &netlink.Veth{PeerName: "deafx"}, "deafx")
	add("polling", &netlink.Veth{PeerName: "pollingx"}, "pollingx")
	if err := l.Scanner.SetGRO("pollingx", true); err != nil {
		t.Fatal(err)
	}
	add("few", &netlink.Veth{PeerName: "fewx", PeerNumTxQueues: 2, PeerNumRxQueues: 2}, "fewx")
	add("ifb", &netlink.Ifb{})
	add("bridge", &netlink.Bridge{})
	if dev, err := netlink.LinkByName("deafx"); err != nil { // a port, for a carrier
		t.Fatal(err)
	} else if bridge, err := netlink.LinkByName("bridge"); err != nil {
		t.Fatal(err)
	} else if err := netlink.LinkSetMaster(dev, bridge); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]netlink.TuntapMode{"tap": netlink.TUNTAP_MODE_TAP, "tun": netlink.TUNTAP_MODE_TUN} {
		tuntap := &netlink.Tuntap{Mode: mode, Queues: 1, NonPersist: true, Flags: netlink.TUNTAP_DEFAULTS}
		add(name, tuntap)
		t.Cleanup(func() { tuntap.Fds[0].Close() })
	}

	for name, want := range map[string]struct{ transmit, receive string }{
		lab.ScannerDevice: {works, tcx}, // the far end has a program
		"deaf":            {lacks, tcx},
		"polling":         {works, tcx},
		"few":             {lacks, tcx},
		"lo":              {lacks, lacks},
		"ifb":             {lacks, tcx},
		"bridge":          {lacks, tcx},
		"tap":             {works, native},
		"tun":             {lacks, lacks},
	} {
		var r interfaceReport
		for end := time.Now().Add(5 * time.Second); r.State != "up" && time.Now().Before(end); time.Sleep(time.Millisecond) {
			d, err := examine(name)
			if err != nil {
				t.Fatal(err)
			}
			r = d.Interfaces[0]
		}
		if r.Packet.State != works || r.Transmit.State != want.transmit || r.Receive.State != want.receive {
			t.Errorf("%s: packet path %+v, transmit %+v, receive %+v, want %+v", name, r.Packet, r.Transmit, r.Receive, want)
		}
		said := scan.Paths{Transmit: "packet", Receive: "packet"}
		if r.Transmit.State != lacks {
			said.Transmit = "kernel"
		}
		if r.Receive.State != lacks {
			said.Receive = "kernel (" + r.Receive.State + ")"
		}
		if paths, note := pathsOf(t, name); paths != said {
			t.Errorf("%s: %+v was said, and a scan has %+v: %s", name, said, paths, note)
		}
	}
}

// pathsOf opens the network as a large and fast scan by a device does, which sends
// no probe, and says which paths it takes.
func pathsOf(t *testing.T, device string) (scan.Paths, string) {
	t.Helper()
	to, opt := "10.0.0.0/8", netif.Options{Interface: device, Source4: lab.Scanner4, RouterMAC: lab.GateMAC}
	switch device {
	case "lo":
		to, opt = "127.0.0.0/8", netif.Options{}
	case "tun":
		to, opt.RouterMAC = "172.20.0.0/16", nil
		route := &netlink.Route{Dst: &net.IPNet{IP: net.IP{172, 20, 0, 0}, Mask: net.CIDRMask(16, 32)}}
		dev, err := netlink.LinkByName(device)
		if err != nil {
			t.Fatal(err)
		}
		route.LinkIndex = dev.Attrs().Index
		if err := netlink.RouteAdd(route); err != nil {
			t.Fatal(err)
		}
		defer netlink.RouteDel(route)
	}
	set, _, err := target.Parse(t.Context(), target.Words(to), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	p, err := plan.New(set, target.PortsOf(80), 1, plan.Whole)
	if err != nil {
		t.Fatal(err)
	}
	routes, err := netif.Resolve(t.Context(), set, opt)
	if err != nil {
		t.Fatalf("%s: %v", device, err)
	}
	n, err := scan.Dial(t.Context(), scan.Options{
		Routes: routes, SourcePort: 60000, Ports: 1, Senders: 1, Probes: 1 << 24,
		Kernel: scan.Kernel{Path: scan.AutoPath, Plan: p, Method: method.ByName("syn"), Seed: 1},
	})
	if err != nil {
		t.Fatalf("%s: %+v", device, err)
	}
	defer n.Close()
	return n.Paths(), n.Note()
}

// doctorIn runs the command in a namespace.
func doctorIn(t *testing.T, ns *lab.Namespace, words ...string) (stdout string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := ns.Command(ctx, words[0], words[1:]...)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	if err := cmd.Run(); err != nil {
		if _, exit := errors.AsType[*exec.ExitError](err); !exit {
			t.Fatal(err)
		}
	}
	if stderr.Len() > 0 {
		t.Errorf("%v: %s", words, &stderr)
	}
	for line := range strings.Lines(out.String()) {
		if words[len(words)-1] != "--json" && len(line) > doctorWidth+1 {
			t.Errorf("wider than %d: %s", doctorWidth, line)
		}
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

func doctorJSON(t *testing.T, ns *lab.Namespace, words ...string) (d diagnosis, code int) {
	t.Helper()
	text, code := doctorIn(t, ns, append(words, "--json")...)
	in := json.NewDecoder(strings.NewReader(text))
	in.DisallowUnknownFields()
	if err := in.Decode(&d); err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	if d.Complete != (code == exitDone) {
		t.Errorf("complete: %t, and the exit code is %d", d.Complete, code)
	}
	return d, code
}

// A fix that it names is one: the other end of a veth is told to poll.
func TestDoctorFixes(t *testing.T) {
	l := lab.New(t, lab.Config{})
	h := l.MustAddHost(t, lab.HostConfig{Place: lab.OwnLink})
	text, code := doctorIn(t, l.Scanner, "synscan", "doctor", "-e", h.Near)
	fix := fmt.Sprintf("no: its other end %s takes no frames of XDP\n                  fix: ethtool -K %[1]s gro on (in the network namespace of that)\n", h.Far)
	if code != exitLacking || !strings.Contains(text, fix) {
		t.Errorf("exit code %d:\n%s", code, text)
	}
	if text, code := doctorIn(t, l.Scanner, "synscan", "doctor"); code != exitLacking || !strings.Contains(text, fix) {
		t.Errorf("one of several: exit code %d:\n%s", code, text)
	}
	if err := h.Namespace.SetGRO(h.Far, true); err != nil {
		t.Fatal(err)
	}
	text, code = doctorIn(t, l.Scanner, "synscan", "doctor", "-e", h.Near)
	if code != exitDone || !strings.Contains(text, "\n  kernel transmit yes\n") {
		t.Errorf("exit code %d:\n%s", code, text)
	}
	// lo, which is up, can never do that; only who names it hears that as a fault.
	for _, c := range []struct {
		words string
		code  int
	}{{"synscan doctor", exitDone}, {"synscan doctor -e lo", exitLacking}} {
		if text, code := doctorIn(t, l.Scanner, strings.Fields(c.words)...); code != c.code || !strings.Contains(text, "\nlo (loopback)\n") {
			t.Errorf("%s: exit code %d, want %d:\n%s", c.words, code, c.code, text)
		}
	}
}

// A program that holds the interface is named, and stays; nothing is sent.
func TestDoctorLeavesAllAsItIs(t *testing.T) {
	l := lab.New(t, lab.Config{})
	var before, after *netif.XDPAbility
	ask := func(a **netif.XDPAbility) {
		t.Helper()
		err := l.Gate.Do(func() error {
			dev, err := net.InterfaceByName(lab.GateDevice)
			if err == nil {
				*a, err = netif.XDP(dev.Index)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	frames := 0
	stop, err := l.Gate.Watch(lab.GateDevice, func(frame []byte) {
		if s, ok := parseFrame(frame); ok && (s.tcp || s.target.IsValid()) {
			frames++
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	ask(&before)
	d, code := doctorJSON(t, l.Gate, "synscan", "doctor", "-e", lab.GateDevice)
	doctorIn(t, l.Scanner, "synscan", "doctor")
	ask(&after)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if frames > 0 {
		t.Errorf("%d frames were sent", frames)
	}
	if before.Program == nil || after.Program == nil || *before.Program != *after.Program || before.Features != after.Features {
		t.Errorf("before %+v, after %+v", before, after)
	}
	p := d.Interfaces[0].Program
	if code != exitDone || p == nil || *p != programReport(*before.Program) {
		t.Fatalf("exit code %d, program %+v", code, p)
	}
	if f := d.Interfaces[0].Receive; f.State != tcx || !strings.Contains(f.Why, fmt.Sprintf("behind XDP program %d %q", p.ID, p.Name)) || p.Name == "" {
		t.Errorf("%+v", f)
	}
}

// A user without privileges hears what is missing, and everything else.
func TestDoctorForNobody(t *testing.T) {
	l := lab.New(t, lab.Config{})
	d, code := doctorJSON(t, l.Scanner, append(asNobody(t, "-all"), "doctor", "-e", lab.ScannerDevice)...)
	if got := strings.Join(d.Machine.MissingCapabilities, " "); code != exitLacking || got != "CAP_NET_RAW CAP_BPF CAP_NET_ADMIN CAP_PERFMON CAP_SYS_ADMIN" {
		t.Errorf("exit code %d, missing: %s", code, got)
	}
	for _, f := range d.Interfaces[0].findings() {
		if f.State != lacks || !strings.HasPrefix(f.Why, "CAP_") || f.Fix != "run synscan with sudo" {
			t.Errorf("%+v", f)
		}
	}
	if i := d.Interfaces[0]; i.Driver != "veth" || len(i.Features) == 0 {
		t.Errorf("what needs no privileges is missing: %+v", i)
	}
	text, _ := doctorIn(t, l.Scanner, append(asNobody(t, "-all"), "doctor")...)
	if n := strings.Count(text, "fix: run synscan with sudo"); n != 1 {
		t.Errorf("one fix is said %d times:\n%s", n, text)
	}
	d, code = doctorJSON(t, l.Scanner, append(asNobody(t, "-all,+net_raw"), "doctor", "-e", lab.ScannerDevice)...)
	if i := d.Interfaces[0]; code != exitLacking || i.Packet.State != works || i.Transmit.State != lacks {
		t.Errorf("with CAP_NET_RAW: exit code %d, %+v", code, i)
	}
}

// Root of a user namespace has every capability, and none that counts for BPF.
func TestDoctorInAUserNamespace(t *testing.T) {
	lab.NeedRoot(t)
	words := append([]string{"unshare", "--user", "--map-root-user", "--net"}, "synscan", "doctor", "-e", "lo", "--json")
	out, err := exec.CommandContext(t.Context(), words[0], words[1:]...).Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != exitLacking {
		t.Fatalf("%v\n%s", err, out)
	}
	var d diagnosis
	if err := json.Unmarshal(out, &d); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(d.Machine.MissingCapabilities, " "); got != "CAP_BPF CAP_PERFMON CAP_SYS_ADMIN" {
		t.Errorf("missing: %s", got)
	}
	if !regexp.MustCompile(`outside of this user namespace`).MatchString(d.Machine.Capabilities.Fix) {
		t.Errorf("%+v", d.Machine.Capabilities)
	}
}
