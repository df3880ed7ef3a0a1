package lab

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

var (
	pastTheGate = []Place{AtGate, OnLink, Routed} // by the scanner's device
	everyPlace  = slices.Concat(pastTheGate, []Place{AtScanner, OwnLink, VLAN, Tunnel, WireGuard})
)

// realHosts adds one host in each place, all alike: a listener on 80 and 22,
// behind rules for 22 and up.
func realHosts(t *testing.T, l *Lab, places []Place) []*Host {
	var hosts []*Host
	for _, place := range places {
		hosts = append(hosts, l.MustAddHost(t, HostConfig{
			Place:  place,
			Listen: []Ports{Port(80), Port(22), {1000, 1002}},
			Rules: []Rule{
				{[]Ports{Port(22), {30, 39}}, Drop},
				{[]Ports{{40, 49}}, RejectReset},
				{[]Ports{{50, 59}}, RejectPort},
				{[]Ports{{60, 69}}, RejectAdmin},
				{[]Ports{{70, 79}}, RejectHost},
			},
		}))
	}
	return hosts
}

func TestRealHostsAnswerAsTheirFactsSay(t *testing.T) {
	l := New(t, Config{})
	var attempts []attempt
	for _, h := range realHosts(t, l, everyPlace) {
		for port, want := range map[uint16]error{
			80:   nil,
			1001: nil,
			81:   syscall.ECONNREFUSED,
			22:   syscall.ETIMEDOUT,
			45:   syscall.ECONNREFUSED,
			50:   syscall.ECONNREFUSED,
			69:   syscall.EHOSTUNREACH,
			70:   syscall.EHOSTUNREACH,
		} {
			attempts = append(attempts, attempt{netip.AddrPortFrom(h.Addr4, port), want})
			if port == 69 {
				want = syscall.EACCES // icmpv6_err_convert has another opinion than icmp_err_convert
			}
			attempts = append(attempts, attempt{netip.AddrPortFrom(h.Addr6, port), want})
		}
	}
	dialAll(t, l, attempts)
}

func TestCommandRunsInside(t *testing.T) {
	l := New(t, Config{})
	h := l.MustAddHost(t, HostConfig{})
	out, err := h.Namespace.Command(context.Background(), "cat", "/proc/self/net/fib_trie").Output()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(out), h.Addr4.String()) {
		t.Errorf("%s is not among the addresses:\n%s", h.Addr4, out)
	}
	if _, err := h.Namespace.Command(context.Background(), "sh", "-c", "echo no >&2; exit 3").Output(); err == nil || !strings.Contains(err.Error(), "exit status 3: no") {
		t.Errorf("failing command: %v", err)
	}
}

func TestClosingEndsCommands(t *testing.T) {
	NeedRoot(t)
	n, err := NewNamespace("")
	if err != nil {
		t.Fatal(err)
	}
	c := n.Command(context.Background(), "sleep", "1000")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err == nil || c.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("the process ended with %v", err)
	}
	if err := n.Command(context.Background(), "true").Run(); err != errClosed {
		t.Errorf("start in a closed namespace: %v", err)
	}
}

// TestNothingIsLeftBehind counts what could be: names, descriptors, programs.
func TestNothingIsLeftBehind(t *testing.T) {
	NeedRoot(t)
	descriptors := func() int {
		d, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(d)
	}
	build := func() {
		l, err := Create(Config{Name: "labtest"})
		if err != nil {
			t.Fatal(err)
		}
		for _, place := range everyPlace {
			l.MustAddHost(t, HostConfig{Place: place, Listen: []Ports{Port(80)}})
		}
		if _, err := os.Stat("/run/netns/labtest-host3"); err != nil {
			t.Error(err)
		}
		if _, err := Create(Config{Name: "labtest"}); err == nil {
			t.Error("a second lab of the same name was built")
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	build()
	before := descriptors()
	for range 3 {
		build()
	}
	if after := descriptors(); after > before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
	if left, _ := filepath.Glob(fmt.Sprintf("/var/run/wireguard/wg%d*", os.Getpid())); len(left) > 0 {
		t.Errorf("%v are left", left)
	}
	names, _ := os.ReadDir("/run/netns")
	for _, n := range names {
		if strings.HasPrefix(n.Name(), "labtest") {
			t.Errorf("/run/netns/%s is left", n.Name())
		}
	}
}
