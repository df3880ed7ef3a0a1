package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
	"github.com/spf13/pflag"

	"synoptic/internal/cli"
	"synoptic/internal/target"
)

// targetsKey is the one key that is no option.
const targetsKey = "targets"

// unfit are options that make no sense in a file.
var unfit = []string{"config", "echo", "help", "iflist", "resume", "version"}

// overruled says which of a file's keys an option of the command line replaces,
// beside its own.
var overruled = map[string][]string{
	targetsKey:   {"iL"},
	"iL":         {targetsKey},
	"ports":      {"top-ports", "fast"},
	"top-ports":  {"ports", "fast"},
	"fast":       {"ports", "top-ports"},
	"timing":     {"rate", "wait"},
	"open":       {"all-states"},
	"all-states": {"open"},
	"resolve":    {"no-dns"},
	"no-dns":     {"resolve"},
	"ipv4":       {"ipv6"},
	"ipv6":       {"ipv4"},
}

// adding are the options that a file and the command line add to: nobody means
// to scan what a file excludes.
var adding = []string{"exclude", "excludefile"}

// setting is one key of a configuration file.
type setting struct {
	name   string
	line   int
	values []string
}

// readConfig reads the file that the words name and fills in what the command
// line, where some options are said, does not say.
func (w *words) readConfig(all *pflag.FlagSet, said []*pflag.Flag) error {
	text, err := os.ReadFile(w.config)
	if err != nil {
		return fmt.Errorf("read %s: %w", w.config, bare(err))
	}
	settings, err := parseConfig(string(text), w.config, all)
	if err != nil {
		return err
	}
	var here []string // replaces what it names
	var idea []string // and what is one idea with it, as --fast=false is not
	for _, f := range said {
		here = append(here, f.Name)
		if f.Value.String() != f.DefValue {
			idea = append(idea, f.Name)
		}
	}
	if len(w.targets) > 0 {
		here, idea = append(here, targetsKey), append(idea, targetsKey)
	}
	for _, s := range settings {
		if err := s.check(); err != nil {
			return fmt.Errorf("%s:%d: %s: %w", w.config, s.line, s.name, err)
		}
		replaced := slices.Contains(here, s.name) ||
			slices.ContainsFunc(idea, func(name string) bool { return slices.Contains(overruled[name], s.name) })
		if replaced && !slices.Contains(adding, s.name) {
			continue
		}
		if err := s.apply(w, all); err != nil {
			return fmt.Errorf("%s:%d: %s: %w", w.config, s.line, s.name, err)
		}
	}
	return nil
}

// apply sets the option, or adds to it.
func (s *setting) apply(w *words, all *pflag.FlagSet) error {
	if s.name == targetsKey {
		w.targets = s.values
		return nil
	}
	for _, v := range s.values {
		if err := all.Set(s.name, v); err != nil {
			return flagError(all, err)
		}
	}
	return nil
}

// check reads the setting as if it were alone, so that a fault in it is not
// blamed on the command line.
func (s *setting) check() error {
	var w words
	all := cli.NewFlags()
	w.define(all)
	w.targets = []string{"127.0.0.1"}
	if err := s.apply(&w, all); err != nil {
		return err
	}
	if err := checkSwallowed(all); err != nil {
		return err
	}
	o, err := w.options()
	if err != nil {
		return err
	}
	_, _, err = target.Parse(context.Background(), o.targets, o.excludes, anyAddress)
	if errors.Is(err, target.ErrSyntax) || errors.Is(err, target.ErrTooLarge) {
		return err
	}
	return nil
}

// anyAddress stands for what a host name will be looked up for.
func anyAddress(context.Context, string) ([]netip.Addr, error) {
	return []netip.Addr{netip.IPv6Loopback()}, nil
}

