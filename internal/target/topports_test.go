package target

import (
	"slices"
	"testing"
)

func TestPortOrderHasEveryPortOnce(t *testing.T) {
	order := portOrder()
	if len(order) != 65535 {
		t.Fatalf("%d ports", len(order))
	}
	sorted := slices.Sorted(slices.Values(order))
	for i, p := range sorted {
		if int(p) != i+1 {
			t.Fatalf("port %d is missing or there twice", i+1)
		}
	}
}

func TestPortOrderEndsByRule(t *testing.T) {
	order := portOrder()
	// From some place on, only the rule speaks. What a scan has without -p is
	// chosen by hand, as is said of it.
	tail := len(order) - 1
	for tail > 0 && order[tail-1] < order[tail] {
		tail--
	}
	if tail < 1000 || tail > 1500 {
		t.Errorf("the list by hand ends after %d ports", tail)
	}
	if order[tail] > 1023 {
		t.Errorf("the rule begins with port %d, not with the well-known ones", order[tail])
	}
}

func TestTopPorts(t *testing.T) {
	top := func(n int) Ports { return TopPorts(n, Ports{}) }
	for _, n := range []int{1, 2, 99, 100, 101, 1000, 20000, 65535} {
		if got := top(n).Len(); got != n {
			t.Errorf("top %d: %d ports", n, got)
		}
	}
	if got := top(70000).Len(); got != 65535 {
		t.Errorf("more than there are: %d ports", got)
	}
	// The comment in the list marks where the first hundred ends.
	if order := portOrder(); order[99] != 20000 {
		t.Errorf("port %d is the hundredth", order[99])
	}
	// More ports are never other ports.
	few, many := top(100), top(1000)
	for i := range few.Len() {
		if _, ok := many.Rank(few.At(i)); !ok {
			t.Errorf("port %d is in the top 100 and not in the top 1000", few.At(i))
		}
	}
	for _, p := range []uint16{21, 22, 23, 25, 53, 80, 110, 143, 443, 445, 3306, 3389, 5900, 8080} {
		if _, ok := few.Rank(p); !ok {
			t.Errorf("port %d is not in the top 100", p)
		}
	}
	if _, ok := top(65535).Rank(0); ok {
		t.Error("port 0 is in the order")
	}
}

func TestTopPortsWithin(t *testing.T) {
	within := PortsOf(80, 81, 443, 0, 60123)
	for n, want := range map[int]string{1: "80", 2: "80,443", 3: "80-81,443", 4: "80-81,443,60123", 9: "80-81,443,60123"} {
		if got := TopPorts(n, within).String(); got != want {
			t.Errorf("the first %d: %s, want %s", n, got, want)
		}
	}
}
