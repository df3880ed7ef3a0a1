package target

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// ErrSyntax is what a malformed word or port list matches with errors.Is: the
// user has to write something else. Any other error of Parse is about the
// world, such as a name that does not resolve, or about the sum of the words.
var ErrSyntax = errors.New("malformed")

// syntaxError is one sentence on what is malformed. It is not prefixed with the
// sentinel's text, because the sentence says it better.
type syntaxError string

func (e syntaxError) Error() string        { return string(e) }
func (e syntaxError) Is(target error) bool { return target == ErrSyntax }

func malformed(format string, args ...any) error {
	return syntaxError(fmt.Sprintf(format, args...))
}

// Word is one target or exclusion as the user wrote it, and where.
type Word struct {
	Text string
	File string // "" for a word of the command line
	Line int    // from 1; meaningless without File
}

// String returns the word quoted, after its file and line if it has one.
func (w Word) String() string {
	if w.File == "" {
		return quote(w.Text)
	}
	return w.File + ":" + strconv.Itoa(w.Line) + ": " + quote(w.Text)
}

// Words returns command line arguments as words.
func Words(args ...string) []Word {
	words := make([]Word, len(args))
	for i, a := range args {
		words[i].Text = a
	}
	return words
}

// maxLine bounds a line of a target file. Nobody writes such a line; it is what
// a binary file looks like.
const maxLine = 1 << 20

// ReadWords reads a list of targets or exclusions: words separated by white
// space, any number on a line, with # starting a comment that ends with the
// line. Lines may end in CR LF. name stands for the list in error messages.
//
// The words are not looked at yet; [Parse] does that.
func ReadWords(r io.Reader, name string) ([]Word, error) {
	var words []Word
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	n := 0
	for lines.Scan() {
		n++
		line, _, _ := strings.Cut(lines.Text(), "#")
		if n == 1 {
			line = strings.TrimPrefix(line, "\ufeff") // the byte order mark of Windows editors
		}
		for text := range strings.FieldsSeq(line) {
			words = append(words, Word{text, name, n})
		}
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		return nil, malformed("%s:%d: the line is longer than %d bytes: is this a list of targets?", name, n+1, maxLine)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read %s:%d: %w", name, n+1, err)
	}
	return words, nil
}

// maxQuoted bounds how much of a word an error message repeats.
const maxQuoted = 80

func quote(s string) string {
	if len(s) > maxQuoted {
		return strconv.Quote(s[:maxQuoted]) + "..."
	}
	return strconv.Quote(s)
}
