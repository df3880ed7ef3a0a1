package main

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"synoptic/bpf/respond"
	"synoptic/internal/lab"
)

// Every kind of scan is killed once, at any time, and finds what one does that is
// not.
func TestEveryKindIsResumable(t *testing.T) {
	lab.NeedRoot(t)
	cfg := respond.DefaultConfig()
	cfg.Open, cfg.Closed, cfg.LossEndpoints = respond.Fraction(1, 4), respond.Fraction(1, 4), 1<<14
	l := lab.New(t, lab.Config{Respond: &cfg})
	seed := uint64(time.Now().UnixNano())
	rnd := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	for _, tc := range []struct {
		name, targets string
		args          []string
		lose          bool // the first answers of a quarter of all endpoints
		has           string
	}{
		{name: "connect", args: []string{"-sT", "--wait", "300ms"}},
		{name: "names", args: []string{"-R"}, has: `"host":"host`},
		{name: "ipv6", targets: "fd00:10::/120"},
		{name: "shard", args: []string{"--shard", "2/3", "--rate", "3k"}},
		{name: "max_probes", args: []string{"--max-probes", "2000", "--rate", "4k"}},
		{name: "adaptive", args: []string{"--adaptive"}},
		{name: "retries", args: []string{"--retries", "1"}, lose: true},
		{name: "fin", args: []string{"-sF"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			args := slices.Concat(allFiles, []string{"--checkpoint", "kept", "--seed", "11", "--rate", "8k", "--retries", "0", "--all-states", "-p", "1-16"}, tc.args)
			if tc.targets == "" {
				tc.targets = "10.0.0.0/24"
			}
			args = append(args, tc.targets)
			cfg := cfg
			if tc.lose {
				cfg.LoseShare, cfg.LoseTries = respond.Fraction(1, 4), 1
			}
			nameAll(t, "10.0.0.", 256)
			configure(t, l, cfg)
			whole, dir := t.TempDir(), t.TempDir()
			beginHere(t, l, whole, args...).ends(exitDone)
			want := documents(t, whole)
			if len(want["oD"]) < 500 || !strings.Contains(readText(t, whole, "oD"), tc.has) {
				t.Fatalf("the undisturbed run has %d records", len(want["oD"]))
			}
			configure(t, l, cfg)
			p := beginHere(t, l, dir, args...)
			p.has("oD", 20+rnd.IntN(300))
			p.Process.Kill()
			p.ends(-1)
			if stderr := beginHere(t, l, dir, "--resume", filepath.Join(dir, "kept")).ends(exitDone); !strings.Contains(stderr, "synscan: finished in ") {
				t.Errorf("it is not finished:\n%s", stderr)
			}
			sameDocuments(t, dir, want)
		})
	}
}

// configure sets up the simulated network; its count of lost answers begins anew.
func configure(t *testing.T, l *lab.Lab, cfg respond.Config) {
	t.Helper()
	if err := l.Responder.Configure(cfg); err != nil {
		t.Fatal(err)
	}
}

// nameAll has the processes that the calling goroutine starts know names of
// addresses, from a file in place of /etc/hosts.
func nameAll(t *testing.T, prefix string, n int) {
	t.Helper()
	var hosts strings.Builder
	for i := range n {
		fmt.Fprintf(&hosts, "%s%d host%d.example\n", prefix, i, i)
	}
	file := filepath.Join(t.TempDir(), "hosts")
	write(t, file, hosts.String())
	ownMounts(t)
	if err := unix.Mount(file, "/etc/hosts", "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
}
