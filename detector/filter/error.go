package filter

import (
	"errors"
	"fmt"

	"synoptic/bpf/watch"
)

// ErrNothing is the error for an expression that no packet can match, as far as
// that can be seen: nothing at all would be counted.
var ErrNothing = errors.New("filter: no packet can match the expression: take out the tests that contradict each other")

// Error is what is wrong with an expression, and where.
type Error struct {
	Offset  int    // of the word that is wrong, in bytes from the beginning
	Message string // with what to write instead
}

// Error counts columns from 1. All that is right before the wrong word is
// ASCII, so bytes are columns.
func (e *Error) Error() string { return fmt.Sprintf("filter: column %d: %s", e.Offset+1, e.Message) }

func tooMany(tests int) error {
	return fmt.Errorf("filter: %d tests, and %d is the most: use networks and port ranges", tests, watch.MaxNodes)
}
