package validate_test

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"math/rand/v2"
	"net/netip"
	"os"
	"testing"
	"time"

	"synoptic/bpf/validate"
	"synoptic/internal/cookie"
	"synoptic/internal/method"
	"synoptic/internal/plan"
	"synoptic/internal/target"
	"synoptic/internal/wire"
	"synoptic/rx"
)

// XDP verdicts, enum xdp_action in <linux/bpf.h>.
const (
	xdpDrop = 1
	xdpPass = 2
	xdpTX   = 3
)

var (
	source4 = netip.MustParseAddr("172.16.0.1")
	source6 = netip.MustParseAddr("fd00:172:16:2345:6789:abcd:ef12:3456")
	router4 = netip.MustParseAddr("172.16.0.2")
	router6 = netip.MustParseAddr("fd00:172:16::2")
	host4   = netip.MustParseAddr("10.1.2.3")
	host6   = netip.MustParseAddr("fd00:10::123")
	key     = cookie.NewKey(1)
)

const (
	port  = 61000
	ports = 3
)

var seedFlag = flag.Uint64("seed", 0, "seed of the random tests; 0 takes one from the clock")

// random returns a source of numbers whose seed the test names.
func random(t testing.TB) *rand.Rand {
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("go test -run '^%s$' -seed=%d", t.Name(), seed)
	return rand.New(rand.NewPCG(seed, 0))
}

func config(m *method.Method) validate.Config {
	return validate.Config{Method: m, Key: key, Source4: source4, Source6: source6, Port: port, Ports: ports}
}

// load loads a validator for the time of the test. The kernel wants root; a
// laptop without skips, CI must not.
func load(t testing.TB, cfg validate.Config) *validate.Validator {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("BPF tests need root, and CI=true forbids to skip them")
		}
		t.Skip("BPF tests need root")
	}
	v, err := validate.New(cfg)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(func() { v.Close() })
	return v
}

