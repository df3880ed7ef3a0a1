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

const tagline = "notice port scans on a busy server"

// synopsis is how the program is called.
var synopsis = []string{"synwatch -i INTERFACE [options] [FILTER]", "synwatch -r FILE [options] [FILTER]",
	"synwatch status [--json]", "synwatch top [-n N]", "synwatch completion bash|zsh|fish", "synwatch man"}

// Before the options.
var introduction = section{"Description", false, `synwatch counts packets in the kernel, by an XDP program that drops and changes nothing, and alarms when a source asks for so many ports in so short a time that it is a scanner.

FILTER is a tcpdump expression that chooses which packets count, as in dst host 192.168.0.1 and dst portrange 1-1024: host, net, port, portrange, src, dst, tcp, udp, icmp, ip, ip6, and, or, not, parentheses. Without it all do.

A probe is a TCP packet that opens no connection of ours and belongs to none, or a datagram that nobody waits for. A policy gives points for each port that a source probes and draws a line: sophos at more than 21 points in 300 ms, with 3 points for a port below 1024, 10 for a trap port and 1 for others; scanlogd at 21 points with at most 3 s between new ports. sophos-packet takes the first one at its word: every TCP packet scores, also those of connections, so it accuses many who only open a web page.`}

// After the options.
var sections = []section{
	{"Alerts", false, `An alert tells of the beginning of a scan, with the ports that crossed the line; another line of its end. They go to stderr as text, and to --eve, --syslog and --scanlogd-line. An output that fails stops nothing: that is said once, tried again, and alerts that found no room meanwhile are counted.`},
	{"Signals", false, `SIGHUP opens the files of alerts anew and reads the configuration file again; what is wrong in it changes nothing. Policies and their numbers, --traps, --udp, --v6-prefix, --allow, --ignore, --quiet and the filter can change, all else needs a restart. SIGTERM and Ctrl-C end the program; whatever ends it, the kernel detaches the XDP program.`},
	{"Configuration file", false, `Keys are the long names of options, and filter; an option that may be given several times takes a list, a switch takes true. The command line goes before the file: what it says of an option, of -i and -r, or of the filter replaces the file's. Only --allow and --ignore add up.`},
	{"Privileges", false, `Watching interfaces needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN (sudo). Once attached, every capability is given up, so files of alerts must be its user's own. Reading a capture needs none.`},
	{"Examples", true, `synwatch -i eth0
synwatch -i eth0 -i eth1 --eve /var/log/synwatch/eve.json --allow 10.0.0.0/8
synwatch -i eth0 --policy scanlogd --scanlogd-gap 10s --syslog local
synwatch -i eth0 dst host 192.168.0.1 and dst portrange 1-1024
synwatch -r monday.pcapng --eve - | jq .src_ip
synwatch -c /etc/synwatch.toml --check-config
synwatch status --json
synwatch top`},
	{"Exit code", false, `0 done, 1 a fault while it ran, as a capture that ends in the middle of a packet, 2 it cannot begin and nothing was attached.`},
}

// Widths of the help text.
const (
	helpWidth  = 80
	helpColumn = 31
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
	if f.Shorthand != "" {
		return "-" + f.Shorthand + ", --" + f.Name
	}
	return "--" + f.Name
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

// version is the build's.
func version() string {
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
	return version + revision
}

// versionLine names the build.
func versionLine() string {
	return fmt.Sprintf("synwatch %s %s %s/%s", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
