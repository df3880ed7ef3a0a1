package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"synoptic/internal/lab"
	"synoptic/internal/result"
)

// What the demo sweeps: 2^20 simulated addresses, one port each, slowly enough
// for the progress line to be read.
var demoRange = netip.MustParsePrefix("10.0.0.0/12")

const (
	demoRate  = "150k"
	demoShown = 10 // results of the sweep that are printed
	exitLost  = 3  // of the scanner: finished, but something was lost
)

func newDemo() *cobra.Command {
	var synscan, synwatch string
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Sweep a simulated network of a million addresses, compare with the truth, and be noticed",
		Args:  cobra.NoArgs,
		RunE: does(func(*cobra.Command, []string) error {
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return demo(ctx, synscan, synwatch)
		}),
	}
	cmd.Flags().StringVar(&synscan, "synscan", beside("synscan"), "the scanner to run")
	cmd.Flags().StringVar(&synwatch, "synwatch", beside("synwatch"), "the detector to run")
	return cmd
}

// beside names a program in this one's folder.
func beside(name string) string {
	self, err := os.Executable()
	if err != nil {
		return name
	}
	return filepath.Join(filepath.Dir(self), name)
}

func demo(ctx context.Context, synscan, synwatch string) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("build network: only root may")
	}
	l, err := lab.Create(lab.Config{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	var swept, real []netip.Addr // the real hosts by IPv4, and by both families
	for _, cfg := range lab.ExampleHosts() {
		h, err := l.AddHost(cfg)
		if err != nil {
			return err
		}
		swept, real = append(swept, h.Addr4), append(real, h.Addr4, h.Addr6)
		fmt.Printf("a real host, %s: %s %s\n", cfg.Place, h.Addr4, h.Addr6)
	}
	fmt.Printf("simulated hosts: all %d of %s\n", 1<<(32-demoRange.Bits()), demoRange)

	wide := sweep{lab: l, synscan: synscan, shown: demoShown, rate: demoRate, ports: "80", targets: []string{demoRange.String()}}
	for _, a := range swept {
		wide.targets = append(wide.targets, a.String())
	}
	if err := wide.start(ctx); err != nil {
		return err
	}
	for a := demoRange.Addr(); demoRange.Contains(a); a = a.Next() {
		swept = append(swept, a)
	}
	if err := wide.compare(swept, []uint16{80}); err != nil {
		return err
	}

	deep := sweep{lab: l, synscan: synscan, shown: 100, rate: demoRate, ports: "-"}
	for _, a := range real {
		deep.targets = append(deep.targets, a.String())
	}
	detector, err := startWitness(ctx, l, synwatch)
	if err != nil {
		return err
	}
	err = deep.start(ctx)
	if err == nil {
		err = detector.agree(ctx, l, deep.said.Bytes(), os.Stdout)
	}
	if err = errors.Join(err, detector.stop()); err != nil {
		return err
	}
	ports := make([]uint16, 65535)
	for i := range ports {
		ports[i] = uint16(i + 1)
	}
	return deep.compare(real, ports)
}

// sweep is one run of the scanner in the lab.
type sweep struct {
	lab         *lab.Lab
	synscan     string
	shown       int
	rate, ports string
	targets     []string
	found       map[netip.AddrPort]string
	said        bytes.Buffer // on stderr
}

// start runs the scanner, prints its first results and keeps all.
func (r *sweep) start(ctx context.Context) error {
	args := append([]string{"-sS", "-p", r.ports, "--rate", r.rate, "--retries", "1"}, r.targets...)
	fmt.Printf("\n$ synscan %s\n", strings.Join(args, " "))
	cmd := r.lab.Scanner.Command(ctx, r.synscan, args...)
	cmd.Stderr = io.MultiWriter(os.Stderr, &r.said)
	// A group of its own: an interrupt from the terminal reaches it once.
	cmd.SysProcAttr.Setpgid = true
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("run the scanner: %w: build it first with make build", err)
	}
	readErr := r.read(out)
	if _, err := io.Copy(io.Discard, out); err != nil { // a full pipe would stop it
		return fmt.Errorf("read results: %w", err)
	}
	// A scanner that says it may have lost something is held to the truth too.
	if err := cmd.Wait(); err != nil && cmd.ProcessState.ExitCode() != exitLost {
		return fmt.Errorf("run the scanner: %w", err)
	}
	if hidden := len(r.found) - r.shown; hidden > 0 {
		fmt.Printf("... and %d more\n", hidden)
	}
	return readErr
}

func (r *sweep) read(out io.Reader) error {
	r.found = map[netip.AddrPort]string{}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		endpoint, state, _ := strings.Cut(lines.Text(), " ")
		at, err := netip.ParseAddrPort(endpoint)
		if err != nil {
			return fmt.Errorf("read results: %w", err)
		}
		if _, twice := r.found[at]; twice {
			return fmt.Errorf("read results: %s is there twice", at)
		}
		if r.found[at] = state; len(r.found) <= r.shown {
			fmt.Println(lines.Text())
		}
	}
	return lines.Err()
}

// compare holds what was found against what the lab knows.
func (r *sweep) compare(hosts []netip.Addr, ports []uint16) error {
	truth, err := r.lab.Truth()
	if err != nil {
		return err
	}
	open, missing := 0, 0
	for _, host := range hosts {
		want, err := truth.Expect(lab.Scan{Method: "syn"}, host, ports)
		if err != nil {
			return err
		}
		for _, w := range want {
			if w.State != result.Open {
				continue
			}
			open++
			if r.found[w.Addr] != w.State.String()+" "+w.Reason.String() {
				missing++
			}
		}
	}
	extra := len(r.found) - (open - missing)
	fmt.Printf("truth: %d open; found %d, missing %d, extra %d\n", open, len(r.found), missing, extra)
	if missing+extra > 0 {
		return errors.New("the scan did not find exactly the truth")
	}
	return nil
}
