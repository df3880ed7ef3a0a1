package main

import (
	"fmt"
	"runtime"
	"strings"

	"github.com/spf13/pflag"

	"synoptic/internal/cli"
)

const tagline = "find open TCP ports on many addresses at once"

// synopsis is how the program is called.
var synopsis = []string{"synscan [options] TARGET...", "synscan convert [options] FILE", "synscan diff BEFORE AFTER",
	"synscan doctor [-e NAME] [--json]", "synscan completion bash|zsh|fish", "synscan man"}

// Before the options.
var introduction = cli.Section{Heading: "Description", Text: `synscan finds open TCP ports on many addresses at once.

Scan only networks that are yours, or whose owner has agreed.

A target is an address, a block (10.0.0.0/24), a range (10.0.0.1-10.0.1.9), an octet list (10.0.0-3.1,5) or a host name. Special-purpose blocks, as private networks are, are left out unless a target lies in one of them. Without -p, -F or --top-ports the 1,000 most common ports are probed, in an order of our own.`}

// After the options.
var sections = []cli.Section{
	{Heading: "Output", Text: `Results go to stdout, one line each: ADDRESS:PORT STATE REASON. Everything else goes to stderr. Raw probes need the capability CAP_NET_RAW (sudo).`},
	{Heading: "Keys", Text: `While a scan runs on a terminal, + makes it faster by a quarter and - slower by as much; Enter and any other key print a line of progress.`},
	{Heading: "Configuration file", Text: `Keys are the long names of options; an option that may be given several times takes a list, a switch takes true. The command line goes before the file: what it says of an option, of targets (also -iL) or of ports (also -F and --top-ports) replaces the file's, and -T the file's rate and wait. Only exclusions add up.`},
	{Heading: "Examples", AsIs: true, Text: `synscan -p 22,80,443 192.168.1.0/24
synscan -p- --rate 100k --retries 2 -oD host.json 192.168.1.10
synscan -sF -p 1-1024 --all-states 192.168.1.10
synscan -F -T4 -v -oA lan 192.168.0.0/16
synscan --dry-run --seed 7 --shard 2/3 -p 80 10.0.0.0/30
synscan -iL targets.txt --excludefile never.txt -p 443 | cut -d' ' -f1
synscan --top-ports 20 --rate 50k --echo >my.toml 10.0.0.0/8
synscan -c my.toml
synscan convert -oX monday.xml monday.jsonl
synscan diff monday.jsonl tuesday.jsonl
synscan doctor -e eth0`},
	{Heading: "Exit code", Text: `0 done, 1 a fault during the run, 2 the command line cannot be honoured and nothing was sent, 3 done but something was lost, 130 interrupted. The first Ctrl-C stops sending and waits for answers, the second ends at once.`},
}

// page is what the help text and the manual page are made of.
var page = cli.Page{
	Name: "synscan", Chapter: 1, Tagline: tagline, Synopsis: synopsis, Introduction: introduction, Sections: sections,
	Column: 27, Left: leftColumn, Spellings: spellings,
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

// spellings returns every way to write an option but its aliases, the preferred
// one last.
func spellings(f *pflag.Flag) []string {
	var names []string
	if f.Shorthand != "" {
		names = append(names, "-"+f.Shorthand)
	}
	if long := "--" + f.Name; len(f.Name) > 2 {
		names = append(names, long)
	} else {
		names = append(names, long[1:])
	}
	return names
}

// versionLine names the build.
func versionLine() string {
	return fmt.Sprintf("synscan %s %s %s/%s", cli.Build(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
