package validate

import (
	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// Sizes of the two kinds of records.
const (
	RecordLen     = recordLen
	RecordFromLen = recordFromLen
)

// AwaitLink waits for a link.
var AwaitLink = awaitLink

// Run puts a frame through the program: its verdict, and the frame afterwards,
// which is in out.
func (v *Validator) Run(frame, out []byte) (verdict uint32, after []byte, err error) {
	opts := ebpf.RunOptions{Data: frame, DataOut: out[:cap(out)]}
	verdict, err = v.objects.Validate.Run(&opts)
	return verdict, opts.DataOut, err
}

// Program is the program itself, to measure it.
func (v *Validator) Program() *ebpf.Program { return v.objects.Validate }

// Empty returns a program that passes every frame: what any XDP program costs.
func Empty() (*ebpf.Program, error) {
	return ebpf.NewProgram(&ebpf.ProgramSpec{
		Type:         ebpf.XDP,
		Flags:        1 << 5, // BPF_F_XDP_HAS_FRAGS, as ours
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, xdpPass), asm.Return()},
		License:      "MIT",
	})
}

const xdpPass = 2 // enum xdp_action in <linux/bpf.h>

// Forget empties the memory of recent answers.
func (v *Validator) Forget() error {
	keys, marks := make([]uint32, v.objects.Recents.MaxEntries()), make([]uint64, v.objects.Recents.MaxEntries())
	for i := range keys {
		keys[i] = uint32(i)
	}
	_, err := v.objects.Recents.BatchUpdate(keys, marks, nil)
	return err
}

// Frames is the number of all frames seen.
func (c *Counters) Frames() uint64 {
	return c.Foreign + c.BadCookie + c.Valid + c.Duplicate + c.Full
}
