package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"synoptic/internal/cli"
	"synoptic/internal/method"
	"synoptic/internal/output"
	"synoptic/internal/result"
	"synoptic/internal/services"
	"synoptic/internal/target"
)

const convertHelp = `synscan convert writes the results of a scan in other formats.

  synscan convert [options] FILE

FILE is what -oD wrote, - for stdin. Every line of it is converted, to text on
stdout if no format is asked for.

The lines do not tell what a scan asked for. So the reports take the ports that
appear for those that were scanned and the first and last result for its begin
and end, and know nothing of silent ports and addresses unless the scan was
done with --all-states.
`

// convertCommand is `synscan convert`. The exit code is 0, or 2 for an input that
// cannot be read, and 1 for an output that fails.
func (a *app) convertCommand(code *int) *cobra.Command {
	var w words
	cmd := &cobra.Command{Use: "convert [options] FILE", Short: "write the results of a scan in other formats"}
	options := cli.NewFlags()
	w.defineOutputs(options)
	options.BoolVar(&w.open, "open", false, "leave out what cannot be open")
	options.BoolVar(&w.allStates, "all-states", false, "list every port in the reports, however many of a host are in one state")
	options.CountVarP(&w.verbose, "verbose", "v", "list more ports of a host in the reports, as in a scan")
	options.BoolP("help", "h", false, "print this text")
	a.describeCommand(cmd, convertHelp, options)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := checkSwallowed(cmd.Flags()); err != nil {
			return err
		}
		if len(args) != 1 {
			return errors.New("convert takes one file that -oD wrote, or - for stdin")
		}
		if err := w.readVerbose(); err != nil {
			return err
		}
		if w.open && w.allStates {
			return errors.New("--open and --all-states contradict each other: leave one out")
		}
		places, err := w.places()
		if err != nil {
			return err
		}
		if len(places) == 0 {
			places = []place{textOnStdout}
		}
		*code, err = a.convert(args[0], places, &w)
		return err
	}
	return cmd
}

// describeCommand gives a command its options and its help text.
func (a *app) describeCommand(cmd *cobra.Command, text string, options *pflag.FlagSet) {
	cmd.Flags().AddFlagSet(options)
	cmd.Flags().SortFlags = false
	cmd.Long = text
	cmd.SetHelpFunc(func(*cobra.Command, []string) {
		fmt.Fprint(a.print, text)
		page.Options(a.print, cli.Group{Heading: "Options", Flags: options})
	})
}

// convert reads the input twice, so that a fault in its last line costs no file
// its content: once to check it and to learn what the reports begin with, and
// once to write.
func (a *app) convert(name string, places []place, w *words) (int, error) {
	if err := checkReader(places, a.stdout); err != nil {
		return exitUsage, err
	}
	in, err := a.openResults(name)
	if err != nil {
		return exitUsage, err
	}
	defer in.Close()
	for _, p := range places {
		file := p.name
		if onStdout(p) {
			file = "/dev/stdout"
		}
		if sameFile(file, in.File) {
			return exitUsage, fmt.Errorf("%s would be read and written at once: give the output a file of its own", name)
		}
	}
	about, end, err := survey(in)
	if err != nil {
		return exitUsage, err
	}
	names, err := services.Load(services.File)
	if err != nil {
		return exitUsage, err
	}
	about.Program, about.Args, about.Service = program(), append([]string{"synscan"}, a.args...), names.Name
	about.Verbose, about.AllStates, about.OpenOnly, about.Reasons = w.verbose, w.allStates, w.open, w.reason

	out, err := openOutputs(places, a.stdout, a.say, func() {})
	if err != nil {
		return exitUsage, err
	}
	out.allStates = !w.open
	if err := out.begin(about); err != nil {
		out.discard()
		return exitUsage, err
	}
	err = in.read(out.Record)
	out.close(end)
	if text := out.lost(); text != "" {
		return exitFailed, errors.New(text)
	}
	if err != nil {
		return exitFailed, err
	}
	return exitDone, nil
}

// survey reads the results and derives what they tell of their scan. It leaves
// the input at its beginning.
func survey(in *results) (*output.Scan, *output.End, error) {
	var first, last time.Time
	var ports [1 << 16]bool
	methods := map[string]bool{}
	err := in.read(func(r *result.Record) error {
		if first.IsZero() || r.Time.Before(first) {
			first = r.Time
		}
		if r.Time.After(last) {
			last = r.Time
		}
		ports[r.Addr.Port()] = true
		methods[r.Method] = true
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	if first.IsZero() {
		first = time.Now()
		last = first
	}
	var list []uint16
	for p, seen := range ports {
		if seen {
			list = append(list, uint16(p))
		}
	}
	scan := &output.Scan{Start: first.Local(), Ports: target.PortsOf(list...).String(), NPorts: len(list)}
	for _, m := range method.All() {
		if methods[m.Name] {
			scan.Methods = append(scan.Methods, m.Name)
		}
	}
	return scan, &output.End{Time: last.Local(), Elapsed: last.Sub(first)}, nil
}

// results is a file that -oD wrote.
type results struct {
	*os.File
	name  string
	begin int64 // offset: a script may have read the first lines of its stdin
}

// openResults opens a file, or stdin, so that it can be read more than once: a
// pipe is copied to a temporary file without a name.
func (a *app) openResults(name string) (*results, error) {
	from := a.stdin
	if name == "-" {
		name = "stdin"
	} else {
		var err error
		if from, err = os.Open(name); err != nil {
			return nil, fmt.Errorf("read %s: %w", name, bare(err))
		}
	}
	if begin, err := from.Seek(0, io.SeekCurrent); err == nil {
		return &results{from, name, begin}, nil
	}
	defer from.Close()
	f, err := os.CreateTemp("", "synscan-")
	if err != nil {
		return nil, fmt.Errorf("keep what %s brings: %w", name, err)
	}
	if err := errors.Join(os.Remove(f.Name()), copyTo(f, from)); err != nil {
		f.Close()
		return nil, fmt.Errorf("keep what %s brings: %w", name, err)
	}
	return &results{f, name, 0}, nil
}

func copyTo(f *os.File, from io.Reader) error {
	if _, err := io.Copy(f, from); err != nil {
		return err
	}
	_, err := f.Seek(0, io.SeekStart)
	return err
}

// read gives every record to a function, and goes back to the beginning.
func (r *results) read(each func(*result.Record) error) error {
	line := 0
	err := output.ReadJSON(r.File, r.name, func(record *result.Record) error {
		if line++; method.ByName(record.Method) == nil {
			return fmt.Errorf("read %s: line %d: there is no method %q", r.name, line, record.Method)
		}
		return each(record)
	})
	if err != nil {
		return err
	}
	if _, err := r.Seek(r.begin, io.SeekStart); err != nil {
		return fmt.Errorf("read %s once more: %w", r.name, bare(err))
	}
	return nil
}
