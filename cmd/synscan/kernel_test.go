package main

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"synoptic/bpf/generate"
	"synoptic/bpf/respond"
	"synoptic/internal/lab"
	"synoptic/internal/output"
	"synoptic/internal/result"
	"synoptic/internal/wire"
)

// openLab is a lab in which every simulated port is open.
func openLab(t *testing.T, change func(*respond.Config)) *lab.Lab {
	t.Helper()
	lab.NeedRoot(t)
	cfg := respond.DefaultConfig()
	cfg.Open, cfg.Closed = respond.Whole, 0
	if change != nil {
		change(&cfg)
	}
	return lab.New(t, lab.Config{Respond: &cfg})
}

// swept is what a run of the program has found, and what it says.
type swept struct {
	stderr           string
	code             int
	open             map[netip.AddrPort]bool
	generated, sent  uint64
	transmit, listen string // the paths of probes and answers, with -v
}

var (
	sentLine = regexp.MustCompile(`([\d,]+) generated = ([\d,]+) sent`)
	pathLine = regexp.MustCompile(`path of probes: (.*), of answers: (.*)`)
)

// sweepIn runs the program in a namespace, to its end.
func sweepIn(t *testing.T, ns *lab.Namespace, args ...string) *swept {
	t.Helper()
	return sweepAs(t, ns, append([]string{"synscan"}, args...)...)
}

