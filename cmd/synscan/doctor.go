package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"synoptic/internal/cli"
	"synoptic/internal/netif"
)

const doctorHelp = `synscan doctor says how scans can go by each interface, and what is missing.

  synscan doctor [-e NAME] [--json]

There are two paths: that of packet sockets, which works nearly everywhere, and
the kernel's, where probes are made (transmit) and answers are judged (receive)
by XDP programs. What is missing has the command that fixes it, where there is
one. Nothing is sent, attached or changed, so what only a trial can tell is
likely or unknown. Interfaces that are not up are looked at if they are named.

Exit code: 0 nothing is missing, 1 something is, 2 no such interface. Likely and
unknown are not missing; nor is what an interface can never do, as loopback,
unless it is named.

--json prints one object. A finding is {"state", "why", "fix"}; why and fix may
be empty. A fix is a command, with remarks in parentheses, or says what to do.

  machine      release, missing_capabilities (a list), memory_available (bytes,
               null if unknown), and the findings version, btf, capabilities and
               memory: yes, no, unknown
  interfaces   a list: name, index, type, state, driver, xdp_features (the
               kernel's names, null before Linux 6.3), xdp_program (id, name,
               mode; null if none is attached), and the findings
    packet     yes, no
    transmit   yes, likely, unknown, no
    receive    native, tcx, generic, unknown, no
  not_up       names of interfaces that were left out
  complete     true with exit code 0
`

// doctorCommand is `synscan doctor`.
func (a *app) doctorCommand(code *int) *cobra.Command {
	cmd := &cobra.Command{Use: "doctor [-e NAME] [--json]", Short: "say how scans can go, and what is missing"}
	var device string
	var machines bool
	options := cli.NewFlags()
	options.StringVarP(&device, "interface", "e", "", "look at the interface `NAME` only")
	options.BoolVar(&machines, "json", false, "print one JSON object")
	options.BoolP("help", "h", false, "print this text")
	a.describeCommand(cmd, doctorHelp, options)
	cli.CompleteValues(cmd, map[string]cobra.CompletionFunc{"interface": cli.Interfaces})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := checkSwallowed(cmd.Flags()); err != nil {
			return err
		}
		if len(args) > 0 {
			return fmt.Errorf("doctor sends nothing and takes no targets: leave out %s, or name an interface with -e", args[0])
		}
		d, err := examine(device)
		if err != nil {
			*code = exitFailed
			if errors.Is(err, errNotThere) {
				*code = exitUsage
			}
			return err
		}
		if machines {
			err = d.writeJSON(a)
		} else {
			err = d.write(a)
		}
		switch {
		case err != nil:
			*code = exitFailed
		case !d.Complete:
			*code = exitLacking
		}
		return err
	}
	return cmd
}

const exitLacking = 1

// diagnosis is what the JSON object has.
type diagnosis struct {
	Machine    machineReport     `json:"machine"`
	Interfaces []interfaceReport `json:"interfaces"`
	NotUp      []string          `json:"not_up"`
	Complete   bool              `json:"complete"`
}

type machineReport struct {
	Release             string   `json:"release"`
	MissingCapabilities []string `json:"missing_capabilities"`
	MemoryAvailable     *uint64  `json:"memory_available"`
	Version             finding  `json:"version"`
	BTF                 finding  `json:"btf"`
	Capabilities        finding  `json:"capabilities"`
	Memory              finding  `json:"memory"`
}

type interfaceReport struct {
	Name     string         `json:"name"`
	Index    int            `json:"index"`
	Type     string         `json:"type"`
	State    string         `json:"state"`
	Driver   string         `json:"driver"`
	Features []string       `json:"xdp_features"`
	Program  *programReport `json:"xdp_program"`
	Packet   finding        `json:"packet"`
	Transmit finding        `json:"transmit"`
	Receive  finding        `json:"receive"`
}

type programReport struct {
	ID   uint32 `json:"id"`
	Name string `json:"name"`
	Mode string `json:"mode"`
}

// errNotThere tells that there is no interface of the name.
var errNotThere = errors.New("no such interface")

type notThereError struct{ error }

func (notThereError) Is(target error) bool { return target == errNotThere }

