package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/pflag"
)

const helpHead = `synscan finds open TCP ports on many addresses at once.

Scan only networks that are yours, or whose owner has agreed.

  synscan [options] -p PORTS TARGET...
  synscan convert [options] FILE    write the results of -oD in other formats
  synscan diff BEFORE AFTER         say what has changed between two scans

A target is an address, a block (10.0.0.0/24), a range (10.0.0.1-10.0.1.9), an
octet list (10.0.0-3.1,5) or a host name. Special-purpose blocks, as private
networks are, are left out unless a target lies in one of them.
`

const helpTail = `
Results go to stdout, one line each: ADDRESS:PORT STATE REASON. Everything else
goes to stderr. Raw probes need the capability CAP_NET_RAW (sudo).

Examples:
  synscan -p 22,80,443 192.168.1.0/24
  synscan -p- --rate 100k --retries 2 -oD host.json 192.168.1.10
  synscan -sF -p 1-1024 --all-states 192.168.1.10
  synscan --dry-run --seed 7 --shard 2/3 -p 80 10.0.0.0/30
  synscan -iL targets.txt --excludefile never.txt -p 443 | cut -d' ' -f1

Exit code: 0 done, 1 a fault during the run, 2 the command line cannot be
honoured and nothing was sent, 3 done but something was lost, 130 interrupted.
The first Ctrl-C stops sending and waits for answers, the second ends at once.
`

// Widths of the help text.
const (
	helpWidth  = 80
	helpColumn = 27
)

func printHelp(out io.Writer, groups []group) {
	fmt.Fprint(out, helpHead)
	for _, g := range groups {
		printGroup(out, g)
	}
	fmt.Fprint(out, helpTail)
}

func printGroup(out io.Writer, g group) {
	fmt.Fprintf(out, "\n%s:\n", g.heading)
	g.flags.VisitAll(func(f *pflag.Flag) {
		value, text := pflag.UnquoteUsage(f)
		left := strings.TrimSpace(leftColumn(f) + " " + valueColumn(f, value))
		for _, line := range wrap(text, helpWidth-helpColumn) {
			fmt.Fprintf(out, "  %-*s%s\n", helpColumn-2, left, line)
			left = ""
		}
	})
}

func leftColumn(f *pflag.Flag) string {
	switch {
	case f.Name == "scan":
		return "-sS"
	case f.Name == "ping":
		return "-Pn"
	case f.Shorthand != "" && strings.HasPrefix(spelling(f), "--"):
		return "-" + f.Shorthand + ", " + spelling(f)
	}
	return spelling(f)
}

func valueColumn(f *pflag.Flag, value string) string {
	if !strings.Contains(f.Usage, "`") {
		return "" // pflag then invents a name from the type
	}
	return value
}

// wrap breaks a text between words.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines, line = append(lines, line), ""
		}
		line = strings.TrimSpace(line + " " + word)
	}
	return append(lines, line)
}

// versionLine names the build.
func versionLine() string {
	version, revision := "(devel)", ""
	if info, ok := debug.ReadBuildInfo(); ok {
		if info.Main.Version != "" {
			version = info.Main.Version
		}
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && !strings.Contains(version, s.Value[:min(12, len(s.Value))]) {
				revision = " " + s.Value[:min(12, len(s.Value))]
			}
		}
	}
	return fmt.Sprintf("synscan %s%s %s %s/%s", version, revision, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
