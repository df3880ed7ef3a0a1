package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"synoptic/internal/plan"
)

// list prints the endpoints in the order in which a scan would probe them.
func (a *app) list(s *scope) (int, error) {
	ctx := a.signals.begin()
	written, err := printEndpoints(ctx, a.stdout, s.plan, s.visit)
	switch {
	case err != nil:
		if path, ok := errors.AsType[*os.PathError](err); ok {
			err = path.Err
		}
		return exitFailed, fmt.Errorf("write stdout: %w: %s of %s were listed", err, count(written), number(s.visit, "endpoint"))
	case a.signals.interrupted():
		return exitInterrupted, fmt.Errorf("interrupted: %s of %s were listed", count(written), number(s.visit, "endpoint"))
	}
	a.say.note(fmt.Sprintf("dry run, nothing is sent: %s, seed %d", s.describe(a.opt), a.opt.seed))
	for _, line := range s.leftOut() {
		a.say.note("left out: " + line)
	}
	return exitDone, nil
}

// printEndpoints writes one line for each of the first positions of a plan and
// returns how many were written whole. It ends early with ctx.
func printEndpoints(ctx context.Context, out io.Writer, p *plan.Plan, positions uint64) (written uint64, err error) {
	const (
		chunk   = 1024 // lines to a write
		lineMax = 48   // of [xxxx:...:xxxx]:65535 and the newline
	)
	buf := make([]byte, 0, chunk*lineMax)
	for written < positions && ctx.Err() == nil {
		n := min(chunk, positions-written)
		for pos := written; pos < written+n; pos++ {
			buf = p.At(pos).AppendTo(buf)
			buf = append(buf, '\n')
		}
		if _, err := out.Write(buf); err != nil {
			return written, err
		}
		written, buf = written+n, buf[:0]
	}
	return written, nil
}
