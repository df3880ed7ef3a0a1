package generate

import (
	"github.com/cilium/ebpf"

	"synoptic/internal/plan"
)

// Program returns that of a slot, for its statistics.
func (g *Generator) Program(slot int) *ebpf.Program { return g.slots[slot].prog }

// Begin gives slot 0 positions to build frames of by its program, sending none.
func (g *Generator) Begin(span *plan.Span, size int) error { return g.begin(0, span, 0, size) }

// Built returns how many frames slot 0 has built since.
func (g *Generator) Built() (uint64, error) {
	s := &g.slots[0].state
	err := g.objects.Slots.Lookup(uint32(0), s)
	return s.Built, err
}

// Tally is an XDP program that counts frames by their IPv4 target: the last 4 bits
// of its address and its port.
type Tally struct{ objects labObjects }

// LoadTally loads it.
func LoadTally() (*Tally, error) {
	t := new(Tally)
	return t, loadLabObjects(&t.objects, nil)
}

// Program returns it.
func (t *Tally) Program() *ebpf.Program { return t.objects.Tally }

// Slow returns a program that does the same and takes some microseconds for a frame.
func (t *Tally) Slow() *ebpf.Program { return t.objects.SlowTally }

// Shorten returns a program that does the same and sends each frame back, shorter.
func (t *Tally) Shorten() *ebpf.Program { return t.objects.Shorten }

// Sink returns a program that does no more than to drop and count all frames.
func (t *Tally) Sink() *ebpf.Program { return t.objects.Sink }

// Pass returns a program that leaves all frames to the system.
func (t *Tally) Pass() *ebpf.Program { return t.objects.Pass }

// Sunk returns how many those were.
func (t *Tally) Sunk() (n uint64, err error) {
	err = t.objects.Sunk.Get(&n)
	return n, err
}

// Bare returns the program of the barest loop: one frame of 58 bytes, the same each
// time, to a device. Where the generator's is, keeps Park.
func Bare(device int, frame []byte) (*ebpf.Program, error) {
	spec, err := loadLab()
	if err != nil {
		return nil, err
	}
	var v labVariableSpecs
	if err := spec.Assign(&v); err != nil {
		return nil, err
	}
	var words [8]uint64
	for i, b := range frame {
		words[i/8] |= uint64(b) << (i % 8 * 8)
	}
	if err := v.BareFrame.Set(words); err != nil {
		return nil, err
	}
	if err := v.BareDevice.Set(uint32(device)); err != nil {
		return nil, err
	}
	var o struct {
		Bare *ebpf.Program `ebpf:"bare"`
	}
	return o.Bare, spec.LoadAndAssign(&o, nil)
}

// Counts returns how often each target had a frame.
func (t *Tally) Counts() ([]uint32, error) {
	counts := make([]uint32, t.objects.Counts.MaxEntries())
	keys := make([]uint32, len(counts))
	var cursor ebpf.MapBatchCursor
	_, err := t.objects.Counts.BatchLookup(&cursor, keys, counts, nil)
	return counts, err
}

// Close unloads it.
func (t *Tally) Close() error { return t.objects.Close() }

// Park keeps a program where the generator's are.
func Park(p *ebpf.Program) (interface{ Close() error }, error) { return park([]*ebpf.Program{p}) }
