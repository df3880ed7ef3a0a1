package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// twoLetter are nmap's options of two letters that take a value in the next
// argument. pflag would read -oD as -o with the value D; with one more dash it
// is a long option like any other. An entry needs a flag of its name.
var twoLetter = []string{"-oD", "-oJ", "-oL", "-oG", "-oN", "-oX", "-oA", "-iL"}

// twoLetterNames are the names of their flags.
func twoLetterNames() []string {
	names := slices.Clone(twoLetter)
	for i := range names {
		names[i] = names[i][1:]
	}
	return names
}

// longArgs rewrites the two-letter options of a command line for pflag. Options
// that only look like such are errors: pflag could misread them, as -exclude F
// for interface "xclude" and target F.
func longArgs(args []string, long func(name string) bool) ([]string, error) {
	if len(args) > 0 && strings.HasPrefix(args[0], cobra.ShellCompRequestCmd) {
		half := slices.Clone(args) // a command line, from a shell
		for i, arg := range half {
			if slices.Contains(twoLetter, arg) {
				half[i] = "-" + arg
			}
		}
		return half, nil
	}
	out := make([]string, 0, len(args))
	for i, arg := range args {
		if arg == "--" {
			return append(out, args[i:]...), nil
		}
		name, _, _ := strings.Cut(arg, "=")
		switch {
		case len(name) < 3 || name[0] != '-' || name[1] == '-':
		case slices.Contains(twoLetter, name):
			arg = "-" + arg
		case refusals[name] != "":
			return nil, fmt.Errorf("%s cannot be honoured: %s", name, refusals[name])
		case long(name[1:]):
			return nil, fmt.Errorf("unknown option %s: did you mean -%s?", name, name)
		case name[1] == 'o':
			return nil, fmt.Errorf("unknown option %s: the outputs are lines on stdout, -oD, -oJ, -oL, -oG, -oN, -oX FILE and -oA BASE", name)
		case name[1] == 'i':
			return nil, fmt.Errorf("unknown option %s: targets are read from files by -iL FILE", name)
		}
		out = append(out, arg)
	}
	return out, nil
}

// nearest returns the candidate that a slip of the finger or two could have
// turned into word, or "". Short words allow one slip only, or every word of
// four letters would be near another.
func nearest(word string, candidates []string) string {
	best, limit := "", 1
	if len(word) > 5 {
		limit = 2
	}
	for _, c := range candidates {
		if d := distance(word, c); d <= limit {
			best, limit = c, d-1
		}
	}
	return best
}

// distance counts the letters to insert, delete, replace or swap with the next
// one: Damerau's, in the variant that edits no letter twice (optimal string
// alignment).
func distance(a, b string) int {
	before, row := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		next := make([]int, len(b)+1)
		next[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			next[j+1] = min(row[j]+cost, row[j+1]+1, next[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				next[j+1] = min(next[j+1], before[j-1]+1)
			}
		}
		before, row = row, next
	}
	return row[len(b)]
}
