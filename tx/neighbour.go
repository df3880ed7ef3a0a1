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
// Neighbor Discovery (RFC 4861), in batches at the pacer's rate, and returns how
// many were sent. It returns early without error when ctx ends.
func (a Asker) Ask(ctx context.Context, conn Conn, pacer *Pacer, who iter.Seq[netip.Addr]) (uint64, error) {
	var counts counters
	s := &sender{conn: conn, pacer: pacer, counts: &counts}
	send := func() error {
		if s.batch.n == 0 || pacer.Wait(ctx, s.batch.n) != nil {
			return nil
		}
		_, err := s.flush()
		s.batch.n = 0
		return err
	}
	most := plan.SpanLen(pacer.Rate(), 1)
	for addr := range who {
		if ctx.Err() != nil {
			return counts.sent.Load(), nil
		}
		switch {
		case addr.Is4():
			s.batch.add(wire.PutARPRequest(s.batch.room(), a.MAC, a.V4, addr), addr, 0)
		case a.V6.IsValid():
			s.batch.add(wire.PutSolicitation(s.batch.room(), a.MAC, a.V6, addr), addr, 0)
		}
		if s.batch.n >= most {
			if err := send(); err != nil {
				return counts.sent.Load(), err
			}
		}
	}
	err := send()
	return counts.sent.Load(), err
}
