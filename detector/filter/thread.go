package filter

import "synoptic/bpf/watch"

// thread leads every way through the program past the tests that the way has
// already decided: behind "tcp" nothing asks for the protocol again. It tells
// whether anything changed; steps may then have nothing that leads to them.
func (p *program) thread() bool {
	changed := false
	closures := make([]facts, 2*len(p.tests))
	known := make([]facts, len(p.steps)) // on every way to a step; nil: there is none
	known[len(p.steps)-1] = p.noFacts()
	for i := len(p.steps) - 1; i >= 0; i-- {
		if known[i] == nil {
			continue
		}
		s := &p.steps[i]
		for _, holds := range [...]bool{true, false} {
			to := &s.no
			if holds {
				to = &s.yes
			}
			answer := fact(s.test, holds)
			if closures[answer] == nil {
				closures[answer] = p.closure(s.test, holds)
			}
			way := append(facts(nil), known[i]...)
			way.join(closures[answer])
			for *to >= 0 {
				next := p.steps[*to]
				if way.has(fact(next.test, true)) {
					*to = next.yes
				} else if way.has(fact(next.test, false)) {
					*to = next.no
				} else {
					break
				}
				changed = true
			}
			switch {
			case *to < 0:
			case known[*to] == nil:
				known[*to] = way
			default:
				known[*to].intersect(way)
			}
		}
	}
	return changed
}

// facts is a set of answers that tests give.
type facts []uint64

// fact is the place of an answer in facts.
func fact(test int, holds bool) int {
	if holds {
		return 2*test + 1
	}
	return 2 * test
}

func (p *program) noFacts() facts { return make(facts, (2*len(p.tests)+63)/64) }

func (f facts) has(fact int) bool { return f[fact/64]>>(fact%64)&1 != 0 }

func (f facts) join(g facts) {
	for i := range f {
		f[i] |= g[i]
	}
}

func (f facts) intersect(g facts) {
	for i := range f {
		f[i] &= g[i]
	}
}

// closure returns all answers that follow from one, itself among them.
func (p *program) closure(test int, held bool) facts {
	f := p.noFacts()
	for i := range p.tests {
		if holds, sure := implies(&p.tests[test], held, &p.tests[i]); sure {
			at := fact(i, holds)
			f[at/64] |= 1 << (at % 64)
		}
	}
	return f
}

// implies tells what follows for a test from the answer of another. Not sure
// is always a correct result.
func implies(known *watch.Node, held bool, asked *watch.Node) (holds, sure bool) {
	if known.Test == asked.Test {
		if holds, sure := sameKind(known, held, asked); sure {
			return holds, true
		}
	}
	if family := familyOf(known, held); family != 0 {
		switch asked.Test {
		case watch.TestFamily:
			return within(family, asked), true
		case watch.TestSource, watch.TestDestination:
			if familyOf(asked, true) != family {
				return false, true
			}
			if asked.Prefix.Bits() == 0 {
				return true, true
			}
		}
	}
	switch some, none := portsOf(known, held); {
	case none && isPorts(asked):
		return false, true
	case some && isPorts(asked) && asked.Lo == 0 && asked.Hi == 65535:
		return true, true
	case some && asked.Test == watch.TestProtocol:
		all, none := portProtocols(asked)
		return all, all || none
	}
	return false, false
}

// sameKind is implies for two tests that look at the same thing.
func sameKind(known *watch.Node, held bool, asked *watch.Node) (holds, sure bool) {
	var knownInAsked, askedInKnown, apart bool
	switch known.Test {
	case watch.TestSource, watch.TestDestination:
		k, a := known.Prefix, asked.Prefix
		knownInAsked = a.Bits() <= k.Bits() && a.Contains(k.Addr())
		askedInKnown = k.Bits() <= a.Bits() && k.Contains(a.Addr())
		apart = !k.Overlaps(a)
	default:
		knownInAsked = asked.Lo <= known.Lo && known.Hi <= asked.Hi
		askedInKnown = known.Lo <= asked.Lo && asked.Hi <= known.Hi
		apart = known.Hi < asked.Lo || asked.Hi < known.Lo
	}
	switch {
	case held && knownInAsked:
		return true, true
	case held && apart, !held && askedInKnown:
		return false, true
	}
	return false, false
}

func within(v uint16, n *watch.Node) bool { return n.Lo <= v && v <= n.Hi }

// familyOf returns 4 or 6 if the answer of a test tells a packet's family, else
// 0. Both addresses of a packet are of one family.
func familyOf(n *watch.Node, held bool) uint16 {
	var four, six bool // what may be
	switch n.Test {
	case watch.TestFamily:
		four, six = within(4, n) == held, within(6, n) == held
	case watch.TestSource, watch.TestDestination:
		whole := n.Prefix.Bits() == 0
		four = n.Prefix.Addr().Is4() == held || !held && !whole
		six = n.Prefix.Addr().Is6() == held || !held && !whole
	}
	switch {
	case four && !six:
		return 4
	case six && !four:
		return 6
	}
	return 0
}

func isPorts(n *watch.Node) bool {
	return n.Test == watch.TestSourcePort || n.Test == watch.TestDestinationPort
}

// portsOf tells whether the answer of a test tells that a packet has ports, or
// that it has none.
func portsOf(n *watch.Node, held bool) (some, none bool) {
	switch {
	case isPorts(n) && held:
		return true, false
	case isPorts(n):
		return false, n.Lo == 0 && n.Hi == 65535
	case n.Test == watch.TestProtocol && held:
		_, none := portProtocols(n)
		return false, none
	}
	return false, false
}

// portProtocols tells whether all protocols that have ports are in the range of
// a test of protocols, or none is.
func portProtocols(n *watch.Node) (all, none bool) {
	tcp, udp, sctp := within(6, n), within(17, n), within(132, n)
	return tcp && udp && sctp, !tcp && !udp && !sctp
}
