package generate

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"
)

// XDP verdicts, enum xdp_action in <linux/bpf.h>.
const (
	xdpDrop = 1
	xdpPass = 2
)

// needRoot skips a test that the kernel would refuse; under CI=true it fails.
func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("BPF tests need root, and CI=true forbids to skip them")
	}
	t.Skip("BPF tests need root")
}

// random returns a source whose seed is printed, and read from SEED if set.
func random(t testing.TB) *rand.Rand {
	seed, err := strconv.ParseUint(os.Getenv("SEED"), 0, 64)
	if err != nil {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}
