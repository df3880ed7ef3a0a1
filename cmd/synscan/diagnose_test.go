package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"synoptic/bpf/generate"
	"synoptic/bpf/validate"
	"synoptic/internal/netif"
)

// able is a machine that lacks nothing.
func able(change ...func(*machine)) *machine {
	m := &machine{release: "6.18.1-generic", btf: true, root: true, known: true, memory: 1 << 30,
		caps: 1<<unix.CAP_NET_RAW | 1<<unix.CAP_NET_ADMIN | 1<<unix.CAP_BPF | 1<<unix.CAP_PERFMON | 1<<unix.CAP_SYS_ADMIN}
	for _, c := range change {
		c(m)
	}
	return m
}

func deprived(caps ...capability) func(*machine) {
	return func(m *machine) {
		for _, c := range caps {
			m.caps &^= 1 << c
			if c == unix.CAP_NET_RAW {
				m.raw = privilegeError("it needs CAP_NET_RAW")
			}
		}
	}
}

func user(m *machine) { m.root = false }

// What is said of an interface, by what it can do and what the machine lacks.
func TestDiagnoses(t *testing.T) {
	card := netif.Interface{Name: "eth0", Type: "ether", State: "up", Raw: true, Kind: netif.Ethernet}
	lo := netif.Interface{Name: "lo", Type: "loopback", State: "up", Raw: true, Kind: netif.Loopback}
	tun := netif.Interface{Name: "tun0", Type: "none", State: "up", Raw: true, Kind: netif.RawIP}
	gre := netif.Interface{Name: "gre1", Type: "gre", State: "up"}
	in := func(i netif.Interface, state string) netif.Interface { i.State = state; return i }
	before66 := func(m *machine) { m.release = "6.5.13" }
	const both = netif.XDPBasic | netif.XDPNDOXmit
	has := func(driver string, f netif.XDPFeatures) netif.XDPAbility {
		return netif.XDPAbility{Driver: driver, Known: true, Features: f}
	}
	veth := func(f netif.XDPFeatures, peer string, elsewhere bool) netif.XDPAbility {
		return netif.XDPAbility{Driver: "veth", Known: true, Features: f, Veth: true, Peer: peer, Elsewhere: elsewhere}
	}
	with := func(a netif.XDPAbility, name, mode string) netif.XDPAbility {
		a.Program = &netif.XDPProgram{ID: 41, Name: name, Mode: mode}
		return a
	}
	const sudo = " | run synscan with sudo"
	for name, c := range map[string]struct {
		m *machine
		i netif.Interface
		a netif.XDPAbility
		// see is
		packet, transmit, receive string
	}{
		"a_card_that_can_all": {able(), card, has("mlx5_core", both), "yes", "yes", "native: or tcx, should the driver refuse"},
		"virtio":              {able(), card, has("virtio_net", netif.XDPBasic), "yes", "likely: once the receiver's program is attached", "native"},
		"a_card_before_6.6":   {able(before66), card, has("mlx5_core", both), "yes", "yes", "native: or generic, should the driver refuse"},
		"no_xdp_before_6.6":   {able(before66), card, has("e1000e", 0), "yes", "no: its driver, e1000e, takes no frames of XDP", "generic: its driver, e1000e, has no native mode"},
		"a_card_without_xdp":  {able(), card, has("e1000e", 0), "yes", "no: its driver, e1000e, takes no frames of XDP", "tcx: its driver, e1000e, has no native mode"},
		"without_a_driver":    {able(), card, has("", 0), "yes", "no: it takes no frames of XDP", "tcx: it has no native mode"},
		"loopback":            {able(), lo, has("", 0), "yes", "no: loopback takes no frames", "no: scans of this machine itself"},
		"tun":                 {able(), tun, has("tun", 0), "yes", "no: it has no Ethernet headers", "no: it has no Ethernet headers"},
		"gre":                 {able(), gre, has("", 0), "no: its link type is gre", "no: it has no Ethernet headers", "no: it has no Ethernet headers"},
		"down": {able(), in(card, "down"), has("x", both), "no: it is down | ip link set dev eth0 up",
			"no: it is down | ip link set dev eth0 up", "no: it is down | ip link set dev eth0 up"},
		"no_carrier": {able(), in(card, "no-carrier"), has("x", both), "no: it has no carrier | the cable",
			"no: it has no carrier | the cable", "no: it has no carrier | the cable"},

		"veth":                   {able(), card, veth(both, "far", false), "yes", "yes", "tcx: native mode makes a veth slow"},
		"veth_before_6.6":        {able(before66), card, veth(both, "far", false), "yes", "yes", "generic: native mode makes a veth slow"},
		"veth_without_sys_admin": {able(user, deprived(unix.CAP_SYS_ADMIN)), card, veth(both, "far", false), "yes", "no: CAP_SYS_ADMIN is missing" + sudo, "tcx: native mode makes a veth slow"},
		"veth_to_nobody":         {able(), card, veth(netif.XDPBasic, "far", false), "yes", "no: its other end far takes no frames of XDP | ethtool -K far gro on", "tcx: native mode makes a veth slow"},
		"veth_to_elsewhere":      {able(), card, veth(netif.XDPBasic, "far", true), "yes", "no: its other end far takes no frames of XDP | ethtool -K far gro on (in the network namespace of that)", "tcx: native mode makes a veth slow"},
		"veth_to_the_unseen":     {able(), card, veth(netif.XDPBasic, "", true), "yes", "no: its other end takes no frames of XDP | ethtool -K PEER gro on (in the network namespace of that)", "tcx: native mode makes a veth slow"},
		"veth_of_few_queues":     {able(), card, veth(0, "far", false), "yes", "no: its other end has more transmit queues than it has receive queues | ethtool -L eth0 rx N", "tcx: native mode makes a veth slow"},

		"taken_natively":       {able(before66), card, with(has("mlx5_core", both), "watch", "native"), "yes", "yes", `no: XDP program 41 "watch" is attached there, in native mode | ip link set dev eth0 xdp off (if ip attached it`},
		"taken_by_the_unnamed": {able(before66), card, with(has("mlx5_core", both), "", "native"), "yes", "yes", "no: XDP program 41 is attached there | ip link"},
		"taken_generically":    {able(before66), card, with(has("virtio_net", netif.XDPBasic), "x", "generic"), "yes", "no: XDP program 41 | ip link", `no: XDP program 41 "x" is attached there, in generic mode | ip link set dev eth0 xdpgeneric off (if ip`},
		"taken_and_no_xmit":    {able(before66), card, with(has("nfp", netif.XDPBasic), "x", "native"), "yes", "no: its driver, nfp, takes no frames of XDP, not even", `no: XDP program 41 "x" | ip link`},
		"taken_severally":      {able(before66), card, with(has("nfp", both), "", "several"), "yes", "yes", "no: XDP programs are attached there in several modes | end what attached them"},
		"taken_since_6.6":      {able(), card, with(has("mlx5_core", both), "watch", "native"), "yes", "yes", `tcx: behind XDP program 41 "watch", which is attached there`},
		"taken_veth_since_6.6": {able(), card, with(veth(both, "far", false), "", "generic"), "yes", "yes", "tcx: behind XDP program 41, which is attached there"},
		"taken_and_no_bpf":     {able(user, deprived(unix.CAP_BPF, unix.CAP_SYS_ADMIN)), card, with(has("mlx5_core", both), "", "native"), "yes", "no: CAP_BPF and CAP_SYS_ADMIN are missing" + sudo, "no: CAP_BPF is missing" + sudo},

		"older_than_6.3":      {able(func(m *machine) { m.release = "5.19.0" }), card, netif.XDPAbility{Driver: "igc"}, "yes", "unknown: only a try tells", "unknown: native or generic: only attaching tells"},
		"older_lo":            {able(func(m *machine) { m.release = "5.19.0" }), lo, netif.XDPAbility{}, "yes", "no: loopback", "no: scans of this"},
		"older_than_5.18":     {able(func(m *machine) { m.release = "5.17.9" }), card, netif.XDPAbility{}, "yes", "no: Linux 5.17.9 is older than 5.18 | a newer kernel, or --path packet", "no: Linux 5.17.9 is older | a newer kernel"},
		"no_types":            {able(func(m *machine) { m.btf = false }), card, has("x", both), "yes", "no: there is no /sys/kernel/btf/vmlinux | a kernel with CONFIG_DEBUG_INFO_BTF=y", "native"},
		"no_raw_sockets":      {able(user, deprived(unix.CAP_NET_RAW)), card, has("x", both), "no: CAP_NET_RAW is missing" + sudo, "yes", "native"},
		"raw_sockets_refused": {able(func(m *machine) { m.raw = errors.New("open a packet socket: no buffer space") }), card, has("x", both), "no: open a packet socket: no buffer space", "yes", "native"},
		"no_perfmon":          {able(user, deprived(unix.CAP_SYS_ADMIN, unix.CAP_PERFMON)), card, has("x", both), "yes", "no: CAP_PERFMON and CAP_SYS_ADMIN are missing" + sudo, "no: CAP_PERFMON is missing" + sudo},
		"sys_admin_is_both":   {able(deprived(unix.CAP_BPF, unix.CAP_PERFMON)), card, has("x", both), "yes", "yes", "native"},
		"no_sys_admin":        {able(user, deprived(unix.CAP_SYS_ADMIN)), card, has("x", both), "yes", "no: CAP_SYS_ADMIN is missing" + sudo, "native"},
		"no_net_admin":        {able(deprived(unix.CAP_NET_ADMIN)), card, has("x", both), "yes", "no: CAP_NET_ADMIN is missing | grant them to the container", "no: CAP_NET_ADMIN is missing | grant"},
		"user_namespace":      {able(deprived(unix.CAP_BPF, unix.CAP_PERFMON, unix.CAP_SYS_ADMIN), func(m *machine) { m.nested = true }), card, has("x", both), "yes", "no: CAP_BPF, CAP_PERFMON and CAP_SYS_ADMIN are missing | run synscan outside of this user namespace", "no: CAP_BPF and CAP_PERFMON are missing | run synscan outside"},
		// The device's own obstacle is the one that is not said above.
		"veth_and_no_sudo": {able(user, deprived(unix.CAP_BPF, unix.CAP_SYS_ADMIN)), card, veth(netif.XDPBasic, "far", false), "yes", "no: its other end far takes no frames of XDP | ethtool", "no: CAP_BPF is missing" + sudo},
	} {
		t.Run(name, func(t *testing.T) {
			for _, f := range []struct {
				of   string
				got  finding
				want string
			}{
				{"packet", c.m.packet(c.i), c.packet},
				{"transmit", c.m.transmit(c.i, &c.a), c.transmit},
				{"receive", c.m.receive(c.i, &c.a), c.receive},
			} {
				is(t, f.of, f.got, f.want)
			}
		})
	}
}

