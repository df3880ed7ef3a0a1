package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"synoptic/detector"
	"synoptic/detector/sink"
)

// However often the settings are read again, no file or goroutine is left.
func TestReloadsLeakNothing(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "conf.toml")
	if err := os.WriteFile(config, []byte("sophos-threshold = 18\nfilter = \"tcp\""), 0o600); err != nil {
		t.Fatal(err)
	}
	stderr, err := os.Create(filepath.Join(dir, "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer stderr.Close()
	a := &app{engine: fakeEngine()}
	read := func() (options, error) {
		return a.reread([]string{"-i", "lo", "-c", config, "--eve", filepath.Join(dir, "eve.json")})
	}
	opt, err := read()
	if err != nil {
		t.Fatal(err)
	}
	d := &daemon{read: read, opt: opt, notify: &notifier{}}
	f := &fake{cfg: &Config{Note: func(string) {}}}
	d.detector = f
	d.voice = newVoice(stderr, sink.Config{})
	defer d.voice.text.Close(time.Second)
	if d.sinks, err = opt.openSinks(os.Stdout, sink.Config{}); err != nil {
		t.Fatal(err)
	}
	defer d.sinks.Close(time.Second)
	d.reload()
	open := func() int {
		files, err := filepath.Glob("/proc/self/fd/*")
		if err != nil {
			t.Fatal(err)
		}
		return len(files)
	}
	files, goroutines := open(), runtime.NumGoroutine()
	for i := range 2000 {
		d.reload()
		if i%100 == 0 {
			d.alert(sample(uint64(i)))
		}
	}
	time.Sleep(50 * time.Millisecond)
	if n := open(); n > files+1 {
		t.Errorf("%d files are open, and were %d", n, files)
	}
	if n := runtime.NumGoroutine(); n > goroutines+1 {
		t.Errorf("there are %d goroutines, and were %d", n, goroutines)
	}
	if got := f.now(); got.Policies[0].Threshold != 18 || got.Filter != "tcp" {
		t.Errorf("the rules are %v", describeRules(&got))
	}
}

func TestChange(t *testing.T) {
	plain, err := (&words{}).parsed("-i", "eth0", "--memory", "5MiB")
	if err != nil {
		t.Fatal(err)
	}
	packets, err := (&words{}).parsed("-i", "eth0", "--policy", "sophos-packet,sophos")
	if err != nil {
		t.Fatal(err)
	}
	names := func(r *Rules) string {
		var all []string
		for _, p := range r.Policies {
			all = append(all, p.Name)
		}
		return strings.Join(all, ",")
	}
	for _, tc := range []struct {
		name     string
		from     options
		args     string
		fixed    []string
		policies string
	}{
		{"nothing", plain, "-i eth0 --memory 5MiB", nil, "sophos,scanlogd"},
		{"rules_may", plain, "-i eth0 --memory 5MiB --policy scanlogd --traps 1 --udp off --v6-prefix 48 --allow 10.0.0.1 --ignore *:1 --quiet tcp", nil, "scanlogd"},
		{"what_must_not", plain, "-i eth1 -r x --xdp-mode tcx --gateway --memory 6MiB --eve x --syslog local --scanlogd-line y --metrics a:1 --control z",
			[]string{"-i", "-r", "--xdp-mode", "--gateway", "--memory", "--eve", "--syslog", "--scanlogd-line", "--metrics", "--control"}, "sophos,scanlogd"},
		{"packets_cannot_begin", plain, "-i eth0 --memory 5MiB --policy sophos-packet,scanlogd", []string{"--policy sophos-packet"}, "scanlogd"},
		{"packets_alone_cannot_begin", plain, "-i eth0 --memory 5MiB --policy sophos-packet", []string{"--policy sophos-packet"}, "sophos,scanlogd"},
		{"packets_can_end", packets, "-i eth0 --policy sophos", nil, "sophos"},
		{"packets_can_stay", packets, "-i eth0 --policy sophos-packet", nil, "sophos-packet"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			newer, err := (&words{}).parsed(strings.Fields(tc.args)...)
			if err != nil {
				t.Fatal(err)
			}
			rules, fixed := tc.from.change(&newer)
			if !slices.Equal(fixed, tc.fixed) || names(&rules) != tc.policies {
				t.Errorf("fixed %q, policies %s; want %q, %s", fixed, names(&rules), tc.fixed, tc.policies)
			}
			if tc.name == "rules_may" {
				if want := "[scanlogd 3s 21 true 3/1/0 3s] traps [1] udp 2 v6 48 allow [10.0.0.1/32] ignore [invalid AddrPort] filter \"tcp\""; describeRules(&rules) != want {
					t.Errorf("%s, want %s", describeRules(&rules), want)
				}
			}
			if !newer.uses(detector.SophosPacket) && strings.Contains(tc.args, detector.SophosPacket) {
				t.Error("the newer options have changed")
			}
		})
	}
}

// A detector that refuses the rules keeps the old ones, and so do we.
func TestReloadIsRefused(t *testing.T) {
	got := said(t, false, func(v *voice) {
		f := &fake{cfg: &Config{Note: func(string) {}}, err: fmt.Errorf("too many tests")}
		newer, err := (&words{}).parsed("-i", "lo", "--quiet", "--traps", "9")
		if err != nil {
			t.Fatal(err)
		}
		d := &daemon{read: func() (options, error) { return newer, nil }, detector: f, notify: &notifier{}, voice: v}
		d.reload()
		if d.quiet.Load() || len(d.rules().Traps) > 0 {
			t.Error("the new settings are in effect")
		}
	})
	if want := "synwatch: reload: too many tests: the settings stay as they were\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
