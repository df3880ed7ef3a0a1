package main_test

import (
	"context"
	"os/exec"
	"strings"
	"testing"
	"time"

	"synoptic/internal/lab"
)

// TestDeviceGoes: who takes a device away is told that nobody watches there any
// more, whatever the mode; the other device is watched as before.
func TestDeviceGoes(t *testing.T) {
	lab.NeedRoot(t)
	bin := build(t, "synwatch")
	for _, mode := range []string{"native", "generic", "tcx"} {
		t.Run(mode, func(t *testing.T) {
			ns, err := lab.NewNamespace("")
			if err != nil {
				t.Fatal(err)
			}
			defer ns.Close()
			ip := func(args ...string) {
				t.Helper()
				if out, err := ns.Command(context.Background(), "ip", args...).CombinedOutput(); err != nil {
					t.Fatalf("ip %v: %v\n%s", args, err, out)
				}
			}
			for _, pair := range [][2]string{{"a0", "a1"}, {"b0", "b1"}} {
				ip("link", "add", pair[0], "type", "veth", "peer", "name", pair[1])
			}
			w := start(t, bin, ns, "a0", "-i", "b0", "--xdp-mode", mode)
			ip("link", "del", "a0")
			const told = "a0 is gone: nothing is watched there any more"
			for end := time.Now().Add(10 * time.Second); !strings.Contains(w.words(), told); time.Sleep(20 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("the detector does not say %q:\n%s", told, w.words())
				}
			}
			out, err := exec.Command(bin, "status", "--wait", "0s", "--control", w.control).CombinedOutput()
			if want := "a0 (gone), b0 (" + mode + ")"; err != nil || !strings.Contains(string(out), want) {
				t.Errorf("the status lacks %q: %v\n%s", want, err, out)
			}
			time.Sleep(1500 * time.Millisecond)
			if n := strings.Count(w.words(), told); n != 1 {
				t.Errorf("said %d times:\n%s", n, w.words())
			}
			w.stop()
		})
	}
}
