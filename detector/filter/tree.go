package filter

import (
	"net/netip"

	"synoptic/bpf/watch"
)

// tree is an expression as it was understood.
type tree struct {
	op   op
	test watch.Node // valid iff op is leaf; Yes and No are not
	x, y *tree      // y is valid iff op is and, or
}

type op uint8

const (
	leaf op = iota
	not
	and
	or
)

func numbers(test watch.Test, lo, hi uint16) *tree {
	return &tree{test: watch.Node{Test: test, Lo: lo, Hi: hi}}
}

func number(test watch.Test, n uint16) *tree { return numbers(test, n, n) }

func addresses(test watch.Test, p netip.Prefix) *tree {
	return &tree{test: watch.Node{Test: test, Prefix: p}}
}

func negate(x *tree) *tree { return &tree{op: not, x: x} }

func both(x, y *tree) *tree { return &tree{op: and, x: x, y: y} }

// either returns nil only without any x.
func either(xs ...*tree) *tree {
	var t *tree
	for _, x := range xs {
		if t == nil {
			t = x
		} else {
			t = &tree{op: or, x: t, y: x}
		}
	}
	return t
}
