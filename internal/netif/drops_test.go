package netif

import "testing"

func TestBacklogDropsAddsUpTheSecondColumn(t *testing.T) {
	got, err := backlogDrops("0000ffff 00000002 00000000 00000000\n00000001 0000000a 00000003\n")
	if err != nil || got != 12 {
		t.Errorf("%d, %v", got, err)
	}
	for _, bad := range []string{"00000001\n", "1 xyz\n"} {
		if _, err := backlogDrops(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestDropsOfAnIdleInterfaceAreNone(t *testing.T) {
	p := Path{Index: 1, Name: "lo"}
	d, err := p.OpenDrops()
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	// Other traffic of the machine may be dropped meanwhile, but not much.
	if n, err := d.Count(); err != nil || n > 1000 {
		t.Errorf("%d, %v", n, err)
	}
	gone := Path{Index: 1 << 30}
	if _, err := gone.OpenDrops(); err == nil {
		t.Error("an interface that does not exist has counters")
	}
}
