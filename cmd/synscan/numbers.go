package main

import (
	"fmt"
	"strings"

	"lukechampine.com/uint128"

	"synoptic/internal/cli"
)

// count writes a number for people: 1,234,567.
func count(n uint64) string { return cli.Grouped(fmt.Sprint(n)) }

// number writes a number with what it counts: "1 port", "2 ports".
func number(n uint64, noun string) string { return big(uint128.From64(n), noun) }

func big(n uint128.Uint128, noun string) string {
	if n != uint128.From64(1) {
		noun = plural(noun)
	}
	return cli.Grouped(n.String()) + " " + noun
}

// ofAll writes a part with the whole: "3 of 254 neighbours", or the whole alone
// where it is that.
func ofAll(n, all uint64, noun string) string {
	if n == all {
		return number(n, noun)
	}
	return count(n) + " of " + number(all, noun)
}

func plural(noun string) string {
	switch {
	case strings.HasSuffix(noun, "s"):
		return noun + "es"
	case strings.HasSuffix(noun, "ry"):
		return noun[:len(noun)-1] + "ies"
	}
	return noun + "s"
}
