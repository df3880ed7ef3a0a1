package netif

import (
	"net"
	"os"
	"strings"
	"testing"
)

func TestChoosePorts(t *testing.T) {
	none := func(int) bool { return false }
	pick := func(t *testing.T, count int, seed uint64, low, high int, used func(int) bool) int {
		t.Helper()
		return int(must(choosePorts(count, seed, low, high, used))(t))
	}
	t.Run("above_the_kernels_range", func(t *testing.T) {
		seen := map[int]bool{}
		for seed := range uint64(1000) {
			p := pick(t, 16, seed, 32768, 60999, none)
			if p < 61000 || p+15 > 65535 {
				t.Fatalf("seed %d: ports %d to %d", seed, p, p+15)
			}
			seen[p] = true
		}
		if len(seen) < 800 {
			t.Errorf("1000 seeds give only %d different ports", len(seen))
		}
	})
	t.Run("below_when_there_is_no_room_above", func(t *testing.T) {
		for seed := range uint64(1000) {
			if p := pick(t, 16, seed, 32768, 65525, none); p < 1024 || p+15 >= 32768 {
				t.Fatalf("seed %d: ports %d to %d", seed, p, p+15)
			}
		}
	})
	t.Run("exact_fit_is_found", func(t *testing.T) {
		if p := pick(t, 10, 7, 1024, 65525, none); p != 65526 {
			t.Errorf("port %d", p)
		}
	})
	t.Run("same_seed_same_ports", func(t *testing.T) {
		if a, b := pick(t, 4, 42, 32768, 60999, none), pick(t, 4, 42, 32768, 60999, none); a != b {
			t.Errorf("%d and %d", a, b)
		}
	})
	t.Run("ports_in_use_are_passed_over", func(t *testing.T) {
		free := func(port int) bool { return port < 61000 || port >= 61500 && port < 61504 }
		if p := pick(t, 4, 42, 32768, 60999, func(port int) bool { return !free(port) }); p != 61500 {
			t.Errorf("port %d, although only 61500 to 61503 are free", p)
		}
	})
	t.Run("no_room_at_all_is_an_error", func(t *testing.T) {
		_, err := choosePorts(16, 1, 1024, 65535, none)
		if err == nil || !strings.Contains(err.Error(), "1024-65535") || !strings.Contains(err.Error(), "-g") {
			t.Errorf("%v", err)
		}
		if _, err := choosePorts(0, 1, 32768, 60999, none); err == nil {
			t.Error("no ports are a choice")
		}
	})
}

func TestSourcePortsLookAtTheThreadsNamespace(t *testing.T) {
	newLab(t)
	if err := os.WriteFile(localPortRange, []byte("2000 65001"), 0); err != nil {
		t.Fatal(err)
	}
	first := must(SourcePorts(1, 99))(t)
	if first <= 65001 {
		t.Fatalf("port %d is in the kernel's range", first)
	}
	for _, network := range []string{"tcp4", "tcp6"} {
		listener := must(net.ListenTCP(network, &net.TCPAddr{Port: int(first)}))(t)
		if again := must(SourcePorts(1, 99))(t); again == first {
			t.Errorf("%s port %d is in use", network, first)
		}
		listener.Close()
	}
	if again := must(SourcePorts(1, 99))(t); again != first {
		t.Errorf("port %d, then %d", first, again)
	}
}
