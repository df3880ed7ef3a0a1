package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/pflag"

	"synoptic/internal/cli"
)

const tagline = "notice port scans on a busy server"

// synopsis is how the program is called.
var synopsis = []string{"synwatch -i INTERFACE [options] [FILTER]", "synwatch -r FILE [options] [FILTER]",
	"synwatch status [--json]", "synwatch top [-n N]", "synwatch completion bash|zsh|fish", "synwatch man"}

// Before the options.
var introduction = cli.Section{Heading: "Description", Text: `synwatch counts packets in the kernel, by an XDP program that drops and changes nothing, and alarms when a source asks for so many ports in so short a time that it is a scanner.

FILTER is a tcpdump expression that chooses which packets count, as in dst host 192.168.0.1 and dst portrange 1-1024: host, net, port, portrange, src, dst, tcp, udp, icmp, ip, ip6, and, or, not, parentheses. Without it all do.

A probe is a TCP packet that opens no connection of ours and belongs to none, or a datagram that nobody waits for. A policy gives points for each port that a source probes and draws a line: sophos at more than 21 points in 300 ms, with 3 points for a port below 1024, 10 for a trap port and 1 for others; scanlogd at 21 points with at most 3 s between new ports. sophos-packet takes the first one at its word: every TCP packet scores, also those of connections, so it accuses many who only open a web page.`}

// After the options.
var sections = []cli.Section{
	{Heading: "Alerts", Text: `An alert tells of the beginning of a scan, with the ports that crossed the line; another line of its end. They go to stderr as text, and to --eve, --syslog and --scanlogd-line. An output that fails stops nothing: that is said once, tried again, and alerts that found no room meanwhile are counted.`},
	{Heading: "Signals", Text: `SIGHUP opens the files of alerts anew and reads the configuration file again; what is wrong in it changes nothing. Policies and their numbers, --traps, --udp, --v6-prefix, --allow, --ignore, --quiet and the filter can change, all else needs a restart. SIGTERM and Ctrl-C end the program; whatever ends it, the kernel detaches the XDP program.`},
	{Heading: "Configuration file", Text: `Keys are the long names of options, and filter; an option that may be given several times takes a list, a switch takes true. The command line goes before the file: what it says of an option, of -i and -r, or of the filter replaces the file's. Only --allow and --ignore add up.`},
	{Heading: "Privileges", Text: `Watching interfaces needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN (sudo). Once attached, every capability is given up, so files of alerts must be its user's own. Reading a capture needs none.`},
	{Heading: "Examples", AsIs: true, Text: `synwatch -i eth0
synwatch -i eth0 -i eth1 --eve /var/log/synwatch/eve.json --allow 10.0.0.0/8
synwatch -i eth0 --policy scanlogd --scanlogd-gap 10s --syslog local
synwatch -i eth0 dst host 192.168.0.1 and dst portrange 1-1024
synwatch -r monday.pcapng --eve - | jq .src_ip
synwatch -c /etc/synwatch.toml --check-config
synwatch status --json
synwatch top`},
	{Heading: "Exit code", Text: `0 done, 1 a fault while it ran, as a capture that ends in the middle of a packet, 2 it cannot begin and nothing was attached.`},
}

// page is what the help text and the manual page are made of.
var page = cli.Page{
	Name: "synwatch", Chapter: 8, Tagline: tagline, Synopsis: synopsis, Introduction: introduction, Sections: sections,
	Column: 31, Left: leftColumn, Spellings: spellings,
}

func leftColumn(f *pflag.Flag) string {
	if f.Shorthand != "" {
		return "-" + f.Shorthand + ", --" + f.Name
	}
	return "--" + f.Name
}

// spellings returns every way to write an option, the preferred one last.
func spellings(f *pflag.Flag) []string {
	if f.Shorthand != "" {
		return []string{"-" + f.Shorthand, "--" + f.Name}
	}
	return []string{"--" + f.Name}
}

// versionLine names the build.
func versionLine() string {
	return fmt.Sprintf("synwatch %s %s %s/%s", cli.Build(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
