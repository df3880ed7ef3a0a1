package generate

import (
	"bytes"
	"errors"
	"fmt"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"synoptic/internal/cookie"
	"synoptic/internal/plan"
)

// MinKernel is the first Linux that has all that is needed: BPF_PROG_RUN with
// live frames.
const MinKernel = "5.18"

// Bounds of what the generator takes.
const (
	MaxRanges = 1 << 20 // intervals of targets, of each family
	MaxSlots  = 64
)

// Unsupported is the error of a Config that the generator cannot serve, though
// another transmitter may; the text says which of its bounds it is beyond.
type Unsupported string

func (u Unsupported) Error() string { return string(u) + ": the kernel's generator does not take that" }

// Config says what is sent, and by which device. It is one device and, for each
// family, one next hop.
type Config struct {
	Plan *plan.Plan
	Key  cookie.Key
	// CookieInAck: the acknowledgment number carries the cookie, too.
	CookieInAck bool
	// SourcePort and PortStep are those of tx.Probe.
	SourcePort, PortStep uint16
	// Frame4 and Frame6 are the templates of a probe to the next hop, as
	// tx.Framer.Template makes them; one is nil if the plan does not need it.
	Frame4, Frame6 []byte
	// Device is the index of the interface that sends, in the network namespace of the
	// thread that calls New, which is that of all that run the generator.
	Device int
	// Slots is how many threads run it at once; 0 means 1.
	Slots int
}

// Generator is the loaded program with its tables. Different slots may be run at
// the same time, each by one goroutine.
type Generator struct {
	config  Config
	objects bpfObjects
	slots   []slot
	shared  *ebpf.Memory // the map of slots
	trace   link.Link
	parking *parking
	frame   []byte // of the length with which a run begins
	space   uint64 // the network namespace that the device is of
}

// slot is what a goroutine runs.
type slot struct {
	prog   *ebpf.Program
	attr   progRun
	state  bpfSlot
	lost   []uint64
	keys   []uint32 // of its list, in the map of lists
	thread int      // that is known to be in the device's network namespace; 0: none
}

// New loads the generator. The error is an Unsupported for a plan or frames that
// are beyond its bounds. A verifier's complaint is printed in full by formatting
// the error with %+v.
func New(cfg Config) (*Generator, error) {
	g, err := load(cfg)
	if err != nil {
		return nil, fmt.Errorf("load the generator: %w", err)
	}
	return g, nil
}

func load(cfg Config) (_ *Generator, err error) {
	if cfg.Slots == 0 {
		cfg.Slots = 1
	}
	if cfg.Slots < 0 || cfg.Slots > MaxSlots {
		return nil, Unsupported(fmt.Sprintf("%d threads, not 1 to %d", cfg.Slots, MaxSlots))
	}
	t, err := encode(&cfg)
	if err != nil {
		return nil, err
	}
	spec, err := loadBpf()
	if err != nil {
		return nil, err
	}
	spec.Maps[bpfMapSlots].MaxEntries = uint32(cfg.Slots)
	spec.Maps[bpfMapPending].MaxEntries = uint32(cfg.Slots * runPositions)
	if err := t.assign(spec, &cfg); err != nil {
		return nil, err
	}
	// Longer than any frame: see cut in generate.bpf.c. And not zeros, so that a byte
	// which the program forgets to write does not look right.
	g := &Generator{config: cfg, frame: bytes.Repeat([]byte{0xa5}, t.frameLen+4)}
	defer func() {
		if err != nil {
			g.Close()
		}
	}()
	if g.space, err = networkSpace(); err != nil {
		return nil, err
	}
	if err := spec.LoadAndAssign(&g.objects, nil); err != nil {
		return nil, explain(err)
	}
	if err := t.fill(&g.objects.bpfMaps); err != nil {
		return nil, err
	}
	if g.shared, err = g.objects.Slots.Memory(); err != nil {
		return nil, err
	}
	g.slots = make([]slot, cfg.Slots)
	g.slots[0].prog = g.objects.Generate
	for i := 1; i < cfg.Slots; i++ {
		if g.slots[i].prog, err = g.another(spec, uint32(i)); err != nil {
			return nil, err
		}
	}
	programs := make([]*ebpf.Program, cfg.Slots)
	for i := range g.slots {
		programs[i] = g.slots[i].prog
		keys := make([]uint32, runPositions)
		for k := range keys {
			keys[k] = uint32(i*runPositions + k)
		}
		g.slots[i].keys = keys
	}
	g.trace, err = link.AttachTracing(link.TracingOptions{Program: g.objects.Xmit})
	if err != nil {
		return nil, fmt.Errorf("attach to the tracepoint xdp_devmap_xmit: %w", explain(err))
	}
	if g.parking, err = park(programs); err != nil {
		return nil, err
	}
	// A run without positions sends nothing, but tells whether runs are possible.
	if err = g.run(0, g.frame, 1); errors.Is(err, unix.EINVAL) {
		err = fmt.Errorf("this kernel does not run programs with live frames: Linux %s or newer is needed: %w", MinKernel, ebpf.ErrNotSupported)
	}
	return g, err
}

