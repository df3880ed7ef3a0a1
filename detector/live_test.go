package detector_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"synoptic/bpf/watch"
	"synoptic/detector"
	"synoptic/detector/filter"
	"synoptic/internal/lab"
)

// TestReloadKeepsWhatIsRemembered: settings change 10,000 times between the
// ports of a scan, and the line is crossed as if they had not; nothing leaks.
func TestReloadKeepsWhatIsRemembered(t *testing.T) {
	lab.NeedRoot(t)
	ns, err := lab.NewNamespace("")
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	settings := detector.Settings{Ruleset: detector.Ruleset{Policies: detector.Policies()[:2], Traps: detector.DefaultTraps(), V6Bits: 64}}
	settings.Policies[1].Span, settings.Policies[1].Quiet = time.Minute, time.Minute // however slow the machine is
	var (
		mu     sync.Mutex
		alerts []detector.Alert
		d      *detector.Detector
	)
	err = ns.Do(func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		if err := netlink.LinkSetUp(lo); err != nil {
			return err
		}
		d, err = detector.Open(detector.Config{Settings: settings, Interfaces: []string{"lo"}, Mode: watch.Auto, Memory: watch.MinMemory,
			Alert: func(a *detector.Alert) {
				mu.Lock()
				defer mu.Unlock()
				alerts = append(alerts, *a)
			}})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := d.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	probe := func(from, to int) { // closed ports of loopback
		err := ns.Do(func() error {
			for port := from; port < to; port++ {
				if c, err := net.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
					c.Close()
					return fmt.Errorf("port %d is open", port)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	begun := func() (n int) {
		time.Sleep(100 * time.Millisecond)
		mu.Lock()
		defer mu.Unlock()
		for _, a := range alerts {
			if !a.Summary {
				n++
			}
		}
		return n
	}
	probe(100, 106) // 18 points
	descriptors, goroutines := open(t), runtime.NumGoroutine()
	for i := range 10_000 {
		s := settings
		s.Ruleset.Policies = append([]detector.Policy(nil), settings.Policies...)
		s.Policies[0].Threshold = 10 + i%12
		if i%2 == 0 {
			s.Filter, err = filter.Compile("tcp and dst portrange 1-1024")
			if err != nil {
				t.Fatal(err)
			}
		}
		if i == 9999 {
			s = settings
		}
		if err := d.Reload(s); err != nil {
			t.Fatal(err)
		}
	}
	if n := open(t); n != descriptors {
		t.Errorf("%d descriptors before, %d after 10,000 reloads", descriptors, n)
	}
	if n := runtime.NumGoroutine(); n > goroutines {
		t.Errorf("%d goroutines before, %d after 10,000 reloads", goroutines, n)
	}
	if n := begun(); n != 0 {
		t.Fatalf("%d alerts too early: %+v", n, alerts)
	}
	probe(106, 107)
	if n := begun(); n != 1 || alerts[0].Policy != detector.Scanlogd || alerts[0].Points != 21 || alerts[0].Kind != detector.Connect || alerts[0].Interface != "lo" {
		t.Fatalf("%d alerts: %+v", n, alerts)
	}
	settings.Filter, err = filter.Compile("udp")
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Reload(settings); err != nil {
		t.Fatal(err)
	}
	probe(200, 240)
	if n := begun(); n != 1 {
		t.Errorf("%d alerts when only UDP counts", n)
	}
	cancel()
	running.Wait()
	if last := alerts[len(alerts)-1]; !last.Summary || last.Probes != 7 {
		t.Errorf("the last word is %+v", last)
	}
}

func open(t *testing.T) int {
	t.Helper()
	dir, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(dir)
}
