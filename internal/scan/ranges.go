package scan

import (
	"slices"

	"synoptic/internal/ledger"
)

// Range is the positions [From, To) of a plan.
type Range struct {
	From uint64 `json:"from"`
	To   uint64 `json:"to"`
}

// ranges is a set of positions: ascending, apart from each other, none empty.
type ranges []Range

// add puts the positions of another set in.
func (rs ranges) add(more ...Range) ranges {
	all := append(slices.Clone(rs), more...)
	slices.SortFunc(all, func(a, b Range) int {
		if a.From < b.From {
			return -1
		}
		return 1
	})
	sum := all[:0]
	for _, r := range all {
		switch n := len(sum); {
		case r.From >= r.To:
		case n > 0 && r.From <= sum[n-1].To:
			sum[n-1].To = max(sum[n-1].To, r.To)
		default:
			sum = append(sum, r)
		}
	}
	return sum
}

// within returns those of the positions that are in [from, to).
func (rs ranges) within(from, to uint64) ranges {
	var part ranges
	for _, r := range rs {
		if r.From, r.To = max(r.From, from), min(r.To, to); r.From < r.To {
			part = append(part, r)
		}
	}
	return part
}

// pending counts those of the positions that have no answer.
func (rs ranges) pending(answers *ledger.Ledger) uint64 {
	n, buf := uint64(0), make([]uint64, 0, 1024)
	for _, r := range rs {
		for from := r.From; from < r.To; {
			buf, from = answers.Pending(from, r.To, buf[:0])
			n += uint64(len(buf))
		}
	}
	return n
}
