package validate

import (
	"fmt"

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

// Run puts a frame through the program of XDP or of tcx: its verdict, as XDP has it,
// and the frame afterwards, which is in out.
func (v *Validator) Run(tcx bool, frame, out []byte) (verdict uint32, after []byte, err error) {
	opts := ebpf.RunOptions{Data: frame, DataOut: out[:cap(out)]}
	verdict, err = v.Program(tcx).Run(&opts)
	if tcx && err == nil {
		var known bool
		if verdict, known = verdicts[int32(verdict)]; !known {
			err = fmt.Errorf("verdict %d of tcx", int32(verdict))
		}
	}
	return verdict, opts.DataOut, err
}

// verdicts of tcx, enum tcx_action_base in <linux/bpf.h>, and what they are in XDP,
// enum xdp_action.
var verdicts = map[int32]uint32{-1: xdpPass, 2: 1, 7: 3}

// Program is one of the programs itself, to measure it.
func (v *Validator) Program(tcx bool) *ebpf.Program {
	if tcx {
		return v.objects.ValidateTcx
	}
	return v.objects.Validate
}

// Empty returns a program that passes every frame: what any program costs.
func Empty(tcx bool) (*ebpf.Program, error) {
	spec := &ebpf.ProgramSpec{
		Type:         ebpf.XDP,
		Flags:        1 << 5, // BPF_F_XDP_HAS_FRAGS, as ours
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, xdpPass), asm.Return()},
		License:      "MIT",
	}
	if tcx {
		spec.Type, spec.Flags, spec.Instructions[0] = ebpf.SchedCLS, 0, asm.Mov.Imm(asm.R0, -1)
	}
	return ebpf.NewProgram(spec)
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
