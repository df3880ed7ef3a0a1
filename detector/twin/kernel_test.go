package twin

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"testing"
	"time"

	"synoptic/bpf/watch"
)

// pair is the kernel program and its twin, which are shown the same.
type pair struct {
	kernel *watch.Watch
	twin   *Twin
	now    uint64
	seen   [2][]watch.Snapshot
}

func newPair(t testing.TB, cfg watch.Config, rules watch.Rules) *pair {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("BPF tests need root, and CI=true forbids to skip them")
		}
		t.Skip("BPF tests need root")
	}
	cfg.Memory, cfg.Key, cfg.Replay = watch.MinMemory, watch.Key{1e18 + 7, 3e18 + 1, 5e18 + 3, 7e18 + 9, 9e18 + 5}, true
	kernel, err := watch.Load(cfg, rules)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(func() { kernel.Close() })
	sets, err := watch.SetsFor(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &pair{kernel: kernel, twin: newTwin(t, Config{Sets: int(sets), Key: cfg.Key, Gateway: cfg.Gateway}, rules), now: start}
}

// run shows both a frame and compares what they tell of it.
func (p *pair) run(frame []byte, context watch.Context) error {
	if err := p.kernel.Run(frame, p.now, context); err != nil {
		return err
	}
	if err := p.twin.Run(frame, p.now, context); err != nil {
		return err
	}
	for i, read := range []func(func(*watch.Snapshot)) error{p.kernel.Read, p.twin.Read} {
		p.seen[i] = p.seen[i][:0]
		if err := read(func(s *watch.Snapshot) { p.seen[i] = append(p.seen[i], clone(s)) }); err != nil {
			return err
		}
	}
	if !slices.EqualFunc(p.seen[0], p.seen[1], alike) {
		return fmt.Errorf("after % x at %d, context %d:\nkernel %+v\ntwin   %+v", frame, p.now, context, p.seen[0], p.seen[1])
	}
	return nil
}

func alike(a, b watch.Snapshot) bool {
	if len(a.Probes) == 0 && len(b.Probes) == 0 {
		a.Probes, b.Probes = nil, nil
	}
	if len(a.Packets) == 0 && len(b.Packets) == 0 {
		a.Packets, b.Packets = nil, nil
	}
	return reflect.DeepEqual(a, b)
}

// counters compares the books.
func (p *pair) counters() error {
	k, err := p.kernel.Counters()
	if err != nil {
		return err
	}
	if t, _ := p.twin.Counters(); k != t {
		return fmt.Errorf("\nkernel %+v\ntwin   %+v", k, t)
	}
	return nil
}

// sources compares all that is remembered.
func (p *pair) sources() error {
	k := map[watch.Ref]watch.Snapshot{}
	err := p.kernel.Sources(func(s *watch.Snapshot) { k[s.Ref] = clone(s) })
	if err != nil {
		return err
	}
	n := 0
	p.twin.Sources(func(s *watch.Snapshot) {
		n++
		if other, ok := k[s.Ref]; err == nil && (!ok || !alike(other, *s)) {
			err = fmt.Errorf("place %d:\nkernel %+v\ntwin   %+v", s.Ref, other, *s)
		}
	})
	if err == nil && n != len(k) {
		err = fmt.Errorf("the kernel remembers %d sources, the twin %d", len(k), n)
	}
	return err
}

