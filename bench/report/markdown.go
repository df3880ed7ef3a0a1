package report

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Report returns the text of REPORT.md.
func (c *Comparison) Report() ([]byte, error) {
	verdicts, err := c.Claims()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "# How it compares\n\nWritten by `%s`; every figure is from [results/compare.json](results/compare.json). Nothing here is typed by hand.\n\n", c.Command)
	fmt.Fprintf(&b, "- Machine: %s\n- Kernel: %s\n- Date: %s\n- Rounds: %d at least, but where a table says otherwise\n- Versions: ", c.Machine, c.Kernel, c.Date, c.Rounds)
	for i, program := range slices.Sorted(maps.Keys(c.Versions)) {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s %s", program, c.Versions[program])
	}
	b.WriteString("\n\nA figure is the median of the rounds, with the least and the greatest in brackets. In a round each program works once, in turn, in another order each time; " +
		"a ratio is the median of the rounds' ratios. Figures move with the machine; ratios do too, where a system call or a cold cache costs more, so hold together only what is of one report.\n\n")

	b.WriteString("## Claims\n\n" + summary(verdicts))
	section := ""
	for _, v := range verdicts {
		if v.Section != section {
			section = v.Section
			fmt.Fprintf(&b, "\n### Claims: %s\n\n| claim | bound | figure | verdict |\n|---|---|---|---|\n", section)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", v.Text, v.bound(), quantity(v.Figure, v.Unit), v.verdict())
	}

	section = ""
	for i := 0; i < len(c.Works); i++ {
		w := &c.Works[i]
		if w.Section != section {
			section = w.Section
			fmt.Fprintf(&b, "\n## %s\n", section)
			for _, p := range plots {
				if p.section == section {
					fmt.Fprintf(&b, "\n![%s](results/%s)\n", p.title, p.file)
				}
			}
			if section == detectors {
				fmt.Fprintf(&b, "\n![scans that each detector told](results/%s)\n", detection)
			}
		}
		if strings.HasPrefix(w.Name, sights) {
			scans := c.sights()
			sightings(&b, scans)
			i += len(scans) - 1
			continue
		}
		w.table(&b, c.Rounds)
	}
	b.WriteString(caveats)
	return b.Bytes(), nil
}

const caveats = `
## Caveats

- All of it ran in network namespaces of one machine. On a veth pair the sender's processor also runs the far end and the receiving half of the stack, so a network
  card will show other proportions. The kernel path has been tried on veths only.
- Senders are sending threads. No program was bound to a processor but where a table says so: with one sender the other processor was there for receiving.
- Probes a second are counted at the far end from the first to the last probe. Time of the processor is the process's own, user's and system's, with what the kernel does on its back.
- masscan may never end after its wait. Then it is killed five seconds after its last probe. What it says to have found but has not written by then counts as found.
- A limit is a loop that does only what a program does last. It sends to silent ports, so it has no answers to bear: no program can reach it whose probes are answered.
`

// summary says how many claims are met, and names those that are not.
func summary(verdicts []Verdict) string {
	var missed []string
	for i, v := range verdicts {
		if v.Met {
			continue
		}
		text := v.Text
		for j := i; strings.HasPrefix(text, "... ") && j > 0; { // it continues another
			j--
			if text = verdicts[j].Text; !strings.HasPrefix(text, "... ") {
				text += " " + v.Text
			}
		}
		missed = append(missed, fmt.Sprintf("- %s Bound %s, figure %s.\n", text, v.bound(), quantity(v.Figure, v.Unit)))
	}
	if len(missed) == 0 {
		return fmt.Sprintf("All %d claims are met.\n", len(verdicts))
	}
	return fmt.Sprintf("%d of %d claims are met. Not met:\n\n%s", len(verdicts)-len(missed), len(verdicts), strings.Join(missed, ""))
}

func (v Verdict) verdict() string {
	if v.Met {
		return "met"
	}
	return "**not met**"
}

func (v Verdict) bound() string {
	if math.IsNaN(v.AtLeast) {
		return "≤ " + quantity(v.AtMost, v.Unit)
	}
	return "≥ " + quantity(v.AtLeast, v.Unit)
}

// metricsInOrder are the columns of a table; others follow by name.
var metricsInOrder = []string{PPS, Packets, Answers, Seen, Right, CPU, Cost, BPF, Core, Lost, Seconds, Delay, Probes, Missing, Wrong, Doubled, Memory}

