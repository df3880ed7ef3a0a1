package bench

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"synoptic/bpf/respond"
	"synoptic/bpf/validate"
	"synoptic/internal/cookie"
	"synoptic/internal/lab"
	"synoptic/internal/method"
	"synoptic/internal/plan"
	"synoptic/internal/target"
	"synoptic/internal/wire"
	"synoptic/rx"
)

// BenchmarkReceive floods a receiver with valid answers, each of another endpoint, as
// fast as the other core can send them. answers/s is how many it yields a second;
// missing are those for which it had no room, each counted as lost by the receiver.
// The time of the processor is that of this process but for the flood's thread. On a
// veth pair that thread also runs what the kernel does with an answer, so that shows in
// answers/s only.
func BenchmarkReceive(b *testing.B) {
	set, _, err := target.Parse(b.Context(), target.Words(standard.targets), nil, nil)
	if err != nil {
		b.Fatal(err)
	}
	ports, err := target.ParsePorts("80")
	if err != nil {
		b.Fatal(err)
	}
	p, err := plan.New(set, ports, 1, plan.Whole)
	if err != nil {
		b.Fatal(err)
	}
	class := rx.Classifier{
		Plan: p, Method: method.ByName("syn"), Key: cookie.NewKey(1),
		Match: rx.Match{Source4: lab.Scanner4, Port: 61000, Ports: 1, Link: wire.Ethernet},
	}
	for _, receiver := range []string{"ring", "kernel"} {
		for _, answer := range []struct {
			name  string
			flags uint8
		}{{"syn_ack", respond.SYN | respond.ACK}, {"reset", respond.RST | respond.ACK}} {
			b.Run(fmt.Sprintf("receiver=%s/answer=%s", receiver, answer.name), func(b *testing.B) {
				l := lab.New(b, lab.Config{})
				var speed, missing, cost []float64
				for b.Loop() {
					r := receive(b, l, receiver, class, answer.flags)
					speed, missing, cost = append(speed, r.pps), append(missing, float64(p.Len()-r.probes)), append(cost, r.cpu)
				}
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(median(speed), "answers/s")
				b.ReportMetric(median(missing), "missing")
				b.ReportMetric(median(cost), "cpu-ns/answer")
			})
		}
	}
}

// receive sends one answer for each endpoint of a plan to a new receiver, and fails
// unless each was yielded once, or counted as lost.
func receive(t testing.TB, l *lab.Lab, receiver string, class rx.Classifier, flags uint8) outcome {
	t.Helper()
	source := openSource(t, l, receiver, &class)
	defer source.Close()
	r := rx.New(rx.Input{Source: source, Class: &class})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	before := processTime(t)
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	heard := make([]bool, class.Plan.Len())
	counted := make(chan [2]uint64)
	go func() {
		var valid, doubled uint64
		for batch := range r.Replies() {
			for i := range batch {
				if heard[batch[i].Pos] {
					doubled++
				}
				heard[batch[i].Pos] = true
				valid++
			}
			r.Release(batch)
		}
		counted <- [2]uint64{valid, doubled}
	}()

	frame := answers(t, &class, flags)
	var f lab.Flooded
	used, err := threadTime(func() (err error) {
		f, err = l.Gate.Flood(ctx, lab.Flood{Device: lab.GateDevice, Packets: class.Plan.Len(), Time: patience, Frame: frame})
		return err
	})
	if err != nil || f.Sent != class.Plan.Len() {
		t.Fatalf("%d answers were sent: %v", f.Sent, err)
	}
	time.Sleep(50 * time.Millisecond) // what is on the way is there, and is read before the end
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	took, cpu := f.Elapsed, processTime(t)-before-used
	n := <-counted
	drops, err := source.Drops()
	if err != nil {
		t.Fatal(err)
	}
	if valid, doubled := n[0], n[1]; doubled != 0 || valid == 0 || valid+drops != f.Sent {
		t.Fatalf("of %d answers %d were yielded, %d of them again, and %d dropped: %+v", f.Sent, valid, doubled, drops, r.Stats())
	}
	return outcome{pps: float64(n[0]) / took.Seconds(), cpu: float64(cpu.Nanoseconds()) / float64(n[0]), probes: n[0], elapsed: took}
}

// openSource opens what answers are heard by in the scanner's namespace.
func openSource(t testing.TB, l *lab.Lab, receiver string, class *rx.Classifier) (source rx.Source) {
	t.Helper()
	if err := l.Scanner.Do(func() (err error) {
		if receiver == "ring" {
			source, err = rx.OpenRing(lab.ScannerDevice, class.Match, rx.RingBlocks)
			return err
		}
		dev, err := net.InterfaceByName(lab.ScannerDevice)
		if err != nil {
			return err
		}
		v, err := validate.New(validate.Config{Method: class.Method, Key: class.Key, Source4: class.Source4, Port: class.Port, Ports: class.Ports})
		if err != nil {
			return err
		}
		source = rx.NewKernel(v)
		_, err = v.Attach(dev.Index, validate.Native)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return source
}

// answers returns what writes a flood's n-th answer: that of the n-th address.
func answers(t testing.TB, class *rx.Classifier, flags uint8) func(n uint64, buf *[1514]byte) int {
	t.Helper()
	to := netip.AddrPortFrom(class.Source4, class.Port)
	first := netip.MustParsePrefix(standard.targets).Addr()
	frame := segment(t, lab.ScannerMAC, netip.AddrPortFrom(first, 80), to, flags)
	const ip, tcp = wire.EthernetLen, wire.EthernetLen + wire.IPv4Len
	clear(frame[ip+10 : ip+12])
	clear(frame[tcp+16 : tcp+18])
	return func(n uint64, buf *[1514]byte) int {
		copy(buf[:], frame)
		binary.BigEndian.PutUint32(buf[ip+12:], binary.BigEndian.Uint32(frame[ip+12:])+uint32(n))
		from := netip.AddrPortFrom(netip.AddrFrom4([4]byte(buf[ip+12:])), 80)
		binary.BigEndian.PutUint32(buf[tcp+8:], class.Key.Of(from, to)+1)
		binary.BigEndian.PutUint16(buf[ip+10:], wire.Checksum(wire.Sum(0, buf[ip:tcp])))
		binary.BigEndian.PutUint16(buf[tcp+16:], wire.Checksum(wire.Sum(wire.ProtoTCP+wire.TCPLen, buf[ip+12:segmentLen])))
		return segmentLen
	}
}

// processTime is the time of the processor that this process has taken.
func processTime(t testing.TB) time.Duration {
	t.Helper()
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		t.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
