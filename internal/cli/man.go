package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/pflag"
)

// Man writes the manual page, man(7).
func (p *Page) Man(out io.Writer, groups []Group) {
	var b strings.Builder
	fmt.Fprintf(&b, ".TH %s %d\n.SH NAME\n%s \\- %s\n.SH SYNOPSIS\n.nf\n", strings.ToUpper(p.Name), p.Chapter, p.Name, Roff(p.Tagline))
	for _, line := range p.Synopsis {
		fmt.Fprintf(&b, "%s\n", Roff(line))
	}
	b.WriteString(".fi\n")
	manSection(&b, p.Introduction)
	b.WriteString(".SH OPTIONS\n")
	for _, g := range groups {
		fmt.Fprintf(&b, ".SS %s\n", Roff(g.Heading))
		g.Flags.VisitAll(func(f *pflag.Flag) {
			value, text := unquote(f)
			names := p.Spellings(f)
			for i, n := range names {
				names[i] = `\fB` + Roff(n) + `\fR`
			}
			tag := strings.Join(names, ", ")
			if value != "" {
				tag += ` \fI` + Roff(value) + `\fR`
			}
			fmt.Fprintf(&b, ".TP\n%s\n%s\n", tag, Roff(text))
		})
	}
	for _, s := range p.Sections {
		manSection(&b, s)
	}
	io.WriteString(out, b.String())
}

func manSection(b *strings.Builder, s Section) {
	fmt.Fprintf(b, ".SH %s\n", Roff(strings.ToUpper(s.Heading)))
	if s.AsIs {
		fmt.Fprintf(b, ".nf\n%s\n.fi\n", Roff(s.Text))
		return
	}
	fmt.Fprintf(b, "%s\n", Roff(strings.ReplaceAll(s.Text, "\n\n", "\n.PP\n")))
}

// Roff protects what groff_char(7) would read otherwise: a backslash, hyphens
// and quotes that are to be copied into a shell, and a dot or a quote that
// begins a line.
func Roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`).Replace(text)
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, ".") && l != ".PP" {
			lines[i] = `\&` + l
		}
	}
	return strings.Join(lines, "\n")
}
