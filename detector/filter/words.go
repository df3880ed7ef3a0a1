package filter

import "strings"

// word is a part of an expression that has a meaning of its own.
type word struct {
	text   string // "" after the last
	offset int
}

// operators are words wherever they stand. A minus and a colon are none: they
// are parts of port ranges and addresses.
const operators = "()!&|<>=[]+*/%^"

// scan cuts an expression into words. The last is the empty one at its end.
func scan(expr string) []word {
	var words []word
	for i := 0; ; {
		rest := strings.TrimLeft(expr[i:], " \t\r\n")
		i = len(expr) - len(rest)
		if rest == "" {
			return append(words, word{"", i})
		}
		length := strings.IndexAny(rest, operators+" \t\r\n")
		switch {
		case length < 0:
			length = len(rest)
		case length > 0:
		default:
			length = 1
			if len(rest) > 1 {
				switch rest[:2] {
				case "&&", "||", "==", "!=", "<=", ">=", "<<", ">>":
					length = 2
				}
			}
		}
		words = append(words, word{rest[:length], i})
		i += length
	}
}
