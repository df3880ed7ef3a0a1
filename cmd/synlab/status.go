package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"synoptic/bpf/respond"
	"synoptic/internal/lab"
)

func newStatus(name *string) *cobra.Command {
	var reset bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Print what the simulated hosts have seen and sent",
		Args:  cobra.NoArgs,
		RunE:  does(func(*cobra.Command, []string) error { return status(*name, reset) }),
	}
	cmd.Flags().BoolVar(&reset, "reset", false, "print, then set the counters to zero and forget which answers were lost")
	return cmd
}

func status(name string, reset bool) error {
	s, err := lab.OpenSession(name)
	if err != nil {
		return err
	}
	r, err := s.Responder()
	if err != nil {
		return err
	}
	defer r.Close()
	counters, err := r.Counters()
	if err != nil {
		return err
	}
	probes, replies, err := s.Overruns()
	if err != nil {
		return err
	}
	printCounters(os.Stdout, counters)
	fmt.Printf("%-28s %d\n", "probes refused by the link", probes)
	fmt.Printf("%-28s %d\n", "replies refused by the link", replies)
	if reset {
		return r.Reset()
	}
	return nil
}

func printCounters(w io.Writer, c respond.Counters) {
	line := func(name string, n uint64) { fmt.Fprintf(w, "%-28s %d\n", name, n) }
	rare := func(name string, n uint64) {
		if n > 0 {
			line(name, n)
		}
	}
	line("frames seen", c.Frames())
	for flags, n := range c.TCP {
		rare("  "+respond.FlagNames(uint8(flags)), n)
	}
	rare("  not TCP", c.NonTCP)
	rare("  fragments", c.Fragments)
	rare("  malformed", c.Malformed)
	rare("  wrong checksum", c.BadChecksum)
	rare("dropped by the policer", c.Policed)
	rare("dropped at random", c.PathLost)
	line("answered with SYN+ACK", c.SynAck)
	line("answered with RST", c.Reset)
	line("answered with ICMP", c.ICMP)
	line("not answered", c.Silent)
	line("handshakes ended", c.Accepted)
	line("answers lost on purpose", c.Lost)
	rare("answers not lost, no room", c.LossFull)
	rare("answers failed, a fault", c.Failed)
}
