// Package plan says what a scan probes and in which order: a pure function of
// targets, ports, seed and shard. A position on the scan's way maps to an
// endpoint and an endpoint back to its position; transmitter and receiver share
// the Plan and the cookie key, and nothing else.
//
// A Plan is immutable and safe for concurrent use; At and Position allocate
// nothing.
package plan

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"net/netip"

	"lukechampine.com/uint128"

	"synoptic/internal/permute"
	"synoptic/internal/target"
)

// ErrTooLarge is returned for plans of more than 2^127 endpoints.
var ErrTooLarge = errors.New("more than 2^127 endpoints")

// Shard is one of Count equal parts of a scan; Index counts from 1.
type Shard struct{ Index, Count uint64 }

// Whole is the only shard of an undivided scan.
var Whole = Shard{1, 1}

// Plan is the order of one shard of a scan. Its positions count from 0; the
// k-th position of shard i of n is the (k*n+i-1)-th of the undivided scan.
type Plan struct {
	targets *target.Set
	ports   target.Ports
	order   permute.Permutation
	shard   Shard
	len     uint64
}

// New returns the plan of a shard. The seed selects the order; all shards of a
// scan need the same seed, targets and ports.
func New(targets *target.Set, ports target.Ports, seed uint64, shard Shard) (*Plan, error) {
	if targets.Len().IsZero() || ports.Len() == 0 {
		return nil, errors.New("no endpoints to probe")
	}
	if shard.Count == 0 || shard.Index < 1 || shard.Index > shard.Count {
		return nil, fmt.Errorf("shard %d/%d: the shard must be one of 1..%d", shard.Index, shard.Count, max(shard.Count, 1))
	}
	total, ok := mul(targets.Len(), uint64(ports.Len()))
	if !ok || total.Cmp(uint128.From64(1).Lsh(permute.MaxBits)) > 0 {
		return nil, fmt.Errorf("%v addresses x %d ports: %w", targets.Len(), ports.Len(), ErrTooLarge)
	}
	p := &Plan{targets: targets, ports: ports, order: permute.New(total, seed), shard: shard}
	// Positions congruent to index-1 modulo count: ceil((total-index+1)/count).
	if first := uint128.From64(shard.Index - 1); first.Cmp(total) < 0 {
		last := total.Sub64(1).Sub(first).Div64(shard.Count)
		p.len = last.Lo
		if last.Hi != 0 || p.len == math.MaxUint64 {
			p.len = math.MaxUint64 - 1
		}
		p.len++
	}
	return p, nil
}

// Len returns the number of positions, at most 2^64-1: a walk that nobody
// finishes, so that a position always fits 64 bits. It is 0 for a shard beyond
// the last endpoint.
func (p *Plan) Len() uint64 { return p.len }

// Total returns the number of endpoints of all shards together.
func (p *Plan) Total() uint128.Uint128 { return p.order.Len() }

// Targets returns the addresses of the plan.
func (p *Plan) Targets() *target.Set { return p.targets }

// Ports returns the ports of the plan.
func (p *Plan) Ports() target.Ports { return p.ports }

// Shard returns which part of the scan the plan is.
func (p *Plan) Shard() Shard { return p.shard }

// Order returns the permutation of the endpoints of all shards. Index i is the
// (i mod Ports.Len)-th port of the (i / Ports.Len)-th address.
func (p *Plan) Order() permute.Permutation { return p.order }

// At returns the endpoint at a position. It panics when pos >= Len().
func (p *Plan) At(pos uint64) netip.AddrPort {
	if pos >= p.len {
		panic("plan: position outside the plan")
	}
	hi, lo := bits.Mul64(pos, p.shard.Count)
	lo, carry := bits.Add64(lo, p.shard.Index-1, 0)
	index := p.order.Shuffle(uint128.Uint128{Lo: lo, Hi: hi + carry})

	n := uint64(p.ports.Len())
	var port uint64
	if index.Hi == 0 {
		index.Lo, port = index.Lo/n, index.Lo%n
	} else {
		index, port = index.QuoRem64(n)
	}
	return netip.AddrPortFrom(p.targets.At(index), p.ports.At(int(port)))
}

// Position returns where the plan probes an endpoint; ok is false for one that
// is not a target, or belongs to another shard.
func (p *Plan) Position(ap netip.AddrPort) (pos uint64, ok bool) {
	port, ok := p.ports.Rank(ap.Port())
	if !ok {
		return 0, false
	}
	rank, ok := p.targets.Rank(ap.Addr())
	if !ok {
		return 0, false
	}
	hi, lo := bits.Mul64(rank.Lo, uint64(p.ports.Len()))
	lo, carry := bits.Add64(lo, uint64(port), 0)
	// Below total, so the upper half does not overflow.
	hi += carry + rank.Hi*uint64(p.ports.Len())
	at := p.order.Unshuffle(uint128.Uint128{Lo: lo, Hi: hi})
	if p.shard.Count > 1 {
		var rest uint64
		if at, rest = at.QuoRem64(p.shard.Count); rest != p.shard.Index-1 {
			return 0, false
		}
	}
	return at.Lo, at.Hi == 0 && at.Lo < p.len
}

// mul returns x*y, or false when it does not fit 128 bits.
func mul(x uint128.Uint128, y uint64) (uint128.Uint128, bool) {
	over, hi := bits.Mul64(x.Hi, y)
	carry, lo := bits.Mul64(x.Lo, y)
	hi, c := bits.Add64(hi, carry, 0)
	return uint128.Uint128{Lo: lo, Hi: hi}, over == 0 && c == 0
}
