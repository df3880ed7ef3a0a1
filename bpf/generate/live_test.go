package generate_test

import (
	"errors"
	"net"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"synoptic/bpf/generate"
	"synoptic/bpf/respond"
	"synoptic/internal/lab"
	"synoptic/internal/method"
	"synoptic/internal/plan"
)

// cable is a veth pair in the namespace of a process of the test's own, with a
// program at its far end.
type cable struct {
	near, far netlink.Link
	tally     *generate.Tally
}

// newCable lays one with a tally.
func newCable(t testing.TB) *cable { return newCableTo(t, (*generate.Tally).Program) }

func newCableTo(t testing.TB, end func(*generate.Tally) *ebpf.Program) *cable {
	t.Helper()
	if err := lab.Guard(); err != nil {
		t.Fatal(err)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "near"
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "far"}); err != nil {
		t.Fatal(err)
	}
	c := new(cable)
	var err error
	if c.tally, err = generate.LoadTally(); err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(func() { c.tally.Close() })
	for name, end := range map[string]*netlink.Link{"near": &c.near, "far": &c.far} {
		if *end, err = netlink.LinkByName(name); err != nil {
			t.Fatal(err)
		}
		// Without an address, IPv6 has nothing to say there.
		if err := netlink.LinkSetIP6AddrGenMode(*end, nl.IN6_ADDR_GEN_MODE_NONE); err != nil {
			t.Fatal(err)
		}
		if err := netlink.LinkSetUp(*end); err != nil {
			t.Fatal(err)
		}
	}
	attached, err := link.AttachXDP(link.XDPOptions{Interface: c.far.Attrs().Index, Program: end(c.tally), Flags: link.XDPDriverMode})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { attached.Close() })
	return c
}