// classifier judges with a plan of all that the tests' endpoints are from.
func classifier(t testing.TB, m *method.Method) *rx.Classifier {
	t.Helper()
	set, _, err := target.Parse(context.Background(), target.Words("10.0.0.0/8", "fd00:10::/104"), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	all, err := target.ParsePorts("1-65535")
	if err != nil {
		t.Fatal(err)
	}
	p, err := plan.New(set, all, 1, plan.Whole)
	if err != nil {
		t.Fatal(err)
	}
	return &rx.Classifier{Plan: p, Method: m, Key: key, Match: rx.Match{Source4: source4, Source6: source6, Port: port, Ports: ports}}
}

func counters(t testing.TB, v *validate.Validator) validate.Counters {
	t.Helper()
	c, err := v.Counters()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// programs by name, and whether each is that of tcx.
var programs = map[string]bool{"xdp": false, "tcx": true}

// run puts a frame through the XDP program.
func run(t testing.TB, v *validate.Validator, frame, out []byte) (verdict uint32, after []byte) {
	t.Helper()
	return runAs(t, v, false, frame, out)
}

// runAs puts a frame through one of the programs. Verdicts are those of XDP.
func runAs(t testing.TB, v *validate.Validator, tcx bool, frame, out []byte) (verdict uint32, after []byte) {
	t.Helper()
	verdict, after, err := v.Run(tcx, frame, out)
	if err != nil {
		t.Fatalf("run %x: %v", frame, err)
	}
	return verdict, after
}

// read returns the record that waits, or nil.
func read(t testing.TB, v *validate.Validator) []byte {
	t.Helper()
	record, at, err := v.Read()
	if errors.Is(err, validate.ErrIdle) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	if off := time.Since(at); off < -time.Second || off > 10*time.Second {
		t.Fatalf("the answer came %v ago", off)
	}
	return record
}

// segment describes a TCP answer. Its bytes are made by hand, so that a million
// random ones take no time.
type segment struct {
	from, to netip.AddrPort
	flags    byte
	seq, ack uint32
	window   uint16
	options  int // bytes of TCP options, a multiple of 4
	data     int // and behind the header
	ip       shape
}

// shape is what an IP header may have beside the usual.
type shape struct {
	options    int    // IPv4: bytes of options, a multiple of 4
	extensions []byte // IPv6: headers before the upper one
	fragment   uint16 // IPv4's field, or IPv6's if it has such a header
	long       uint16 // so much more than there is is the length
}

func (s segment) tcp() []byte {
	b := make([]byte, 20+s.options+s.data)
	binary.BigEndian.PutUint16(b, s.from.Port())
	binary.BigEndian.PutUint16(b[2:], s.to.Port())
	binary.BigEndian.PutUint32(b[4:], s.seq)
	binary.BigEndian.PutUint32(b[8:], s.ack)
	b[12], b[13] = byte(20+s.options)/4<<4, s.flags
	binary.BigEndian.PutUint16(b[14:], s.window)
	for i := range s.options {
		b[20+i] = 1 // no operation
	}
	return b
}

func (s segment) bytes() []byte {
	return ethernet(s.ip.datagram(s.from.Addr(), s.to.Addr(), wire.ProtoTCP, s.tcp()))
}

var macs = []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2} // to the scanner, from the gate

func ethernet(datagram []byte) []byte {
	kind := []byte{0x08, 0x00}
	if datagram[0]>>4 == 6 {
		kind = []byte{0x86, 0xdd}
	}
	frame := append(append(append(make([]byte, 0, 14+len(datagram)), macs...), kind...), datagram...)
	return frame
}

const ttl = 61

func (s shape) datagram(src, dst netip.Addr, proto byte, upper []byte) []byte {
	if src.Is4() {
		ip := make([]byte, 20+s.options, 20+s.options+len(upper))
		ip[0], ip[8], ip[9] = 0x40|byte(len(ip)/4), ttl, proto
		binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)+len(upper))+s.long)
		binary.BigEndian.PutUint16(ip[6:], s.fragment)
		for i := range s.options {
			ip[20+i] = 1
		}
		copy(ip[12:], src.AsSlice())
		copy(ip[16:], dst.AsSlice())
		return append(ip, upper...)
	}
	ip := make([]byte, 40, 40+8*len(s.extensions)+len(upper))
	ip[0], ip[6], ip[7] = 0x60, proto, ttl
	copy(ip[8:], src.AsSlice())
	copy(ip[24:], dst.AsSlice())
	for i, kind := range s.extensions {
		header := make([]byte, 8, 24)
		header[0] = proto
		if i+1 < len(s.extensions) {
			header[0] = s.extensions[i+1]
		}
		switch {
		case kind == 44:
			binary.BigEndian.PutUint16(header[2:], s.fragment)
		case i%3 == 2 && kind == 51:
			header[1] = 2
			header = append(header, make([]byte, 8)...)
		case i%3 == 2:
			header[1] = 1
			header = append(header, make([]byte, 8)...)
		}
		ip = append(ip, header...)
	}
	if len(s.extensions) > 0 {
		ip[6] = s.extensions[0]
	}
	ip = append(ip, upper...)
	binary.BigEndian.PutUint16(ip[4:], uint16(len(ip)-40)+s.long)
	return ip
}

// icmp describes an ICMP error that quotes a probe.
type icmp struct {
	from, to       netip.Addr
	source, target netip.AddrPort
	kind, code     byte
	seq            uint32
	quote          int // bytes of the quoted TCP header
	ip, quoted     shape
}

func (e icmp) bytes() []byte {
	tcp := segment{from: e.source, to: e.target, flags: wire.SYN, seq: e.seq}.tcp()
	quote := e.quoted.datagram(e.source.Addr(), e.target.Addr(), wire.ProtoTCP, tcp)
	message := append([]byte{e.kind, e.code, 0, 0, 0, 0, 0, 0}, quote[:len(quote)-len(tcp)+e.quote]...)
	proto := byte(wire.ProtoICMP)
	if e.from.Is6() {
		proto = wire.ProtoICMP6
	}
	return ethernet(e.ip.datagram(e.from, e.to, proto, message))
}
