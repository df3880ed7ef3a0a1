package main

import (
	"fmt"
	"io"
	"net"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"synoptic/internal/method"
	"synoptic/internal/services"
)

// addCompletions tells cobra which values the options have. Files are what
// every other option completes to.
func addCompletions(cmd *cobra.Command) {
	const nothingElse = cobra.ShellCompDirectiveNoFileComp
	words := func(list ...string) cobra.CompletionFunc {
		return cobra.FixedCompletions(list, nothingElse|cobra.ShellCompDirectiveKeepOrder)
	}
	var letters, timings []string
	for _, m := range method.All() {
		letters = append(letters, fmt.Sprintf("%c\t%s", m.Letter, m.Name))
	}
	for i, p := range presets {
		timings = append(timings, fmt.Sprintf("%d\t%s", i, p.name))
	}
	values := map[string]cobra.CompletionFunc{
		"scan":    words(append(letters, "L\tlist addresses")...),
		"no-ping": words("n"),
		"timing":  words(timings...),
		"rate":    words("max"),
		"ports":   completePorts,
		"interface": func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return interfaceNames(), nothingElse
		},
		"retries": words(auto),
	}
	for _, name := range []string{"exclude", "top-ports", "yes-really-scan", "wait", "seed", "shard", "max-probes", "senders",
		"source-ip", "source-port", "router-mac", "ttl"} {
		values[name] = cobra.NoFileCompletions
	}
	for name, f := range values {
		if err := cmd.RegisterFlagCompletionFunc(name, f); err != nil {
			panic(err) // a name that is no flag
		}
	}
	cmd.ValidArgsFunction = cobra.NoFileCompletions
}

// completePorts completes the last item of a list of ports by the names of
// services. In bash only the first one: cobra's script takes the comma of a
// completion for one that needs a backslash.
func completePorts(_ *cobra.Command, _ []string, text string) ([]string, cobra.ShellCompDirective) {
	const directive = cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	before := text[:strings.LastIndexByte(text, ',')+1]
	begun := text[len(before):]
	known, err := services.Load(services.File)
	if err != nil || begun == "" {
		return nil, directive
	}
	var names []string
	for port := range 1 << 16 {
		if name := known.Name(uint16(port)); strings.HasPrefix(name, begun) {
			names = append(names, fmt.Sprintf("%s%s\t%d", before, name, port))
		}
	}
	return names, directive
}

func interfaceNames() []string {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil
	}
	var names []string
	for _, i := range interfaces {
		names = append(names, i.Name)
	}
	return names
}

// completeOption answers a shell that asks for the options a word could become,
// in their own spelling: cobra knows of two hyphens only. After a command they
// are the command's. It reports false if the question is another one.
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
		switch f.Name {
		case "scan":
			for _, m := range method.All() {
				offer(fmt.Sprintf("-s%c", m.Letter), m.Name+" scan")
			}
			offer("-sL", "list the addresses and send nothing")
		case "no-ping":
			offer("-Pn", text)
		case "timing":
			for i, p := range presets {
				offer(fmt.Sprintf("-T%d", i), p.name)
			}
		default:
			offer(spelling(f), text)
			if f.Shorthand != "" && spelling(f) != "-"+f.Shorthand {
				offer("-"+f.Shorthand, text)
			}
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
	case slices.Contains(twoLetter, word):
		return true
	case len(word) == 2 && word[0] == '-':
		f = all.ShorthandLookup(word[1:])
	}
	return f != nil && f.NoOptDefVal == ""
}
