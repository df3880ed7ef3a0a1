// Synlab drives the simulated network by hand: it builds a scanner's
// namespace, a link, hosts with a known truth at its other end, and runs
// commands in the midst of it.
//
//	synlab up --open-share 1/64
//	synlab exec -- synscan -p 1-100 10.0.0.0/24
//	synlab truth -p 1-100 10.0.0.0/24
//	synlab status
//	synlab down
//
// Nothing that runs there can reach another network. Exit codes: 0 done, 1
// failed, 2 used wrongly; exec has that of the command.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"synoptic/internal/lab"
)

// failure is an error of what a command did, as opposed to how it was called.
type failure struct{ error }

func (f failure) Unwrap() error { return f.error }

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	root := newRoot()
	root.SetArgs(args)
	err := root.Execute()
	if err == nil {
		return 0
	}
	if errors.Is(err, lab.ErrNotUp) {
		err = failure{fmt.Errorf("%w: run synlab up", err)}
	}
	fmt.Fprintf(os.Stderr, "synlab: %v\n", err)
	if errors.As(err, new(failure)) {
		return 1
	}
	return 2
}

// does makes a command's errors failures.
func does(f func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if err := f(cmd, args); err != nil {
			return failure{err}
		}
		return nil
	}
}

func newRoot() *cobra.Command {
	var name string
	root := &cobra.Command{
		Use:           "synlab",
		Short:         "A simulated network with a known truth, for port scanners",
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			return lab.CheckName(name)
		},
	}
	root.PersistentFlags().StringVar(&name, "name", "synlab", "the lab's name, which its namespaces begin with")
	root.AddCommand(newUp(&name), newDown(&name), newExec(&name), newTruth(&name), newStatus(&name), newDemo())
	return root
}

func newDown(name *string) *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "Take the network down; no error if it is not up",
		Args:  cobra.NoArgs,
		RunE:  does(func(*cobra.Command, []string) error { return lab.TakeDown(*name) }),
	}
}

func newExec(name *string) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "exec [--] COMMAND [ARGUMENT...]",
		Short:   "Run a command in the scanner's namespace",
		Example: "  synlab exec -- ping -c1 172.16.0.2",
		Args:    cobra.MinimumNArgs(1),
		RunE: does(func(_ *cobra.Command, args []string) error {
			s, err := lab.OpenSession(*name)
			if err != nil {
				return err
			}
			return s.Exec(args)
		}),
	}
	cmd.Flags().SetInterspersed(false) // the command's flags are its own
	return cmd
}
