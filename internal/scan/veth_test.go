package scan

import (
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"

	"synoptic/internal/lab"
	"synoptic/internal/netif"
)

const xdpDrop = 1 // enum xdp_action in <linux/bpf.h>

// What a veth's ring had no room for is counted, whoever sent it: an XDP program or,
// as here, a socket at the far end, whose drops count only there.
func TestDropsOfAVethAreCountedWhoeverSent(t *testing.T) {
	lab.NeedRoot(t)
	l := lab.New(t, lab.Config{Queues: 1})
	slow, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.XDP, License: "MIT", Instructions: asm.Instructions{
		asm.Mov.Imm(asm.R1, 20000),
		asm.Sub.Imm(asm.R1, 1).WithSymbol("turn"),
		asm.JNE.Imm(asm.R1, 0, "turn"),
		asm.Mov.Imm(asm.R0, xdpDrop),
		asm.Return(),
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	received := func() (n uint64, drops *netif.Drops) {
		if err := l.Scanner.Do(func() error {
			dev, err := netlink.LinkByName(lab.ScannerDevice)
			if err != nil {
				return err
			}
			n = dev.Attrs().Statistics.RxPackets
			drops, err = (&netif.Link{Kind: netif.Ethernet, Index: dev.Attrs().Index, Name: lab.ScannerDevice}).OpenDrops()
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return n, drops
	}
	if err := l.Scanner.Do(func() error { // native, so that there is a ring
		dev, err := netlink.LinkByName(lab.ScannerDevice)
		if err != nil {
			return err
		}
		at, err := link.AttachXDP(link.XDPOptions{Interface: dev.Attrs().Index, Program: slow, Flags: link.XDPDriverMode})
		if err == nil {
			t.Cleanup(func() { at.Close() })
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := l.Gate.Do(func() error { // whom the program would keep from answering
		dev, err := netlink.LinkByName("br0") // the gate's own address is there
		if err != nil {
			return err
		}
		return netlink.NeighSet(&netlink.Neigh{LinkIndex: dev.Attrs().Index, State: netlink.NUD_PERMANENT,
			IP: lab.Scanner4.AsSlice(), HardwareAddr: lab.ScannerMAC})
	}); err != nil {
		t.Fatal(err)
	}
	before, drops := received()
	defer drops.Close()
	const each = 1 << 14
	frames, in, after := uint64(0), uint64(0), uint64(0)
	count := func() {
		var more *netif.Drops
		after, more = received()
		more.Close()
		if err := l.Scanner.Do(func() (err error) {
			in, _, err = drops.Count()
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	for round := 0; in < 100; round++ {
		if round == 50 {
			t.Fatalf("only %d of %d frames were dropped, too few for a test", in, frames)
		}
		frames += 2 * each
		twice(t, l, each)
		count()
	}
	for end := time.Now().Add(5 * time.Second); after-before+in < frames && time.Now().Before(end); count() {
		time.Sleep(10 * time.Millisecond) // the ring is emptied
	}
	// A few frames are nobody's here, as questions for neighbours.
	if sum := after - before + in; sum < frames || sum > frames+100 {
		t.Errorf("%d frames, %d arrived, %d dropped", frames, after-before, in)
	}
}

// twice sends so many datagrams from each of two threads at the gate: on two processors,
// of which one empties the ring.
func twice(t *testing.T, l *lab.Lab, each int) {
	t.Helper()
	var running sync.WaitGroup
	for range 2 {
		running.Go(func() {
			var conn net.Conn
			err := l.Gate.Do(func() (err error) {
				conn, err = net.Dial("udp4", netip.AddrPortFrom(lab.Scanner4, 9).String())
				return err
			})
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			for range each {
				conn.Write([]byte("answer")) // nobody says whether it got there
			}
		})
	}
	running.Wait()
}
