package main

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/pflag"

	"synoptic/internal/netif"
)

// listNetwork prints the interfaces and routes, for --iflist, which takes nothing
// beside it.
func (a *app) listNetwork(said []*pflag.Flag, targets []string) (int, error) {
	for _, f := range said {
		if f.Name != "iflist" {
			targets = append(targets, spelling(f))
		}
	}
	if len(targets) > 0 {
		return exitUsage, fmt.Errorf("--iflist shows this machine's interfaces: leave out %s", targets[0])
	}
	interfaces, err := netif.ListInterfaces()
	if err != nil {
		return exitFailed, err
	}
	routes, err := netif.ListRoutes()
	if err != nil {
		return exitFailed, err
	}
	table := tabwriter.NewWriter(a.print, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "INTERFACE\tINDEX\tTYPE\tSTATE\tMTU\tMAC\tPROBES\tADDRESSES")
	for _, i := range interfaces {
		var addrs []string
		for _, p := range i.Addrs {
			addrs = append(addrs, p.String())
		}
		fmt.Fprintf(table, "%s\t%d\t%s\t%s\t%d\t%s\t%s\t%s\n",
			i.Name, i.Index, i.Type, i.State, i.MTU, orDash(i.MAC), probes(i), orDash(strings.Join(addrs, " ")))
	}
	fmt.Fprintln(table, "\nDESTINATION\tVIA\tINTERFACE\tSOURCE\tMETRIC\tTABLE")
	for _, r := range routes {
		via := "on the link"
		switch {
		case r.Via.IsValid():
			via = r.Via.String()
		case r.Interface == "":
			via = r.Type
		}
		source := ""
		if r.Source.IsValid() {
			source = r.Source.String()
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%d\t%s\n", r.Dst, via, orDash(r.Interface), orDash(source), r.Metric, tableName(r.Table))
	}
	if err := table.Flush(); err != nil {
		return exitFailed, err
	}
	return exitDone, nil
}

// probes says which ways of probing work over an interface. The system's own
// connections work over all.
func probes(i netif.Interface) string {
	switch {
	case i.State != "up":
		return "none"
	case !i.Raw:
		return "connect"
	}
	return "raw (" + i.Kind.String() + "), connect"
}

// tableName is iproute2's name of a routing table, /etc/iproute2/rt_tables.
func tableName(table int) string {
	switch table {
	case 253:
		return "default"
	case 254:
		return "main"
	}
	return fmt.Sprint(table)
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
