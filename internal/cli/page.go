package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/pflag"
)

// Page describes a program: its help text and its manual page are made of it.
type Page struct {
	Name         string
	Chapter      int // of the manual
	Tagline      string
	Synopsis     []string
	Introduction Section
	Sections     []Section                  // after the options
	Column       int                        // where the help text explains options
	Left         func(*pflag.Flag) string   // an option in the help text
	Spellings    func(*pflag.Flag) []string // every way to write it, the preferred one last
}

// Section is a part of a Page: a heading and paragraphs, or lines that stay as
// they are.
type Section struct {
	Heading string
	AsIs    bool
	Text    string
}

// Group is a section of options. A word in backquotes in a flag's usage names
// its value.
type Group struct {
	Heading string
	Flags   *pflag.FlagSet
}

// NewFlags returns a set that keeps the order in which flags are declared.
func NewFlags() *pflag.FlagSet {
	f := pflag.NewFlagSet("", pflag.ContinueOnError)
	f.SortFlags = false
	return f
}

const helpWidth = 80

// Help prints the help text.
func (p *Page) Help(out io.Writer, groups []Group) {
	fmt.Fprintf(out, "%s\n\n", fill(p.Introduction.Text))
	for _, line := range p.Synopsis {
		fmt.Fprintf(out, "  %s\n", line)
	}
	for _, g := range groups {
		p.Options(out, g)
	}
	for _, s := range p.Sections {
		text := fill(s.Text)
		if s.AsIs {
			text = "  " + strings.ReplaceAll(s.Text, "\n", "\n  ")
		}
		fmt.Fprintf(out, "\n%s:\n%s\n", s.Heading, text)
	}
}

// Options prints a group as the help text has it.
func (p *Page) Options(out io.Writer, g Group) {
	fmt.Fprintf(out, "\n%s:\n", g.Heading)
	g.Flags.VisitAll(func(f *pflag.Flag) {
		value, text := unquote(f)
		left := strings.TrimSpace(p.Left(f) + " " + value)
		for _, line := range Wrap(text, helpWidth-p.Column) {
			fmt.Fprintf(out, "  %-*s%s\n", p.Column-2, left, line)
			left = ""
		}
	})
}

// unquote returns the name of a flag's value and what it does.
func unquote(f *pflag.Flag) (value, text string) {
	value, text = pflag.UnquoteUsage(f)
	if !strings.Contains(f.Usage, "`") {
		value = "" // pflag invents a name from the type
	}
	return value, text
}

// fill wraps paragraphs.
func fill(text string) string {
	paragraphs := strings.Split(text, "\n\n")
	for i, p := range paragraphs {
		paragraphs[i] = strings.Join(Wrap(p, helpWidth), "\n")
	}
	return strings.Join(paragraphs, "\n\n")
}

// Wrap breaks a text between words, into lines of so many bytes at most unless a word
// is longer.
func Wrap(text string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines, line = append(lines, line), ""
		}
		line = strings.TrimSpace(line + " " + word)
	}
	return append(lines, line)
}
