package detector

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"synoptic/bpf/watch"
	"synoptic/detector/capture"
	"synoptic/detector/naive"
	"synoptic/detector/twin"
)

// captures returns the public captures, or none where they are not.
func captures(t *testing.T, folder string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("../../shared/captures", folder, "*.pcap*"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func published() Settings {
	return Settings{Ruleset: Ruleset{Policies: Policies(), Traps: DefaultTraps(), V6Bits: 64}}
}

// TestHarmlessCapturesAreSilent: ordinary traffic of all kinds, by the policies
// that are on by default, with the twin.
func TestHarmlessCapturesAreSilent(t *testing.T) {
	settings, packets := published(), uint64(0)
	settings.Policies = settings.Policies[:2]
	for _, file := range captures(t, "zeek") {
		r, err := capture.Open(file)
		if err != nil {
			continue // that every file opens or says why is a test of package capture
		}
		c, err := Replay(context.Background(), r, ReplayConfig{Settings: settings, Memory: watch.MinMemory, Twin: true, Alert: func(a *Alert) {
			t.Errorf("%s: %s is accused by %s of a %s scan: %v", filepath.Base(file), a.Source, a.Policy, a.Kind, a.Proof)
		}})
		r.Close()
		var broken *capture.Fault
		if err != nil && !errors.As(err, &broken) {
			t.Errorf("%s: %v", file, err)
		}
		packets += c.Frames()
	}
	t.Logf("%d packets", packets)
}

// TestReplaysAgree: the kernel program and the twin say the same of every public
// capture, one after another and with all policies, and of one that is made here.
func TestReplaysAgree(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("BPF tests need root, and CI=true forbids to skip them")
		}
		t.Skip("BPF tests need root")
	}
	files := append(captures(t, "zeek"), captures(t, "tcpdump")...)
	files = append(files, scanned(t))
	settings := published()
	rules, err := settings.rules()
	if err != nil {
		t.Fatal(err)
	}
	kernel, err := watch.Load(watch.Config{Memory: watch.MinMemory, Packets: true, Replay: true}, rules)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	defer kernel.Close()
	double, err := twin.New(twin.Config{Sets: kernel.Places() / 8, Key: watch.RandomKey()})
	if err != nil {
		t.Fatal(err)
	}
	if err := double.SetRules(rules); err != nil {
		t.Fatal(err)
	}
	var said [2][]Alert
	for i, p := range []program{kernel, double} {
		scorer, err := NewScorer(ScorerConfig{Ruleset: settings.Ruleset, Sources: p,
			Wall: func(ns uint64) time.Time { return time.Unix(0, int64(ns)) }, Alert: func(a *Alert) { said[i] = append(said[i], *a) }})
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			r, err := capture.Open(file)
			if err != nil {
				continue
			}
			var broken *capture.Fault
			if err := replay(context.Background(), r, p, scorer); err != nil && !errors.As(err, &broken) {
				t.Fatalf("%s: %v", file, err)
			}
			r.Close()
		}
		scorer.Close()
	}
	if !reflect.DeepEqual(said[0], said[1]) {
		t.Errorf("the kernel program said\n%s\nthe twin\n%s", lines(said[0]), lines(said[1]))
	}
	k, err := kernel.Counters()
	if err != nil {
		t.Fatal(err)
	}
	if w, _ := double.Counters(); k != w {
		t.Errorf("the kernel program counted\n%+v\nthe twin\n%+v", k, w)
	}
	if len(said[0]) < 6 || k.EvictedLive != 0 { // an alert and a summary by each policy
		t.Errorf("%d alerts; %+v", len(said[0]), k)
	}
	t.Logf("%d packets, %d alerts and summaries", k.Frames(), len(said[0]))
}

// scanned writes a capture of a scan of 40 ports.
func scanned(t *testing.T) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "scan.pcap"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := pcapgo.NewWriterNanos(f)
	err = w.WriteFileHeader(65536, layers.LinkTypeEthernet)
	for port := range uint16(40) {
		p := naive.Packet{Source: netip.MustParseAddr("10.9.8.7"), Port: port + 1, Probe: true, Kind: watch.FIN}
		frame := p.Frame()
		info := gopacket.CaptureInfo{Timestamp: time.Unix(2e9, int64(port)*1e6), CaptureLength: len(frame), Length: len(frame)}
		err = errors.Join(err, w.WritePacket(info, frame))
	}
	if err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

func lines(alerts []Alert) (s string) {
	for _, a := range alerts {
		s += fmt.Sprintf("%+v\n", a)
	}
	return s
}
