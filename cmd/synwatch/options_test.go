package main

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"synoptic/detector"
	"synoptic/internal/cli"
)

// defined returns the options as the program has them.
func defined() (*words, *pflag.FlagSet, []cli.Group) {
	w := new(words)
	all := cli.NewFlags()
	return w, all, w.define(all)
}

func TestHelpAndManPageHaveEveryOption(t *testing.T) {
	_, all, groups := defined()
	var help, man bytes.Buffer
	page.Help(&help, groups)
	page.Man(&man, groups)
	n := 0
	all.VisitAll(func(f *pflag.Flag) {
		n++
		if want := regexp.QuoteMeta(leftColumn(f)); !regexp.MustCompile(`(?m)^  ` + want + `[ ,]`).MatchString(help.String()) {
			t.Errorf("the help text lacks %s", leftColumn(f))
		}
		for _, s := range spellings(f) {
			if !strings.Contains(man.String(), `\fB`+cli.Roff(s)+`\fR`) {
				t.Errorf("the manual page lacks %s", s)
			}
		}
		_, text := pflag.UnquoteUsage(f)
		if !strings.Contains(man.String(), "\n"+cli.Roff(text)+"\n") {
			t.Errorf("the manual page lacks what %s does", f.Name)
		}
		if !strings.Contains(unwrapped(help.String()), unwrapped(text)) {
			t.Errorf("the help text lacks what %s does", f.Name)
		}
	})
	if n < 35 {
		t.Errorf("only %d options", n)
	}
	for line := range strings.SplitSeq(help.String(), "\n") {
		if len(line) > 80 {
			t.Errorf("the help text is wider than %d: %s", 80, line)
		}
		if strings.HasPrefix(line, "  --") && !regexp.MustCompile(`^  --\S+( \S+)?  +\S|^  --\S+( \S+)?$`).MatchString(line) {
			t.Errorf("no gap between the columns: %s", line)
		}
	}
}

func unwrapped(text string) string { return strings.Join(strings.Fields(text), " ") }

// A value in parentheses at the end of what an option does is its default, and
// what the program takes for it.
func TestDefaultsAreWhatTheHelpSays(t *testing.T) {
	_, all, _ := defined()
	plain, err := (&words{}).parsed()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	all.VisitAll(func(f *pflag.Flag) {
		m := regexp.MustCompile(`\(([^()\s]+)\)$`).FindStringSubmatch(f.Usage)
		if m == nil {
			return
		}
		n++
		got, err := (&words{}).parsed("--"+f.Name, m[1])
		if err != nil {
			t.Errorf("--%s %s: %v", f.Name, m[1], err)
			return
		}
		got.controlAsked = false
		if describeRules(&got.rules) != describeRules(&plain.rules) || got.memory != plain.memory || got.mode != plain.mode || got.control != plain.control {
			t.Errorf("--%s %s differs from the default", f.Name, m[1])
		}
	})
	if n < 25 {
		t.Errorf("only %d options have a default", n)
	}
}

// parsed reads the arguments.
func (*words) parsed(args ...string) (options, error) {
	w, all, _ := defined()
	if err := all.Parse(args); err != nil {
		return options{}, err
	}
	w.filter = all.Args()
	return w.options()
}

// A file's key is checked alone, so no option may need another one to be valid.
func TestEveryOptionStandsAloneInAFile(t *testing.T) {
	values := map[string]string{
		"interface": "lo", "read": "file", "xdp-mode": "tcx", "memory": "5MiB", "policy": "scanlogd", "traps": "none", "udp": "off", "v6-prefix": "128",
		"allow": "10.0.0.0/8", "ignore": "*:53", "eve": "-", "syslog": "local", "scanlogd-line": "-", "metrics": "[::1]:0", "control": "off",
	}
	for _, p := range detector.Policies() {
		for _, n := range parameters(p.Name) {
			values[p.Name+"-"+n.name] = map[string]string{"window": "5m", "gap": "5m", "threshold": "5610", "compare": "reaches", "low": "255", "high": "255", "trap": "0", "quiet": "100ms"}[n.name]
		}
	}
	_, all, _ := defined()
	all.VisitAll(func(f *pflag.Flag) {
		value, ok := values[f.Name]
		switch {
		case slices.Contains(unfit, f.Name):
			return
		case f.Value.Type() == "bool":
			value = "true"
		case !ok:
			t.Errorf("%s: give this test a value for it", f.Name)
		}
		s := setting{name: f.Name, values: []string{value}}
		if err := s.check(fakeEngine()); err != nil {
			t.Errorf("%s = %q: %v", f.Name, value, err)
		}
	})
}
