package main

import (
	"bufio"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/spf13/cobra"

	"synoptic/internal/cli"
	"synoptic/internal/result"
)

const diffHelp = `synscan diff says what has changed between two scans.

  synscan diff BEFORE AFTER

Both are files that -oD wrote; one may be - for stdin. There is a line for each
port whose state is not the same, in the order of addresses and ports:

  new      10.0.0.1:8080 open syn-ack
  gone     10.0.0.1:80 open syn-ack
  changed  10.0.0.2:22 open syn-ack, was filtered no-response

A port that one scan does not mention is new or gone: compare scans of the same
targets and ports, both with --all-states or both without.

Exit code: 0 nothing has changed, 1 something has, 2 a file cannot be read.
`

// diffCommand is `synscan diff`, with the exit codes of diff(1).
func (a *app) diffCommand(code *int) *cobra.Command {
	cmd := &cobra.Command{Use: "diff BEFORE AFTER", Short: "say what has changed between two scans"}
	options := cli.NewFlags()
	options.BoolP("help", "h", false, "print this text")
	a.describeCommand(cmd, diffHelp, options)
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		if len(args) != 2 {
			return errors.New("diff takes two files that -oD wrote: the scan before and the scan after")
		}
		if args[0] == "-" && args[1] == "-" {
			return errors.New("two scans on stdin: give one of them as a file")
		}
		differ, err := a.diff(args[0], args[1])
		switch {
		case err != nil:
			*code = exitUsage
		case differ:
			*code = exitDiffer
		}
		return err
	}
	return cmd
}

const exitDiffer = 1

// verdict is what a scan said of an endpoint.
type verdict struct {
	state  result.State
	reason result.Reason
}

func (v verdict) String() string { return v.state.String() + " " + v.reason.String() }

// diff prints the differences and reports whether there are any.
func (a *app) diff(before, after string) (differ bool, err error) {
	old, err := a.verdicts(before)
	if err != nil {
		return false, err
	}
	now, err := a.verdicts(after)
	if err != nil {
		return false, err
	}
	var changed []netip.AddrPort
	for addr, v := range old {
		if now[addr].state != v.state {
			changed = append(changed, addr)
		}
	}
	for addr := range now {
		if _, known := old[addr]; !known {
			changed = append(changed, addr)
		}
	}
	slices.SortFunc(changed, netip.AddrPort.Compare)
	out := bufio.NewWriter(a.print)
	for _, addr := range changed {
		was, wasThere := old[addr]
		is, isThere := now[addr]
		switch {
		case !wasThere:
			fmt.Fprintf(out, "new      %v %v\n", addr, is)
		case !isThere:
			fmt.Fprintf(out, "gone     %v %v\n", addr, was)
		default:
			fmt.Fprintf(out, "changed  %v %v, was %v\n", addr, is, was)
		}
	}
	if err := out.Flush(); err != nil {
		return true, err
	}
	return len(changed) > 0, nil
}

// verdicts reads a file. Of several results for an endpoint the best counts.
func (a *app) verdicts(name string) (map[netip.AddrPort]verdict, error) {
	in, err := a.openResults(name)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	all := map[netip.AddrPort]verdict{}
	return all, in.read(func(r *result.Record) error {
		if r.State > all[r.Addr].state {
			all[r.Addr] = verdict{r.State, r.Reason}
		}
		return nil
	})
}