// another loads the program once more, for another slot. They share all but the
// slot's number, which is a constant in each.
func (g *Generator) another(spec *ebpf.CollectionSpec, number uint32) (*ebpf.Program, error) {
	var vars bpfVariableSpecs
	if err := spec.Assign(&vars); err != nil {
		return nil, err
	}
	if err := vars.SlotNumber.Set(number); err != nil {
		return nil, err
	}
	var o struct {
		Generate *ebpf.Program `ebpf:"generate"`
	}
	err := spec.LoadAndAssign(&o, &ebpf.CollectionOptions{MapReplacements: map[string]*ebpf.Map{
		bpfMapSlots: g.objects.Slots, bpfMapPending: g.objects.Pending, bpfMapAtWork: g.objects.AtWork, bpfMapPorts: g.objects.Ports,
		bpfMapRanges4: g.objects.Ranges4, bpfMapRanges6: g.objects.Ranges6, bpfMapGuide4: g.objects.Guide4, bpfMapGuide6: g.objects.Guide6,
	}})
	return o.Generate, err
}

// explain tells what a kernel or a process lacks.
func explain(err error) error {
	if errors.Is(err, unix.EPERM) || err != nil && !perfmon() {
		return fmt.Errorf("the capabilities CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON are needed: %w", unix.EPERM)
	}
	if errors.Is(err, ebpf.ErrNotSupported) {
		return fmt.Errorf("this kernel is too old or built without it (CONFIG_DEBUG_INFO_BTF, CONFIG_BPF_EVENTS): Linux %s or newer is needed: %w", MinKernel, err)
	}
	return err
}

// perfmon tells whether the calling thread has CAP_PERFMON, or CAP_SYS_ADMIN, which
// stands for it. Without, the kernel does not refuse a program, but calls it invalid,
// because it then knows no helper that gives away an address.
func perfmon() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return false
	}
	has := func(capability uint) bool { return data[capability/32].Effective&(1<<(capability%32)) != 0 }
	return has(unix.CAP_PERFMON) || has(unix.CAP_SYS_ADMIN)
}

// Close unloads the generator. No slot may be running.
func (g *Generator) Close() error {
	var err error
	if g.trace != nil {
		err = g.trace.Close()
	}
	if g.parking != nil {
		err = errors.Join(err, g.parking.Close())
	}
	for i := 1; i < len(g.slots); i++ {
		if g.slots[i].prog != nil {
			err = errors.Join(err, g.slots[i].prog.Close())
		}
	}
	return errors.Join(err, g.objects.Close())
}

// runPositions is RUN_POSITIONS of maps.bpf.h.
const runPositions = int(unsafe.Sizeof(bpfSlot{}.Lost)) * 8