// variants are the ways in which both may be configured.
var variants = []struct {
	name  string
	cfg   watch.Config
	rules func() watch.Rules
}{
	{"default", watch.Config{}, defaults},
	{"gateway", watch.Config{Gateway: true}, defaults},
	{"packets", watch.Config{Packets: true}, withPackets},
	{"packets_not_on", watch.Config{Packets: true}, defaults},
	{"udp_counted", watch.Config{}, func() watch.Rules { r := defaults(); r.UDP = watch.UDPCount; return r }},
	{"udp_off_v6_128", watch.Config{}, func() watch.Rules { r := defaults(); r.UDP, r.V6Bits = watch.UDPOff, 128; return r }},
	{"gap_off", watch.Config{}, func() watch.Rules { r := defaults(); r.Gap.On = false; r.V6Bits = 1; return r }},
	{"filtered", watch.Config{Packets: true}, func() watch.Rules {
		r := withPackets()
		r.Count = watch.Filter{
			{Test: watch.TestDestinationPort, Lo: 1, Hi: 60000, Yes: 2, No: 1},
			{Test: watch.TestFamily, Lo: 6, Hi: 6, Yes: watch.Pass, No: 3},
			{Test: watch.TestSource, Prefix: prefix("10.0.1.0/24"), Yes: watch.Reject, No: watch.Pass},
			{Test: watch.TestProtocol, Lo: 1, Hi: 17, Yes: watch.Pass, No: watch.Reject},
		}
		r.Score = watch.Filter{
			{Test: watch.TestDestination, Prefix: prefix("2001:db8:ffff::/48"), Yes: 1, No: watch.Pass},
			{Test: watch.TestSourcePort, Lo: 40000, Hi: 40000, Yes: watch.Pass, No: watch.Reject},
		}
		return r
	}},
}

// seeds are frames of every shape that the programs tell apart.
func seeds() [][]byte {
	return [][]byte{
		raw(ether4 + ip4tcp + tcp), raw(ether6 + ip6tcp + tcp), raw(ether4 + ip4udp + udp),
		raw(macs + `8100 0002 0800` + ip4tcp + tcp),
		raw(macs + `88a8 0002 8100 0003 0800` + ip4tcp + tcp),
		raw(macs + `8100 0002 9100 0003 8100 0004 0800` + ip4tcp + tcp),
		raw(ether4 + `45 00 001c 0001 2000 40 06 0000` + addrs4 + `3039 0050 00000001`),
		raw(ether4 + `45 00 0028 0001 0001 40 06 0000` + addrs4 + tcp),
		raw(ether4 + `46 00 0024 0001 0000 40 84 0000` + addrs4 + `01010100 3039 0050 00000001 00000000`),
		raw(ether6 + `60000000 0030 00 40` + addrs6 + `33 00 010400000000 2c 01 0000 00000001 00000002 06 00 0001 00000001` + tcp),
		raw(ether6 + `60000000 0024 3c 40` + addrs6 + `06 01 010c 00000000`),
		testPacket{tiny: true, from: "2001:db8::9"}.frame(),
		testPacket{header: 40}.frame(),
		raw(ether4 + `45 00 001c 0001 0000 40 01 0000` + addrs4 + `0800 0000 00010001`),
	}
}

// frame makes one that is likely to matter: of few sources, ports and flags, and
// now and then damaged.
func frame(r *rand.Rand, shapes [][]byte) []byte {
	f := testPacket{
		from: nth(r.IntN(6)), to: nth(1000 + r.IntN(3)), port: []uint16{0, 1, 11, 22, 80, 443, 1023, 1024, 2000, 8080, 65535}[r.IntN(11)],
		flags: byte(r.IntN(64)), noFlags: true, header: 20 + 4*r.IntN(11), ttl: byte(r.IntN(255)) + 1, udp: r.IntN(6) == 0, tiny: r.IntN(20) == 0,
	}
	switch r.IntN(8) {
	case 0:
		f.from = fmt.Sprintf("2001:db8:0:%x::%x", r.IntN(3), r.IntN(3)+1)
		f.to = fmt.Sprintf("2001:db8:ffff::%x", r.IntN(100)+1)
	case 1: // a flood
		f.from = nth(r.IntN(1 << 16))
		f.flags = SYN
	case 2, 3, 4: // a scan
		f.from, f.flags, f.port, f.udp, f.tiny = nth(7), SYN, uint16(r.IntN(3000)), false, false
	}
	b := f.frame()
	if r.IntN(10) == 0 {
		b = slices.Clone(shapes[r.IntN(len(shapes))])
	}
	if r.IntN(10) == 0 {
		for range r.IntN(4) {
			b[r.IntN(len(b))] = byte(r.Uint32())
		}
	}
	if r.IntN(20) == 0 {
		b = b[:r.IntN(len(b)+1)]
	}
	return b
}