// parseConfig reads a configuration file. Keys are the long names of options,
// aliases included.
func parseConfig(text, name string, all *pflag.FlagSet) ([]setting, error) {
	keys, err := cli.Keys(text, name)
	if err != nil {
		return nil, err
	}
	var settings []setting
	for _, key := range keys {
		s := setting{name: string(canonical(nil, key.Name)), line: key.Line}
		fail := func(format string, args ...any) error {
			return fmt.Errorf("%s:%d: %w", name, s.line, fmt.Errorf(format, args...))
		}
		flag := all.Lookup(s.name)
		if s.name != targetsKey && flag == nil {
			if why := refusals["--"+s.name]; why != "" {
				return nil, fail("%s cannot be honoured: %s", key.Name, why)
			}
			if near := cli.Nearest(key.Name, append(longNames(all), append(twoLetterNames(), targetsKey)...)); near != "" {
				return nil, fail("there is no key %q: did you mean %s?", key.Name, near)
			}
			return nil, fail("there is no key %q: keys are the long names of options, see --help", key.Name)
		}
		if slices.Contains(unfit, s.name) {
			return nil, fail("%s belongs on the command line: take it out of the file", key.Name)
		}
		if slices.ContainsFunc(settings, func(other setting) bool { return other.name == s.name }) {
			return nil, fail("%s is there twice, once by another name", key.Name)
		}
		value, err := key.Value()
		if err != nil {
			return nil, fail("%s: %w", key.Name, err)
		}
		if s.values, err = textOf(value, flag); err != nil {
			return nil, fail("%s: %w", key.Name, err)
		}
		if s.name == "scan" { // "T", or as on the command line
			for i, v := range s.values {
				if method := strings.TrimPrefix(v, "-"); len(method) == 2 {
					s.values[i] = strings.TrimPrefix(method, "s")
				}
			}
		}
		settings = append(settings, s)
	}
	return settings, nil
}

// textOf returns a value as the command line would have it. flag is nil for
// targets.
func textOf(value any, flag *pflag.Flag) ([]string, error) {
	list, isList := value.([]any)
	if !isList {
		list = []any{value}
	}
	kind := "stringArray"
	if flag != nil {
		kind = flag.Value.Type()
	}
	if len(list) == 0 {
		return nil, errors.New("the list is empty: take the key out of the file")
	}
	if isList && kind != "stringArray" {
		return nil, errors.New("one value is taken, not a list")
	}
	var values []string
	for _, v := range list {
		text := ""
		switch v := v.(type) {
		case string:
			text = v
		case int64:
			text = strconv.FormatInt(v, 10)
		case float64:
			text = strconv.FormatFloat(v, 'f', -1, 64)
		case bool:
			text = strconv.FormatBool(v)
		default:
			return nil, errors.New("a text, a number, true or false is taken, or a list of texts")
		}
		switch _, isBool := v.(bool); {
		case kind == "bool" && !isBool:
			return nil, fmt.Errorf("true or false is taken, not %v", v)
		case kind != "bool" && isBool:
			return nil, fmt.Errorf("a value is taken, not %v", v)
		case kind == "count" && !isInt(v):
			return nil, fmt.Errorf("a number is taken, not %v", v)
		}
		values = append(values, text)
	}
	return values, nil
}

func isInt(v any) bool {
	_, ok := v.(int64)
	return ok
}

// echo prints the options in effect as a configuration file of the same effect.
// Those that nobody named are comments.
func echo(out io.Writer, w *words, groups []cli.Group) (int, error) {
	preset, err := parsePreset(w.timing)
	if err != nil {
		return exitUsage, err
	}
	var b strings.Builder
	var foreign []string // keys with a value that no TOML can hold
	assign := func(key string, value any) {
		line := assignment(key, value)
		if !utf8.ValidString(line) {
			foreign = append(foreign, key)
		}
		b.WriteString(line)
	}
	b.WriteString("# synscan --config FILE reads this file.\n")
	if len(w.targets) > 0 {
		assign(targetsKey, w.targets)
	}
	for _, g := range groups {
		fmt.Fprintf(&b, "\n# %s\n", g.Heading)
		g.Flags.VisitAll(func(f *pflag.Flag) {
			switch {
			case slices.Contains(unfit, f.Name):
			case f.Changed:
				assign(f.Name, valueOf(f))
			case f.Name == "rate":
				b.WriteString("# " + assignment(f.Name, preset.rate))
			case f.Name == "wait":
				b.WriteString("# " + assignment(f.Name, preset.wait))
			default:
				_, text := pflag.UnquoteUsage(f)
				fmt.Fprintf(&b, "# %s: %s\n", f.Name, text)
			}
		})
	}
	if len(foreign) > 0 {
		return exitUsage, fmt.Errorf("a configuration file is UTF-8, and a value of %s is not: give it on the command line each time", foreign[0])
	}
	if _, err := io.WriteString(out, b.String()); err != nil {
		return exitFailed, err
	}
	return exitDone, nil
}

// valueOf returns an option's value as the file has it.
func valueOf(f *pflag.Flag) any {
	text := f.Value.String()
	switch f.Value.Type() {
	case "bool":
		return text == "true"
	case "count":
		n, _ := strconv.Atoi(text)
		return n
	case "stringArray":
		return f.Value.(pflag.SliceValue).GetSlice()
	}
	return text
}

func assignment(key string, value any) string {
	line, err := toml.Marshal(map[string]any{key: value})
	if err != nil {
		panic(err) // texts, numbers and lists of texts
	}
	return string(line)
}
