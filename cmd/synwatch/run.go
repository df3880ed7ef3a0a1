package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"synoptic/internal/cli"
)

// app is one run of the program.
type app struct {
	stdin, stdout, stderr *os.File
	print                 *printer // to stdout
	engine                engine
	drop                  func() error // the privileges
	need                  func() error // what privileges are missing
	code                  int
}

// run does what the arguments say and returns the exit code.
func run(args []string, stdin, stdout, stderr *os.File, engine engine) int {
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr, print: &printer{to: stdout}, engine: engine, drop: dropPrivileges, need: checkPrivileges}
	return a.run(args)
}

func (a *app) run(args []string) int {
	cmd := a.command(args)
	err := a.parse(args, cmd)
	if err == nil {
		err = a.print.err
	}
	if err != nil {
		fmt.Fprintf(a.stderr, "synwatch: %v\n", err)
	}
	switch {
	case a.code != exitDone:
	case a.print.err != nil:
		a.code = exitFailed
	case err != nil: // not even begun
		a.code = exitUsage
	}
	return a.code
}

// failed marks an error as one of a run that has begun.
func (a *app) failed(err error) error {
	if err != nil {
		a.code = exitFailed
	}
	return err
}

// parse runs what the arguments call.
func (a *app) parse(args []string, cmd *cobra.Command) error {
	if completeOption(a.print, args, cmd) {
		return nil
	}
	cmd.SetArgs(args)
	return cmd.Execute()
}

// command describes the command line to cobra, which parses it, and adds
// `synwatch completion`.
func (a *app) command(args []string) *cobra.Command {
	var w words
	cmd := &cobra.Command{
		Use: "synwatch [options] [FILTER]", Short: tagline,
		Args: cobra.ArbitraryArgs, SilenceErrors: true, SilenceUsage: true,
	}
	cmd.Flags().SortFlags = false
	groups := w.define(cmd.Flags())
	cmd.AddCommand(&cobra.Command{
		Use: "man", Short: "print the manual page", Long: "Prints the manual page: synwatch man | man -l -", Args: cobra.NoArgs,
		Run: func(*cobra.Command, []string) { page.Man(a.print, groups) },
	}, a.statusCommand(), a.topCommand())
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
			a.code = exitUsage
		}
		fmt.Fprintf(a.print, "%s\n\n%s", c.Long, c.UsageString())
	})
	cmd.RunE = func(_ *cobra.Command, filter []string) error {
		if w.banner {
			fmt.Fprintln(a.print, versionLine())
			return nil
		}
		w.filter = filter
		opt, err := w.read(cmd.Flags(), a.engine)
		if err != nil {
			return err
		}
		if err := a.engine.Check(&opt.rules); err != nil {
			return cmp.Or(mistyped(filter, cmd), err)
		}
		if w.checkConfig {
			fmt.Fprintln(a.print, "synwatch: the options are valid")
			return nil
		}
		if err := opt.checkInterfaces(); err != nil {
			return err
		}
		if opt.live() {
			if err := a.need(); err != nil {
				return err
			}
		}
		a.code = a.watch(opt, func() (options, error) { return a.reread(args) })
		return nil
	}
	return cmd
}

// read reads the options of the command line, which are parsed, and of the file.
func (w *words) read(all *pflag.FlagSet, engine engine) (options, error) {
	if err := checkSwallowed(all); err != nil {
		return options{}, err
	}
	var said []*pflag.Flag // here, and not in a file
	all.Visit(func(f *pflag.Flag) { said = append(said, f) })
	if w.config != "" {
		if err := w.readConfig(all, said, engine); err != nil {
			return options{}, err
		}
	}
	opt, err := w.options()
	if err != nil {
		return options{}, err
	}
	return opt, opt.check(said)
}

// reread reads the same command line and the file once more.
func (a *app) reread(args []string) (options, error) {
	var w words
	all := cli.NewFlags()
	w.define(all)
	if err := all.Parse(args); err != nil {
		return options{}, flagError(all, err)
	}
	w.filter = all.Args()
	return w.read(all, a.engine)
}

// mistyped takes the only word of a filter for a command, if it is near one.
func mistyped(filter []string, cmd *cobra.Command) error {
	if len(filter) != 1 {
		return nil
	}
	var names []string
	for _, c := range cmd.Commands() {
		names = append(names, c.Name())
	}
	if near := cli.Nearest(filter[0], names); near != "" {
		return errors.New("unknown command " + filter[0] + ": did you mean " + near + "?")
	}
	return nil
}