// arrived waits until as many frames have come through the cable as were sent.
func (c *cable) arrived(t testing.TB, sent int) []uint32 {
	t.Helper()
	for range 100 {
		counts, err := c.tally.Counts()
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, v := range counts {
			n += int(v)
		}
		if n >= sent {
			return counts
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("fewer frames arrived than the %d that were sent", sent)
	return nil
}

// tallied is a plan of all that a tally tells apart.
var tallied = scenario{targets: "10.0.0.0/28", ports: "0-65535"}

// place is where a tally counts a position.
func place(p *plan.Plan, pos uint64) int {
	at := p.At(pos)
	a := at.Addr().As4()
	return int(a[3]&15)<<16 | int(at.Port())
}

// A storm of signals begins runs again and again, and yet every position has its
// frame once.
func TestEachPositionOnceInAStormOfSignals(t *testing.T) {
	if !lab.InNamespace(t) {
		return
	}
	c := newCable(t)
	p := tallied.plan(t, 5)
	g := load(t, config(framer(t, p, method.Table[0], 5), c.near.Attrs().Index, 1))
	stats, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	if err != nil {
		t.Fatal(err)
	}
	defer stats.Close()

	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	heard := make(chan os.Signal, 1)
	signal.Notify(heard, unix.SIGUSR1)
	defer signal.Stop(heard)
	var done atomic.Bool
	var storm sync.WaitGroup
	tid, signals := unix.Gettid(), 0
	storm.Go(func() {
		for ; !done.Load(); signals++ {
			unix.Tgkill(os.Getpid(), tid, unix.SIGUSR1)
			time.Sleep(time.Millisecond)
		}
	})
	r, err := g.Run(0, &plan.Span{To: p.Len()})
	done.Store(true)
	storm.Wait()
	if err != nil {
		t.Fatal(err)
	}
	s, err := g.Program(0).Stats()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d signals, %d runs of the program for %d frames, %d lost", signals, s.RunCount, r.Built, len(r.Lost))
	if signals < 100 || s.RunCount < uint64(r.Built)+100 {
		t.Errorf("%d signals interrupted too little", signals)
	}
	checkArrivals(t, c, p, r, p.Len())
}

// checkArrivals holds what arrived against what a run of the first positions of a
// plan says.
func checkArrivals(t *testing.T, c *cable, p *plan.Plan, r generate.Result, positions uint64) {
	t.Helper()
	if uint64(r.Built) != positions || r.Sent+len(r.Lost) != r.Built {
		t.Fatalf("%d built, %d sent, %d lost of %d", r.Built, r.Sent, len(r.Lost), positions)
	}
	counts := c.arrived(t, r.Sent)
	lost := map[uint64]bool{}
	for _, pos := range r.Lost {
		lost[pos] = true
	}
	for pos := range p.Len() {
		want := uint32(1)
		if pos >= positions || lost[pos] {
			want = 0
		}
		if got := counts[place(p, pos)]; got != want {
			t.Fatalf("position %d arrived %d times, want %d", pos, got, want)
		}
	}
}

// The same index is another device in another network namespace, where nothing may be
// sent.
func TestNothingIsSentFromAnotherNamespace(t *testing.T) {
	if !lab.InNamespace(t) {
		return
	}
	c := newCable(t)
	p := tallied.plan(t, 9)
	g := load(t, config(framer(t, p, method.Table[0], 9), c.near.Attrs().Index, 1))
	other, err := lab.NewNamespace("")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := other.Do(func() error {
		r, err := g.Run(0, &plan.Span{To: 10})
		if err == nil || r.Built != 0 {
			t.Errorf("%d frames were built, %v", r.Built, err)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	r, err := g.Run(0, &plan.Span{To: 10})
	if err != nil || r.Sent != 10 {
		t.Errorf("%d frames were sent at home, %v", r.Sent, err)
	}
}

// What a receiver does to a frame does not show in the next one on the same page.
func TestFramesAreWholeWhateverTheReceiverDoes(t *testing.T) {
	if !lab.InNamespace(t) {
		return
	}
	c := newCableTo(t, (*generate.Tally).Shorten)
	p := tallied.plan(t, 8)
	g := load(t, config(framer(t, p, method.Table[0], 8), c.near.Attrs().Index, 1))
	r, err := g.Run(0, &plan.Span{To: p.Len()})
	if err != nil {
		t.Fatal(err)
	}
	checkArrivals(t, c, p, r, p.Len())
}

// The far end takes microseconds for a frame and has one queue for two threads on
// two CPUs, so one of them finds it full; spans of 37 make it full in the middle of
// what it is offered at once. Lost tells exactly what did not arrive, and
// a listed span makes up for it.
func TestLostPositionsAreNamed(t *testing.T) {
	if !lab.InNamespace(t) {
		return
	}
	c := newCableTo(t, (*generate.Tally).Slow)
	p := tallied.plan(t, 6)
	g := load(t, config(framer(t, p, method.Table[0], 6), c.near.Attrs().Index, 2))
	const positions = 60_000
	both := atOnce(t, g, 37, plan.Span{To: positions / 2}, plan.Span{From: positions / 2, To: positions})
	t.Logf("%d built, %d sent, %d lost", both.Built, both.Sent, len(both.Lost))
	if len(both.Lost) < 1000 {
		t.Errorf("%d lost, too few for a test", len(both.Lost))
	}
	checkArrivals(t, c, p, both, positions)

	again := plan.Span{Listed: true, Pending: slices.Clone(both.Lost)}
	r, err := g.Run(0, &again)
	if err != nil || r.Built != again.Len() || len(r.Lost) > 0 {
		t.Fatalf("again: %d built, %d lost, %v", r.Built, len(r.Lost), err)
	}
	checkArrivals(t, c, p, generate.Result{Built: positions, Sent: both.Sent + r.Sent}, positions)
}

// atOnce runs spans at the same time, each in its slot and on its CPU, cut into
// spans of at most so many positions, and adds up what became of them.
func atOnce(t *testing.T, g *generate.Generator, most int, spans ...plan.Span) (sum generate.Result) {
	t.Helper()
	cpus := ownCPUs(t)
	results, errs := make([]generate.Result, len(spans)), make([]error, len(spans))
	var running sync.WaitGroup
	for i, whole := range spans {
		running.Go(func() {
			runtime.LockOSThread() // and its affinity ends with the goroutine
			var one unix.CPUSet
			one.Set(cpus[i%len(cpus)])
			errs[i] = unix.SchedSetaffinity(0, &one)
			for from := 0; from < whole.Len() && errs[i] == nil; from += most {
				part := whole
				if to := min(from+most, whole.Len()); whole.Listed {
					part.Pending = whole.Pending[from:to]
				} else {
					part.From, part.To = whole.From+uint64(from), whole.From+uint64(to)
				}
				var r generate.Result
				r, errs[i] = g.Run(i, &part)
				if !slices.IsSorted(r.Lost) {
					t.Errorf("slot %d: lost positions are not in order", i)
				}
				results[i].Built += r.Built
				results[i].Sent += r.Sent
				results[i].Lost = append(results[i].Lost, r.Lost...)
			}
		})
	}
	running.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		sum.Built += r.Built
		sum.Sent += r.Sent
		sum.Lost = append(sum.Lost, r.Lost...)
	}
	return sum
}

// ownCPUs returns those that the process may use.
func ownCPUs(t *testing.T) (cpus []int) {
	t.Helper()
	var allowed unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		t.Fatal(err)
	}
	for cpu := 0; len(cpus) < allowed.Count(); cpu++ {
		if allowed.IsSet(cpu) {
			cpus = append(cpus, cpu)
		}
	}
	return cpus
}

// Threads that run disjoint spans at the same time, lists among them.
func TestSlotsRunAtTheSameTime(t *testing.T) {
	if !lab.InNamespace(t) {
		return
	}
	c := newCable(t)
	const slots = 4
	p := tallied.plan(t, 7)
	g := load(t, config(framer(t, p, method.Table[0], 7), c.near.Attrs().Index, slots))
	spans := make([]plan.Span, slots)
	for i := range spans {
		s := &spans[i]
		s.From, s.To = uint64(i)*p.Len()/slots, uint64(i+1)*p.Len()/slots
		if i%2 == 1 {
			s.Listed = true
			for pos := s.From; pos < s.To; pos++ {
				s.Pending = append(s.Pending, pos)
			}
		}
	}
	sum := atOnce(t, g, 10_000, spans...)
	checkArrivals(t, c, p, sum, p.Len())
}

// Another program of the same process sends to the same device on the same CPU, from
// another thread, so that the two take turns in the middle of their runs.
func TestFramesOfOthersAreNotCounted(t *testing.T) {
	if !lab.InNamespace(t) {
		return
	}
	c := newCable(t)
	p := tallied.plan(t, 10)
	f := framer(t, p, method.Table[0], 10)
	g := load(t, config(f, c.near.Attrs().Index, 1))
	frame := f.Template(hop4, true)
	frame[13]++ // not IPv4, so that the tally leaves it alone
	other, err := generate.Bare(c.near.Attrs().Index, frame)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	var one unix.CPUSet
	one.Set(ownCPUs(t)[0])
	var done atomic.Bool
	var running sync.WaitGroup
	running.Go(func() {
		runtime.LockOSThread()
		if err := unix.SchedSetaffinity(0, &one); err != nil {
			t.Error(err)
		}
		for !done.Load() {
			if _, err := other.Run(&ebpf.RunOptions{Data: frame, Repeat: 1 << 18, Flags: 1 << 1, BatchSize: 64}); err != nil {
				t.Error(err)
				return
			}
		}
	})
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		t.Fatal(err)
	}
	r, err := g.Run(0, &plan.Span{To: p.Len()})
	done.Store(true)
	running.Wait()
	if err != nil {
		t.Fatal(err)
	}
	checkArrivals(t, c, p, r, p.Len())
}

func TestCloseGivesEverythingBack(t *testing.T) {
	needRoot(t)
	p := scenario{targets: "10.0.0.0/24", ports: "80"}.plan(t, 1)
	cfg := config(framer(t, p, method.Table[0], 1), 1, 3)
	files := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	var before int
	for i := range 5 {
		g, err := generate.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := g.Close(); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			before = files() // with what the library keeps
		}
	}
	if after := files(); after != before {
		t.Errorf("%d files are open, %d were", after, before)
	}
}

func TestDeviceThatIsDown(t *testing.T) {
	if !lab.InNamespace(t) {
		return
	}
	c := newCable(t)
	p := tallied.plan(t, 8)
	g := load(t, config(framer(t, p, method.Table[0], 8), c.near.Attrs().Index, 1))
	span := plan.Span{From: 10, To: 1010}

	if err := netlink.LinkSetDown(c.far); err != nil {
		t.Fatal(err)
	}
	r, err := g.Run(0, &span)
	if err != nil || r.Built != 1000 || r.Sent != 0 || len(r.Lost) != 1000 {
		t.Errorf("far end down: %d built, %d sent, %d lost, %v", r.Built, r.Sent, len(r.Lost), err)
	}
	if err := netlink.LinkSetDown(c.near); err != nil {
		t.Fatal(err)
	}
	r, err = g.Run(0, &span)
	if !errors.Is(err, generate.ErrDevice) || r.Built != 1000 || r.Sent != 0 || len(r.Lost) != 1000 || r.Lost[0] != 10 {
		t.Errorf("device down: %d built, %d sent, %d lost, %v", r.Built, r.Sent, len(r.Lost), err)
	}
}

// The responder counts what it sees, and that is all that was sent, by flags.
func TestASweepIsCountedByTheResponder(t *testing.T) {
	if !lab.InNamespace(t) {
		return
	}
	l := lab.New(t, lab.Config{Here: true})
	dev, err := net.InterfaceByName(lab.ScannerDevice)
	if err != nil {
		t.Fatal(err)
	}
	hop4.MAC, hop6.MAC = [6]byte(lab.GateMAC), [6]byte(lab.GateMAC)
	for _, m := range []*method.Method{method.ByName("syn"), method.ByName("maimon")} {
		p := scenario{targets: "10.0.0.0/18 fd00:10::/112", exclude: "10.0.1.0/24", ports: "80,443,8000-8010"}.plan(t, 9)
		g := load(t, config(framerFrom(t, p, m, 9, lab.Scanner4, lab.Scanner6), dev.Index, 1))
		if err := l.Responder.Reset(); err != nil {
			t.Fatal(err)
		}
		span := plan.Span{To: p.Len(), Try: 1}
		r, err := g.Run(0, &span)
		if err != nil {
			t.Fatal(err)
		}
		var c respond.Counters
		for range 100 {
			if c, err = l.Responder.Counters(); err != nil {
				t.Fatal(err)
			}
			if c.TCP[m.Flags] >= uint64(r.Sent) {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
		t.Logf("%s: %d built, %d sent, %d lost", m.Name, r.Built, r.Sent, len(r.Lost))
		if uint64(r.Built) != p.Len() || p.Len() < 1<<20 {
			t.Errorf("%d built of %d", r.Built, p.Len())
		}
		if c.TCP[m.Flags] != uint64(r.Sent) || r.Sent+len(r.Lost) != r.Built || c.BadChecksum+c.Malformed+c.NonTCP+c.Fragments > 0 {
			t.Errorf("%s: %d sent, %d lost; the responder saw %d, %+v", m.Name, r.Sent, len(r.Lost), c.TCP[m.Flags], c)
		}
	}
}
