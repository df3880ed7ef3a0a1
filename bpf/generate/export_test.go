package generate

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"

	"github.com/cilium/ebpf"

	"synoptic/internal/plan"
	"synoptic/internal/target"
	"synoptic/internal/wire"
)

// Program returns that of a slot, for its statistics.
func (g *Generator) Program(slot int) *ebpf.Program { return g.slots[slot].prog }

// Begin gives slot 0 positions to build frames of by its program, sending none.
func (g *Generator) Begin(span *plan.Span, size int) error { return g.begin(0, span, 0, size) }

// Next builds the next of them.
func (g *Generator) Next(dst []byte) ([]byte, error) { return g.buildNext(dst) }

// Built returns how many frames slot 0 has built since.
func (g *Generator) Built() (uint64, error) {
	err := g.read(0)
	return g.slots[0].state.Built, err
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
	spec, err := bare(device, frame)
	if err != nil {
		return nil, err
	}
	var o struct {
		Bare *ebpf.Program `ebpf:"bare"`
	}
	return o.Bare, spec.LoadAndAssign(&o, nil)
}

// Replayed is how many frames Replay takes.
const Replayed = 65536

// Replay is Bare with as many probes over IPv4 to one port, one after the other, again
// and again.
func Replay(device int, frames [][]byte) (*ebpf.Program, error) {
	spec, err := bare(device, frames[0])
	if err != nil {
		return nil, err
	}
	var o struct {
		Replay      *ebpf.Program `ebpf:"replay"`
		Differences *ebpf.Map     `ebpf:"differences"`
	}
	if err := spec.LoadAndAssign(&o, nil); err != nil {
		return nil, err
	}
	defer o.Differences.Close()
	values := make([]labDifference, len(frames))
	for i, f := range frames {
		values[i] = labDifference{
			Target: binary.NativeEndian.Uint32(f[30:]), Seq: binary.NativeEndian.Uint32(f[38:]),
			IpCheck: binary.NativeEndian.Uint16(f[24:]), TcpCheck: binary.NativeEndian.Uint16(f[50:]),
		}
	}
	return o.Replay, fill(o.Differences, values)
}

// bare prepares the programs that send a frame, or such as are like it.
func bare(device int, frame []byte) (*ebpf.CollectionSpec, error) {
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
	return spec, errors.Join(v.BareFrame.Set(words), v.BareDevice.Set(uint32(device)))
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

// Check tells whether the generator can send by a device, by sending one frame that
// nobody takes. The error says what is missing: a newer kernel, a capability, or a
// device that takes frames of XDP (ErrDevice). The calling thread's network
// namespace is the one that counts.
func Check(device int) error {
	dev, err := net.InterfaceByIndex(device)
	if err != nil {
		return fmt.Errorf("find the device of index %d: %w", device, err)
	}
	if err := check(dev); err != nil {
		return fmt.Errorf("try to send by %q from within the kernel: %w", dev.Name, err)
	}
	return nil
}

func check(dev *net.Interface) error {
	if len(dev.HardwareAddr) != 6 {
		return Unsupported("a link other than Ethernet")
	}
	// A plan is needed for the tables, and has no probe sent.
	targets, _, err := target.Parse(context.Background(), target.Words("127.0.0.1"), nil, nil)
	if err != nil {
		return err
	}
	ports, err := target.ParsePorts("1")
	if err != nil {
		return err
	}
	p, err := plan.New(targets, ports, 0, plan.Whole)
	if err != nil {
		return err
	}
	template := make([]byte, wire.EthernetLen+wire.IPv4Len+wire.TCPLen)
	copy(template[6:], dev.HardwareAddr)
	binary.BigEndian.PutUint16(template[12:], wire.EtherIPv4)
	g, err := load(Config{Plan: p, Frame4: template, Device: dev.Index})
	if err != nil {
		return err
	}
	return errors.Join(g.check(), g.Close())
}

// Build writes the frame of a position's try into dst and returns it. It is sent
// nowhere. Slot 0 may not be running.
func (g *Generator) Build(dst []byte, pos uint64, try int) ([]byte, error) {
	s := &g.slots[0]
	s.state = bpfSlot{Size: 1, SourcePort: g.sourcePort(try)}
	s.state.At.Row, s.state.At.Col = g.cell(pos)
	if err := g.write(0); err != nil {
		return nil, fmt.Errorf("build a probe: %w", err)
	}
	return g.buildNext(dst)
}

// buildNext writes the frame that is the next of slot 0's run.
func (g *Generator) buildNext(dst []byte) ([]byte, error) {
	o := ebpf.RunOptions{Data: g.frame, DataOut: dst[:cap(dst)]}
	verdict, err := g.slots[0].prog.Run(&o)
	if err != nil {
		return nil, fmt.Errorf("build a probe: %w", err)
	}
	if verdict != xdpRedirect {
		return nil, errors.New("build a probe: the position has no frame")
	}
	return o.DataOut, nil
}

// xdpRedirect is XDP_REDIRECT of <linux/bpf.h>.
const xdpRedirect = 4
