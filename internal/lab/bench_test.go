package lab

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"synoptic/bpf/respond"
)

// BenchmarkResponder is how fast the simulated hosts take probes that the
// scanner's kernel makes up itself: one frame, sent again and again by XDP
// (BPF_PROG_RUN with live frames), so that next to nothing else is measured.
// Both ends and the link share one core here.
func BenchmarkResponder(b *testing.B) {
	for _, state := range []respond.State{respond.Silent, respond.Closed, respond.Open, respond.Rejected} {
		b.Run("state="+state.String(), func(b *testing.B) {
			cfg := respond.DefaultConfig()
			cfg.Rejected = respond.Fraction(1, 64)
			l := New(b, Config{Respond: &cfg})
			truth, at := cfg.Truth(), netip.MustParseAddrPort("10.0.0.1:1")
			for truth.State(at) != state {
				at = netip.AddrPortFrom(at.Addr(), at.Port()+1)
			}
			frame := segment(b, GateMAC, 20000, at, respond.SYN)[:54]
			transmit, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.XDP, License: "Dual MIT/GPL", Instructions: writing(frame)})
			if err != nil {
				b.Fatal(err)
			}
			defer transmit.Close()
			const burst = 1 << 16
			sent := uint64(0)
			if err := l.Scanner.Do(func() error {
				dev, err := net.InterfaceByName(ScannerDevice)
				if err != nil {
					return err
				}
				// struct xdp_md
				context := struct{ data, end, meta, ifindex, queue, egress uint32 }{end: uint32(len(frame)), ifindex: uint32(dev.Index)}
				for b.Loop() {
					_, err := transmit.Run(&ebpf.RunOptions{Data: frame, Repeat: burst, Flags: 2, BatchSize: 64, Context: context})
					if err != nil {
						return err
					}
					sent += burst
				}
				return nil
			}); err != nil {
				b.Fatal(err)
			}
			probes, replies, err := l.Overruns()
			if err != nil {
				b.Fatal(err)
			}
			c, err := l.Responder.Counters()
			if err != nil {
				b.Fatal(err)
			}
			if c.Frames()+probes < sent {
				b.Errorf("%d sent, %d seen, %d refused", sent, c.Frames(), probes)
			}
			seconds := b.Elapsed().Seconds()
			b.ReportMetric(float64(c.Frames())/seconds, "pps")
			b.ReportMetric(float64(probes)/float64(sent), "probes-refused")
			b.ReportMetric(float64(replies)/float64(max(c.Replies(), 1)), "replies-refused")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// writing is an XDP program that sends the frame. The kernel does not write a
// recycled page anew, and the responder has been there, so the program does.
func writing(frame []byte) asm.Instructions {
	ins := asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, 0, asm.Word), // data
		asm.LoadMem(asm.R3, asm.R1, 4, asm.Word), // data_end
		asm.Mov.Imm(asm.R0, 1),                   // XDP_DROP
		asm.Mov.Reg(asm.R4, asm.R2),
		asm.Add.Imm(asm.R4, int32(len(frame))),
		asm.JGT.Reg(asm.R4, asm.R3, "out"),
	}
	for i := 0; i < len(frame); i += 2 {
		ins = append(ins, asm.StoreImm(asm.R2, int16(i), int64(binary.NativeEndian.Uint16(frame[i:])), asm.Half))
	}
	return append(ins, asm.Mov.Imm(asm.R0, 3), asm.Return().WithSymbol("out")) // XDP_TX
}
