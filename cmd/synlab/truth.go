package main

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"

	"github.com/spf13/cobra"

	"synoptic/internal/lab"
	"synoptic/internal/output"
	"synoptic/internal/target"
)

func newTruth(name *string) *cobra.Command {
	var (
		scan  lab.Scan
		ports string
		all   bool
	)
	cmd := &cobra.Command{
		Use:     "truth [flags] TARGET...",
		Short:   "Print what a scan has to find, by address and port",
		Example: "  synlab truth --method fin -p 1-1000 10.1.2.0/24",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			list, err := target.ParsePorts(ports)
			if err != nil {
				return err
			}
			targets, err := parseTargets(args)
			if err != nil {
				return err
			}
			if _, err := (lab.Truth{}).Expect(scan, netip.Addr{}, nil); err != nil {
				return err
			}
			return does(func(*cobra.Command, []string) error {
				return printTruth(*name, scan, targets, list, all)
			})(cmd, nil)
		},
	}
	cmd.Flags().StringVar(&scan.Method, "method", "syn", "scan method")
	cmd.Flags().IntVar(&scan.Tries, "tries", 1, "probes that each endpoint gets")
	cmd.Flags().StringVarP(&ports, "ports", "p", "1-1024", "ports, such as 22,80,8000-8100")
	cmd.Flags().BoolVar(&all, "all-states", false, "print every state, not only open")
	return cmd
}

// parseTargets reads addresses and prefixes.
func parseTargets(args []string) ([]netip.Prefix, error) {
	var targets []netip.Prefix
	for _, arg := range args {
		p, err := netip.ParsePrefix(arg)
		if err != nil {
			var a netip.Addr
			if a, err = netip.ParseAddr(arg); err == nil {
				p = netip.PrefixFrom(a, a.BitLen())
			}
		}
		if err != nil {
			return nil, fmt.Errorf("target %q: want an address or a prefix", arg)
		}
		targets = append(targets, p.Masked())
	}
	return targets, nil
}

func printTruth(name string, scan lab.Scan, targets []netip.Prefix, list target.Ports, all bool) error {
	s, err := lab.OpenSession(name)
	if err != nil {
		return err
	}
	truth, err := s.Truth()
	if err != nil {
		return err
	}
	ports := make([]uint16, list.Len())
	for i := range ports {
		ports[i] = list.At(i)
	}
	w := bufio.NewWriter(os.Stdout)
	var line []byte
	for _, p := range targets {
		for a := p.Addr(); p.Contains(a); a = a.Next() {
			if !truth.Has(a) {
				continue
			}
			records, err := truth.Expect(scan, a, ports)
			if err != nil {
				return err
			}
			for _, r := range records {
				if !all && !r.MaybeOpen() {
					continue
				}
				line = output.Text.Line(line[:0], &r)
				if _, err := w.Write(line); err != nil {
					return fmt.Errorf("print truth: %w", err)
				}
			}
		}
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print truth: %w", err)
	}
	return nil
}
