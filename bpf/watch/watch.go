package watch

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"
)

// MinKernel is the first Linux that has all that the program needs. XDP for
// frames larger than a page came with 5.18; with 5.19 a process that has given
// its privileges up may still read maps that it holds. TCX needs 6.6.
const (
	MinKernel  = "5.19"
	minVersion = 5<<16 | 19<<8 // KERNEL_VERSION(5, 19, 0) of <linux/version.h>
)

// Bounds of Config.Memory, and its default, in bytes.
const (
	MinMemory     = 4 << 20
	DefaultMemory = 64 << 20
	MaxMemory     = 16 << 30
)

// ErrMemory is returned by Load for a Config.Memory out of bounds.
var ErrMemory = errors.New("memory must be from 4MiB to 16GiB")

// Config is what stays the same while the program is loaded.
type Config struct {
	Memory  uint64 // bytes for sources, ring and flows; 0 means DefaultMemory
	Gateway bool   // the packets are for other machines: do not ask this one's sockets
	Packets bool   // Rules.Packets may be On; takes a third of the places and the fast way of ACKs
	Replay  bool   // packets come by Run, with their own time and Context
	// Key of the table's hash; zero means a random one. A table with a known
	// key can be filled on purpose.
	Key Key
}

// Key makes the table's hash.
type Key [5]uint64

// RandomKey returns a new Key.
func RandomKey() (k Key) {
	for i := range k {
		k[i] = random()
	}
	return k
}

// Set returns the number of a source's set among sets of them. The source is
// the 16 bytes of its address, masked, an IPv4 address as ::ffff:a.b.c.d. The
// same is in table.bpf.h, with the reasons.
func (k *Key) Set(source [16]byte, sets uint32) uint32 {
	word := func(i int) uint64 { return uint64(binary.LittleEndian.Uint32(source[4*i:])) }
	hash := (k[0]+word(1))*(k[1]+word(0)) + (k[2]+word(3))*(k[3]+word(2)) + k[4]
	hash = (hash ^ hash>>32) * 0xd6e8feb86659fd93
	return uint32((hash >> 32) * uint64(sets) >> 32)
}

// Watch is the loaded program with its memory. Read and Wait are for one
// goroutine, Run is for one; the other methods are safe for concurrent use,
// except Close.
type Watch struct {
	objects bpfObjects
	events  *ringbuf.Reader
	record  ringbuf.Record
	snap    Snapshot
	config  Config
	sets    uint32
	run     ebpf.RunOptions
	short   atomic.Uint64 // frames that are too short for Run

	mu     sync.Mutex
	rules  [2]bpfRules // as the program has them
	active uint32
	v6Bits atomic.Int32
}

// Load loads the program; Attach or Run puts it to work. A verifier's
// complaint is printed in full by formatting the error with %+v.
func Load(cfg Config, rules Rules) (*Watch, error) {
	w, err := load(cfg, rules)
	if err != nil {
		return nil, fmt.Errorf("load the detector's program: %w", err)
	}
	return w, nil
}

func load(cfg Config, rules Rules) (_ *Watch, err error) {
	sets, err := SetsFor(cfg)
	if err != nil {
		return nil, err
	}
	spec, err := loadBpf()
	if err != nil {
		return nil, err
	}
	var vars bpfVariableSpecs
	if err := spec.Assign(&vars); err != nil {
		return nil, err
	}
	spec.Maps[bpfMapTable].MaxEntries = sets
	if cfg.Packets {
		spec.Maps[bpfMapPackets].MaxEntries = sets
	}
	if cfg.Key == (Key{}) {
		cfg.Key = RandomKey()
	}
	err = errors.Join(vars.Sets.Set(sets), vars.TableKey.Set(cfg.Key), vars.FlowKey.Set([2]uint64{random(), random()}),
		vars.Replay.Set(cfg.Replay), vars.Gateway.Set(cfg.Gateway), vars.OverPackets.Set(cfg.Packets))
	if err != nil {
		return nil, err
	}
	w := &Watch{config: cfg, sets: sets}
	if err := spec.LoadAndAssign(&w.objects, nil); err != nil {
		return nil, explain(err)
	}
	defer func() {
		if err != nil {
			w.Close()
		}
	}()
	if w.events, err = ringbuf.NewReader(w.objects.Events); err != nil {
		return nil, err
	}
	return w, w.SetRules(rules)
}

// explain tells what a kernel or a process lacks.
func explain(err error) error {
	if errors.Is(err, unix.EPERM) {
		return errPrivileges
	}
	if errors.Is(err, ebpf.ErrNotSupported) {
		return fmt.Errorf("this kernel is too old or built without it: Linux %s or newer is needed: %w", MinKernel, err)
	}
	if err := features.HaveMapType(ebpf.RingBuf); errors.Is(err, ebpf.ErrNotSupported) {
		return fmt.Errorf("this kernel is too old: Linux %s or newer is needed: %w", MinKernel, err)
	}
	return err
}

// SetsFor returns how many sets of 8 sources a Config's memory has room for.
func SetsFor(cfg Config) (uint32, error) {
	if cfg.Memory == 0 {
		cfg.Memory = DefaultMemory
	}
	if cfg.Memory < MinMemory || cfg.Memory > MaxMemory {
		return 0, ErrMemory
	}
	const fixed = 1<<20 + flows*8 + likelyNext // ring, flows and what is likely next
	size := uint64(unsafe.Sizeof(bpfSet{}))
	if cfg.Packets {
		size += uint64(unsafe.Sizeof(bpfPacketSet{}))
	}
	return uint32((cfg.Memory - fixed) / size), nil
}

const (
	ways  = len(bpfSet{}.Way)
	flows = 1 << 16 // FLOWS in maps.bpf.h

	likelyNext = 1 << 16 // NEXT there, of bytes

	activeCount = 2 // ACTIVE_COUNT there
)

// Places is how many sources there is room for.
func (w *Watch) Places() int { return int(w.sets) * ways }

func random() uint64 {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return binary.NativeEndian.Uint64(b[:])
}

// SetRules replaces the rules at once, while the program runs. Sources keep
// what is remembered of them.
func (w *Watch) SetRules(rules Rules) error {
	if rules.Packets.On && !w.config.Packets {
		return errors.New("set rules: a policy over packets must be on from the start")
	}
	encoded, err := rules.encode()
	if err != nil {
		return fmt.Errorf("set rules: %w", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.active = 1 - w.active
	w.rules[w.active] = *encoded
	w.v6Bits.Store(int32(rules.V6Bits))
	// The half in force is written over with what it has.
	if err = w.objects.Rules.Set(&w.rules); err == nil {
		inForce := w.active
		if encoded.Count != Pass {
			inForce |= activeCount
		}
		err = w.objects.Active.Set(inForce)
	}
	if err != nil {
		return fmt.Errorf("set rules: %w", err)
	}
	return nil
}

// Close takes the program away, from wherever it is attached.
func (w *Watch) Close() error {
	var err error
	if w.events != nil {
		err = w.events.Close()
	}
	return errors.Join(err, w.objects.Close())
}
