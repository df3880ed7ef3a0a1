package watch

import (
	"encoding/binary"
	"net/netip"
	"os"
	"testing"
	"time"
)

// defaultRules are the lines of the policies that are on by default.
func defaultRules() Rules {
	return Rules{
		Window: Line{On: true, Span: 300 * time.Millisecond, Threshold: 21, High: 1, Low: 3, Trap: 10},
		Gap:    Line{On: true, Span: 3 * time.Second, Threshold: 21, Reaches: true, High: 1, Low: 3},
		Traps:  []uint16{11, 12, 13, 2000},
		V6Bits: 64,
	}
}

// needRoot skips a test that the kernel would refuse; under CI=true it fails.
func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("BPF tests need root, and CI=true forbids to skip them")
	}
	t.Skip("BPF tests need root")
}

func loadFor(t testing.TB, cfg Config, rules Rules) *Watch {
	t.Helper()
	needRoot(t)
	w, err := Load(cfg, rules)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

const (
	fin = 1 << iota
	syn
	rst
	psh
	ack
	urg
)

const (
	tcp = 6
	udp = 17
)

// segment describes a frame; bytes builds it.
type segment struct {
	src, dst netip.AddrPort
	flags    byte
	header   int  // bytes of TCP header; 0 means 20
	udp      bool // a datagram instead
}

func (s segment) bytes() []byte {
	header := max(s.header, 20)
	l4 := make([]byte, header)
	binary.BigEndian.PutUint16(l4, s.src.Port())
	binary.BigEndian.PutUint16(l4[2:], s.dst.Port())
	protocol := byte(tcp)
	if s.udp {
		protocol, l4 = udp, l4[:8]
		binary.BigEndian.PutUint16(l4[4:], 8)
	} else {
		l4[12], l4[13] = byte(header/4)<<4, s.flags
	}
	eth := make([]byte, 14)
	if s.src.Addr().Is6() {
		eth[12], eth[13] = 0x86, 0xdd
		ip := make([]byte, 40)
		ip[0], ip[6], ip[7] = 0x60, protocol, 61
		binary.BigEndian.PutUint16(ip[4:], uint16(len(l4)))
		src, dst := s.src.Addr().As16(), s.dst.Addr().As16()
		copy(ip[8:], src[:])
		copy(ip[24:], dst[:])
		return append(append(eth, ip...), l4...)
	}
	eth[12] = 8
	ip := make([]byte, 20)
	ip[0], ip[8], ip[9] = 0x45, 61, protocol
	binary.BigEndian.PutUint16(ip[2:], uint16(20+len(l4)))
	src, dst := s.src.Addr().As4(), s.dst.Addr().As4()
	copy(ip[12:], src[:])
	copy(ip[16:], dst[:])
	return append(append(eth, ip...), l4...)
}

func at(a string, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(a), port)
}
