package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"synoptic/internal/checkpoint"
	"synoptic/internal/connect"
	"synoptic/internal/netif"
	"synoptic/internal/scan"
)

// app is one run of the program.
type app struct {
	stdin, stdout, stderr *os.File
	print                 *printer // to stdout
	args                  []string // as they were written
	opt                   options
	say                   *console
	signals               *signals
	start                 time.Time // of the scan
	read                  reading

	recipe  func(*scope) (*recipe, error)
	resumed *save  // the checkpoint that is gone on with; nil: the scan is new
	reports []byte // of it: what is known for reports
	held    *checkpoint.File
}

// run does what the arguments say and returns the exit code.
func run(args []string, stdin, stdout, stderr *os.File) int {
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr, print: &printer{to: stdout}, args: args, say: newConsole(stderr), start: time.Now()}
	a.signals = catchSignals(a.say)
	code := exitDone
	cmd := a.command(&code)
	err := a.parse(args, cmd)
	if err == nil {
		err = a.print.err
	}
	if err != nil {
		a.say.print(err.Error())
	}
	switch {
	case code != exitDone:
	case a.print.err != nil:
		code = exitFailed
	case err != nil: // not even begun
		code = exitUsage
	}
	return code
}

// parse runs what the arguments call.
func (a *app) parse(args []string, cmd *cobra.Command) error {
	if completeOption(a.print, args, cmd) {
		return nil
	}
	args, err := longArgs(args, func(name string) bool {
		return slices.Contains(longNames(cmd.Flags()), name)
	})
	if err != nil {
		return err
	}
	cmd.SetArgs(args)
	return cmd.Execute()
}

// command describes the command line to cobra, which parses it, and adds
// `synscan completion`.
func (a *app) command(code *int) *cobra.Command {
	var w words
	cmd := &cobra.Command{
		Use: "synscan [options] TARGET...", Short: tagline,
		Args: cobra.ArbitraryArgs, SilenceErrors: true, SilenceUsage: true,
	}
	groups := w.define(cmd.Flags())
	cmd.AddCommand(&cobra.Command{
		Use: "man", Short: "print the manual page", Long: "Prints the manual page: synscan man | man -l -", Args: cobra.NoArgs,
		Run: func(*cobra.Command, []string) { page.Man(a.print, groups) },
	})
	addCompletions(cmd)
	cmd.SetOut(a.print)
	cmd.SetErr(a.stderr)
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return flagError(cmd.Flags(), err) })
	cmd.SetHelpFunc(func(c *cobra.Command, _ []string) {
		if c == cmd {
			page.Help(a.print, groups)
			return
		}
		// Of a command in place of a shell that is unknown.
		if !c.Runnable() && !c.Flags().Changed("help") {
			*code = exitUsage
		}
		fmt.Fprintf(a.print, "%s\n%s", c.Long, c.UsageString())
	})
	cmd.AddCommand(a.convertCommand(code), a.diffCommand(code), a.doctorCommand(code))
	cmd.RunE = func(_ *cobra.Command, targets []string) (err error) {
		if w.version {
			fmt.Fprintln(a.print, versionLine())
			return nil
		}
		if err := cmp.Or(checkSwallowed(cmd.Flags()), checkTargets(targets, longNames(cmd.Flags()))); err != nil {
			return err
		}
		var said []*pflag.Flag // here, and not in a file
		cmd.Flags().Visit(func(f *pflag.Flag) { said = append(said, f) })
		if w.iflist {
			*code, err = a.listNetwork(said, targets)
			return err
		}
		w.targets = targets
		if w.resume != "" {
			if err := a.resume(&w, cmd.Flags(), said); err != nil {
				return err
			}
		}
		if w.config != "" {
			if err := w.readConfig(cmd.Flags(), said); err != nil {
				return err
			}
		}
		if a.opt, err = w.options(); err != nil {
			return err
		}
		if err := a.opt.checkListing(said); err != nil {
			return err
		}
		if w.echo {
			*code, err = echo(a.print, &w, groups)
			return err
		}
		a.recipe = func(s *scope) (*recipe, error) { return a.newRecipe(&w, cmd.Flags(), s) }
		*code, err = a.execute()
		return err
	}
	return cmd
}

