package rx

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"synoptic/internal/wire"
)

// Match says which packets can be answers: to one of our source addresses and,
// for TCP, to one of Ports source ports from Port on.
type Match struct {
	Source4, Source6 netip.Addr // invalid: the scan has none of this family
	Port, Ports      uint16
	Link             wire.Link
}

// snapLen is how much of a packet is kept: Ethernet, IPv6 with a few extension
// headers, ICMPv6, and the quote of an IPv6 header and 8 bytes of TCP with as
// many more, or IPv4 with options twice.
const snapLen = 256

// Filter returns the classic BPF program for a match. The kernel runs it on
// every packet of the device, so it decides early: SYN+ACKs and resets to our
// ports, ICMP errors to our address, and (rarely) IPv6 packets to our address
// with extension headers, which a linear program cannot follow; the decoder
// does. It refuses no answer that the decoder takes, but behind a VLAN tag, which
// the kernel has taken off before; tested against the decoder in bpf.VM.
func (m Match) Filter() []bpf.Instruction {
	var a assembler
	ip := uint32(0)
	if m.Link == wire.Ethernet {
		ip = wire.EthernetLen
		a.load(12, 2)
		a.jumpIf(wire.EtherIPv4, "ipv4")
		a.jumpIf(wire.EtherIPv6, "ipv6")
	} else {
		a.load(0, 1)
		a.add(bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 4})
		a.jumpIf(4, "ipv4")
		a.jumpIf(6, "ipv6")
	}
	a.jump("drop")

	a.label("ipv4")
	if m.Source4.Is4() {
		source := m.Source4.As4()
		a.load(ip+16, 4)
		a.jumpUnless(binary.BigEndian.Uint32(source[:]), "drop")
		a.load(ip+6, 2)
		a.jumpIfBits(0x1fff, "drop") // not the first fragment
		a.add(bpf.LoadMemShift{Off: ip})
		a.load(ip+9, 1)
		a.jumpIf(wire.ProtoTCP, "tcp4")
		a.jumpUnless(wire.ProtoICMP, "drop")
		a.loadIndirect(ip, 1)
		a.jumpIf(3, "accept")
		a.jumpIf(11, "accept")
		a.jump("drop")
		a.label("tcp4")
		m.tcp(&a, func(off uint32, size int) { a.loadIndirect(ip+off, size) })
	}
	a.jump("drop")

	a.label("ipv6")
	if m.Source6.Is6() {
		source := m.Source6.As16()
		for i := range uint32(4) {
			a.load(ip+24+i*4, 4)
			a.jumpUnless(binary.BigEndian.Uint32(source[i*4:]), "drop")
		}
		a.load(ip+6, 1)
		a.jumpIf(wire.ProtoTCP, "tcp6")
		a.jumpIf(wire.ProtoICMP6, "icmp6")
		for _, extension := range []uint32{0, 43, 44, 51, 60} {
			a.jumpIf(extension, "accept")
		}
		a.jump("drop")
		a.label("icmp6")
		a.load(ip+wire.IPv6Len, 1)
		for _, kind := range []uint32{1, 3, 4} {
			a.jumpIf(kind, "accept")
		}
		a.jump("drop")
		a.label("tcp6")
		m.tcp(&a, func(off uint32, size int) { a.load(ip+wire.IPv6Len+off, size) })
	}

	a.label("drop")
	a.add(bpf.RetConstant{Val: 0})
	a.label("accept")
	a.add(bpf.RetConstant{Val: snapLen})
	return a.assemble()
}

// incoming is the kernel's own part of the filter, which bpf.VM cannot run:
// packets that this machine sends are not answers, though on loopback they can
// look so.
func incoming() []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.PACKET_OUTGOING, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
	}
}

// tcp emits the test of a TCP header that load reads from.
func (m Match) tcp(a *assembler, load func(off uint32, size int)) {
	load(2, 2)
	a.add(bpf.ALUOpConstant{Op: bpf.ALUOpSub, Val: uint32(m.Port)})
	a.jumpIfAtLeast(uint32(m.Ports), "drop") // unsigned: below Port as well
	load(13, 1)
	a.jumpIfBits(wire.RST, "accept")
	a.add(bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: wire.SYN | wire.ACK})
	a.jumpIf(wire.SYN|wire.ACK, "accept")
	a.jump("drop")
}

// assembler collects instructions whose jumps name labels further down.
type assembler struct {
	program []bpf.Instruction
	labels  map[string]int
	jumps   map[int]string // instruction -> label
}

func (a *assembler) add(i bpf.Instruction) { a.program = append(a.program, i) }

func (a *assembler) load(off uint32, size int) { a.add(bpf.LoadAbsolute{Off: off, Size: size}) }

func (a *assembler) loadIndirect(off uint32, size int) {
	a.add(bpf.LoadIndirect{Off: off, Size: size})
}

func (a *assembler) label(name string) {
	if a.labels == nil {
		a.labels = make(map[string]int)
	}
	a.labels[name] = len(a.program)
}

// branch emits a conditional test around an unconditional jump, which reaches
// any distance; the conditional ones reach 255 instructions.
func (a *assembler) branch(cond bpf.JumpTest, val uint32, label string) {
	a.add(bpf.JumpIf{Cond: cond, Val: val, SkipFalse: 1})
	a.jump(label)
}

func (a *assembler) jumpIf(val uint32, label string)     { a.branch(bpf.JumpEqual, val, label) }
func (a *assembler) jumpUnless(val uint32, label string) { a.branch(bpf.JumpNotEqual, val, label) }
func (a *assembler) jumpIfBits(val uint32, label string) { a.branch(bpf.JumpBitsSet, val, label) }
func (a *assembler) jumpIfAtLeast(val uint32, label string) {
	a.branch(bpf.JumpGreaterOrEqual, val, label)
}

func (a *assembler) jump(label string) {
	if a.jumps == nil {
		a.jumps = make(map[int]string)
	}
	a.jumps[len(a.program)] = label
	a.add(bpf.Jump{})
}

func (a *assembler) assemble() []bpf.Instruction {
	for at, label := range a.jumps {
		a.program[at] = bpf.Jump{Skip: uint32(a.labels[label] - at - 1)}
	}
	return a.program
}
