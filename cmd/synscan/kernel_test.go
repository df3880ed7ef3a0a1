package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

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
// none: each is reset by the program, or none is. They are few enough a second for
// the lab to have room for the stack's own resets, which leave in bursts of all that
// it has taken in at once.
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
				s := sweepIn(t, l.Scanner, append(c.args, "-p80", "--rate", "50k", "--retries", "0", "--wait", "500ms", target)...)
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
