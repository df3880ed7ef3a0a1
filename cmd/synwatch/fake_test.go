package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"synoptic/detector"
	"synoptic/internal/cli"
)

// fake is a detector that does what a script says: $FAKE, or the file in place
// of a capture. A line of the script is
//
//	alert EPISODE    raise an alert
//	summary EPISODE  end an episode
//	note TEXT        tell the operator
//	fail TEXT        end with an error
//	wait             until the context ends
type fake struct {
	cfg    *Config
	script *os.File // nil: wait

	mu    sync.Mutex
	rules Rules
	state State
	err   error // of State and Reload
}

// fakeEngine is an engine without a kernel. It knows a filter that is wrong, and
// an interface that cannot be attached to.
func fakeEngine() engine {
	return engine{
		Check: func(r *Rules) error {
			if i := strings.Index(r.Filter, "nonsense"); i >= 0 {
				return fmt.Errorf("filter: column %d: %q is no word of a filter", i+1, "nonsense")
			}
			if r.Filter == "statsu" {
				return errors.New("filter: column 1: \"statsu\" is no word of a filter")
			}
			return nil
		},
		Start: func(c *Config) (Detector, error) {
			f := &fake{cfg: c, rules: c.Rules}
			if why := os.Getenv("FAKE_START"); why != "" {
				return nil, errors.New(why)
			}
			name := c.Capture
			if len(c.Interfaces) > 0 {
				name = os.Getenv("FAKE")
			}
			if name == "-" {
				f.script = os.Stdin
			} else if name != "" {
				var err error
				if f.script, err = os.Open(name); err != nil {
					return nil, err
				}
			}
			for _, i := range c.Interfaces {
				f.state.Interfaces = append(f.state.Interfaces, Interface{Name: i, Mode: "generic"})
			}
			f.state.Room = c.Memory / 1024
			return f, nil
		},
		EnableStats: func() (io.Closer, error) { return io.NopCloser(nil), nil },
	}
}

func (f *fake) Run(ctx context.Context) error {
	if f.script == nil {
		<-ctx.Done()
		return nil
	}
	lines := bufio.NewScanner(f.script)
	for lines.Scan() && ctx.Err() == nil {
		f.mu.Lock()
		f.state.Counters.TCP[syn]++
		f.mu.Unlock()
		word, rest, _ := strings.Cut(lines.Text(), " ")
		n, _ := strconv.ParseUint(rest, 10, 64)
		switch word {
		case "alert":
			f.cfg.Alert(sample(n))
		case "summary":
			a := sample(n)
			a.Summary = true
			f.cfg.Alert(a)
		case "note":
			f.cfg.Note(rest)
		case "fail":
			return errors.New(rest)
		case "wait":
			<-ctx.Done()
			for _, p := range f.now().Policies { // as episodes that are ended
				a := sample(99)
				a.Policy, a.Summary = p.Name, true
				f.cfg.Alert(a)
			}
		case "flood":
			for i := range n {
				f.cfg.Alert(sample(i))
			}
		default:
			return fmt.Errorf("unknown line %q", lines.Text())
		}
	}
	return lines.Err()
}

func (f *fake) now() Rules {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rules
}

func (f *fake) Reload(r Rules) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.rules = r
		f.cfg.Note(fmt.Sprintf("rules now: %v", describeRules(&r)))
	}
	return f.err
}

// describeRules writes the rules for scripts to look at.
func describeRules(r *Rules) string {
	var policies []string
	for _, p := range r.Policies {
		policies = append(policies, fmt.Sprintf("%s %v %d %v %d/%d/%d %v", p.Name, p.Span, p.Threshold, p.Reaches, p.Low, p.High, p.Trap, p.Quiet))
	}
	return fmt.Sprintf("[%s] traps %v udp %d v6 %d allow %v ignore %v filter %q", strings.Join(policies, ", "), r.Traps, r.UDP, r.V6Bits, r.Allow, r.Ignore, r.Filter)
}

func (f *fake) State(top int) (*State, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.state
	s.Top = s.Top[:min(top, len(s.Top))]
	return &s, f.err
}

func (f *fake) Close() error { return nil }

// sample is an alert.
func sample(episode uint64) *detector.Alert {
	at := time.Date(2026, 11, 25, 4, 0, 0, 0, time.UTC)
	return &detector.Alert{
		Policy: detector.Sophos, Threshold: 21, Span: 300 * time.Millisecond, Points: 24, Kind: detector.SYN, Direction: detector.Vertical, Episode: episode,
		Time: at, Begin: at.Add(-20 * time.Millisecond), Source: netip.MustParseAddr("192.0.2.7"), Prefix: netip.MustParsePrefix("192.0.2.7/32"),
		Destination: netip.MustParseAddr("10.0.0.1"), SourcePort: 40000, DestinationPort: 22, Protocol: "TCP", Hosts: 1, Probes: 8, MinTTL: 64, MaxTTL: 64,
		Proof: []detector.Point{{Time: at, Port: 22, Points: 3}},
	}
}

// fakeMain is main with the fake in the kernel's place, and without privileges.
func fakeMain() {
	signalIgnorePipe()
	a := &app{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, print: &printer{to: os.Stdout}, engine: fakeEngine(),
		need: func() error { return nil },
		drop: func() error {
			if os.Getenv("FAKE_DROP") != "" {
				return syscall.EPERM
			}
			return nil
		}}
	os.Exit(a.run(os.Args[1:]))
}

// showMain prints the options that the arguments come to, as scripts can see
// them.
func showMain() {
	var w words
	all := cli.NewFlags()
	w.define(all)
	err := all.Parse(os.Args[1:])
	if err == nil {
		w.filter = all.Args()
		var o options
		if o, err = w.read(all, fakeEngine()); err == nil {
			fmt.Printf("interfaces %v read %q mode %s gateway %v memory %d\n", o.interfaces, o.capture, o.mode, o.gateway, o.memory)
			fmt.Printf("rules %s\n", describeRules(&o.rules))
			fmt.Printf("eve %q syslog %v %v scanlogd-line %q quiet %v metrics %q control %q\n", o.eve, o.hasSyslog, o.syslog, o.scanlogd, o.quiet, o.metrics, o.control)
			return
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(2)
}
