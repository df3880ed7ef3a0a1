package main

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"synoptic/bpf/generate"
	"synoptic/bpf/respond"
	"synoptic/internal/lab"
	"synoptic/internal/wire"
)

// passing attaches an XDP program that passes everything to a device, and returns
// its id.
func passing(t *testing.T, ns *lab.Namespace, device string, flags link.XDPAttachFlags) uint32 {
	t.Helper()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.XDP, License: "Dual MIT/GPL", Instructions: asm.Instructions{
		asm.Mov.Imm(asm.R0, 2), asm.Return(), // XDP_PASS
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	if err := ns.Do(func() error {
		dev, err := netlink.LinkByName(device)
		if err != nil {
			return err
		}
		at, err := link.AttachXDP(link.XDPOptions{Interface: dev.Attrs().Index, Program: p, Flags: flags})
		if err == nil {
			t.Cleanup(func() { at.Close() })
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return programAt(t, ns, device)
}

// onlyCapabilities NAMES COMMAND... runs the command with no other capabilities, even
// for root. The names are joined by commas.
func onlyCapabilities() {
	runtime.LockOSThread()
	keep := map[uintptr]bool{}
	for _, name := range strings.Split(os.Args[1], ",") {
		number, ok := map[string]uintptr{
			"net_raw": unix.CAP_NET_RAW, "net_admin": unix.CAP_NET_ADMIN, "bpf": unix.CAP_BPF, "perfmon": unix.CAP_PERFMON, "sys_admin": unix.CAP_SYS_ADMIN,
			"dac_override": unix.CAP_DAC_OVERRIDE, // for the directories of the test
		}[name]
		if !ok {
			check(fmt.Errorf("capability %q", name))
		}
		keep[number] = true
	}
	for c := uintptr(0); c <= unix.CAP_LAST_CAP; c++ {
		if !keep[c] {
			check(unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0))
		}
	}
	path, err := exec.LookPath(os.Args[2])
	check(err)
	check(syscall.Exec(path, os.Args[2:], os.Environ()))
}

// noKernel is a place or a plan for which the kernel path cannot be had.
type noKernel struct {
	name    string
	prefix  []string       // of the command
	targets []string       // 2^18 probes or more; of real hosts several times, as their way loses some at full speed
	at      *lab.Namespace // where those are; nil: they are simulated
	device  string         // by which probes would go
	says    []string       // of what is missing
	open    int            // as a scan by packets finds
	// With --path auto:
	transmit, listen string
}

// Where the kernel path cannot be had, `--path kernel` says so in one sentence that
// names what is missing and what there is instead, having sent nothing; and with `auto`
// the packet path takes over, says why in one line, and finds everything.
func TestWhereTheKernelPathCannotBe(t *testing.T) {
	l := openLab(t, nil)
	listening := []lab.Ports{lab.Port(80), lab.Port(60_000)}
	l.MustAddHost(t, lab.HostConfig{Place: lab.AtScanner, Listen: listening})
	tunnel := l.MustAddHost(t, lab.HostConfig{Place: lab.Tunnel, Listen: listening})
	veth := l.MustAddHost(t, lab.HostConfig{Place: lab.OwnLink, Listen: listening})
	// Behind the host, so that there is one next hop.
	behind := []netip.Prefix{netip.MustParsePrefix("198.18.0.1/32"), netip.MustParsePrefix("fd00:198:18::1/128")}
	if err := errors.Join(veth.Namespace.AddAddrs(veth.Far, behind...), l.Scanner.AddRoute(behind[0], veth.Addr4), l.Scanner.AddRoute(behind[1], veth.Addr6)); err != nil {
		t.Fatal(err)
	}
	simulated := []string{"-p80", "--retries", "1", "10.0.0.0/15"}
	capabilities := []string{"CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON"}
	for _, c := range []noKernel{
		{name: "loopback", at: l.Scanner, device: "lo", targets: []string{"-p80,81", "127.0.0.0/16", "--retries", "1"}, says: []string{"lo", "Ethernet"}, open: 1 << 16},
		{name: "tun", at: tunnel.Namespace, device: tunnel.Near, targets: []string{"-p1-65535", "--retries", "4", tunnel.Addr4.String(), tunnel.Addr6.String()}, says: []string{tunnel.Near, "Ethernet"}, open: 4},
		{name: "veth_whose_far_end_takes_no_frames", at: veth.Namespace, device: veth.Near, targets: []string{"-p1-65535", "--retries", "4", behind[0].Addr().String(), behind[1].Addr().String()},
			says: []string{veth.Near, "takes no frames of XDP", "other end"}, open: 4, listen: "kernel"},
		{name: "no_capability", prefix: []string{"onlycaps", "net_raw,dac_override"}, targets: simulated, says: capabilities, open: 1 << 17},
		{name: "only_net_admin", prefix: []string{"onlycaps", "net_raw,net_admin,dac_override"}, targets: simulated, says: capabilities, open: 1 << 17},
		{name: "no_net_admin", prefix: []string{"onlycaps", "net_raw,bpf,perfmon,dac_override"}, targets: simulated, says: capabilities, open: 1 << 17},
		{name: "no_perfmon", prefix: []string{"onlycaps", "net_raw,net_admin,bpf,dac_override"}, targets: simulated, says: capabilities, open: 1 << 17},
		{name: "no_sys_admin", prefix: []string{"onlycaps", "net_raw,net_admin,bpf,perfmon,dac_override"}, targets: simulated, says: []string{"CAP_SYS_ADMIN"}, open: 1 << 17, listen: "kernel"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.device = cmp.Or(c.device, lab.ScannerDevice)
			// Segments that arrive at the targets.
			arrived := func() int {
				if c.at != nil {
					return stackOf(t, c.at).segments
				}
				return int(probesSeen(t, l))
			}
			run := func(path string) *swept {
				return sweepAs(t, l.Scanner, slices.Concat(c.prefix, []string{"synscan", "--path", path, "--rate", "max"}, c.targets)...)
			}
			before := arrived()
			s := run("kernel")
			if s.code != exitUsage || len(s.open) > 0 || arrived() != before {
				t.Errorf("exit code %d, %d open, %d segments were sent", s.code, len(s.open), arrived()-before)
			}
			t.Log(s.stderr)
			saysOnce(t, s.stderr, append(c.says, "--path packet")...)
			if strings.Count(s.stderr, "\n") != 1 || len(s.stderr) > 300 {
				t.Errorf("that is not one sentence")
			}

			s = run("auto")
			s.all(t, exitDone, c.open)
			s.ways(t, cmp.Or(c.transmit, "packet"), cmp.Or(c.listen, "packet"))
			if arrived() < before+c.open { // that it counts at all
				t.Errorf("only %d segments arrived", arrived()-before)
			}
			saysOnce(t, s.stderr, c.says...)
			if now := programAt(t, l.Scanner, c.device); now != 0 {
				t.Errorf("the device has program %d", now)
			}
		})
	}
}

// Another XDP program is left alone, and answers are judged behind it.
func TestBesideAnotherProgram(t *testing.T) {
	l := openLab(t, nil)
	for name, flags := range map[string]link.XDPAttachFlags{"native": link.XDPDriverMode, "generic": link.XDPGenericMode} {
		t.Run(name, func(t *testing.T) {
			other := passing(t, l.Scanner, lab.ScannerDevice, flags)
			s := sweepAs(t, l.Scanner, "synscan", "--path", "kernel", "--rate", "max", "-p80", "--retries", "1", "10.0.0.0/15")
			s.all(t, exitDone, 1<<17)
			s.ways(t, "kernel", "kernel (tcx)")
			if now := programAt(t, l.Scanner, lab.ScannerDevice); now != other {
				t.Errorf("the device has XDP program %d, had %d", now, other)
			}
		})
	}
}

// saysOnce wants one line about the kernel, with some words.
func saysOnce(t *testing.T, stderr string, words ...string) {
	t.Helper()
	var said []string
	for line := range strings.Lines(stderr) {
		if strings.Contains(line, "not in the kernel") || strings.Contains(line, "kernel path") {
			said = append(said, line)
		}
	}
	if len(said) != 1 {
		t.Errorf("it says %d times that there is no kernel path:\n%s", len(said), stderr)
		return
	}
	for _, word := range words {
		if !strings.Contains(said[0], word) {
			t.Errorf("it does not say %q: %s", word, said[0])
		}
	}
}

// One range more than the generator has room for: the packet path takes over, with
// either option, and says so once.
func TestMoreRangesThanTheGeneratorTakes(t *testing.T) {
	l := openLab(t, func(c *respond.Config) { c.Open = respond.Fraction(1, 16) })
	cfg, err := l.Responder.Config()
	if err != nil {
		t.Fatal(err)
	}
	truth, open := cfg.Truth(), 0
	const ranges = generate.MaxRanges + 1
	file := filepath.Join(t.TempDir(), "targets")
	var targets strings.Builder
	for i := range uint32(ranges) {
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], 10<<24+2*i) // no two of them are neighbours
		fmt.Fprintln(&targets, netip.AddrFrom4(a))
		if truth.State(netip.AddrPortFrom(netip.AddrFrom4(a), 80)) == respond.Open {
			open++
		}
	}
	write(t, file, targets.String())
	for _, path := range []string{"kernel", "auto"} {
		s := sweepIn(t, l.Scanner, "--path", path, "-p80", "--rate", "max", "--retries", "0", "--wait", "1", "-iL", file)
		s.all(t, exitDone, open)
		if s.sent < ranges {
			t.Errorf("%d probes of %d endpoints", s.sent, ranges)
		}
		s.ways(t, "packet", "kernel")
		saysOnce(t, s.stderr, "more than", fmt.Sprint(generate.MaxRanges))
	}
}

// One CPU for two senders, the reader of answers and all else.
func TestOneCPUIsEnough(t *testing.T) {
	l := openLab(t, nil)
	var allowed unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		t.Fatal(err)
	}
	cpu := 0
	for !allowed.IsSet(cpu) {
		cpu++
	}
	s := sweepAs(t, l.Scanner, "taskset", "-c", fmt.Sprint(cpu), "synscan", "--path", "kernel", "--senders", "2", "-p1-4", "--rate", "max", "--retries", "0", "--wait", "2", "10.0.0.0/15")
	s.all(t, exitDone, 4<<17)
	s.ways(t, "kernel", "kernel")
	counted, err := l.Responder.Counters()
	if err != nil {
		t.Fatal(err)
	}
	if counted.TCP[wire.SYN] != s.sent {
		t.Errorf("the responder saw %d probes, the summary says %d", counted.TCP[wire.SYN], s.sent)
	}
}
