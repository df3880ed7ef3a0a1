package netif

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
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
		if in, out, err := d.Count(); err != nil || in > 1000 || out > 1000 {
			t.Errorf("%v: %d, %d, %v", kind, in, out, err)
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
	var err error
	in, out := uint64(105), uint64(37)
	d := &Drops{in: rising{last: 100}, out: rising{last: 30}, read: func() (uint64, uint64, error) { return in, out, err }}
	if in, out, err := d.Count(); in != 5 || out != 7 || err != nil {
		t.Errorf("%d, %d, %v", in, out, err)
	}
	in, out = 3, 40 // one begins anew
	if in, out, err := d.Count(); in != 5 || out != 10 || err != nil {
		t.Errorf("after a counter began anew: %d, %d, %v", in, out, err)
	}
	err = fmt.Errorf("read: %w", unix.ENODEV)
	if in, out, err := d.Count(); in != 5 || out != 10 || err != nil {
		t.Errorf("of a vanished interface: %d, %d, %v", in, out, err)
	}
}
