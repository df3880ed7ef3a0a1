package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

// statusCommand is `synwatch status`.
func (a *app) statusCommand() *cobra.Command {
	var w words
	var asJSON bool
	var wait string
	cmd := &cobra.Command{
		Use: "status", Short: "say what a running detector does",
		Long: "Says what a running detector has counted, whom it suspects, and what it costs: for the cost it looks twice.",
		Args: cobra.NoArgs,
	}
	cmd.Flags().SortFlags = false
	cmd.Flags().BoolVar(&asJSON, "json", false, "print it as JSON")
	cmd.Flags().StringVar(&wait, "wait", "1s", "look twice, this `TIME` apart; 0s: once, without the cost")
	cmd.Flags().StringVar(&w.control, "control", "", "ask at the socket `PATH` ("+defaultControl+")")
	cmd.RunE = func(*cobra.Command, []string) error {
		apart, err := parseTime("--wait", wait, 0, time.Minute)
		if err != nil {
			return err
		}
		path, err := w.socket()
		if err != nil {
			return err
		}
		return a.failed(a.status(path, apart, asJSON))
	}
	return cmd
}

// socket is where to ask.
func (w *words) socket() (string, error) {
	var o options
	if err := w.readControl(&o); err != nil {
		return "", err
	}
	if o.control == "" {
		return "", fmt.Errorf("--control off: nobody can be asked there")
	}
	return o.control, nil
}

func (a *app) status(path string, apart time.Duration, asJSON bool) error {
	doc, err := ask(path)
	if err != nil {
		return err
	}
	var why error
	if apart > 0 {
		counting, err := a.engine.EnableStats()
		if why = err; err == nil {
			defer counting.Close()
			if doc, err = ask(path); err != nil { // statistics began only now
				return err
			}
		}
		before := doc
		time.Sleep(apart)
		if doc, err = ask(path); err != nil {
			return err
		}
		doc.Cost = costBetween(before, doc)
	}
	if asJSON {
		e := json.NewEncoder(a.print)
		e.SetIndent("", "  ")
		return e.Encode(doc)
	}
	_, err = io.WriteString(a.print, renderStatus(doc, costLine(doc.Cost, why, apart)))
	return err
}

// renderStatus writes a Document for people.
func renderStatus(d *Document, cost string) string {
	var b strings.Builder
	row := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-12s%s\n", name, fmt.Sprintf(format, args...))
	}
	row("synwatch", "%s, since %s (%s)", d.Version, d.Since.Local().Format("2006-01-02 15:04:05"), age(d.Time.Sub(d.Since)))
	row("policies", "%s", list(d.Policies))
	row("interfaces", "%s", interfaceList(d.Interfaces))
	row("cost", "%s", cost)
	row("packets", "%s: %s", count(d.Counters.Frames()), classList(d, nil, 0))
	row("probes", "%s, of which %s; %s, %s", count(d.Counters.Probes), number(d.Counters.Repeats, "repeat"),
		number(d.Counters.Backscatter, "SYN+ACK")+" of backscatter", count(d.Counters.Ignored)+" ignored")
	row("sources", "%s", sourceLine(d))
	row("alerts", "%s", alertLine(d))
	row("lost", "%s", lostLine(d))
	for _, s := range d.Sinks {
		row("output", "%s", sinkLine(s))
	}
	if table := topTable(d, len(d.Top)); table != "" {
		fmt.Fprintf(&b, "\n%s", table)
	}
	return b.String()
}

func interfaceList(all []Interface) string {
	var parts []string
	for _, i := range all {
		parts = append(parts, fmt.Sprintf("%s (%s)", i.Name, i.Mode))
	}
	if len(parts) == 0 {
		return "none"
	}
	return list(parts)
}

// classList lists the classes that have packets, the largest first; compared
// with before, as packets a second.
func classList(d, before *Document, took time.Duration) string {
	var parts []string
	classes := packetClasses(&d.Counters)
	if before != nil {
		was := packetClasses(&before.Counters)
		for i := range classes {
			classes[i].packets -= min(was[i].packets, classes[i].packets)
		}
	}
	slices.SortStableFunc(classes, func(x, y class) int {
		switch {
		case x.packets > y.packets:
			return -1
		case x.packets < y.packets:
			return 1
		}
		return 0
	})
	for _, c := range classes {
		switch {
		case c.packets == 0:
		case before != nil:
			parts = append(parts, c.name+" "+rate(c.packets, took))
		default:
			parts = append(parts, c.name+" "+count(c.packets))
		}
	}
	if len(parts) == 0 {
		return "none"
	}
	return list(parts)
}

func sourceLine(d *Document) string {
	return fmt.Sprintf("%s remembered, room for %s; %s idle and %s live ones evicted; %s", count(d.Sources), count(d.Room),
		count(d.Evictions.Idle), count(d.Evictions.Live), number(uint64(d.Episodes), "active episode"))
}

func alertLine(d *Document) string {
	var sum uint64
	var parts []string
	for _, a := range d.Alerts {
		sum += a.Count
		parts = append(parts, fmt.Sprintf("%s %s %s", a.Policy, a.Kind, count(a.Count)))
	}
	if sum == 0 {
		return "none"
	}
	return count(sum) + ": " + list(parts)
}

func lostLine(d *Document) string {
	var parts []string
	for cause, n := range d.Lost {
		if n > 0 {
			parts = append(parts, cause+" "+count(n))
		}
	}
	if len(parts) == 0 {
		return "nothing"
	}
	slices.Sort(parts)
	return list(parts)
}

func sinkLine(s SinkState) string {
	text := fmt.Sprintf("%s: %s written", s.Name, count(s.Written))
	if s.Lost > 0 {
		text += fmt.Sprintf(", %s lost", count(s.Lost))
	}
	if s.Failing {
		return text + ", failing: " + s.Err
	}
	if s.Failures > 0 {
		text += ", " + number(s.Failures, "failure") + " in the past"
	}
	return text
}

// topTable lists at most so many of the top sources.
func topTable(d *Document, most int) string {
	if len(d.Top) == 0 || most <= 0 {
		return ""
	}
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "SOURCE\t%s\tPORTS\tHOSTS\tPROBES\tAGE\tLAST\tKINDS\n", strings.ToUpper(strings.Join(d.Policies, "\t")))
	for _, s := range d.Top[:min(most, len(d.Top))] {
		name := s.Source.String()
		if s.Source.IsSingleIP() {
			name = s.Source.Addr().String()
		}
		fmt.Fprintf(t, "%s\t", name)
		for _, p := range d.Policies {
			fmt.Fprintf(t, "%d\t", s.Points[p])
		}
		fmt.Fprintf(t, "%d\t%d\t%s\t%s\t%s\t%s\n", s.Ports, s.Hosts, count(s.Probes), age(d.Time.Sub(s.Since)), age(d.Time.Sub(s.Last)), kindList(s.Kinds))
	}
	t.Flush()
	return b.String()
}

// kindList lists kinds of probes, the most frequent first.
func kindList(kinds map[string]uint32) string {
	var names []string
	for k, n := range kinds {
		if n > 0 {
			names = append(names, k)
		}
	}
	slices.SortFunc(names, func(x, y string) int {
		if d := int64(kinds[y]) - int64(kinds[x]); d != 0 {
			return int(d>>63 | 1)
		}
		return strings.Compare(x, y)
	})
	return strings.Join(names, " ")
}
