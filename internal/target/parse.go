package target

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"lukechampine.com/uint128"
)

var (
	// ErrEmpty means that there is nothing to scan: no words, or nothing left
	// after the special-purpose blocks and the exclusions.
	ErrEmpty = errors.New("no targets")
	// ErrTooLarge means more than 2^127 addresses, or octet lists that come to
	// more than 2^22 intervals.
	ErrTooLarge = errors.New("too many targets")
)

// Report says what Parse did beyond what the words say literally.
type Report struct {
	// Special counts the addresses left out because they lie in a
	// special-purpose block that no word names outright.
	Special uint128.Uint128
	// Excluded counts the addresses that only the exclusions took away.
	Excluded uint128.Uint128
	// Hosts are the host names among the targets, in the order of the words,
	// each once.
	Hosts []Host
}

// Host is a name and what it resolved to, before exclusions.
type Host struct {
	Name  string
	Addrs []netip.Addr
}

// Parse returns the addresses that words ask for and excludes do not. A word is
//
//	10.0.0.1, 2001:db8::1, [2001:db8::1]   an address
//	10.0.0.0/24, 2001:db8::/64             a block; host bits are ignored
//	10.0.0.1-10.0.1.9                      a range, both ends included
//	10.0.0-3.1,5   10.0.*.1   10.0.0.-     nmap's octet lists, with or without /bits
//	www.example.com                        every address of a host
//
// Special-purpose blocks are left out of a word that reaches beyond them
// (0.0.0.0/0, 10.0.0.0/7) and kept in one that lies inside a single block
// (10.1.0.0/16, 127.0.0.1): then they were meant. Exclusions always win.
//
// Every word is checked before the first name is looked up. resolve may be nil,
// and then a host name is an error.
//
// The Report is filled in as far as Parse came, also when it fails.
func Parse(ctx context.Context, words, excludes []Word, resolve Resolver) (*Set, Report, error) {
	var report Report
	want := gather{special: newSpecial()}
	if err := want.addWords(words); err != nil {
		return nil, report, err
	}
	var unwanted gather
	if err := unwanted.addWords(excludes); err != nil {
		return nil, report, fmt.Errorf("exclude %w", err)
	}
	hosts, err := want.addHosts(ctx, resolve)
	if err != nil {
		return nil, report, err
	}
	report.Hosts = hosts
	if _, err := unwanted.addHosts(ctx, resolve); err != nil {
		return nil, report, fmt.Errorf("exclude %w", err)
	}

	want.sweep.normalise()
	kept := want.sweep.minus(want.special.out)
	kept.addAll(want.outright)
	kept.normalise()
	report.Special = want.sweep.minus(kept).size()

	unwanted.sweep.normalise()
	left := kept.minus(unwanted.sweep)
	// Counted only now and as a difference, which cannot overflow: what is kept
	// never includes the IPv4-mapped addresses.
	report.Excluded = kept.size().SubWrap(left.size())

	set, err := newSet(left)
	if err != nil {
		return nil, report, err
	}
	if set.NumRanges() == 0 {
		return nil, report, emptyError(report)
	}
	return set, report, nil
}

func emptyError(r Report) error {
	switch {
	case !r.Excluded.IsZero():
		return fmt.Errorf("%w: every address is excluded", ErrEmpty)
	case !r.Special.IsZero():
		return fmt.Errorf("%w: all addresses are special-purpose, and those are scanned only when a block is named outright, as in 10.0.0.0/8", ErrEmpty)
	}
	return fmt.Errorf("%w: none are given", ErrEmpty)
}

// maxOctetRanges bounds how many intervals the octet lists of one Parse may
// come to. 2^22 of them cost about a hundred megabytes; 1-254.1-254.1-254.1
// would be four times as many.
const maxOctetRanges = 1 << 22

// gather collects what words say. The zero special treats no block specially,
// which is right for exclusions.
type gather struct {
	special     special
	outright    spans // from words that lie inside one special block
	sweep       spans // from all other words
	hosts       []Word
	octetRanges int
}

func (g *gather) addWords(words []Word) error {
	for _, w := range words {
		if err := g.addWord(w); err != nil {
			return fmt.Errorf("%v: %w", w, err)
		}
	}
	return nil
}

func (g *gather) addWord(w Word) error {
	sp, err := parseWord(w.Text)
	switch {
	case err != nil:
		return err
	case sp.host:
		g.hosts = append(g.hosts, w)
		return nil
	case sp.octets == nil:
		g.to(sp.lo, sp.hi).add(sp.lo, sp.hi)
		return nil
	}
	g.octetRanges += sp.octets.numRanges()
	if g.octetRanges > maxOctetRanges {
		return fmt.Errorf("%w: octet lists come to %d separate ranges here and %d is the limit: exclude what lies between them, or split the scan",
			ErrTooLarge, g.octetRanges, maxOctetRanges)
	}
	dst := g.to(sp.lo, sp.hi)
	dst.v4 = sp.octets.appendTo(dst.v4)
	return nil
}

// to returns where a word belongs that reaches from lo to hi.
func (g *gather) to(lo, hi netip.Addr) *spans {
	if g.special.namedOutright(lo, hi) {
		return &g.outright
	}
	return &g.sweep
}

// addHosts looks up the host names that addWords met. Each address counts as a
// word of its own.
func (g *gather) addHosts(ctx context.Context, resolve Resolver) ([]Host, error) {
	hosts, err := resolve.lookUp(ctx, g.hosts)
	for _, h := range hosts {
		for _, a := range h.Addrs {
			g.to(a, a).add(a, a)
		}
	}
	return hosts, err
}
