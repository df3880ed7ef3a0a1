package main_test

import (
	"context"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"

	"synoptic/bpf/respond"
	"synoptic/detector"
	"synoptic/internal/lab"
)

// attached tells which programs are on a device: the XDP program's number, 0
// for none, and how many at tcx ingress.
func attached(t *testing.T, h *lab.Host) (xdp uint32, tcx int) {
	t.Helper()
	err := h.Namespace.Do(func() error {
		dev, err := netlink.LinkByName(h.Far)
		if err != nil {
			return err
		}
		if x := dev.Attrs().Xdp; x != nil && x.Attached {
			xdp = x.ProgId
		}
		found, err := link.QueryPrograms(link.QueryOptions{Target: dev.Attrs().Index, Attach: ebpf.AttachTCXIngress})
		if err == nil {
			tcx = len(found.Programs)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return xdp, tcx
}

// left waits for the kernel to take programs away after their process's end.
func left(t *testing.T, h *lab.Host) (xdp uint32, tcx int) {
	t.Helper()
	for start := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		if xdp, tcx = attached(t, h); xdp == 0 && tcx == 0 || time.Since(start) > time.Second {
			return xdp, tcx
		}
	}
}

// seesAScan has synscan scan the host and tells whether both policies notice.
func seesAScan(t *testing.T, l *lab.Lab, h *lab.Host, w *watcher, synscan string) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if out, err := l.Scanner.Command(ctx, synscan, "-q", "-sS", "-p1-100", "--wait", "0.2s", h.Addr4.String()).CombinedOutput(); err != nil {
		t.Fatalf("synscan: %v\n%s", err, out)
	}
	time.Sleep(inTime)
	return len(w.begun(detector.Sophos)) == 1 && len(w.begun(detector.Scanlogd)) == 1
}

// TestKill: whenever the process is killed, nothing of it is left on the
// device, and the next one works.
func TestKill(t *testing.T) {
	lab.NeedRoot(t)
	synwatch, synscan := build(t, "synwatch"), build(t, "synscan")
	l := lab.New(t, lab.Config{})
	h := l.MustAddHost(t, lab.HostConfig{Place: lab.OwnLink})
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	started, working := time.Now(), 0
	w := start(t, synwatch, h.Namespace, h.Far)
	took := time.Since(started) // until attached
	if xdp, tcx := attached(t, h); xdp == 0 && tcx == 0 {
		t.Fatal("nothing is attached to the device: no test")
	}
	w.kill()
	for range 10 {
		w := begin(t, synwatch, h.Namespace, h.Far)
		time.Sleep(time.Duration(random.Int64N(int64(2 * took))))
		if xdp, tcx := attached(t, h); xdp != 0 || tcx > 0 {
			working++
		}
		w.kill()
		if xdp, tcx := left(t, h); xdp != 0 || tcx > 0 {
			t.Fatalf("killed (seed %d), it leaves XDP program %d and %d programs at tcx", seed, xdp, tcx)
		}
	}
	t.Logf("seed %d: attached in %v, and at %d of 10 kills", seed, took, working)
	w = start(t, synwatch, h.Namespace, h.Far)
	if !seesAScan(t, l, h, w, synscan) {
		t.Errorf("after kills it does not see a scan:\n%s", w.words())
	}
	w.stop()
	if xdp, tcx := left(t, h); xdp != 0 || tcx > 0 {
		t.Errorf("stopped, it leaves XDP program %d and %d programs at tcx", xdp, tcx)
	}
}

// TestBesideAnotherProgram: a device that has an XDP program keeps it, the
// detector stands behind it, says so, and sees as well.
func TestBesideAnotherProgram(t *testing.T) {
	lab.NeedRoot(t)
	synwatch, synscan := build(t, "synwatch"), build(t, "synscan")
	l := lab.New(t, lab.Config{})
	h := l.MustAddHost(t, lab.HostConfig{Place: lab.OwnLink})
	other, err := respond.Load(respond.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { other.Close() })
	if err := h.Namespace.Do(func() error {
		dev, err := netlink.LinkByName(h.Far)
		if err != nil {
			return err
		}
		return other.Attach(dev.Attrs().Index)
	}); err != nil {
		t.Fatal(err)
	}
	before, _ := attached(t, h)
	if before == 0 {
		t.Fatal("the other program is not attached: no test")
	}
	w := start(t, synwatch, h.Namespace, h.Far)
	if xdp, tcx := attached(t, h); xdp != before || tcx != 1 {
		t.Errorf("beside the detector there are XDP program %d and %d programs at tcx, want %d and 1", xdp, tcx, before)
	}
	if !seesAScan(t, l, h, w, synscan) {
		t.Errorf("behind another program it does not see a scan:\n%s", w.words())
	}
	w.stop()
	if !strings.Contains(w.words(), tcxWord) {
		t.Errorf("it does not say %q:\n%s", tcxWord, w.words())
	}
	if xdp, tcx := attached(t, h); xdp != before || tcx != 0 {
		t.Errorf("after the detector there are XDP program %d and %d programs at tcx, want %d and 0", xdp, tcx, before)
	}
}
