package main

import (
	"io"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"synoptic/detector"
	"synoptic/internal/cli"
)

// addCompletions tells cobra which values the options have. Files are what
// every other option completes to.
func addCompletions(cmd *cobra.Command) {
	var policies []string
	for _, p := range detector.Policies() {
		policies = append(policies, p.Name)
	}
	values := map[string]cobra.CompletionFunc{
		"interface": cli.Interfaces,
		"xdp-mode":  cli.Words("auto", "native", "generic", "tcx"),
		"policy":    cli.Words(policies...),
		"udp":       cli.Words("score", "count", "off"),
		"syslog":    cli.Words("local", "udp://", "tcp://", "unix:///"),
	}
	for _, p := range detector.Policies() {
		for _, n := range parameters(p.Name) {
			values[p.Name+"-"+n.name] = cobra.NoFileCompletions
			if n.name == "compare" {
				values[p.Name+"-"+n.name] = cli.Words(exceeds, reaches)
			}
		}
	}
	cli.CompleteValues(cmd, values, "memory", "traps", "v6-prefix", "allow", "ignore", "metrics")
}

// completeOption answers a shell that asks for the options a word could become.
// It reports false if the question is another one.
func completeOption(out io.Writer, args []string, cmd *cobra.Command) bool {
	offer := func(f *pflag.Flag, text string, offer func(option, text string)) {
		for _, option := range spellings(f) {
			offer(option, text)
		}
	}
	return cli.CompleteOption(out, args, cmd, offer, func(string) bool { return false })
}
