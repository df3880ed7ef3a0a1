package filter

import "synoptic/bpf/watch"

// label is where a step goes: an earlier step of the program, pass or reject.
type label int

const (
	pass   label = -1
	reject label = -2
)

// step is a test and where it leads.
type step struct {
	test    int // index of the program's tests
	yes, no label
}

// program is a table in the making. It is built from its end, so that a step is
// there before any other leads to it: labels are always those of earlier steps,
// and there are no circles. No two steps are equal.
type program struct {
	tests []watch.Node // distinct, without Yes and No
	steps []step

	testOf map[watch.Node]int
	stepOf map[step]label
}

func newProgram() *program {
	return &program{testOf: map[watch.Node]int{}, stepOf: map[step]label{}}
}

// assemble makes a program of a tree, and simplifies it unless it is beyond all
// measure.
func assemble(t *tree) (*program, label) {
	p := newProgram()
	entry := p.expression(t, pass, reject)
	if len(p.steps) > 4*watch.MaxNodes {
		return p, entry
	}
	// A step of which both ways turn out to lead to the same place goes, and what
	// came to it comes there with more known.
	for entry >= 0 && p.thread() {
		p, entry = p.rebuilt()
	}
	return p, entry
}

// expression adds the steps that lead to yes if t holds, and to no if not.
func (p *program) expression(t *tree, yes, no label) label {
	switch t.op {
	case not:
		return p.expression(t.x, no, yes)
	case and:
		return p.expression(t.x, p.expression(t.y, yes, no), no)
	case or:
		return p.expression(t.x, yes, p.expression(t.y, yes, no))
	}
	return p.add(t.test, yes, no)
}

// add returns a label for a step; a test that decides nothing needs none.
func (p *program) add(test watch.Node, yes, no label) label {
	if yes == no {
		return yes
	}
	id, known := p.testOf[test]
	if !known {
		id = len(p.tests)
		p.tests = append(p.tests, test)
		p.testOf[test] = id
	}
	s := step{id, yes, no}
	at, known := p.stepOf[s]
	if !known {
		at = label(len(p.steps))
		p.steps = append(p.steps, s)
		p.stepOf[s] = at
	}
	return at
}

// rebuilt returns the program without the steps that nothing leads to, and with
// its entry, which was the last step.
func (p *program) rebuilt() (*program, label) {
	needed := make([]bool, len(p.steps))
	needed[len(needed)-1] = true
	for i := len(needed) - 1; i >= 0; i-- {
		for _, to := range [...]label{p.steps[i].yes, p.steps[i].no} {
			if needed[i] && to >= 0 {
				needed[to] = true
			}
		}
	}
	q := newProgram()
	moved := make([]label, len(p.steps))
	to := func(l label) label {
		if l >= 0 {
			return moved[l]
		}
		return l
	}
	for i, s := range p.steps {
		if needed[i] {
			moved[i] = q.add(p.tests[s.test], to(s.yes), to(s.no))
		}
	}
	return q, moved[len(moved)-1]
}

// filter turns the program around: its last step, the entry, comes first.
func (p *program) filter(entry label) (watch.Filter, error) {
	switch {
	case entry == pass:
		return nil, nil
	case entry == reject:
		return watch.Filter{{Test: watch.TestFamily, Lo: 4, Hi: 6, Yes: watch.Reject, No: watch.Reject}}, nil
	case len(p.steps) > watch.MaxNodes:
		return nil, tooMany(len(p.steps))
	}
	last := len(p.steps) - 1
	index := func(l label) uint16 {
		switch l {
		case pass:
			return watch.Pass
		case reject:
			return watch.Reject
		}
		return uint16(last - int(l))
	}
	f := make(watch.Filter, 0, len(p.steps))
	for i := last; i >= 0; i-- {
		s := p.steps[i]
		n := p.tests[s.test]
		n.Yes, n.No = index(s.yes), index(s.no)
		f = append(f, n)
	}
	return f, nil
}
