package tx

import (
	"context"
	"iter"
	"net/netip"

	"synoptic/internal/plan"
	"synoptic/internal/wire"
)

// Asker is who asks the neighbours on a link for their link addresses. Without
// an address of a family, IPv4 is asked for without naming one, and IPv6 not at
// all.
type Asker struct {
	MAC    [6]byte
	V4, V6 netip.Addr
}

// Ask sends one question for each address to the link, by ARP (RFC 826) or
// Neighbor Discovery (RFC 4861), in batches at the pacer's rate. It returns early
// without error when ctx ends.
func (a Asker) Ask(ctx context.Context, conn Conn, pacer *Pacer, who iter.Seq[netip.Addr]) error {
	var counts counters
	s := &sender{conn: conn, pacer: pacer, counts: &counts}
	most := plan.SpanLen(pacer.Rate(), 1, plan.MaxSpan)
	for addr := range who {
		switch {
		case addr.Is4():
			s.batch.add(wire.PutARPRequest(s.batch.room(), a.MAC, a.V4, addr), addr, 0)
		case a.V6.IsValid():
			s.batch.add(wire.PutSolicitation(s.batch.room(), a.MAC, a.V6, addr), addr, 0)
		}
		if s.batch.n >= most {
			if ended, err := s.ask(ctx); ended || err != nil {
				return err
			}
		}
	}
	_, err := s.ask(ctx)
	return err
}

// ask sends a batch of questions, unless ctx has ended.
func (s *sender) ask(ctx context.Context) (ended bool, err error) {
	if s.batch.n == 0 {
		return false, nil
	}
	if s.pacer.Wait(ctx, s.batch.n) != nil {
		return true, nil
	}
	_, err = s.flush(ctx)
	s.batch.n = 0
	return ctx.Err() != nil, err
}