// TestKernelAgrees shows both random traffic with times that stand at the edges
// of the policies, run backwards, or pause.
func TestKernelAgrees(t *testing.T) {
	for i, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			p := newPair(t, v.cfg, v.rules())
			seed := uint64(time.Now().UnixNano())
			t.Logf("seed %d", seed)
			r := rand.New(rand.NewPCG(seed, uint64(i)))
			told := 0
			for n := range 60_000 {
				switch r.IntN(40) {
				case 0:
					p.now += uint64(300*time.Millisecond) + uint64(r.IntN(3)) - 1
				case 1:
					p.now += uint64(3*time.Second) + uint64(r.IntN(3)) - 1
				case 2:
					p.now += uint64(50*time.Millisecond) + uint64(r.IntN(3)) - 1
				case 3:
					p.now -= uint64(r.IntN(int(time.Second)))
				case 4, 5, 6, 7:
				default:
					p.now += uint64(r.IntN(int(30 * time.Millisecond)))
				}
				if err := p.run(frame(r, seeds()), watch.Context(r.IntN(6)%3)); err != nil {
					t.Fatalf("frame %d: %v", n, err)
				}
				told += len(p.seen[0])
				if n%1000 == 0 {
					if err := p.counters(); err != nil {
						t.Fatalf("after %d frames: %v", n+1, err)
					}
				}
			}
			if err := p.counters(); err != nil {
				t.Error(err)
			}
			if err := p.sources(); err != nil {
				t.Error(err)
			}
			if c, _ := p.twin.Counters(); told < 100 || c.Sources < 1000 && c.Filtered == 0 || c.EvictedIdle+c.EvictedLive == 0 && v.name == "default" {
				t.Errorf("the traffic had no force: %d snapshots, %+v", told, c)
			}
		})
	}
}

// The line is crossed by the port that crosses it, however few there are.
func TestKernelAgreesOnTheFirstPorts(t *testing.T) {
	for n := range uint16(4) {
		rules := defaults()
		for _, line := range []*watch.Line{&rules.Window, &rules.Gap} {
			line.Threshold, line.Reaches = uint32(line.Low)*uint32(n+1), true
		}
		p := newPair(t, watch.Config{}, rules)
		for port := range n + 1 {
			p.now++
			if err := p.run(low(100+port).frame(), watch.Unknown); err != nil {
				t.Fatal(err)
			}
			if port == n && len(p.seen[0]) != 1 {
				t.Errorf("a line at %d ports: %d snapshots after so many", n+1, len(p.seen[0]))
			}
		}
	}
}

// FuzzKernel shows both a sequence of frames: each begins with a byte for what
// the world knows of it, three for the time since the one before, in units of
// 10 microseconds, and two for its length. Both remember what was before.
func FuzzKernel(f *testing.F) {
	pairs := make([]*pair, len(variants))
	for i, v := range variants {
		pairs[i] = newPair(f, v.cfg, v.rules())
	}
	var all []byte
	for i, s := range seeds() {
		one := binary.LittleEndian.AppendUint16([]byte{byte(i % 3), 1, 0, 0}, uint16(len(s)))
		one = append(one, s...)
		f.Add(uint8(i), one)
		all = append(all, one...)
	}
	f.Add(uint8(0), all)
	f.Fuzz(func(t *testing.T, variant uint8, in []byte) {
		p := pairs[int(variant)%len(pairs)]
		for len(in) >= 6 {
			size := min(int(binary.LittleEndian.Uint16(in[4:])), len(in)-6)
			p.now += uint64(in[1])*1e4 + uint64(in[2])*256e4 + uint64(in[3])*65536e4
			if err := p.run(in[6:6+size], watch.Context(in[0]%3)); err != nil {
				t.Fatal(err)
			}
			in = in[6+size:]
		}
		if err := p.counters(); err != nil {
			t.Fatal(err)
		}
	})
}
