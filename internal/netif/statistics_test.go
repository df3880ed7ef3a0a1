package netif

import (
	"errors"
	"testing"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The netlink library, which the program uses where it is in no hurry, is the oracle.
func TestStatisticsAreTheLibrarys(t *testing.T) {
	s, err := openStatistics()
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	links, err := netlink.LinkList()
	if err != nil || len(links) == 0 {
		t.Fatalf("%d interfaces, %v", len(links), err)
	}
	for _, before := range links {
		a := before.Attrs()
		d, err := s.of(int32(a.Index), -1)
		if err != nil {
			t.Fatal(err)
		}
		after, err := netlink.LinkByIndex(a.Index)
		if err != nil {
			t.Fatal(err)
		}
		if d.kind != before.Type() && !(d.kind == "" && before.Type() == "device") {
			t.Errorf("%s is %q, the library says %q", a.Name, d.kind, before.Type())
		}
		if before.Type() == "veth" && (d.peer != int32(a.ParentIndex) || d.space != int32(a.NetNsID)) {
			t.Errorf("the far end of %s is %d in %d, the library says %d in %d", a.Name, d.peer, d.space, a.ParentIndex, a.NetNsID)
		}
		// Counters only rise, and traffic goes on.
		least, got, most := words((*netlink.LinkStatistics64)(a.Statistics)), words(&d.counters), words((*netlink.LinkStatistics64)(after.Attrs().Statistics))
		for i := range got {
			if got[i] < least[i] || got[i] > most[i] {
				t.Errorf("counter %d of %s is %d, not in %d..%d", i, a.Name, got[i], least[i], most[i])
			}
		}
	}
	if _, err := s.of(1<<30, -1); !errors.Is(err, unix.ENODEV) {
		t.Errorf("of no interface: %v", err)
	}
}

type counterWords = [unsafe.Sizeof(netlink.LinkStatistics64{}) / 8]uint64

func words(s *netlink.LinkStatistics64) *counterWords { return (*counterWords)(unsafe.Pointer(s)) }

// What is asked fifty times a second leaves nothing to collect, and an answer that is
// cut off somewhere is none, or has less in it.
func TestStatisticsAllocateNothing(t *testing.T) {
	s, err := openStatistics()
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if n := testing.AllocsPerRun(100, func() {
		if _, err := s.of(1, -1); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	for n := unix.SizeofNlMsghdr; n < 2000; n++ {
		if _, err := parseDevice(s.answer[:n]); n < unix.SizeofNlMsghdr+unix.SizeofIfInfomsg && err == nil {
			t.Errorf("%d bytes are an answer", n)
		}
	}
}
