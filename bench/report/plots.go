package report

import (
	"bytes"
	"fmt"
	"image/color"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// picture is a plot of the report: a metric of the programs of some works.
type picture struct {
	file, title, axis string
	section           string // of the report, which shows it
	works             []string
	metric            string
	ofTruth           bool // as percent of the truth
}

var plots = []picture{
	{"speed.svg", "Speed: probes a second", "probes a second; bar: median, line: least to greatest", "Sweep",
		[]string{"sweep/senders=1", "sweep/senders=2", "large-sweep/senders=1", "large-sweep/senders=2", "sweep/all-answer"}, PPS, false},
	{"cpu.svg", "Time of the processor for a probe", "nanoseconds, user's and system's; less is better", "Sweep",
		[]string{"sweep/senders=1", "sweep/senders=2", "large-sweep/senders=1", "large-sweep/senders=2", "sweep/all-answer"}, CPU, false},
	{"completeness.svg", "Completeness: open endpoints not found", "percent of those that are open; less is better", "Sweep",
		[]string{"sweep/senders=1", "sweep/senders=2", "large-sweep/senders=1", "large-sweep/senders=2", "sweep/all-answer", "small-sweep"}, Missing, true},
	{"delay.svg", "Detection: from the probe that crosses the line to the message", "milliseconds; less is better", detectors,
		[]string{"detector/delay/rate=10", "detector/delay/rate=100", "detector/flood/rate=100000", "detector/flood/rate=max"}, Delay, false},
	{"ports.svg", "Many ports: time from start to end", "seconds; less is better", "Ports",
		[]string{"one_host_all_ports/-sS", "one_host_all_ports/-sF", "one_host_all_ports/-sT", "many_hosts/-sS", "many_hosts/-sT"}, Seconds, false},
}

// Plots returns the plots as SVG, by the names of their files.
func (c *Comparison) Plots() (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, p := range plots {
		drawn, rows, err := p.draw(c)
		if err != nil {
			return nil, fmt.Errorf("draw %s: %w", p.file, err)
		}
		if files[p.file], err = svg(drawn, height(rows)); err != nil {
			return nil, err
		}
	}
	drawn, rows, err := c.drawSights()
	if err != nil {
		return nil, fmt.Errorf("draw %s: %w", detection, err)
	}
	files[detection], err = svg(drawn, height(rows))
	return files, err
}

// svg draws a plot. Who reads it may not have the font that it was laid out with.
func svg(drawn *plot.Plot, height vg.Length) ([]byte, error) {
	canvas := vgsvg.New(width, height)
	drawn.Draw(draw.Crop(draw.New(canvas), vg.Points(6), -vg.Points(6), vg.Points(6), -vg.Points(6)))
	var b bytes.Buffer
	_, err := canvas.WriteTo(&b)
	return bytes.ReplaceAll(b.Bytes(), []byte("font-family:Liberation Sans;"), []byte("font-family:Liberation Sans,Arial,Helvetica,sans-serif;")), err
}

// empty is a plot with a title, in a font without serifs.
func empty(title, axis string) *plot.Plot {
	p := plot.New()
	p.Title.Text, p.X.Label.Text = title, axis
	for _, style := range []*draw.TextStyle{&p.Title.TextStyle, &p.X.Label.TextStyle, &p.X.Tick.Label, &p.Y.Tick.Label} {
		style.Font.Variant = "Sans"
	}
	p.Title.TextStyle.Font.Size, p.X.Label.TextStyle.Font.Size = vg.Points(13), vg.Points(10)
	p.Title.Padding, p.X.Label.Padding = vg.Points(6), vg.Points(4)
	p.X.Tick.Marker = grouped{}
	return p
}

// grouped are the default ticks with their thousands apart.
type grouped struct{ plot.DefaultTicks }

func (g grouped) Ticks(least, most float64) []plot.Tick {
	ticks := g.DefaultTicks.Ticks(least, most)
	for i := range ticks {
		if ticks[i].Label != "" {
			ticks[i].Label = short(ticks[i].Value)
		}
	}
	return ticks
}

const width = 20 * vg.Centimeter

func height(rows int) vg.Length { return vg.Length(rows)*0.55*vg.Centimeter + 3*vg.Centimeter }

var (
	ink = color.Gray{40}
	// Ours are dark, peers lighter and limits hollow, and each bar has its name.
	ours  = color.RGBA{31, 78, 140, 255}
	fills = map[string]color.Color{"synscan": ours, "synwatch": ours, "limit:": color.White}
	other = color.RGBA{190, 200, 214, 255}
)

// draw makes a bar for every program of every work, from top to bottom.
func (p picture) draw(c *Comparison) (*plot.Plot, int, error) {
	type row struct {
		name                string
		median, least, most float64
		bar                 bool
		label               string
	}
	var rows []row
	longest := 0.
	for _, name := range p.works {
		w := c.Work(name)
		if w == nil {
			return nil, 0, fmt.Errorf("no work %q", name)
		}
		rows = append(rows, row{name: name})
		for i := range w.Runs {
			r := &w.Runs[i]
			one := row{name: r.Program, bar: true}
			if len(r.Figures[p.metric]) == 0 {
				if len(r.Figures[Seen]) > 0 {
					one.label = "not told"
					rows = append(rows, one)
				}
				continue
			}
			one.median, one.least, one.most = Median(r.Figures[p.metric])
			one.label = short(one.median)
			if p.ofTruth {
				one.label += fmt.Sprintf(" of %s", short(float64(w.Truth)))
				for _, v := range []*float64{&one.median, &one.least, &one.most} {
					*v *= 100 / float64(w.Truth)
				}
			}
			rows, longest = append(rows, one), max(longest, one.most)
		}
	}
	drawn := empty(p.title, p.axis)
	drawn.X.Min, drawn.X.Max = 0, longest*1.25
	if longest == 0 {
		drawn.X.Max = 1
	}
	drawn.Y.Min, drawn.Y.Max = -0.7, float64(len(rows))-0.3
	names := make([]string, len(rows))
	var labels, heads plotter.XYLabels
	for i, r := range rows {
		y := float64(len(rows) - 1 - i)
		if !r.bar {
			heads.XYs, heads.Labels = append(heads.XYs, plotter.XY{X: 0, Y: y}), append(heads.Labels, r.name)
			continue
		}
		names[len(rows)-1-i] = r.name
		bar, err := plotter.NewPolygon(plotter.XYs{{X: 0, Y: y - 0.35}, {X: r.median, Y: y - 0.35}, {X: r.median, Y: y + 0.35}, {X: 0, Y: y + 0.35}})
		if err != nil {
			return nil, 0, err
		}
		first, _, _ := strings.Cut(r.name, " ")
		bar.Color, bar.LineStyle = fills[first], draw.LineStyle{Color: ink, Width: vg.Points(0.5)}
		if bar.Color == nil {
			bar.Color = other
		}
		drawn.Add(bar)
		if r.least < r.most {
			line, err := plotter.NewLine(plotter.XYs{{X: r.least, Y: y}, {X: r.most, Y: y}})
			if err != nil {
				return nil, 0, err
			}
			line.LineStyle = draw.LineStyle{Color: color.RGBA{200, 60, 20, 255}, Width: vg.Points(2)}
			drawn.Add(line)
		}
		labels.XYs = append(labels.XYs, plotter.XY{X: max(r.most, r.median), Y: y})
		labels.Labels = append(labels.Labels, r.label)
	}
	drawn.NominalY(names...)
	drawn.Y.Tick.Label.XAlign = text.XRight
	for _, l := range []plotter.XYLabels{labels, heads} {
		if err := write(drawn, l); err != nil {
			return nil, 0, err
		}
	}
	return drawn, len(rows), nil
}

// detection is the plot of what the detectors saw.
const detection = "detection.svg"

// drawSights makes a row for each scan and a column for each detector: a full circle
// where it told of it in every round, a ring where it did not, and how often.
func (c *Comparison) drawSights() (*plot.Plot, int, error) {
	works := c.sights()
	if len(works) == 0 {
		return nil, 0, fmt.Errorf("no work %q", sights)
	}
	drawn := empty("Detection: scans of 1,000 ports told", "")
	names := make([]string, len(works))
	heads := plotter.XYLabels{}
	for i, r := range works[0].Runs {
		heads.XYs, heads.Labels = append(heads.XYs, plotter.XY{X: float64(i), Y: float64(len(works))}), append(heads.Labels, r.Program)
	}
	words := plotter.XYLabels{}
	var all, some plotter.XYs
	for i, w := range works {
		y := len(works) - 1 - i
		names[y] = strings.TrimPrefix(w.Name, sights)
		for x := range w.Runs {
			r, at := &w.Runs[x], plotter.XY{X: float64(x), Y: float64(y)}
			word := "cannot be asked"
			if r.Cannot == "" {
				word = r.times(Seen)
				if _, least, _ := Median(r.Figures[Seen]); least > 0 {
					all = append(all, at)
				} else {
					some = append(some, at)
				}
			}
			words.XYs, words.Labels = append(words.XYs, at), append(words.Labels, word)
		}
	}
	for _, marks := range []struct {
		at    plotter.XYs
		shape draw.GlyphDrawer
	}{{all, draw.CircleGlyph{}}, {some, draw.RingGlyph{}}} {
		if len(marks.at) == 0 {
			continue
		}
		scatter, err := plotter.NewScatter(marks.at)
		if err != nil {
			return nil, 0, err
		}
		scatter.GlyphStyle = draw.GlyphStyle{Color: ours, Radius: vg.Points(4), Shape: marks.shape}
		drawn.Add(scatter)
	}
	for _, l := range []plotter.XYLabels{words, heads} {
		if err := write(drawn, l); err != nil {
			return nil, 0, err
		}
	}
	drawn.NominalY(names...)
	drawn.HideX()
	drawn.X.Min, drawn.X.Max = -0.2, float64(len(works[0].Runs))
	drawn.Y.Min, drawn.Y.Max = -0.7, float64(len(works))+0.5
	return drawn, len(works) + 1, nil
}

// write puts words right of some points.
func write(drawn *plot.Plot, labels plotter.XYLabels) error {
	words, err := plotter.NewLabels(labels)
	if err != nil {
		return err
	}
	for i := range words.TextStyle {
		words.TextStyle[i].YAlign = text.YCenter
		words.TextStyle[i].Font.Variant = "Sans"
		words.TextStyle[i].Font.Size = vg.Points(10)
	}
	words.Offset.X = vg.Points(6)
	drawn.Add(words)
	return nil
}
