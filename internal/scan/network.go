package scan

import (
	"context"
	"errors"
	"net/netip"

	"synoptic/internal/cookie"
	"synoptic/internal/netif"
	"synoptic/internal/plan"
	"synoptic/internal/wire"
	"synoptic/rx"
	"synoptic/tx"
)

// Network is an open way to the targets and back: what a scan sends through and
// listens to. Dial opens a real one; tests make their own.
type Network struct {
	rx.Match         // what answers look like; its sources are the probes'
	MAC      [6]byte // the sender, on Ethernet
	TTL      uint8   // of the probes; 0: the default
	Conns    []tx.Conn
	Source   rx.Source
	Drops    Drops // nil: not known

	// SendLink is the header in front of the probes' IP header; answers have
	// that of Match.
	SendLink wire.Link
	// NextHop gives a target's link address, which is nothing where SendLink has
	// none, and reports false for a target that no probe can go to.
	NextHop func(netip.Addr) (mac [6]byte, ok bool)
}

// Drops counts packets that the machine dropped before the Source could see
// them, whosever they were.
type Drops interface {
	Count() (uint64, error)
	Close() error
}

// Options of a real network.
type Options struct {
	Path *netif.Path
	// SourcePort of the first try, and how many tries have one of their own
	// from there on: 1 makes all tries share it.
	SourcePort, Ports uint16
	Senders           int // sockets to send through, at least 1
	TTL               uint8
}

// Dial opens the sockets of a scan along a path. When it returns, the receiver
// misses nothing that arrives. All sockets are opened on the calling thread, in
// whose network namespace they stay.
func Dial(o Options) (_ *Network, err error) {
	n := &Network{
		Match: rx.Match{
			Source4: o.Path.Source4, Source6: o.Path.Source6,
			Port: o.SourcePort, Ports: o.Ports, Link: wire.Ethernet,
		},
		MAC: o.Path.MAC, TTL: o.TTL, NextHop: o.Path.NextHop,
	}
	defer func() {
		if err != nil {
			n.Close()
		}
	}()
	// Frames on lo have an Ethernet header too, when they are received.
	ring, err := rx.OpenRing(o.Path.Name, n.Match)
	if err != nil {
		return nil, err
	}
	n.Source = ring
	drops, err := o.Path.OpenDrops()
	if err != nil {
		return nil, err
	}
	n.Drops = drops
	if o.Path.Kind == netif.Loopback {
		n.SendLink = wire.Raw
	}
	for range o.Senders {
		var conn tx.Conn
		if o.Path.Kind == netif.Loopback {
			conn, err = tx.DialLocal(o.Path.Source4.IsValid(), o.Path.Source6.IsValid())
		} else {
			conn, err = tx.DialPacket(o.Path.Index, o.Path.Name)
		}
		if err != nil {
			return nil, err
		}
		n.Conns = append(n.Conns, conn)
	}
	return n, nil
}

// Close closes all sockets.
func (n *Network) Close() error {
	var errs []error
	for _, c := range n.Conns {
		errs = append(errs, c.Close())
	}
	if n.Source != nil {
		errs = append(errs, n.Source.Close())
	}
	if n.Drops != nil {
		errs = append(errs, n.Drops.Close())
	}
	return errors.Join(errs...)
}

// Dropped implements Prober: it returns how many packets the ring had no room for, and how many the
// machine dropped before it.
func (n *Network) Dropped() (ring, kernel uint64, err error) {
	ring, err = n.Source.Drops()
	if n.Drops != nil {
		var kernelErr error
		kernel, kernelErr = n.Drops.Count()
		err = errors.Join(err, kernelErr)
	}
	return ring, kernel, err
}

// Senders implements Prober.
func (n *Network) Senders(rate float64) int { return plan.Senders(rate, len(n.Conns)) }

// Start implements Prober.
func (n *Network) Start(cfg Config, key cookie.Key, pacer *tx.Pacer) (Sender, Receiver) {
	portStep := uint16(1)
	if cfg.OnePort {
		portStep = 0
	}
	send := tx.New(tx.Probe{
		Plan: cfg.Plan, Method: cfg.Method, Key: key,
		Source4: n.Source4, Source6: n.Source6, SourcePort: n.Port, PortStep: portStep, TTL: n.TTL,
		Link: n.SendLink, MAC: n.MAC, NextHop: n.NextHop,
	}, n.Conns[:n.Senders(cfg.Rate)], pacer)
	return send, rx.New(n.Source, &rx.Classifier{Plan: cfg.Plan, Method: cfg.Method, Key: key, Match: n.Match})
}

// Prepare implements Prober.
func (n *Network) Prepare(context.Context, *tx.Pacer) error { return nil }

// Reaches implements Prober.
func (n *Network) Reaches(a netip.Addr) bool {
	_, ok := n.NextHop(a)
	return ok
}