// table writes a work: a row for each program.
func (w *Work) table(b *bytes.Buffer, rounds int) {
	fmt.Fprintf(b, "\n### %s\n\n%s", w.Name, w.Text)
	if w.Truth > 0 {
		fmt.Fprintf(b, " To be reported: %s.", short(float64(w.Truth)))
	}
	if n := w.rounds(); n < rounds {
		fmt.Fprintf(b, " Rounds: %d.", n)
	}
	b.WriteString("\n\n")
	var metrics []string
	limits := false
	for _, r := range w.Runs {
		for metric := range r.Figures {
			if !slices.Contains(metrics, metric) {
				metrics = append(metrics, metric)
			}
		}
		limits = limits || r.Limit != ""
	}
	slices.SortFunc(metrics, func(x, y string) int {
		i, j := slices.Index(metricsInOrder, x), slices.Index(metricsInOrder, y)
		if i >= 0 && j >= 0 {
			return i - j
		}
		return cmp.Or(j-i, strings.Compare(x, y))
	})
	ours, main := w.ours()
	heads := append([]string{"program"}, metrics...)
	if main != "" {
		heads = append(heads, main+", ours = 1")
	}
	if limits {
		heads = append(heads, "of its limit")
	}
	fmt.Fprintf(b, "| %s |\n|%s\n", strings.Join(heads, " | "), strings.Repeat("---|", len(heads)))
	var commands []string
	for i := range w.Runs {
		r := &w.Runs[i]
		cells := []string{r.Program}
		if r.Cannot != "" {
			cells = append(cells, "*"+r.Cannot+"*")
		} else {
			for _, metric := range metrics {
				cells = append(cells, spread(r.Figures[metric]))
			}
			if main != "" {
				cell := "" // no delay, if nothing was told
				if len(r.Figures[main]) > 0 {
					m, _, _ := Median(r.Ratio(ours, main))
					cell = short(m)
				}
				cells = append(cells, cell)
			}
			if limit := w.Run(r.Limit); limit != nil {
				m, _, _ := Median(r.Ratio(limit, main))
				cells = append(cells, fmt.Sprintf("%.0f %%", 100*m))
			}
		}
		for len(cells) < len(heads) {
			cells = append(cells, "")
		}
		fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | "))
		if r.Command != "" {
			commands = append(commands, "    "+r.Command+"\n")
		}
	}
	if len(commands) > 0 {
		fmt.Fprintf(b, "\n<details><summary>commands</summary>\n\n%s\n</details>\n", strings.Join(commands, ""))
	}
}

// detectors is the section about them.
const detectors = "Detection"

// sights begins the names of the works that ask whether a detector sees a scan; they
// stand together.
const sights = "detector/scan="

// sights returns these works.
func (c *Comparison) sights() (works []*Work) {
	for i := range c.Works {
		if strings.HasPrefix(c.Works[i].Name, sights) {
			works = append(works, &c.Works[i])
		}
	}
	return works
}

// sightings writes a row for each scan: how often each detector told of it.
func sightings(b *bytes.Buffer, works []*Work) {
	b.WriteString("\n### detector/scan\n\n1,000 ports of a real host that all detectors watch: in how many of the rounds it was told, and as what it was.\n\n| scan |")
	for i := range works[0].Runs {
		fmt.Fprintf(b, " %s |", works[0].Runs[i].Program)
	}
	fmt.Fprintf(b, "\n|---|%s\n", strings.Repeat("---|", len(works[0].Runs)))
	for _, w := range works {
		fmt.Fprintf(b, "| %s |", strings.TrimPrefix(w.Name, sights))
		for i := range w.Runs {
			r := &w.Runs[i]
			if r.Cannot != "" {
				fmt.Fprintf(b, " *%s* |", r.Cannot)
				continue
			}
			fmt.Fprintf(b, " %s", r.times(Seen))
			if len(r.Figures[Right]) > 0 {
				fmt.Fprintf(b, ", as what it was %s", r.times(Right))
			}
			b.WriteString(" |")
		}
		b.WriteString("\n")
	}
}

// times is in how many rounds a figure was not 0.
func (r *Run) times(metric string) string {
	n := 0
	for _, figure := range r.Figures[metric] {
		if figure != 0 {
			n++
		}
	}
	return fmt.Sprintf("%d of %d", n, len(r.Figures[metric]))
}

// ours is the program of this project, the first if there are several, and the metric by
// which the others stand beside it. There is none where the runs are not several ways
// to do one thing.
func (w *Work) ours() (*Run, string) {
	for i := range w.Runs {
		if r := &w.Runs[i]; strings.HasPrefix(r.Program, "syn") {
			for _, metric := range []string{PPS, Delay, Packets, Seconds} {
				if len(r.Figures[metric]) > 0 {
					return r, metric
				}
			}
		}
	}
	return nil, ""
}

// rounds is how often every program has run that could, at least. Not every round has
// every figure: there is no delay of what was not told.
func (w *Work) rounds() int {
	least := math.MaxInt
	for _, r := range w.Runs {
		n := 0
		for _, figures := range r.Figures {
			n = max(n, len(figures))
		}
		if r.Cannot == "" {
			least = min(least, n)
		}
	}
	return least
}

// spread is a median with the least and the greatest figure.
func spread(figures []float64) string {
	if len(figures) == 0 {
		return ""
	}
	m, least, most := Median(figures)
	if short(least) == short(most) {
		return short(m)
	}
	return fmt.Sprintf("%s [%s … %s]", short(m), short(least), short(most))
}

func quantity(v float64, unit string) string {
	if unit == "x" {
		return short(v)
	}
	return short(v) + " " + unit
}

// short writes a figure with three digits that count, more only where it is whole.
func short(v float64) string {
	if v != 0 && math.Abs(v) < 1e7 && v == math.Trunc(v) {
		return thousands(strconv.FormatFloat(v, 'f', 0, 64))
	}
	if v == 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return strconv.FormatFloat(v, 'g', -1, 64)
	}
	decimals := 2 - int(math.Floor(math.Log10(math.Abs(v))))
	if decimals < 0 {
		unit := math.Pow10(-decimals)
		return thousands(strconv.FormatFloat(math.Round(v/unit)*unit, 'f', 0, 64))
	}
	return strconv.FormatFloat(v, 'f', decimals, 64)
}

func thousands(digits string) string {
	for i := len(digits) - 3; i > 0 && digits[i-1] != '-'; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
