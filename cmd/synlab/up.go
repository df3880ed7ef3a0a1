package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"synoptic/bpf/respond"
	"synoptic/internal/lab"
)

// network is what the flags of up describe.
type network struct {
	respond  respond.Config
	prefixes []string
	key      string
	with     string
	router   bool
	hosts    bool
}

// rejections are the words for ICMP errors.
var rejections = map[string]respond.ICMPError{
	"port":  respond.PortUnreach,
	"host":  respond.HostUnreach,
	"net":   respond.NetUnreach,
	"admin": respond.AdminProhibited,
}

func (n *network) flags(f *pflag.FlagSet) {
	n.respond = respond.DefaultConfig()
	f.StringArrayVar(&n.prefixes, "prefix", []string{n.respond.Prefix4.String(), n.respond.Prefix6.String()}, "simulated range, at most one IPv4 and one IPv6")
	f.Var(&n.respond.Open, "open-share", "part of all ports that is open")
	f.Var(&n.respond.Closed, "closed-share", "part of all ports that is closed")
	f.Var(&n.respond.Rejected, "reject-share", "part of all ports that is rejected with an ICMP error")
	f.StringVar(&n.with, "reject-with", "port", "the ICMP error's kind: port, host, net or admin")
	f.BoolVar(&n.router, "reject-by-router", false, "the gate sends the ICMP errors, not the target")
	f.IntVar(&n.respond.Quote, "quote", n.respond.Quote, "bytes of TCP header that an ICMP error quotes")
	f.Var(&n.respond.Personality, "personality", "standard, windows, bsd, synproxy or reject")
	f.Uint32Var(&n.respond.LoseTries, "lose-tries", 0, "answers that a lossy endpoint loses before the first that arrives")
	f.Var(&n.respond.LoseShare, "lose-share", "part of all endpoints that is lossy")
	f.Var(&n.respond.Loss, "loss", "part of all probes that is lost at random")
	f.Uint32Var(&n.respond.Police, "police", 0, "probes a second beyond which more are dropped; 0 for no such limit")
	f.StringVar(&n.key, "key", fmt.Sprintf("%x", n.respond.Key), "32 hexadecimal digits that the truth follows from")
	f.BoolVar(&n.hosts, "hosts", true, "add real hosts: one on the link, one behind the gate")
}

// config checks the flags.
func (n *network) config() (respond.Config, error) {
	cfg := n.respond
	cfg.Prefix4, cfg.Prefix6 = netip.Prefix{}, netip.Prefix{}
	for _, text := range n.prefixes {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return cfg, fmt.Errorf("prefix %q: want an address and a length, such as 10.0.0.0/8", text)
		}
		family := &cfg.Prefix6
		if p.Addr().Is4() {
			family = &cfg.Prefix4
		}
		if family.IsValid() {
			return cfg, fmt.Errorf("prefix %s: %s is of the same family, and one is all there can be", p, family)
		}
		*family = p
	}
	var err error
	if cfg.Key, err = respond.ParseKey(n.key); err != nil {
		return cfg, err
	}
	var ok bool
	if cfg.Error, ok = rejections[n.with]; !ok {
		return cfg, fmt.Errorf("reject with %q: want port, host, net or admin", n.with)
	}
	if n.router {
		cfg.Router4, cfg.Router6 = lab.Gate4, lab.Gate6
	}
	return cfg, cfg.Validate()
}

func newUp(name *string) *cobra.Command {
	n := new(network)
	foreground := false
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Build the network",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := n.config()
			if err != nil {
				return err
			}
			return does(func(*cobra.Command, []string) error {
				if foreground {
					return hold(*name, cfg, n.hosts)
				}
				return up(*name, cfg)
			})(cmd, nil)
		},
	}
	n.flags(cmd.Flags())
	cmd.Flags().BoolVar(&foreground, "foreground", false, "stay, and take the network down when interrupted")
	return cmd
}

// up has a process of its own hold the network, and waits until it does.
func up(name string, cfg respond.Config) error {
	if os.Geteuid() != 0 {
		return errors.New("build network: only root may")
	}
	if _, err := lab.OpenSession(name); err == nil {
		return fmt.Errorf("lab %q is up already: synlab down takes it down", name)
	}
	// What a killed one left behind would be in the way.
	if err := lab.TakeDown(name); err != nil {
		return err
	}
	if err := detach(append(os.Args[1:], "--foreground")); err != nil {
		return err
	}
	s, err := lab.OpenSession(name)
	if err != nil {
		return err
	}
	fmt.Printf("simulated  %s %s: %s open, %s closed, %s rejected, personality %s\n",
		cfg.Prefix4, cfg.Prefix6, cfg.Open, cfg.Closed, cfg.Rejected, cfg.Personality)
	for _, h := range s.Hosts {
		fmt.Printf("%-9s  %s %s\n", h.Name, h.Addr4, h.Addr6)
	}
	return nil
}

// detach starts this program anew, apart from the terminal, and returns when it
// has closed its standard error: without a word if all went well.
func detach(args []string) error {
	complaint, theirs, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("build network: %w", err)
	}
	defer complaint.Close()
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Args[0] = os.Args[0]
	cmd.Dir = "/"
	cmd.Stderr = theirs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		return fmt.Errorf("build network: %w", err)
	}
	text, err := io.ReadAll(complaint)
	if text = bytes.TrimSpace(bytes.TrimPrefix(text, []byte("synlab: "))); len(text) > 0 {
		err = errors.New(string(text))
	}
	return err
}

// hold builds the network and stays until it is told to go.
func hold(name string, cfg respond.Config, hosts bool) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	l, err := build(name, cfg, hosts)
	if err != nil {
		return err
	}
	os.Stderr.Close() // up waits for that
	<-ctx.Done()
	return l.Close()
}

func build(name string, cfg respond.Config, hosts bool) (*lab.Lab, error) {
	l, err := lab.Create(lab.Config{Name: name, Respond: &cfg})
	if err != nil {
		return nil, err
	}
	if hosts {
		for _, h := range lab.ExampleHosts() {
			if _, err := l.AddHost(h); err != nil {
				return nil, errors.Join(err, l.Close())
			}
		}
	}
	if err := l.Announce(); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}