// is holds a finding against "state: why | fix", how the words begin. Without a fix
// in that, there is none.
func is(t *testing.T, of string, f finding, want string) {
	t.Helper()
	want, fix, _ := strings.Cut(want, " | ")
	state, why, _ := strings.Cut(want, ": ")
	if f.State != state || !strings.HasPrefix(f.Why, why) || !strings.HasPrefix(f.Fix, fix) || (f.Fix == "") != (fix == "") {
		t.Errorf("%s is %q: %q | %q; want %q: %q | %q", of, f.State, f.Why, f.Fix, state, why, fix)
	}
}

func TestMachineFindings(t *testing.T) {
	for name, c := range map[string]struct {
		m                           *machine
		version, btf, caps, memory_ string
		complete                    bool
	}{
		"able":           {able(), "yes: Linux 6.18.1-generic", "yes", "yes", "yes: 1.0 GiB available", true},
		"nothing":        {new(machine), "no: Linux  is older | a newer kernel", "no: there is no /sys | a kernel", "no: no packet path without CAP_NET_RAW; no kernel path without CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON and CAP_SYS_ADMIN | run synscan with sudo", "unknown", false},
		"only_packets":   {able(user, deprived(unix.CAP_SYS_ADMIN)), "yes", "yes", "no: no kernel path without CAP_SYS_ADMIN | run synscan with sudo", "yes", false},
		"little_memory":  {able(func(m *machine) { m.memory = 40 << 20 }), "yes", "yes", "yes", "no: 40 MiB available | raise the memory limit", false},
		"unknown_memory": {able(func(m *machine) { m.known = false }), "yes", "yes", "yes", "unknown", true},
	} {
		t.Run(name, func(t *testing.T) {
			r := c.m.report()
			is(t, "version", r.Version, c.version)
			is(t, "BTF", r.BTF, c.btf)
			is(t, "capabilities", r.Capabilities, c.caps)
			is(t, "memory", r.Memory, c.memory_)
			if r.lacks() == c.complete || (r.MemoryAvailable != nil) != c.m.known || r.MissingCapabilities == nil {
				t.Errorf("%+v", r)
			}
		})
	}
}

func TestNewEnough(t *testing.T) {
	for release, want := range map[string]bool{
		"5.18": true, "5.18.0-rc1": true, "6.1.0-13-amd64": true, "10.0": true, "5.20.1": true,
		"5.17.15": false, "5.4.0-150-generic": false, "4.19": false, "": false, "linux": false,
	} {
		if got := newEnough(release, kernelPath); got != want {
			t.Errorf("%q: %t", release, got)
		}
	}
	least := fmt.Sprintf("%d.%d", kernelPath[0], kernelPath[1])
	for _, want := range []string{generate.MinKernel, validate.MinKernel} {
		if least != want {
			t.Errorf("%s, and a program wants %s", least, want)
		}
	}
}