// sweepAs runs it as the words say, which may begin with another program.
func sweepAs(t *testing.T, ns *lab.Namespace, words ...string) *swept {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	dir := t.TempDir()
	cmd := ns.Command(ctx, words[0], append(words[1:len(words):len(words)], "-v", "--open", "-oD", "oD")...)
	var stderr strings.Builder
	cmd.Dir, cmd.Stderr, cmd.Env = dir, &stderr, append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	cmd.Run() // the code says how it went
	s := &swept{stderr: stderr.String(), code: cmd.ProcessState.ExitCode(), open: map[netip.AddrPort]bool{}}
	if found := sentLine.FindStringSubmatch(s.stderr); found != nil {
		s.generated, s.sent = plainNumber(t, found[1]), plainNumber(t, found[2])
	}
	if found := pathLine.FindStringSubmatch(s.stderr); found != nil {
		s.transmit, s.listen = found[1], found[2]
	}
	file, err := os.Open(filepath.Join(dir, "oD"))
	if err != nil {
		return s
	}
	defer file.Close()
	if err := output.ReadJSON(file, "oD", func(r *result.Record) error {
		if s.open[r.Addr] {
			t.Errorf("%v is there twice", r.Addr)
		}
		s.open[r.Addr] = r.State == result.Open
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return s
}

// plainNumber reads one with commas between the thousands.
func plainNumber(t *testing.T, text string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(strings.ReplaceAll(text, ",", ""), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// all holds what was found against a number of endpoints that are all open.
func (s *swept) all(t *testing.T, code, want int) {
	t.Helper()
	if s.code != code || len(s.open) != want {
		t.Errorf("exit code %d, want %d; %d open, want %d:\n%s", s.code, code, len(s.open), want, s.stderr)
	}
}

// ways holds the paths that were taken against the beginnings of those that were
// to be.
func (s *swept) ways(t *testing.T, transmit, listen string) {
	t.Helper()
	if s.transmit != transmit || !strings.HasPrefix(s.listen, listen) {
		t.Errorf("probes went by %q and answers by %q, want %s and %s:\n%s", s.transmit, s.listen, transmit, listen, s.stderr)
	}
}

// held is what a process has in the kernel.
type held struct {
	programs, maps, links []uint32
	spaces                []int // its network namespaces but its own, by the id that the scanner's has for them
}

var objectID = regexp.MustCompile(`(?m)^(prog|map|link)_id:\s+(\d+)$`)

// inspect stops a process and finds all that it has, which it goes on to have until
// it is killed.
func inspect(t *testing.T, l *lab.Lab, pid int) (h held) {
	t.Helper()
	if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	tasks := func() []string {
		paths, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
		if err != nil || len(paths) == 0 {
			t.Fatalf("the process has ended (%v)", err)
		}
		return paths
	}
	wait(t, "the process to stop", func() bool {
		return !slices.ContainsFunc(tasks(), func(task string) bool {
			stat, err := os.ReadFile(task + "/stat")
			return err == nil && !strings.Contains(string(stat), ") T ")
		})
	})
	infos, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", pid))
	if err != nil {
		t.Fatal(err)
	}
	places := []string{}
	for _, task := range tasks() {
		places = append(places, task+"/ns/net")
	}
	for _, info := range infos {
		text := readText(t, info)
		kinds := map[string]*[]uint32{"prog": &h.programs, "map": &h.maps, "link": &h.links}
		for _, found := range objectID.FindAllStringSubmatch(text, -1) {
			id, _ := strconv.ParseUint(found[2], 10, 32)
			*kinds[found[1]] = append(*kinds[found[1]], uint32(id))
		}
		places = append(places, strings.Replace(info, "/fdinfo/", "/fd/", 1))
	}
	h.spaces = numbered(t, l.Scanner, places)
	return h
}

// numbered returns the ids that a namespace has for those which some files stand
// for, and gives them one. It keeps none of them alive.
func numbered(t *testing.T, ns *lab.Namespace, files []string) (ids []int) {
	t.Helper()
	if err := ns.Do(func() error {
		own, err := os.Readlink("/proc/thread-self/ns/net")
		if err != nil {
			return err
		}
		for _, file := range files {
			if to, err := os.Readlink(file); err != nil || !strings.HasPrefix(to, "net:") || to == own {
				continue
			}
			space, err := unix.Open(file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer unix.Close(space)
			id, err := netlink.GetNetNsIdByFd(space)
			if err == nil && id < 0 {
				if err = netlink.SetNetNsIdByFd(space, -1); err == nil {
					id, err = netlink.GetNetNsIdByFd(space)
				}
			}
			if err != nil {
				return err
			}
			if !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return ids
}

// known returns all ids that a namespace has for others, which end with those.
func known(t *testing.T, ns *lab.Namespace) (ids []int) {
	t.Helper()
	if err := ns.Do(func() error {
		request := nl.NewNetlinkRequest(unix.RTM_GETNSID, unix.NLM_F_DUMP)
		request.AddData(nl.NewRtGenMsg())
		answers, err := request.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWNSID)
		if err != nil {
			return err
		}
		for _, answer := range answers {
			attributes, err := nl.ParseRouteAttr(answer[4:]) // behind struct rtgenmsg, padded
			if err != nil {
				return err
			}
			for _, a := range attributes {
				if a.Attr.Type == unix.NETNSA_NSID {
					ids = append(ids, int(nl.NativeEndian().Uint32(a.Value)))
				}
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return ids
}

// left returns what of all that is still there, in words.
func (h held) left(t *testing.T, l *lab.Lab) (left []string) {
	t.Helper()
	for _, id := range h.programs {
		if p, err := ebpf.NewProgramFromID(ebpf.ProgramID(id)); err == nil {
			left = append(left, p.String())
			p.Close()
		}
	}
	for _, id := range h.maps {
		if m, err := ebpf.NewMapFromID(ebpf.MapID(id)); err == nil {
			left = append(left, m.String())
			m.Close()
		}
	}
	for _, id := range h.links {
		if k, err := link.NewFromID(link.ID(id)); err == nil {
			left = append(left, fmt.Sprintf("%T", k))
			k.Close()
		}
	}
	spaces := known(t, l.Scanner)
	for _, id := range h.spaces {
		if slices.Contains(spaces, id) {
			left = append(left, fmt.Sprintf("network namespace %d", id))
		}
	}
	if id := programAt(t, l.Scanner, lab.ScannerDevice); id != 0 {
		left = append(left, fmt.Sprintf("program %d attached to %s", id, lab.ScannerDevice))
	}
	return left
}

// programAt returns the id of the XDP program of a device, or else of the first that is
// at its ingress, or 0.
func programAt(t *testing.T, ns *lab.Namespace, device string) (id uint32) {
	t.Helper()
	if err := ns.Do(func() error {
		dev, err := netlink.LinkByName(device)
		if err != nil {
			return err
		}
		if dev.Attrs().Xdp != nil && dev.Attrs().Xdp.Attached {
			id = dev.Attrs().Xdp.ProgId
			return nil
		}
		ingress, err := link.QueryPrograms(link.QueryOptions{Target: dev.Attrs().Index, Attach: ebpf.AttachTCXIngress})
		if err == nil && len(ingress.Programs) > 0 {
			id = uint32(ingress.Programs[0].ID)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return id
}

// Kill -9 at any moment, from the first steps on, leaves nothing: no program, map
// or link, nothing attached, and not the namespace in which the generator parks
// its programs. The next scan finds everything.
func TestAKilledKernelScanLeavesNothing(t *testing.T) {
	l := openLab(t, nil)
	args := []string{"synscan", "--path", "kernel", "-p1-16", "--rate", "500k", "--seed", "5", "10.0.0.0/12", "-q"}
	for n := range 12 {
		early := n%2 == 0 // while all is being made, or later
		before, err := l.Responder.Counters()
		if err != nil {
			t.Fatal(err)
		}
		p := begin(t, l, t.TempDir(), nil, args[1:]...)
		if early {
			time.Sleep(time.Duration(rand.IntN(120)) * time.Millisecond)
		} else {
			wait(t, "probes", func() bool {
				c, err := l.Responder.Counters()
				return err == nil && c.TCP[wire.SYN] > before.TCP[wire.SYN]+10_000
			})
			time.Sleep(time.Duration(rand.IntN(300)) * time.Millisecond)
		}
		has := inspect(t, l, p.Process.Pid)
		there := has.left(t, l)
		t.Logf("early %t: %d programs, %d maps, %d links, %d namespaces", early, len(has.programs), len(has.maps), len(has.links), len(has.spaces))
		if !early && (len(has.programs) < 3 || len(has.maps) < 8 || len(has.links) < 4 || len(has.spaces) != 1 ||
			len(there) != len(has.programs)+len(has.maps)+len(has.links)+len(has.spaces)+1) {
			t.Fatalf("in the middle of a sweep it has %+v, and of that there is %q", has, there)
		}
		p.Process.Kill()
		p.ends(-1)
		var left []string
		for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			if left = has.left(t, l); len(left) == 0 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("5 s after kill -9 there is still %q", left)
			}
		}
	}
	s := sweepIn(t, l.Scanner, "--path", "kernel", "-p1-4", "--rate", "max", "--retries", "0", "10.0.0.0/18")
	s.all(t, exitDone, 4<<14)
	s.ways(t, "kernel", "kernel")
}

// stackCounts are what a namespace's own stack has taken in and reset.
type stackCounts struct{ received, segments, resets int }

// stackOf reads /proc/net/snmp, whose TCP counters are of both families, and snmp6.
func stackOf(t *testing.T, ns *lab.Namespace) (s stackCounts) {
	t.Helper()
	values := map[string]int{}
	if err := ns.Do(func() error {
		text, err := os.ReadFile("/proc/thread-self/net/snmp")
		if err != nil {
			return err
		}
		var names []string
		for line := range strings.Lines(string(text)) {
			fields := strings.Fields(line)
			if _, err := strconv.Atoi(fields[1]); err != nil {
				names = fields
				continue
			}
			for i := range fields {
				values[fields[0]+names[i]], _ = strconv.Atoi(fields[i])
			}
		}
		if text, err = os.ReadFile("/proc/thread-self/net/snmp6"); err != nil {
			return err
		}
		for line := range strings.Lines(string(text)) {
			fields := strings.Fields(line)
			values[fields[0]], _ = strconv.Atoi(fields[1])
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return stackCounts{values["Ip:InReceives"] + values["Ip6InReceives"], values["Tcp:InSegs"], values["Tcp:OutRsts"]}
}

// More than a hundred thousand SYN+ACKs arrive, and the machine's stack hears of
// none: each is reset by the program, or none is.
func TestTheStackSeesNoneOfTheAnswers(t *testing.T) {
	l := openLab(t, nil)
	const endpoints = 1 << 17
	for family, target := range map[string]string{"ipv4": "10.0.0.0/15", "ipv6": "fd00:10::/111"} {
		for _, c := range []struct {
			name   string
			args   []string
			resets uint64 // for each SYN+ACK
		}{
			{"kernel", []string{"--path", "kernel"}, 1},
			{"kernel/no_reset", []string{"--path", "kernel", "--no-reset"}, 0},
			{"packet", []string{"--path", "packet"}, 1}, // by the stack, so that the others prove something
		} {
			t.Run(c.name+"/"+family, func(t *testing.T) {
				if err := l.Responder.Reset(); err != nil {
					t.Fatal(err)
				}
				before, full := stackOf(t, l.Scanner), overruns(t, l)
				s := sweepIn(t, l.Scanner, append(c.args, "-p80", "--rate", "200k", "--retries", "0", "--wait", "500ms", target)...)
				after := stackOf(t, l.Scanner)
				s.all(t, exitDone, endpoints)
				saw := stackCounts{after.received - before.received, after.segments - before.segments, after.resets - before.resets}
				counted, err := l.Responder.Counters()
				if err != nil {
					t.Fatal(err)
				}
				// What the far end of the cable had no room for, but for probes, of which the
				// sender was told.
				full = overruns(t, l) - full - (s.generated - s.sent)
				t.Logf("the stack took in %+v; %d answers, %d resets arrived, %d found the lab's ring full", saw, counted.SynAck, counted.TCP[wire.RST], full)
				if c.name == "packet" {
					if saw.segments < endpoints || saw.resets < endpoints || saw.received < endpoints {
						t.Fatalf("by a socket the stack sees %+v: this test proves nothing", saw)
					}
				} else if saw.segments+saw.resets > 0 || saw.received > 20 { // of the neighbours' own
					t.Errorf("the stack saw and said %+v", saw)
				}
				if counted.SynAck < endpoints || counted.TCP[wire.RST]+full != c.resets*counted.SynAck || full > endpoints/10 ||
					counted.TCP[wire.SYN] != s.sent || counted.Segments() != counted.TCP[wire.SYN]+counted.TCP[wire.RST] || counted.BadChecksum+counted.Malformed > 0 {
					t.Errorf("%d probes sent; the responder: %+v", s.sent, counted)
				}
			})
		}
	}
}

// overruns is how many frames from the scanner the lab has had no room for.
func overruns(t *testing.T, l *lab.Lab) uint64 {
	t.Helper()
	n, _, err := l.Overruns()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A storm of signals to every thread begins runs of the generator again and again,
// and yet each endpoint has one probe: the responder answers no first one, and every
// second one.
func TestSignalsNeitherRepeatNorSkipProbes(t *testing.T) {
	l := openLab(t, func(c *respond.Config) {
		c.LoseShare, c.LoseTries, c.LossEndpoints = respond.Whole, 1, 3<<19
	})
	stats, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	if err != nil {
		t.Fatal(err)
	}
	defer stats.Close()
	const endpoints = 1 << 20
	// In the second run there are answers, which are judged in the storm, and the lab
	// loses some.
	for run, open := range []int{0, endpoints} {
		args := []string{"--path", "kernel", "--senders", "2", "-p1-4", "--rate", "max", "--retries", "0", "--repairs", fmt.Sprint(4 * run), "--wait", "2", "10.0.0.0/14", "-v", "-oD", "oD"}
		before, err := l.Responder.Counters()
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		p := begin(t, l, dir, nil, args...)
		signals, runs := storm(t, p.Process.Pid)
		stderr := p.ends(exitDone)
		found := sentLine.FindStringSubmatch(stderr)
		if found == nil {
			t.Fatal(stderr)
		}
		generated, sent := plainNumber(t, found[1]), plainNumber(t, found[2])
		after, err := l.Responder.Counters()
		if err != nil {
			t.Fatal(err)
		}
		seen := after.TCP[wire.SYN] - before.TCP[wire.SYN]
		t.Logf("%d signals, %d runs of the generator for %d frames, %d sent, %d seen", signals, runs, generated, sent, seen)
		if signals < 1000 || runs < generated+100 {
			t.Errorf("%d signals interrupted too little: %d runs for %d frames", signals, runs, generated)
		}
		if seen != sent || run == 0 && sent != endpoints {
			t.Errorf("the responder saw %d probes of %d endpoints, the summary says %d", seen, endpoints, sent)
		}
		if got := strings.Count(readText(t, dir, "oD"), `"state":"open"`); got != open {
			t.Errorf("%d open, want %d:\n%s", got, open, stderr)
		}
		if !strings.Contains(stderr, "path of probes: kernel, of answers: kernel") {
			t.Errorf("it took another path:\n%s", stderr)
		}
	}
}

// storm sends every thread of a process a signal that Go ignores, and the process
// one, a thousand times a second, until it ends. It returns how many there were and
// how often the kernel has run the process's generator.
func storm(t *testing.T, pid int) (signals, runs uint64) {
	t.Helper()
	counts := map[uint32]uint64{} // of runs, by program
	var programs []*ebpf.Program
	defer func() {
		for _, p := range programs {
			p.Close()
		}
	}()
	var threads []string
	begin := time.Now()
	for n := 0; ; n++ {
		if n%20 == 0 { // there are others now
			threads, _ = filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
			infos, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", pid))
			for _, info := range infos {
				text, err := os.ReadFile(info)
				found := objectID.FindSubmatch(text)
				if err != nil || found == nil || string(found[1]) != "prog" {
					continue
				}
				id, _ := strconv.ParseUint(string(found[2]), 10, 32)
				if _, ok := counts[uint32(id)]; ok {
					continue
				}
				if p, err := ebpf.NewProgramFromID(ebpf.ProgramID(id)); err == nil {
					counts[uint32(id)] = 0
					if strings.Contains(p.String(), "(generate)") {
						programs = append(programs, p)
					} else {
						p.Close()
					}
				}
			}
		}
		for _, thread := range threads {
			tid, _ := strconv.Atoi(filepath.Base(thread))
			if unix.Tgkill(pid, tid, unix.SIGURG) == nil {
				signals++
			}
		}
		state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || strings.Contains(string(state), ") Z ") {
			break
		}
		unix.Kill(pid, unix.SIGURG)
		time.Sleep(time.Until(begin.Add(time.Duration(n+1) * time.Millisecond)))
	}
	for _, p := range programs {
		s, err := p.Stats()
		if err != nil {
			t.Fatal(err)
		}
		runs += s.RunCount
	}
	return signals, runs
}

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

// While a scan only waits for answers, nothing but the device can tell that none will
// come: that it has gone ends the scan as a fault, and soon.
func TestADeviceThatGoesWhileAnswersAreAwaited(t *testing.T) {
	for name, gone := range map[string]func(netlink.Link) error{"away": netlink.LinkDel, "down": netlink.LinkSetDown} {
		t.Run(name, func(t *testing.T) {
			l := openLab(t, func(c *respond.Config) { c.Open = 0 })
			const endpoints = 1 << 14
			p := begin(t, l, t.TempDir(), nil, "--path", "kernel", "-p80", "--retries", "0", "--rate", "max", "10.0.0.0/18")
			wait(t, "probes", func() bool { return probesSeen(t, l) == endpoints })
			time.Sleep(100 * time.Millisecond)
			if err := l.Scanner.Do(func() error {
				dev, err := netlink.LinkByName(lab.ScannerDevice)
				if err != nil {
					return err
				}
				return gone(dev)
			}); err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			stderr := p.ends(exitFailed)
			if took := time.Since(start); took > 500*time.Millisecond || !strings.Contains(stderr, "receive on "+lab.ScannerDevice+": the interface went down or away") {
				t.Errorf("it ends after %v and says:\n%s", took, stderr)
			}
		})
	}
}

// Until the first probe leaves, the kernel path takes so much longer than the packet
// path: for what is loaded, verified, attached and tried before.
func TestTheKernelPathBeginsSoon(t *testing.T) {
	l := openLab(t, nil)
	const runs, most = 9, 150 * time.Millisecond
	took := map[string][]time.Duration{}
	for range runs {
		for _, path := range []string{"kernel", "packet"} {
			before, err := l.Responder.Counters()
			if err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			p := begin(t, l, t.TempDir(), nil, "--path", path, "-p80", "--retries", "0", "--wait", "100ms", "10.0.0.1", "-v")
			for {
				c, err := l.Responder.Counters()
				if err != nil {
					t.Fatal(err)
				}
				if c.TCP[wire.SYN] > before.TCP[wire.SYN] {
					break
				}
				if time.Since(start) > 10*time.Second {
					t.Fatal("no probe within 10 s")
				}
				time.Sleep(200 * time.Microsecond)
			}
			took[path] = append(took[path], time.Since(start))
			if stderr := p.ends(exitDone); !strings.Contains(stderr, "path of probes: "+path) {
				t.Fatal(stderr)
			}
		}
	}
	for _, times := range took {
		slices.Sort(times)
	}
	t.Logf("%v", took)
	kernel, packet := took["kernel"][runs/2], took["packet"][runs/2]
	t.Logf("the first probe leaves after %v, on the packet path after %v", kernel, packet)
	t.Attr("more-ms", fmt.Sprint(float64((kernel-packet).Microseconds())/1000))
	if kernel-packet > most {
		t.Errorf("that is %v more, want at most %v", kernel-packet, most)
	}
}