// execute scans, or lists what would be scanned. Whatever fails before the
// first probe is exitUsage.
func (a *app) execute() (int, error) {
	a.say.silent = a.opt.quiet || a.opt.statusJSON
	if a.resumed != nil && a.resumed.Done {
		a.say.note("nothing is left to do: the scan of " + a.opt.checkpoint + " is finished")
		return exitDone, nil
	}
	if err := checkReader(a.opt.places, a.stdout); err != nil && !a.opt.statusJSON {
		return exitUsage, err
	}
	if a.opt.list {
		return a.listAddresses()
	}
	if a.opt.resolve && !slices.ContainsFunc(a.opt.places, namesHosts) {
		return exitUsage, errors.New("-R is of no use: names are written to -oD, -oG, -oN and -oX, and there is none of them")
	}
	if err := a.chooseMethod(); err != nil {
		return exitUsage, err
	}
	scope, err := a.scope()
	if err != nil {
		return exitUsage, err
	}
	if a.opt.dryRun {
		return a.listEndpoints(scope)
	}
	if a.resumed != nil {
		if err := a.checkSame(scope); err != nil {
			return exitUsage, err
		}
	}
	if err := scope.checkMemory(availableMemory); err != nil {
		return exitUsage, err
	}
	ctx, stop := context.WithCancel(a.signals.ctx)
	defer stop()
	out, err := openOutputs(a.opt.places, a.stdout, a.say, stop)
	if err != nil {
		return exitUsage, err
	}
	a.signals.onLeave(out.discard)
	begun := false
	defer func() {
		if !begun {
			out.discard()
		}
	}()
	out.allStates = a.opt.allStates
	about, err := a.about(scope)
	if err != nil {
		return exitUsage, err
	}
	network, routes, err := a.open(scope)
	if err != nil {
		return exitUsage, err
	}
	defer network.Close()
	recipe, err := a.recipe(scope)
	if err != nil {
		return exitUsage, err
	}
	saver, err := a.newSaver(scope, recipe)
	if err != nil {
		return exitUsage, err
	}
	s, err := scan.New(a.config(scope, saver), network)
	if err != nil {
		return exitUsage, fmt.Errorf("resume %s: %w", a.opt.checkpoint, err)
	}
	if a.resumed != nil {
		err = out.resume(about, a.resumed.Outputs, a.reports)
	} else {
		err = out.begin(about)
	}
	if err != nil {
		return exitUsage, err
	}
	begun = true
	a.signals.begin(saver.hurry, saver.leave)
	keys, err := a.keyboard()
	if err != nil {
		return exitFailed, err
	}
	defer keys.close()
	sink, named := a.named(out)
	if saver != nil {
		saver.out = sink
	}
	progress := a.watch(s, keys.keys())
	summary, err := s.Run(ctx, sink)
	a.signals.end()
	progress.end()
	r := report{Summary: summary, scope: scope, routes: routes, opt: a.opt}
	// A fault ends the context as well. What comes from here on interrupts only
	// what is still to be written.
	r.Interrupted = r.Interrupted && a.signals.interrupted()
	named()
	switch network := network.(type) {
	case *connect.Prober:
		r.unrouted = network.Unrouted()
	case *scan.Network:
		if n, err := network.Unreset(); err == nil && n > 0 {
			a.say.note(fmt.Sprintf("%s answers could not be turned into resets by the device's driver: so many connections are half open at their targets for a while", count(n)))
		}
	}
	out.close(r.end(err, out))
	r.code, err = r.verdict(err, out)
	command := saver.finish(r.code == exitDone || r.code == exitLost)
	a.conclude(&r)
	saver.tell(command)
	return r.code, err
}

// config is what the scan is to do.
func (a *app) config(s *scope, keeper *saver) scan.Config {
	cfg := scan.Config{
		Plan: s.plan, Method: a.opt.method, Seed: a.opt.seed,
		Rate: a.opt.rate, RatePerPrefix: a.opt.perPrefix, Adaptive: a.opt.adaptive, Retries: s.retries, Repairs: a.opt.repairs, Wait: a.opt.wait,
		MaxProbes: a.opt.maxProbes, Silence: a.opt.silence(), OnePort: a.opt.sourcePort != 0,
		MaxLoss: a.opt.maxLoss, MaxErrors: a.opt.maxErrors,
	}
	if keeper != nil { // an interface of a nil pointer is not nil
		cfg.Keeper = keeper
	}
	if a.resumed != nil {
		cfg.Resume = a.resumed.State
	}
	return cfg
}

// dial finds the way to the targets and opens it.
func (a *app) dial(scope *scope) (prober, *netif.Routes, error) {
	routes, err := netif.Resolve(a.signals.ctx, scope.plan.Targets(), a.opt.path)
	if err != nil {
		return nil, nil, err
	}
	port, count := a.opt.sourcePort, uint16(1)
	if port == 0 {
		ports := scan.Ports(scope.retries, a.opt.repairs)
		if port, err = netif.SourcePorts(ports, a.opt.seed); err != nil {
			return nil, nil, err
		}
		count = uint16(ports)
	}
	// Senders keep their Ps, in system calls too (package tx), and the rest needs one.
	runtime.GOMAXPROCS(max(runtime.GOMAXPROCS(0), a.opt.senders+1))
	network, err := scan.Dial(a.signals.ctx, scan.Options{
		Routes: routes, SourcePort: port, Ports: count, Senders: a.opt.senders, TTL: a.opt.ttl,
		Probes: min(scope.visit, 1<<32) * uint64(scope.retries+1),
		Kernel: scan.Kernel{
			Path: a.opt.pathway, Plan: scope.plan, Method: a.opt.method, Seed: a.opt.seed, Rate: a.opt.rate, Adaptive: a.opt.adaptive,
			NoReset: a.opt.noReset, Bounded: a.opt.perPrefix > 0,
		},
	})
	if err != nil {
		return nil, nil, err
	}
	if note := network.Note(); note != "" {
		a.say.note(note)
	}
	if paths := network.Paths(); a.opt.noReset && paths.Receive == string(scan.PacketPath) {
		a.say.note("--no-reset has no effect: where answers are not judged in the kernel, this machine's own stack resets what they open")
	}
	if a.opt.verbose > 0 {
		a.describe(routes, port, count)
		paths := network.Paths()
		a.say.note("path of probes: " + paths.Transmit + ", of answers: " + paths.Receive)
	}
	if routes.SourceForeign {
		a.say.note("the source address is not this machine's: answers go to its owner, and are seen only if they pass here")
	}
	return network, routes, nil
}

// describe says how the targets are reached.
func (a *app) describe(routes *netif.Routes, port, count uint16) {
	ports := fmt.Sprint(port)
	if count > 1 {
		ports = fmt.Sprintf("%d-%d", port, port+count-1)
	}
	for _, link := range routes.Links {
		from := ""
		for _, source := range []netip.Addr{link.Source4, link.Source6} {
			if source.IsValid() {
				from += " " + source.String()
			}
		}
		a.say.note(fmt.Sprintf("sending by %s (%s) from%s, source ports %s, seed %d", link.Name, link.Kind, from, ports, a.opt.seed))
	}
	if a.opt.verbose > 1 {
		a.say.note("ports: " + a.opt.ports.String())
	}
}
