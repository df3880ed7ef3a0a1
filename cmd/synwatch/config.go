package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"synoptic/internal/cli"
)

// filterKey is the one key that is no option.
const filterKey = "filter"

// unfit are options that make no sense in a file.
var unfit = []string{"check-config", "config", "help", "version"}

// overruled says which of a file's keys an option of the command line replaces,
// beside its own.
var overruled = map[string]string{"interface": "read", "read": "interface"}

// adding are the options that a file and the command line add to: nobody means
// to be alarmed by what a file allows.
var adding = []string{"allow", "ignore"}

// setting is one key of a configuration file.
type setting struct {
	name   string
	line   int
	values []string
}

// readConfig reads the file that the words name and fills in what the command
// line, where some options are said, does not say.
func (w *words) readConfig(all *pflag.FlagSet, said []*pflag.Flag, engine engine) error {
	text, err := os.ReadFile(w.config)
	if err != nil {
		return fmt.Errorf("read %s: %w", w.config, bare(err))
	}
	settings, err := parseConfig(string(text), w.config, all)
	if err != nil {
		return err
	}
	var here []string // replaces what it names
	for _, f := range said {
		here = append(here, f.Name, overruled[f.Name])
	}
	if len(w.filter) > 0 {
		here = append(here, filterKey)
	}
	for _, s := range settings {
		err := s.check(engine)
		if err == nil && (!slices.Contains(here, s.name) || slices.Contains(adding, s.name)) {
			err = s.apply(w, all)
		}
		if err != nil {
			return fmt.Errorf("%s:%d: %s: %w", w.config, s.line, s.name, err)
		}
	}
	return nil
}

// apply sets the option, or adds to it.
func (s *setting) apply(w *words, all *pflag.FlagSet) error {
	if s.name == filterKey {
		w.filter = s.values
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
func (s *setting) check(engine engine) error {
	var w words
	all := cli.NewFlags()
	w.define(all)
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
	if s.name == filterKey {
		return engine.Check(&o.rules)
	}
	return nil
}

// parseConfig reads a configuration file. Keys are the long names of options.
func parseConfig(text, name string, all *pflag.FlagSet) ([]setting, error) {
	keys, err := cli.Keys(text, name)
	if err != nil {
		return nil, err
	}
	var settings []setting
	for _, key := range keys {
		s := setting{name: key.Name, line: key.Line}
		fail := func(format string, args ...any) error {
			return fmt.Errorf("%s:%d: %w", name, s.line, fmt.Errorf(format, args...))
		}
		flag := all.Lookup(s.name)
		if s.name != filterKey && flag == nil {
			if near := cli.Nearest(s.name, append(longNames(all), filterKey)); near != "" {
				return nil, fail("there is no key %q: did you mean %s?", s.name, near)
			}
			return nil, fail("there is no key %q: keys are the long names of options, see --help", s.name)
		}
		if slices.Contains(unfit, s.name) {
			return nil, fail("%s belongs on the command line: take it out of the file", s.name)
		}
		value, err := key.Value()
		if err != nil {
			return nil, fail("%s: %w", s.name, err)
		}
		if s.values, err = textOf(value, flag); err != nil {
			return nil, fail("%s: %w", s.name, err)
		}
		settings = append(settings, s)
	}
	return settings, nil
}

// textOf returns a value as the command line would have it. flag is nil for the
// filter. A list is taken by an option that may be given several times, and by
// one that takes a list with commas.
func textOf(value any, flag *pflag.Flag) ([]string, error) {
	items, isList := value.([]any)
	if !isList {
		items = []any{value}
	}
	kind := "string"
	if flag != nil {
		kind = flag.Value.Type()
	}
	withCommas := flag != nil && flag.Name == "traps"
	if len(items) == 0 {
		return nil, errors.New("the list is empty: take the key out of the file")
	}
	if isList && kind != "stringArray" && !withCommas {
		return nil, errors.New("one value is taken, not a list")
	}
	var values []string
	for _, v := range items {
		text := ""
		switch v := v.(type) {
		case string:
			text = v
		case int64:
			text = strconv.FormatInt(v, 10)
		case bool:
			text = strconv.FormatBool(v)
		default:
			return nil, errors.New("a text, a whole number, true or false is taken, or a list of texts")
		}
		switch _, isBool := v.(bool); {
		case kind == "bool" && !isBool:
			return nil, fmt.Errorf("true or false is taken, not %v", v)
		case kind != "bool" && isBool:
			return nil, fmt.Errorf("a value is taken, not %v", v)
		}
		values = append(values, text)
	}
	if withCommas {
		values = []string{strings.Join(values, ",")}
	}
	return values, nil
}
