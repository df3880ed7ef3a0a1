package main

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"synoptic/internal/netif"
	"synoptic/internal/scan"
)

// app is one run of the program.
type app struct {
	stdin, stdout, stderr *os.File
	args                  []string // as they were written
	opt                   options
	say                   *console
	signals               *signals
}

// run does what the arguments say and returns the exit code.
func run(args []string, stdin, stdout, stderr *os.File) int {
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr, args: args, say: newConsole(stderr)}
	a.signals = catchSignals(a.say)
	code := exitDone
	cmd := a.command(&code)
	args, err := longArgs(args, func(name string) bool {
		return slices.Contains(longNames(cmd.Flags()), name)
	})
	if err == nil {
		cmd.SetArgs(args)
		err = cmd.Execute()
	}
	if err != nil {
		a.say.print(err.Error())
		if code == exitDone { // not even begun
			code = exitUsage
		}
	}
	return code
}

// command describes the command line to cobra, which parses it, and adds
// `synscan completion`.
func (a *app) command(code *int) *cobra.Command {
	var w words
	cmd := &cobra.Command{
		Use: "synscan [options] -p PORTS TARGET...", Short: "find open TCP ports on many addresses at once",
		Args: cobra.ArbitraryArgs, SilenceErrors: true, SilenceUsage: true,
	}
	groups := w.define(cmd.Flags())
	cmd.SetOut(a.stdout)
	cmd.SetErr(a.stderr)
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return flagError(cmd.Flags(), err) })
	cmd.SetHelpFunc(func(c *cobra.Command, _ []string) {
		if c == cmd {
			printHelp(a.stdout, groups)
			return
		}
		// Of completion in place of a shell that is unknown.
		if !c.Runnable() && !c.Flags().Changed("help") {
			*code = exitUsage
		}
		fmt.Fprintf(a.stdout, "%s\n%s", c.Long, c.UsageString())
	})
	cmd.AddCommand(a.convertCommand(code), a.diffCommand(code))
	cmd.RunE = func(_ *cobra.Command, targets []string) (err error) {
		if w.version {
			fmt.Fprintln(a.stdout, versionLine())
			return nil
		}
		if err := cmp.Or(checkSwallowed(cmd.Flags()), checkTargets(targets, longNames(cmd.Flags()))); err != nil {
			return err
		}
		w.targets = targets
		if a.opt, err = w.options(); err != nil {
			return err
		}
		*code, err = a.execute()
		return err
	}
	return cmd
}

// execute scans, or lists what would be scanned. Whatever fails before the
// first probe is exitUsage.
func (a *app) execute() (int, error) {
	a.say.silent = a.opt.quiet || a.opt.statusJSON
	if !a.opt.dryRun {
		if err := checkPrivileges(a.opt.method); err != nil {
			return exitUsage, err
		}
	}
	scope, err := a.scope()
	if err != nil {
		return exitUsage, err
	}
	if a.opt.dryRun {
		return a.list(scope)
	}
	out, err := openOutputs(a.opt.places, a.stdout, a.say)
	if err != nil {
		return exitUsage, err
	}
	out.allStates = a.opt.allStates
	about, err := a.about(scope)
	if err != nil {
		return exitUsage, err
	}
	network, path, err := a.connect(scope)
	if err != nil {
		return exitUsage, err
	}
	defer network.Close()
	s := scan.New(scan.Config{
		Plan: scope.plan, Method: a.opt.method, Seed: a.opt.seed,
		Rate: a.opt.rate, Retries: scope.retries, Wait: a.opt.wait,
		MaxProbes: a.opt.maxProbes, Silence: a.opt.silence(), OnePort: a.opt.sourcePort != 0,
	}, network)
	if err := out.begin(about); err != nil {
		return exitUsage, err
	}
	ctx := a.signals.begin()
	ctx, out.stop = context.WithCancel(ctx)
	defer out.stop()
	progress := a.watch(s)
	summary, err := s.Run(ctx, out)
	progress.end()

	r := report{Summary: summary, scope: scope, path: path, opt: a.opt}
	// A fault ends the context as well.
	r.Interrupted = a.signals.interrupted()
	out.close(r.end(err, out))
	r.code, err = r.verdict(err, out)
	a.conclude(&r)
	return r.code, err
}

// connect finds the way to the targets and opens it.
func (a *app) connect(scope *scope) (*scan.Network, *netif.Path, error) {
	path, err := netif.Resolve(a.signals.ctx, scope.plan.Targets(), a.opt.path)
	if err != nil {
		return nil, nil, err
	}
	tries := scope.retries + 1
	port, count := a.opt.sourcePort, uint16(1)
	if port == 0 {
		if port, err = netif.SourcePorts(tries, a.opt.seed); err != nil {
			return nil, nil, err
		}
		count = uint16(tries)
	}
	network, err := scan.Dial(scan.Options{
		Path: path, SourcePort: port, Ports: count, Senders: a.opt.senders, TTL: a.opt.ttl,
	})
	if err != nil {
		return nil, nil, err
	}
	if a.opt.verbose > 0 && !a.opt.quiet {
		a.describe(path, port, count)
	}
	return network, path, nil
}

// describe says how the targets are reached.
func (a *app) describe(path *netif.Path, port, count uint16) {
	from := ""
	for _, source := range []netip.Addr{path.Source4, path.Source6} {
		if source.IsValid() {
			from += " " + source.String()
		}
	}
	ports := fmt.Sprint(port)
	if count > 1 {
		ports = fmt.Sprintf("%d-%d", port, port+count-1)
	}
	a.say.note(fmt.Sprintf("sending by %s (%s) from%s, source ports %s, seed %d", path.Name, path.Kind, from, ports, a.opt.seed))
	for _, gone := range path.Unresolved() {
		a.say.note(fmt.Sprintf("no link address for %s: it is not probed", gone))
	}
}
