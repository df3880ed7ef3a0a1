package netif

import (
	"testing"

	"github.com/vishvananda/netlink"
)

func TestBacklogAddsUpTheSecondColumn(t *testing.T) {
	got, err := sumBacklog("0000ffff 00000002 00000000 00000000\n00000001 0000000a 00000003\n")
	if err != nil || got != 12 {
		t.Errorf("%d, %v", got, err)
	}
	for _, bad := range []string{"00000001\n", "1 xyz\n"} {
		if _, err := sumBacklog(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestDropsOfAnIdleInterfaceAreNone(t *testing.T) {
	for _, kind := range []Kind{Loopback, Ethernet, RawIP} {
		d, err := (&Link{Kind: kind, Index: 1, Name: "lo"}).OpenDrops()
		if err != nil {
			t.Fatal(err)
		}
		// Other traffic of the machine may be dropped meanwhile, but not much.
		if n, err := d.Count(); err != nil || n > 1000 {
			t.Errorf("%v: %d, %v", kind, n, err)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := (&Link{Index: 1 << 30}).OpenDrops(); err == nil {
		t.Error("an interface that does not exist has counters")
	}
}

// The difference is what counts, and a vanished interface counts for nothing.
func TestDropsCountFromTheBeginning(t *testing.T) {
	total, err := uint64(105), error(nil)
	d := &Drops{before: 100, read: func() (uint64, error) { return total, err }}
	if n, err := d.Count(); n != 5 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	err = netlink.LinkNotFoundError{}
	if n, err := d.Count(); n != 0 || err != nil {
		t.Errorf("of a vanished interface: %d, %v", n, err)
	}
}
