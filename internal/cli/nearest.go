package cli

// Nearest returns the candidate that a slip of the finger or two could have
// turned into word, or "". Short words allow one slip only, or every word of
// four letters would be near another.
func Nearest(word string, candidates []string) string {
	best, limit := "", 1
	if len(word) > 5 {
		limit = 2
	}
	for _, c := range candidates {
		if d := distance(word, c); d <= limit {
			best, limit = c, d-1
		}
	}
	return best
}

// distance counts the letters to insert, delete, replace or swap with the next
// one: Damerau's, in the variant that edits no letter twice (optimal string
// alignment).
func distance(a, b string) int {
	before, row := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		next := make([]int, len(b)+1)
		next[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			next[j+1] = min(row[j]+cost, row[j+1]+1, next[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				next[j+1] = min(next[j+1], before[j-1]+1)
			}
		}
		before, row = row, next
	}
	return row[len(b)]
}