// examine looks at the machine and at its interfaces, or at the named one.
func examine(device string) (*diagnosis, error) {
	var list []netif.Interface
	if device != "" {
		i, err := netif.FindInterface(device)
		if err != nil {
			return nil, notThereError{err}
		}
		list = append(list, i)
	} else {
		var err error
		if list, err = netif.ListInterfaces(); err != nil {
			return nil, err
		}
	}
	m, err := askMachine()
	if err != nil {
		return nil, err
	}
	d := &diagnosis{Machine: m.report(), Interfaces: []interfaceReport{}, NotUp: []string{}}
	d.Complete = !d.Machine.lacks()
	for _, i := range list {
		if device == "" && i.State != "up" {
			d.NotUp = append(d.NotUp, i.Name)
			continue
		}
		ability, err := netif.XDP(i.Index)
		if err != nil {
			return nil, err
		}
		r := m.judge(i, ability)
		for _, f := range r.findings() {
			if f.State == lacks && (f.Fix != "" || device != "") {
				d.Complete = false
			}
		}
		d.Interfaces = append(d.Interfaces, r)
	}
	return d, nil
}

func (m *machine) report() machineReport {
	all := append(append([]capability{}, forPackets...), forTransmit...)
	r := machineReport{
		Release: m.release, MissingCapabilities: m.lacking(all),
		Version: m.version(), BTF: m.types(), Capabilities: m.capabilities(), Memory: m.room(),
	}
	if m.known {
		bytes := uint64(m.memory)
		r.MemoryAvailable = &bytes
	}
	return r
}

func (r *machineReport) lacks() bool {
	for _, f := range []finding{r.Version, r.BTF, r.Capabilities, r.Memory} {
		if f.State == lacks {
			return true
		}
	}
	return false
}

// judge is the report on an interface.
func (m *machine) judge(i netif.Interface, a *netif.XDPAbility) interfaceReport {
	r := interfaceReport{
		Name: i.Name, Index: i.Index, Type: i.Type, State: i.State, Driver: a.Driver,
		Packet: m.packet(i), Transmit: m.transmit(i, a), Receive: m.receive(i, a),
	}
	if a.Known {
		r.Features = a.Features.Names()
	}
	if p := a.Program; p != nil {
		r.Program = &programReport{p.ID, p.Name, p.Mode}
	}
	return r
}

func (r *interfaceReport) findings() []finding { return []finding{r.Packet, r.Transmit, r.Receive} }

func (d *diagnosis) writeJSON(a *app) error {
	text, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.print, "%s\n", text)
	return err
}

// Columns of the text.
const (
	doctorLabel = 18
	doctorWidth = 80
)

// write prints it for people. A fix is said once.
func (d *diagnosis) write(a *app) error {
	out := bufio.NewWriter(a.print)
	said := map[string]bool{}
	row := func(label string, f finding) {
		text := f.State
		if f.Why != "" {
			text += ": " + f.Why
		}
		lines := cli.Wrap(text, doctorWidth-doctorLabel)
		if f.Fix != "" && !said[f.Fix] {
			said[f.Fix] = true
			lines = append(lines, cli.Wrap("fix: "+f.Fix, doctorWidth-doctorLabel)...)
		}
		for _, line := range lines {
			fmt.Fprintf(out, "%-*s%s\n", doctorLabel, label, line)
			label = ""
		}
	}
	row("kernel", d.Machine.Version)
	row("BTF", d.Machine.BTF)
	row("capabilities", d.Machine.Capabilities)
	row("memory", d.Machine.Memory)
	for _, i := range d.Interfaces {
		kind := i.Driver
		if kind == "" {
			kind = i.Type
		}
		fmt.Fprintf(out, "\n%s (%s)\n", i.Name, kind)
		row("  packet path", i.Packet)
		row("  kernel transmit", i.Transmit)
		row("  kernel receive", i.Receive)
	}
	if len(d.NotUp) > 0 {
		fmt.Fprintf(out, "\n%s\n", strings.Join(cli.Wrap("Not up, and left out: "+strings.Join(d.NotUp, ", "), doctorWidth), "\n"))
	}
	return out.Flush()
}
