package report

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// The generated part of the README is between these lines.
const (
	begin = "<!-- written from bench/results/compare.json by `make compare` -->\n"
	end   = "<!-- end of what is written -->\n"
)

// Readme returns the README with its figures written anew.
func (c *Comparison) Readme(old []byte) ([]byte, error) {
	before, rest, found1 := bytes.Cut(old, []byte(begin))
	_, after, found2 := bytes.Cut(rest, []byte(end))
	if !found1 || !found2 {
		return nil, errors.New("the README has no place for what is measured")
	}
	section, err := c.section()
	if err != nil {
		return nil, err
	}
	return slices.Concat(before, []byte(begin), section, []byte(end), after), nil
}

// section is the part of the README: ours beside the peers, and what was missed.
func (c *Comparison) section() ([]byte, error) {
	verdicts, err := c.Claims()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	var missing error
	cell := func(s source) string {
		figure, err := s(c)
		missing = errors.Join(missing, err)
		return short(figure)
	}
	fmt.Fprintf(&b, "On %s, %s, %s, medians of %d rounds in turn. A sweep of one port of simulated hosts, as fast as it goes: probes a second and time of the processor for a probe\nby the peer's, "+
		"and how many open endpoints each did not find, at most in any round.\n\n", c.Machine, c.Kernel, c.Date, c.Rounds)
	b.WriteString("| path | against | senders | probes/s, ratio | CPU per probe, ratio | missing, ours | missing, peer's |\n|---|---|---|---|---|---|---|\n")
	for _, row := range []struct{ path, peer, work, senders string }{
		{packet, "zmap", "sweep/senders=1", "1"}, {packet, "zmap", "sweep/senders=2", "2"}, {packet, "masscan", "sweep/senders=1", "1"},
		{kernel, "zmap", "large-sweep/senders=1", "1"}, {kernel, "zmap", "large-sweep/senders=2", "2"}, {kernel, "masscan", "sweep/senders=1", "1"},
	} {
		_, path, _ := strings.Cut(row.path, "--path ")
		fmt.Fprintf(&b, "| %s | %s %s | %s | %s | %s | %s | %s |\n", path, row.peer, c.Versions[row.peer], row.senders,
			cell(ratio(row.work, row.path, row.peer, PPS)), cell(ratio(row.work, row.path, row.peer, CPU)),
			cell(worst(row.work, row.path, Missing)), cell(worst(row.work, row.peer, Missing)))
	}
	fmt.Fprintf(&b, "\nAgainst nmap %s with `-n -Pn -T4`, whole programs from start to end, synscan's time by nmap's; every state that synscan reported was right:\n\n"+
		"| work | -sS | -sF | -sT |\n|---|---|---|---|\n", c.Versions["nmap"])
	for _, row := range [][2]string{{"one host, all 65,535 ports", "one_host_all_ports"}, {"one host, 1,000 ports", "one_host_few_ports"}, {"256 hosts, 100 ports each, a quarter silent", "many_hosts"}} {
		fmt.Fprintf(&b, "| %s |", row[0])
		for _, method := range "SFT" {
			name := row[1] + "/-s" + string(method)
			if c.Work(name) == nil {
				b.WriteString(" |")
				continue
			}
			fmt.Fprintf(&b, " %s |", cell(ratio(name, "synscan", "nmap", Seconds)))
		}
		b.WriteString("\n")
	}
	b.WriteString("\nWhat a packet costs the detector beyond an empty XDP program, in nanoseconds:\n\n| packet | as it comes | repeated at once | with cold caches |\n|---|---|---|---|\n")
	for _, row := range []struct{ text, live, piece string }{
		{"ACK of a connection", "plain_ack", "ack"}, {"probe to a known port", "repeated_port", "repeated_port"},
		{"probe to a new port", "novel_probe", "novel_probe"}, {"probe of a new source, the table full", "forged_flood", "new_source"},
	} {
		hot := ""
		if row.piece == "ack" || row.piece == "repeated_port" { // of one frame only
			hot = cell(of("watch", "Watch/case="+row.piece, "hot-more-ns/packet"))
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", row.text, cell(of("watch-on-veth", "Detector/traffic="+row.live, "live-ns/packet")), hot,
			cell(of("watch", "Watch/case="+row.piece, "more-ns/packet")))
	}
	const flood = "detector/flood/rate=max"
	fmt.Fprintf(&b, "\nAmong %s forged SYNs a second from other sources, a scan of 10 ports a second was told %s ms after the probe that crosses the line (the latest of %d rounds),\n"+
		"with %s of a core for `synwatch`; Debian's scanlogd told of it in %s.\n",
		cell(of(flood, "synwatch", Packets)), cell(worst(flood, "synwatch", Delay)), c.Rounds, cell(of(flood, "synwatch", Core)), c.told(flood, "scanlogd"))
	fmt.Fprintf(&b, "\n%s\n[bench/REPORT.md](bench/REPORT.md) has all of it.\n", summary(verdicts))
	return b.Bytes(), missing
}

// told is in how many rounds a detector told of a work's scan.
func (c *Comparison) told(work, program string) string {
	if w := c.Work(work); w != nil && w.Run(program) != nil {
		return w.Run(program).times(Seen)
	}
	return "no round"
}
