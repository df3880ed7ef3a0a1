package main

import (
	"fmt"
	"io"
	"net"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"synoptic/detector"
)

// addCompletions tells cobra which values the options have. Files are what
// every other option completes to.
func addCompletions(cmd *cobra.Command) {
	words := func(list ...string) cobra.CompletionFunc {
		return cobra.FixedCompletions(list, cobra.ShellCompDirectiveNoFileComp|cobra.ShellCompDirectiveKeepOrder)
	}
	var policies []string
	for _, p := range detector.Policies() {
		policies = append(policies, p.Name)
	}
	values := map[string]cobra.CompletionFunc{
		"interface": func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return interfaceNames(), cobra.ShellCompDirectiveNoFileComp
		},
		"xdp-mode": words("auto", "native", "generic", "tcx"),
		"policy":   words(policies...),
		"udp":      words("score", "count", "off"),
		"syslog":   words("local", "udp://", "tcp://", "unix:///"),
	}
	for _, name := range []string{"memory", "traps", "v6-prefix", "allow", "ignore", "metrics"} {
		values[name] = cobra.NoFileCompletions
	}
	for _, p := range detector.Policies() {
		for _, n := range parameters(p.Name) {
			values[p.Name+"-"+n.name] = cobra.NoFileCompletions
			if n.name == "compare" {
				values[p.Name+"-"+n.name] = words(exceeds, reaches)
			}
		}
	}
	for name, f := range values {
		if err := cmd.RegisterFlagCompletionFunc(name, f); err != nil {
			panic(err) // a name that is no flag
		}
	}
	cmd.ValidArgsFunction = cobra.NoFileCompletions
}

func interfaceNames() (names []string) {
	all, err := net.Interfaces()
	if err != nil {
		return nil
	}
	for _, i := range all {
		names = append(names, i.Name)
	}
	return names
}

// completeOption answers a shell that asks for the options a word could become,
// in the order of the help text; after a command they are the command's. It
// reports false if the question is another one.
func completeOption(out io.Writer, args []string, cmd *cobra.Command) bool {
	if len(args) < 2 || args[0] != cobra.ShellCompRequestCmd && args[0] != cobra.ShellCompNoDescRequestCmd {
		return false
	}
	word, before := args[len(args)-1], args[1:len(args)-1]
	if !strings.HasPrefix(word, "-") || strings.Contains(word, "=") || slices.Contains(before, "--") {
		return false
	}
	if len(before) > 0 {
		for _, c := range cmd.Commands() {
			if c.Name() == before[0] {
				cmd = c
			}
		}
	}
	if n := len(before); n > 0 && takesValue(cmd.Flags(), before[n-1]) {
		return false
	}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		_, text := pflag.UnquoteUsage(f)
		for _, option := range spellings(f) {
			if !strings.HasPrefix(option, word) {
				continue
			}
			if args[0] == cobra.ShellCompRequestCmd {
				option += "\t" + text
			}
			fmt.Fprintln(out, option)
		}
	})
	fmt.Fprintf(out, ":%d\n", cobra.ShellCompDirectiveNoFileComp)
	return true
}

// takesValue reports whether the word after this one is its value.
func takesValue(all *pflag.FlagSet, word string) bool {
	var f *pflag.Flag
	switch {
	case strings.HasPrefix(word, "--"):
		f = all.Lookup(word[2:])
	case len(word) == 2 && word[0] == '-':
		f = all.ShorthandLookup(word[1:])
	}
	return f != nil && f.NoOptDefVal == ""
}
