package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"synoptic/internal/cli"
	"synoptic/internal/method"
	"synoptic/internal/services"
)

// addCompletions tells cobra which values the options have. Files are what
// every other option completes to.
func addCompletions(cmd *cobra.Command) {
	var letters, timings []string
	for _, m := range method.All() {
		letters = append(letters, fmt.Sprintf("%c\t%s", m.Letter, m.Name))
	}
	for i, p := range presets {
		timings = append(timings, fmt.Sprintf("%d\t%s", i, p.name))
	}
	values := map[string]cobra.CompletionFunc{
		"scan":      cli.Words(append(letters, "L\tlist addresses")...),
		"no-ping":   cli.Words("n"),
		"timing":    cli.Words(timings...),
		"rate":      cli.Words("max"),
		"ports":     completePorts,
		"interface": cli.Interfaces,
		"retries":   cli.Words(auto),
	}
	cli.CompleteValues(cmd, values, "exclude", "top-ports", "yes-really-scan", "rate-per-prefix", "wait", "seed", "shard", "max-probes", "senders",
		"source-ip", "source-port", "router-mac", "ttl")
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

// completeOption answers a shell that asks for the options a word could become,
// in their own spelling: cobra knows of two hyphens only. It reports false if the
// question is another one.
func completeOption(out io.Writer, args []string, cmd *cobra.Command) bool {
	return cli.CompleteOption(out, args, cmd, offerOption, func(word string) bool { return slices.Contains(twoLetter, word) })
}

func offerOption(f *pflag.Flag, text string, offer func(option, text string)) {
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
}
