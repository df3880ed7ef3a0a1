package filter

import "fmt"

// qualifiers are the words that say what a value is. A value without any takes
// those of the value before it.
type qualifiers struct {
	kind     string // "host", "net", "port", "portrange", "proto"; "" if there are none
	protocol string // "tcp", "udp", "icmp", "ip", "ip6"; "" if not given
	dir      direction
	offset   int // of the first of the words
}

type direction uint8

const (
	anyEnd direction = iota
	source
	destination
	bothEnds
)

// deepest is how many parentheses and nots may be open at a time: more than
// anybody writes, and few enough for the stack.
const deepest = 200

// parser goes through the words once. The first error stays: it moves on to
// the end, where everything that is still open returns.
type parser struct {
	words []word
	at    int
	depth int
	err   error
}

func (p *parser) peek() word { return p.words[p.at] }

func (p *parser) next() word {
	w := p.peek()
	if w.text != "" {
		p.at++
	}
	return w
}

// accept goes past the next word if it is one of texts.
func (p *parser) accept(texts ...string) bool {
	for _, t := range texts {
		if p.peek().text == t {
			p.at++
			return true
		}
	}
	return false
}

// fail returns a tree for the parser to go on with.
func (p *parser) fail(offset int, format string, args ...any) *tree {
	if p.err == nil {
		p.err = &Error{offset, fmt.Sprintf(format, args...)}
	}
	p.at = len(p.words) - 1
	return &tree{}
}

func (p *parser) whole() *tree {
	t, _ := p.expression(qualifiers{}, false)
	switch w := p.peek(); {
	case w.text == "":
	case w.text == ")":
		p.fail(w.offset, `this ")" closes nothing: take it out`)
	default:
		p.follows(w)
	}
	return t
}

// expression reads terms joined by and and or, of equal precedence and from the
// left. q is what a bare value means at its beginning; the result is what it
// means behind it. Of values only consists what stands behind a qualifier, as
// in "port (80 or 443)".
func (p *parser) expression(q qualifiers, valuesOnly bool) (*tree, qualifiers) {
	x, q := p.term(q, valuesOnly)
	for {
		join := and
		switch {
		case p.accept("and", "&&"):
		case p.accept("or", "||"):
			join = or
		default:
			return x, q
		}
		var y *tree
		y, q = p.term(q, valuesOnly)
		x = &tree{op: join, x: x, y: y}
	}
}

// term reads a primitive, a bare value, or one of these behind not or between
// parentheses. As in tcpdump, a value behind parentheses means what it would
// have meant before them.
func (p *parser) term(q qualifiers, valuesOnly bool) (*tree, qualifiers) {
	w := p.peek()
	if p.depth++; p.depth > deepest {
		return p.fail(w.offset, "more than %d parentheses and nots are open: write it flatter", deepest), q
	}
	defer func() { p.depth-- }()
	switch {
	case p.accept("not", "!"):
		x, q := p.term(q, valuesOnly)
		return negate(x), q
	case p.accept("("):
		x, _ := p.expression(q, valuesOnly)
		switch end := p.peek(); {
		case p.accept(")"):
		case end.text == "":
			p.fail(w.offset, `this "(" is never closed: write ")" where it ends`)
		default:
			p.follows(end)
		}
		return x, q
	case w.text == "" && valuesOnly:
		return p.fail(w.offset, "the expression ends where %s should be", q.wants()), q
	case w.text == "":
		return p.fail(w.offset, "the expression ends where a test should be"), q
	case !begins(w.text), valuesOnly && q.kind == "proto":
		return p.value(q), q
	case valuesOnly:
		return p.fail(w.offset, "%q stands where %s should be", w.text, q.wants()), q
	default:
		return p.primitive()
	}
}

// begins tells whether a word may be the first of a primitive.
func begins(w string) bool { return isProtocol(w) || isDirection(w) || isKind(w) }

func isProtocol(w string) bool {
	return w == "tcp" || w == "udp" || w == "icmp" || w == "ip" || w == "ip6"
}

func isDirection(w string) bool { return w == "src" || w == "dst" }

func isKind(w string) bool {
	return w == "host" || w == "net" || w == "port" || w == "portrange" || w == "proto"
}

// primitive reads qualifiers and what they are about.
func (p *parser) primitive() (*tree, qualifiers) {
	q := qualifiers{offset: p.peek().offset}
	if isProtocol(p.peek().text) {
		q.protocol = p.next().text
		if w := p.peek().text; !isDirection(w) && !isKind(w) {
			return protocol(q.protocol), qualifiers{}
		}
	}
	directed := isDirection(p.peek().text)
	if directed {
		q.dir = p.direction()
	}
	switch w := p.peek(); {
	case w.text == "proto" && directed:
		return p.fail(w.offset, `a protocol has no direction: leave out "src" and "dst" before "proto"`), q
	case isKind(w.text):
		q.kind = p.next().text
	default:
		q.kind = "host"
	}
	p.agree(q)
	return p.term(q, true)
}

// direction reads src, dst, or both of them joined.
func (p *parser) direction() direction {
	first := p.next().text
	join := p.peek()
	switch {
	case p.accept("and", "&&"), p.accept("or", "||"):
	case first == "src":
		return source
	default:
		return destination
	}
	other := "dst"
	if first == "dst" {
		other = "src"
	}
	if !p.accept(other) {
		p.fail(p.peek().offset, "%q stands between ends of a connection, or between tests: write \"%s %s %s\", or a value behind %q",
			join.text, first, join.text, other, first)
	}
	if join.text == "or" || join.text == "||" {
		return anyEnd
	}
	return bothEnds
}

// agree fails if the protocol does not go with the kind of value.
func (p *parser) agree(q qualifiers) {
	var fits bool
	switch q.kind {
	case "port", "portrange":
		fits = q.protocol == "" || q.protocol == "tcp" || q.protocol == "udp"
	default:
		fits = q.protocol == "" || q.protocol == "ip" || q.protocol == "ip6"
	}
	if !fits {
		p.fail(q.offset, `%q does not go with %q: write "%s and %s ..."`, q.protocol, q.kind, q.protocol, q.kind)
	}
}

// follows fails about a word that is one too many where a test has ended.
func (p *parser) follows(w word) {
	if why := missing(w.text); why != "" {
		p.fail(w.offset, "%q is not part of this language: %s", w.text, why)
		return
	}
	p.fail(w.offset, `%q follows a test that is complete: write "and" or "or" before it`, w.text)
}
