package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/pflag"
)

// section is a part of the help text and of the manual page: a heading and
// paragraphs, or lines that stay as they are.
type section struct {
	heading string
	asIs    bool
	text    string
}

const tagline = "find open TCP ports on many addresses at once"

// synopsis is how the program is called.
var synopsis = []string{"synscan [options] TARGET...", "synscan convert [options] FILE", "synscan diff BEFORE AFTER",
	"synscan completion bash|zsh|fish", "synscan man"}

// Before the options.
var introduction = section{"Description", false, `synscan finds open TCP ports on many addresses at once.

Scan only networks that are yours, or whose owner has agreed.

A target is an address, a block (10.0.0.0/24), a range (10.0.0.1-10.0.1.9), an octet list (10.0.0-3.1,5) or a host name. Special-purpose blocks, as private networks are, are left out unless a target lies in one of them. Without -p, -F or --top-ports the 1,000 most common ports are probed, in an order of our own.`}

// After the options.
var sections = []section{
	{"Output", false, `Results go to stdout, one line each: ADDRESS:PORT STATE REASON. Everything else goes to stderr. Raw probes need the capability CAP_NET_RAW (sudo).`},
	{"Keys", false, `While a scan runs on a terminal, + makes it faster by a quarter and - slower by as much; Enter and any other key print a line of progress.`},
	{"Configuration file", false, `Keys are the long names of options; an option that may be given several times takes a list, a switch takes true. The command line goes before the file: what it says of an option, of targets (also -iL) or of ports (also -F and --top-ports) replaces the file's, and -T the file's rate and wait. Only exclusions add up.`},
	{"Examples", true, `synscan -p 22,80,443 192.168.1.0/24
synscan -p- --rate 100k --retries 2 -oD host.json 192.168.1.10
synscan -sF -p 1-1024 --all-states 192.168.1.10
synscan -F -T4 -v -oA lan 192.168.0.0/16
synscan --dry-run --seed 7 --shard 2/3 -p 80 10.0.0.0/30
synscan -iL targets.txt --excludefile never.txt -p 443 | cut -d' ' -f1
synscan --top-ports 20 --rate 50k --echo >my.toml 10.0.0.0/8
synscan -c my.toml
synscan convert -oX monday.xml monday.jsonl
synscan diff monday.jsonl tuesday.jsonl`},
	{"Exit code", false, `0 done, 1 a fault during the run, 2 the command line cannot be honoured and nothing was sent, 3 done but something was lost, 130 interrupted. The first Ctrl-C stops sending and waits for answers, the second ends at once.`},
}

// Widths of the help text.
const (
	helpWidth  = 80
	helpColumn = 27
)

func printHelp(out io.Writer, groups []group) {
	fmt.Fprintf(out, "%s\n\n", fill(introduction.text))
	for _, line := range synopsis {
		fmt.Fprintf(out, "  %s\n", line)
	}
	for _, g := range groups {
		printGroup(out, g)
	}
	for _, s := range sections {
		text := fill(s.text)
		if s.asIs {
			text = "  " + strings.ReplaceAll(s.text, "\n", "\n  ")
		}
		fmt.Fprintf(out, "\n%s:\n%s\n", s.heading, text)
	}
}

// fill wraps paragraphs.
func fill(text string) string {
	paragraphs := strings.Split(text, "\n\n")
	for i, p := range paragraphs {
		paragraphs[i] = strings.Join(wrap(p, helpWidth), "\n")
	}
	return strings.Join(paragraphs, "\n\n")
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
	case f.Name == "no-ping":
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
