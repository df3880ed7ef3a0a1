package filter

import "synoptic/bpf/watch"

// Compile makes an expression a table of at most [watch.MaxNodes] tests. The
// empty expression passes everything, and is the empty Filter. An error is an
// [*Error], [ErrNothing], or that the table is too long.
func Compile(expr string) (watch.Filter, error) {
	p := parser{words: scan(expr)}
	if p.peek().text == "" {
		return nil, nil
	}
	t := p.whole()
	if p.err != nil {
		return nil, p.err
	}
	program, entry := assemble(t)
	if entry == reject {
		return nil, ErrNothing
	}
	return program.filter(entry)
}
