package validate_test

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"synoptic/bpf/validate"
	"synoptic/internal/lab"
	"synoptic/internal/method"
	"synoptic/internal/wire"
)

// sendInPages sends a frame by a device of the calling thread's network namespace as a
// packet of which only the Ethernet header is in one piece, as that of a
// PACKET_TX_RING is (tpacket_fill_skb, net/packet/af_packet.c).
func sendInPages(device string, frame []byte) error {
	dev, err := netlink.LinkByName(device)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V2); err != nil {
		return err
	}
	const size = 1 << 14
	ring := unix.TpacketReq{Block_size: size, Block_nr: 1, Frame_size: size, Frame_nr: 1}
	if err := unix.SetsockoptTpacketReq(fd, unix.SOL_PACKET, unix.PACKET_TX_RING, &ring); err != nil {
		return err
	}
	slot, err := unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	defer unix.Munmap(slot)
	copy(slot[unix.SizeofTpacket2Hdr:], frame)
	binary.NativeEndian.PutUint32(slot[4:], uint32(len(frame)))      // tp_len of struct tpacket2_hdr
	binary.NativeEndian.PutUint32(slot, unix.TP_STATUS_SEND_REQUEST) // tp_status
	return unix.Sendto(fd, nil, 0, &unix.SockaddrLinklayer{Ifindex: dev.Attrs().Index})
}

// An answer whose headers are in pages of their own is judged by them like any other;
// so is what is nearly one, and a tag keeps it from being one, though tcx sees none.
func TestHeadersInPages(t *testing.T) {
	l := lab.New(t, lab.Config{})
	host := l.MustAddHost(t, lab.HostConfig{Place: lab.OwnLink})
	v := load(t, config(method.ByName("syn")))
	if err := l.Scanner.Do(func() error {
		dev, err := netlink.LinkByName(host.Near)
		if err == nil {
			_, err = v.Attach(dev.Attrs().Index, validate.TCX)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	at4, at6 := netip.AddrPortFrom(host4, 80), netip.AddrPortFrom(host6, 80)
	options, extended, wrong, large := synAck(at4, port), synAck(at6, port), synAck(at6, port), synAck(at4, port+1)
	options.ip.options, extended.ip.extensions, large.data = 40, []byte{0, 60, 43}, 1300
	options.flags, extended.flags = wire.RST|wire.ACK, wire.RST|wire.ACK
	wrong.ack += 5
	rejected := icmp{from: router4, to: source4, source: netip.AddrPortFrom(source4, port), target: at4, kind: 3, code: 13, quote: 8}
	rejected.seq = key.Of(rejected.target, rejected.source)
	plain := synAck(at4, port+2).bytes()
	valid, foreign := validate.Counters{Valid: 1}, validate.Counters{Foreign: 1}
	for _, c := range []struct {
		fact  string
		frame []byte
		want  validate.Counters
	}{
		{"ipv4", synAck(at4, port).bytes(), valid},
		{"ipv6", synAck(at6, port).bytes(), valid},
		{"ipv4_options", options.bytes(), valid},
		{"ipv6_extensions", extended.bytes(), valid},
		{"with_data", large.bytes(), valid},
		{"icmp_error", rejected.bytes(), valid},
		{"wrong_cookie", wrong.bytes(), validate.Counters{BadCookie: 1}},
		{"another_port", synAck(at4, port-1).bytes(), foreign},
		{"tagged", slices.Concat(plain[:12], []byte{0x81, 0, 0, 5}, plain[12:]), foreign},
		{"untagged", plain, valid},
	} {
		before := counters(t, v)
		if err := host.Namespace.Do(func() error { return sendInPages(host.Far, c.frame) }); err != nil {
			t.Fatal(err)
		}
		// The device hears other things, too, as questions for neighbours.
		var got validate.Counters
		for end := time.Now().Add(time.Second); got.Frames() == 0 || got.Valid+got.BadCookie < c.want.Valid+c.want.BadCookie; time.Sleep(time.Millisecond) {
			after := counters(t, v)
			got = validate.Counters{Foreign: after.Foreign - before.Foreign, BadCookie: after.BadCookie - before.BadCookie, Valid: after.Valid - before.Valid, Unreset: after.Unreset}
			if time.Now().After(end) {
				break
			}
		}
		news := read(t, v) != nil
		if got.Valid != c.want.Valid || got.BadCookie != c.want.BadCookie || got.Foreign < c.want.Foreign || news != (c.want == valid) || got.Unreset > 0 {
			t.Errorf("%s: %+v, news: %v", c.fact, got, news)
		}
	}
}

// What GRO has put together is nobody's answer, whatever it looks like, and is told by
// that alone.
func TestSeveralSegmentsAreNoAnswer(t *testing.T) {
	v := load(t, config(method.ByName("syn")))
	frame := synAck(netip.AddrPortFrom(host4, 80), port).bytes()
	skb := make([]byte, 192)
	for _, gso := range []uint32{1448, 0} {
		binary.NativeEndian.PutUint32(skb[176:], gso) // gso_size of struct __sk_buff, <linux/bpf.h>
		if _, err := v.Program(true).Run(&ebpf.RunOptions{Data: frame, Context: skb, DataOut: make([]byte, 4096)}); err != nil {
			t.Fatal(err)
		}
		if news := read(t, v) != nil; news != (gso == 0) {
			t.Errorf("gso_size %d: is news: %v", gso, news)
		}
	}
}
