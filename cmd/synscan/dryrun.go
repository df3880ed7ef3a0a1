package main

import (
	"context"
	"fmt"
	"io"
	"math"

	"lukechampine.com/uint128"

	"synoptic/internal/plan"
)

// listEndpoints prints the endpoints in the order in which a scan would probe
// them.
func (a *app) listEndpoints(s *scope) (int, error) {
	a.signals.begin(func() {}, func() {})
	ctx := a.signals.ctx
	written, err := printEndpoints(ctx, a.print, s.plan, s.visit)
	if code, err := a.listed(number(s.visit, "endpoint"), written, err); code != exitDone {
		return code, err
	}
	a.say.note(fmt.Sprintf("dry run, nothing is sent: %s, seed %d", s.describe(a.opt), a.opt.seed))
	for _, line := range s.leftOut() {
		a.say.note("left out: " + line)
	}
	return exitDone, nil
}

// listAddresses prints the addresses that would be scanned, for -sL.
func (a *app) listAddresses() (int, error) {
	set, found, err := a.addresses()
	if err != nil {
		return exitUsage, err
	}
	a.signals.begin(func() {}, func() {})
	ctx := a.signals.ctx
	total := set.Len()
	lines := uint64(math.MaxUint64) // which nobody waits for
	if total.Hi == 0 {
		lines = total.Lo
	}
	written, err := printLines(ctx, a.print, lines, func(buf []byte, i uint64) []byte {
		return set.At(uint128.From64(i)).AppendTo(buf)
	})
	if code, err := a.listed(big(total, "address"), written, err); code != exitDone {
		return code, err
	}
	s := &scope{report: found}
	a.say.note("nothing is sent: " + big(total, "address"))
	for _, line := range s.leftOut() {
		a.say.note("left out: " + line)
	}
	return exitDone, nil
}

// listed says how a listing ended, which wrote so many lines of all.
func (a *app) listed(all string, written uint64, err error) (int, error) {
	switch {
	case err != nil:
		return exitFailed, fmt.Errorf("%w: %s of %s were listed", err, count(written), all)
	case a.signals.interrupted():
		return exitInterrupted, fmt.Errorf("interrupted: %s of %s were listed", count(written), all)
	}
	return exitDone, nil
}

// printEndpoints writes one line for each of the first positions of a plan.
func printEndpoints(ctx context.Context, out io.Writer, p *plan.Plan, positions uint64) (written uint64, err error) {
	return printLines(ctx, out, positions, func(buf []byte, pos uint64) []byte { return p.At(pos).AppendTo(buf) })
}

// printLines writes so many lines and returns how many were written whole. It
// ends early with ctx.
func printLines(ctx context.Context, out io.Writer, lines uint64, line func(buf []byte, i uint64) []byte) (written uint64, err error) {
	const (
		chunk   = 1024 // lines to a write
		lineMax = 48   // of [xxxx:...:xxxx]:65535 and the newline
	)
	buf := make([]byte, 0, chunk*lineMax)
	for written < lines && ctx.Err() == nil {
		n := min(chunk, lines-written)
		for i := written; i < written+n; i++ {
			buf = append(line(buf, i), '\n')
		}
		if _, err := out.Write(buf); err != nil {
			return written, err
		}
		written, buf = written+n, buf[:0]
	}
	return written, nil
}
