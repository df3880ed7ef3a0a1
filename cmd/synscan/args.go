package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// twoLetter are nmap's options of two letters that take a value in the next
// argument. pflag would read -oD as -o with the value D; with one more dash it
// is a long option like any other. An entry needs a flag of its name.
var twoLetter = []string{"-oD", "-oJ", "-oL", "-oG", "-oN", "-oX", "-oA", "-iL"}

// twoLetterNames are the names of their flags.
func twoLetterNames() []string {
	names := slices.Clone(twoLetter)
	for i := range names {
		names[i] = names[i][1:]
	}
	return names
}

// longArgs rewrites the two-letter options of a command line for pflag. Options
// that only look like such are errors: pflag could misread them, as -exclude F
// for interface "xclude" and target F.
func longArgs(args []string, long func(name string) bool) ([]string, error) {
	if len(args) > 0 && strings.HasPrefix(args[0], cobra.ShellCompRequestCmd) {
		half := slices.Clone(args) // a command line, from a shell
		for i, arg := range half {
			if slices.Contains(twoLetter, arg) {
				half[i] = "-" + arg
			}
		}
		return half, nil
	}
	out := make([]string, 0, len(args))
	for i, arg := range args {
		if arg == "--" {
			return append(out, args[i:]...), nil
		}
		name, _, _ := strings.Cut(arg, "=")
		switch {
		case len(name) < 3 || name[0] != '-' || name[1] == '-':
		case slices.Contains(twoLetter, name):
			arg = "-" + arg
		case refusals[name] != "":
			return nil, fmt.Errorf("%s cannot be honoured: %s", name, refusals[name])
		case long(name[1:]):
			return nil, fmt.Errorf("unknown option %s: did you mean -%s?", name, name)
		case name[1] == 'o':
			return nil, fmt.Errorf("unknown option %s: the outputs are lines on stdout, -oD, -oJ, -oL, -oG, -oN, -oX FILE and -oA BASE", name)
		case name[1] == 'i':
			return nil, fmt.Errorf("unknown option %s: targets are read from files by -iL FILE", name)
		}
		out = append(out, arg)
	}
	return out, nil
}
