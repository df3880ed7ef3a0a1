package target

import (
	"math/bits"
	"strconv"
	"strings"
)

// octets is an nmap octet list: the addresses whose every octet is one of a few
// values. The four octets are independent of each other, which makes counting
// and masking easy.
type octets [4]octet

// octet is a set of the values 0 to 255, one bit each.
type octet [4]uint64

func (o *octet) set(v int)      { o[v>>6] |= 1 << (v & 63) }
func (o *octet) has(v int) bool { return o[v>>6]>>(v&63)&1 != 0 }
func (o *octet) full() bool     { return o[0]&o[1]&o[2]&o[3] == ^uint64(0) }

func (o *octet) count() int {
	return bits.OnesCount64(o[0]) + bits.OnesCount64(o[1]) + bits.OnesCount64(o[2]) + bits.OnesCount64(o[3])
}

// runs returns the maximal runs of consecutive values, ascending.
func (o *octet) runs() [][2]int {
	var runs [][2]int
	for v := range 256 {
		switch {
		case !o.has(v):
		case v > 0 && o.has(v-1):
			runs[len(runs)-1][1] = v
		default:
			runs = append(runs, [2]int{v, v})
		}
	}
	return runs
}

// parseOctets reads four octets, each a comma list of values, ranges (1-5, 1-,
// -5, - for all) and * for all, as nmap's -iL and command line do.
func parseOctets(text string) (*octets, error) {
	parts := strings.Split(text, ".")
	switch {
	case len(parts) > 4 && strings.Contains(text, ","):
		return nil, malformed("targets are separated by spaces, not commas")
	case len(parts) != 4 && strings.Contains(text, "-"):
		return nil, malformed("this is neither a range of addresses (10.0.0.1-10.0.1.9) nor four octets (10.0.0-1.1-9)")
	case len(parts) != 4:
		return nil, malformed("an IPv4 address has 4 octets, not %d", len(parts))
	}
	var list octets
	for k, part := range parts {
		for item := range strings.SplitSeq(part, ",") {
			lo, hi, err := parseOctetItem(item)
			if err != nil {
				return nil, err
			}
			for v := lo; v <= hi; v++ {
				list[k].set(v)
			}
		}
	}
	return &list, nil
}

func parseOctetItem(item string) (lo, hi int, err error) {
	if item == "*" {
		return 0, 255, nil
	}
	first, last, isRange := strings.Cut(item, "-")
	lo, hi = 0, 255
	if first != "" || !isRange {
		if lo, err = parseOctet(first); err != nil {
			return 0, 0, err
		}
	}
	if !isRange {
		return lo, lo, nil
	}
	if last != "" {
		if hi, err = parseOctet(last); err != nil {
			return 0, 0, err
		}
	}
	if lo > hi {
		return 0, 0, malformed("the octet range %s is reversed", item)
	}
	return lo, hi, nil
}

func parseOctet(text string) (int, error) {
	switch {
	case text == "":
		return 0, malformed("an octet is missing")
	case !isDecimal(text):
		return 0, malformed("%s is not an octet", quote(text))
	case len(text) > 1 && text[0] == '0':
		// Some programs read 010 as 8 and some as 10; we do not guess.
		return 0, malformed("the octet %s has a leading zero: write it without, in decimal", quote(text))
	}
	v, err := strconv.ParseUint(text, 10, 8)
	if err != nil {
		return 0, malformed("the octet %s is above 255", quote(text))
	}
	return int(v), nil
}

// mask widens every address of the list to the block of n prefix bits around it.
func (l *octets) mask(n int) {
	for k := range l {
		free := 255 >> min(max(n-8*k, 0), 8) // the bits of this octet that the mask frees
		var wide octet
		for v := range 256 {
			if l[k].has(v) {
				for w := v &^ free; w <= v|free; w++ {
					wide.set(w)
				}
			}
		}
		l[k] = wide
	}
}

// split returns how many leading octets must be enumerated one value at a time.
// The octet after them gives runs, and those that follow are all full.
func (l *octets) split() int {
	k := 3
	for k > 0 && l[k].full() {
		k--
	}
	return k
}

// numRanges returns how many spans appendTo appends, without doing it.
func (l *octets) numRanges() int {
	k := l.split()
	n := len(l[k].runs())
	for _, o := range l[:k] {
		n *= o.count()
	}
	return n
}

// appendTo appends the addresses of the list to dst, ascending.
func (l *octets) appendTo(dst []span[addr4]) []span[addr4] {
	k := l.split()
	runs := l[k].runs()
	below := 8 * (3 - k) // bits of the full octets
	var walk func(octet int, prefix addr4)
	walk = func(octet int, prefix addr4) {
		if octet == k {
			for _, r := range runs {
				lo := (prefix | addr4(r[0])) << below
				hi := (prefix|addr4(r[1]))<<below | (1<<below - 1)
				dst = append(dst, span[addr4]{lo, hi})
			}
			return
		}
		for v := range 256 {
			if l[octet].has(v) {
				walk(octet+1, (prefix|addr4(v))<<8)
			}
		}
	}
	walk(0, 0)
	return dst
}

// first returns the lowest address of the list.
func (l *octets) first() addr4 {
	var a addr4
	for k := range l {
		v := 0
		for !l[k].has(v) {
			v++
		}
		a = a<<8 | addr4(v)
	}
	return a
}

// last returns the highest address of the list.
func (l *octets) last() addr4 {
	var a addr4
	for k := range l {
		v := 255
		for !l[k].has(v) {
			v--
		}
		a = a<<8 | addr4(v)
	}
	return a
}
