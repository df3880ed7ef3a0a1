package filter

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
)

// Whatever the text: a table that is sound and ends, or an error that points
// into the text.
func FuzzCompile(f *testing.F) {
	for _, expr := range expressions {
		f.Add(expr)
	}
	for _, c := range mistakes {
		f.Add(c.expr)
	}
	f.Add(alternatives(300))
	f.Add("tcp and port 1 or udp and port 1 or tcp and port 2 or udp and port 2")
	r := rand.New(rand.NewPCG(1, 0))
	f.Fuzz(func(t *testing.T, expr string) {
		table, err := Compile(expr)
		if err != nil {
			var e *Error
			if errors.As(err, &e) && (e.Offset < 0 || e.Offset > len(expr) || e.Message == "") {
				t.Errorf("%+v", e)
			}
			if table != nil {
				t.Error("a table beside an error")
			}
			return
		}
		sound(t, table)
		// The opposite decides the opposite, of everything.
		if strings.Trim(expr, " \t\r\n") == "" {
			return
		}
		opposite, err := Compile("not(" + expr + ")")
		var e *Error
		switch {
		case errors.As(err, &e) && strings.Contains(e.Message, "write it flatter"):
			return // not and ( were too many
		case err != nil && (!errors.Is(err, ErrNothing) || len(table) > 0):
			t.Fatalf("%v\n%s", err, text(table))
		}
		for range 20 {
			p := few().packet(r)
			opposed := err == nil && opposite.Match(&p)
			if opposed == table.Match(&p) {
				t.Fatalf("%+v matches %t and the opposite too", p, opposed)
			}
		}
	})
}
