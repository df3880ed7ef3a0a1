package lab

import (
	"net/netip"
	"testing"
	"time"
)

// TestScanlogdIsHeard: a comparison with scanlogd is one only if it works here at
// all, and keeps quiet where its rule has it.
func TestScanlogdIsHeard(t *testing.T) {
	l := New(t, Config{})
	h := l.MustAddHost(t, HostConfig{Place: OwnLink})
	s := StartScanlogd(t, h.Namespace)
	for _, c := range []struct {
		source netip.Addr
		ports  uint64
		want   int
	}{
		{h.Neighbour(50), 6, 0},
		{h.Neighbour(51), 12, 1},
	} {
		if _, err := l.Scanner.Flood(t.Context(), Flood{Device: h.Near, Packets: c.ports, Time: 10 * time.Second, Rate: 20, Frame: h.Walk(c.source, 100)}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
		if got := s.Heard(c.source); len(got) != c.want {
			t.Errorf("scanlogd tells %d times of %d low ports: %v", len(got), c.ports, got)
		}
	}
	used, err := ProcessorTime(s.Process)
	if err != nil || used <= 0 || used > time.Second {
		t.Errorf("scanlogd has used %v of a processor, %v", used, err)
	}
	s.Stop()
	if _, err := ProcessorTime(s.Process); err == nil {
		t.Error("scanlogd runs on")
	}
}
