package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/pflag"
)

// printMan writes the manual page, man(7), from what the help text is made of.
func printMan(out io.Writer, groups []group) {
	var b strings.Builder
	fmt.Fprintf(&b, ".TH SYNWATCH 8\n.SH NAME\nsynwatch \\- %s\n.SH SYNOPSIS\n.nf\n", roff(tagline))
	for _, line := range synopsis {
		fmt.Fprintf(&b, "%s\n", roff(line))
	}
	b.WriteString(".fi\n")
	manSection(&b, introduction)
	b.WriteString(".SH OPTIONS\n")
	for _, g := range groups {
		fmt.Fprintf(&b, ".SS %s\n", roff(g.heading))
		g.flags.VisitAll(func(f *pflag.Flag) {
			value, text := pflag.UnquoteUsage(f)
			names := spellings(f)
			for i, n := range names {
				names[i] = `\fB` + roff(n) + `\fR`
			}
			tag := strings.Join(names, ", ")
			if value = valueColumn(f, value); value != "" {
				tag += ` \fI` + roff(value) + `\fR`
			}
			fmt.Fprintf(&b, ".TP\n%s\n%s\n", tag, roff(text))
		})
	}
	for _, s := range sections {
		manSection(&b, s)
	}
	io.WriteString(out, b.String())
}

func manSection(b *strings.Builder, s section) {
	fmt.Fprintf(b, ".SH %s\n", roff(strings.ToUpper(s.heading)))
	if s.asIs {
		fmt.Fprintf(b, ".nf\n%s\n.fi\n", roff(s.text))
		return
	}
	fmt.Fprintf(b, "%s\n", roff(strings.ReplaceAll(s.text, "\n\n", "\n.PP\n")))
}

// roff protects what groff_char(7) would read otherwise: a backslash, hyphens
// and quotes that are to be copied into a shell, and a dot or a quote that
// begins a line.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`).Replace(text)
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, ".") && l != ".PP" {
			lines[i] = `\&` + l
		}
	}
	return strings.Join(lines, "\n")
}

// spellings returns every way to write an option, the preferred one last.
func spellings(f *pflag.Flag) []string {
	if f.Shorthand != "" {
		return []string{"-" + f.Shorthand, "--" + f.Name}
	}
	return []string{"--" + f.Name}
}
