package detector

import (
	"fmt"
	"slices"
	"strings"
)

func unknownPolicy(name string) error {
	var names []string
	for _, p := range Policies() {
		names = append(names, p.Name)
	}
	near := slices.MinFunc(names, func(a, b string) int { return edits(name, a) - edits(name, b) })
	return fmt.Errorf("select policy %q: did you mean %s? There are %s", name, near, strings.Join(names, ", "))
}

// edits is how many letters must be put in, left out or replaced to make one
// word of the other, whatever their case (Levenshtein's distance).
func edits(a, b string) int {
	a, b = strings.ToLower(a), strings.ToLower(b)
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
