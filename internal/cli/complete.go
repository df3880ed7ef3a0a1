package cli

import (
	"fmt"
	"io"
	"net"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Words completes to one of a list, in its order.
func Words(list ...string) cobra.CompletionFunc {
	return cobra.FixedCompletions(list, cobra.ShellCompDirectiveNoFileComp|cobra.ShellCompDirectiveKeepOrder)
}

// Interfaces completes to the names of this machine's interfaces.
func Interfaces(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	var names []string
	all, _ := net.Interfaces() // or none
	for _, i := range all {
		names = append(names, i.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// CompleteValues tells cobra which values options have, and which have none that
// are known. Files are what every other option completes to; words that belong
// to no option complete to nothing.
func CompleteValues(cmd *cobra.Command, values map[string]cobra.CompletionFunc, unknown ...string) {
	for _, name := range unknown {
		values[name] = cobra.NoFileCompletions
	}
	for name, f := range values {
		if err := cmd.RegisterFlagCompletionFunc(name, f); err != nil {
			panic(err) // a name that is no flag
		}
	}
	cmd.ValidArgsFunction = cobra.NoFileCompletions
}

// CompleteOption answers a shell that asks for the options a word could become,
// in the order in which they are declared; after a command they are the
// command's. It reports false if the question is another one. offers calls offer
// for each spelling of a flag; takesValue says that a word is an option whose
// value comes next, beside those that pflag knows.
func CompleteOption(out io.Writer, args []string, cmd *cobra.Command,
	offers func(f *pflag.Flag, text string, offer func(option, text string)), takesValue func(word string) bool) bool {
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
	if n := len(before); n > 0 && (takesValue(before[n-1]) || wantsValue(cmd.Flags(), before[n-1])) {
		return false
	}
	offer := func(option, text string) {
		if !strings.HasPrefix(option, word) {
			return
		}
		if args[0] == cobra.ShellCompRequestCmd {
			option += "\t" + text
		}
		fmt.Fprintln(out, option)
	}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		_, text := pflag.UnquoteUsage(f)
		offers(f, text, offer)
	})
	fmt.Fprintf(out, ":%d\n", cobra.ShellCompDirectiveNoFileComp)
	return true
}

// wantsValue reports whether the word after this one is its value.
func wantsValue(all *pflag.FlagSet, word string) bool {
	var f *pflag.Flag
	switch {
	case strings.HasPrefix(word, "--"):
		f = all.Lookup(word[2:])
	case len(word) == 2 && word[0] == '-':
		f = all.ShorthandLookup(word[1:])
	}
	return f != nil && f.NoOptDefVal == ""
}
