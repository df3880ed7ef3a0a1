package report

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
)

// Claim is a sentence about performance and how it is checked.
type Claim struct {
	Section string
	Text    string
	Unit    string // of the figure
	// AtLeast and AtMost are the bound; the other is NaN.
	AtLeast, AtMost float64

	figure source
}

// Verdict is what a comparison says of a claim.
type Verdict struct {
	Claim
	Figure float64
	Met    bool
}

// Claims returns the verdict of every claim. One that cannot be checked is an error,
// never left out.
func (c *Comparison) Claims() (all []Verdict, err error) {
	for _, claim := range claims {
		figure, e := claim.figure(c)
		if e != nil {
			err = errors.Join(err, fmt.Errorf("%s: %s: %w", claim.Section, claim.Text, e))
			continue
		}
		met := figure >= claim.AtLeast
		if math.IsNaN(claim.AtLeast) {
			met = figure <= claim.AtMost
		}
		all = append(all, Verdict{claim, figure, met})
	}
	return all, err
}

// source is how a figure comes out of a comparison. What it needs and does not find is
// an error that names the work.
type source func(c *Comparison) (float64, error)

// of is the median of a program's figures.
func of(work, program, metric string) source {
	return func(c *Comparison) (float64, error) {
		figures, err := c.figures(work, program, metric)
		m, _, _ := Median(figures)
		return m, err
	}
}

// ratio is the median of the rounds' ratios of two programs' figures.
func ratio(work, program, other, metric string) source {
	return func(c *Comparison) (float64, error) {
		_, err1 := c.figures(work, program, metric)
		_, err2 := c.figures(work, other, metric)
		if err := errors.Join(err1, err2); err != nil {
			return 0, err
		}
		w := c.Work(work)
		m, _, _ := Median(w.Run(program).Ratio(w.Run(other), metric))
		return m, nil
	}
}

// worst is the greatest figure of any round of the programs whose names begin so: for
// what must not happen even once. least is the other end.
func worst(work, programs, metric string) source {
	return func(c *Comparison) (float64, error) { return c.extreme(work, programs, metric, slices.Max[[]float64]) }
}

func least(work, programs, metric string) source {
	return func(c *Comparison) (float64, error) { return c.extreme(work, programs, metric, slices.Min[[]float64]) }
}

// medians is the greatest of the programs' medians.
func medians(work, programs, metric string) source {
	return func(c *Comparison) (float64, error) {
		var all []float64
		for _, program := range c.programs(work, programs, metric) {
			m, _, _ := Median(c.Work(work).Run(program).Figures[metric])
			all = append(all, m)
		}
		if len(all) == 0 {
			return 0, c.absent(work, programs, metric)
		}
		return slices.Max(all), nil
	}
}

// everywhere is the least figure of any round of a program in all works whose names
// begin so, but for those that it cannot do.
func everywhere(works, program, metric string) source {
	return func(c *Comparison) (float64, error) {
		var all []float64
		for i := range c.Works {
			w := &c.Works[i]
			if r := w.Run(program); !strings.HasPrefix(w.Name, works) || r != nil && r.Cannot != "" {
				continue
			}
			figures, err := c.figures(w.Name, program, metric)
			if err != nil {
				return 0, err
			}
			all = append(all, figures...)
		}
		if len(all) == 0 {
			return 0, c.absent(works, program, metric)
		}
		return slices.Min(all), nil
	}
}

// sum adds up sources.
func sum(sources ...source) source {
	return func(c *Comparison) (total float64, err error) {
		for _, one := range sources {
			figure, e := one(c)
			total, err = total+figure, errors.Join(err, e)
		}
		return total, err
	}
}

// inverse turns a source around.
func inverse(s source) source {
	return func(c *Comparison) (float64, error) {
		f, err := s(c)
		return 1 / f, err
	}
}

// scaled multiplies a source.
func scaled(s source, by float64) source {
	return func(c *Comparison) (float64, error) {
		f, err := s(c)
		return f * by, err
	}
}

func (s source) atLeast(bound float64, unit, section, text string) Claim {
	return Claim{Section: section, Text: text, Unit: unit, AtLeast: bound, AtMost: math.NaN(), figure: s}
}

func (s source) atMost(bound float64, unit, section, text string) Claim {
	return Claim{Section: section, Text: text, Unit: unit, AtLeast: math.NaN(), AtMost: bound, figure: s}
}

func (c *Comparison) absent(work, program, metric string) error {
	return fmt.Errorf("%q has no %s of %q", work, metric, program)
}

func (c *Comparison) figures(work, program, metric string) ([]float64, error) {
	if w := c.Work(work); w != nil {
		if r := w.Run(program); r != nil && len(r.Figures[metric]) > 0 {
			return r.Figures[metric], nil
		}
	}
	return nil, c.absent(work, program, metric)
}

// programs are those of a work whose name begins so and that have the metric.
func (c *Comparison) programs(work, prefix, metric string) (names []string) {
	if w := c.Work(work); w != nil {
		for i := range w.Runs {
			if r := &w.Runs[i]; strings.HasPrefix(r.Program, prefix) && len(r.Figures[metric]) > 0 {
				names = append(names, r.Program)
			}
		}
	}
	return names
}

func (c *Comparison) extreme(work, programs, metric string, pick func([]float64) float64) (float64, error) {
	var all []float64
	for _, program := range c.programs(work, programs, metric) {
		all = append(all, c.Work(work).Run(program).Figures[metric]...)
	}
	if len(all) == 0 {
		return 0, c.absent(work, programs, metric)
	}
	return pick(all), nil
}
