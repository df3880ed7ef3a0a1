package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

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
	if n < 30 {
		t.Errorf("only %d options", n)
	}
	for _, line := range strings.Split(help.String(), "\n") {
		if len(line) > 80 {
			t.Errorf("the help text is wider than %d: %s", 80, line)
		}
	}
}

func unwrapped(text string) string { return strings.Join(strings.Fields(text), " ") }

// Every option, and every other name of one, stands in a script.
func TestEveryOptionHasAScript(t *testing.T) {
	files, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	said := map[string]bool{}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if !strings.HasPrefix(line, "exec ") || !strings.Contains(line, "synscan ") {
				continue
			}
			for word := range strings.FieldsSeq(line) {
				word, _, _ = strings.Cut(word, "=")
				said[word] = true
				if len(word) > 2 && word[0] == '-' && word[1] != '-' {
					said[word[:2]] = true // with its value
				}
			}
		}
	}
	_, all, _ := defined()
	all.VisitAll(func(f *pflag.Flag) {
		if !slices.ContainsFunc(spellings(f), func(s string) bool { return said[s] }) {
			t.Errorf("no script has %s", spelling(f))
		}
	})
	for alias := range aliases {
		if !said["--"+alias] {
			t.Errorf("no script has --%s", alias)
		}
	}
}

func TestRefusals(t *testing.T) {
	for word, why := range refusals {
		_, all, _ := defined()
		name := strings.TrimLeft(word, "-")
		long := func(name string) bool { return slices.Contains(longNames(all), name) }
		switch {
		case strings.HasPrefix(word, "--") && (all.Lookup(name) != nil || long(name)):
			t.Errorf("%s is an option", word)
		case len(word) == 2 && all.ShorthandLookup(name) != nil:
			t.Errorf("%s is an option", word)
		case strings.HasSuffix(why, "."), why == "":
			t.Errorf("%s: %q is no part of a sentence", word, why)
		}
		args, err := longArgs([]string{word}, long)
		if err == nil {
			err = all.Parse(args)
			if err == nil {
				t.Errorf("%s is taken", word)
				continue
			}
			err = flagError(all, err)
		}
		if want := word + " cannot be honoured: " + why; err.Error() != want {
			t.Errorf("%s: %q, want %q", word, err, want)
		}
	}
}

// What is said to be instead must exist.
func TestRefusalsNameOptionsThatExist(t *testing.T) {
	_, all, _ := defined()
	option := regexp.MustCompile(`(?:^|\s)(--?[A-Za-z][A-Za-z-]*)`)
	ours := regexp.MustCompile("`[^`]*`") // other programs' command lines stand in these
	for word, why := range refusals {
		for _, m := range option.FindAllStringSubmatch(ours.ReplaceAllString(why, ""), -1) {
			name := strings.TrimLeft(m[1], "-")
			if strings.HasPrefix(m[1], "--") && all.Lookup(name) == nil ||
				!strings.HasPrefix(m[1], "--") && all.Lookup(name) == nil && all.ShorthandLookup(name[:1]) == nil {
				t.Errorf("%s: %s does not exist", word, m[1])
			}
		}
	}
}

func TestPresets(t *testing.T) {
	var lastRate float64
	for i, p := range presets {
		rate, err := parseRate(p.rate)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseWait(p.wait); err != nil {
			t.Fatal(err)
		}
		if rate != 0 && rate <= lastRate || rate == 0 && i != len(presets)-1 {
			t.Errorf("-T%d is not faster than -T%d", i, i-1)
		}
		lastRate = rate
		for _, text := range []string{p.name, strings.ToUpper(p.name), string(rune('0' + i))} {
			if got, err := parsePreset(text); err != nil || got != p {
				t.Errorf("-T %s: %v, %v", text, got, err)
			}
		}
	}
	if got, _ := parsePreset(""); got.rate != "10000" || got.wait != "8s" {
		t.Errorf("without -T: %v", got)
	}
}

func TestAnswerToKeys(t *testing.T) {
	g := glance{Pace: 5000}
	for _, tc := range []struct {
		name   string
		key    byte
		rate   float64
		glance glance
		want   float64
		says   string
	}{
		{"plus_is_a_quarter_more", '+', 10000, g, 12500, "rate 12,500 packets/s"},
		{"minus_undoes_plus", '-', 12500, g, 10000, "rate 10,000 packets/s"},
		{"slow_rates_have_digits", '-', 2.5, g, 2, "rate 2 packets/s"},
		{"plus_at_max", '+', 0, g, 0, "the rate is max already"},
		{"minus_at_max_is_below_what_was_reached", '-', 0, g, 4000, "rate 4,000 packets/s"},
		{"minus_at_max_while_nothing_is_sent", '-', 0, glance{}, 0, "the rate is max, and nothing is being sent that it could be lowered from"},
		{"any_other_key_looks", 'x', 10000, g, 10000, g.String()},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := &fakeRate{tc.rate}
			if says := answer(tc.key, s, tc.glance); says != tc.says || s.rate != tc.want {
				t.Errorf("rate %v, %q; want %v, %q", s.rate, says, tc.want, tc.says)
			}
		})
	}
}

type fakeRate struct{ rate float64 }

func (f *fakeRate) Rate() float64       { return f.rate }
func (f *fakeRate) SetRate(pps float64) { f.rate = pps }

// A file's key is checked alone, so no option may need another one to be valid.
func TestEveryOptionStandsAloneInAFile(t *testing.T) {
	values := map[string]string{
		"iL": "list", "exclude": "127.0.0.2", "excludefile": "list", "ports": "80", "top-ports": "5", "yes-really-scan": "5",
		"scan": "S", "no-ping": "n", "timing": "4", "rate": "5", "rate-per-prefix": "5", "retries": "1", "wait": "1", "seed": "1", "shard": "1/2",
		"max-probes": "1", "senders": "1", "interface": "lo", "source-ip": "127.0.0.1", "source-port": "1", "router-mac": "02:00:00:00:00:01",
		"ttl": "9", "path": "packet", "verbose": "2", "repairs": "1", "max-loss": "5", "max-errors": "1", "checkpoint": "F",
		"oD": "out", "oJ": "out", "oL": "out", "oG": "out", "oN": "out", "oX": "out", "oA": "out",
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
		if err := s.check(); err != nil {
			t.Errorf("%s = %q: %v", f.Name, value, err)
		}
	})
}
