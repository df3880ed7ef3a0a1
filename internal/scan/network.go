package scan

import (
	"cmp"
	"context"
	"errors"
	"io"
	"iter"
	"net/netip"
	"slices"
	"sync"
	"time"

	"synoptic/bpf/generate"
	"synoptic/internal/cookie"
	"synoptic/internal/method"
	"synoptic/internal/netif"
	"synoptic/internal/plan"
	"synoptic/internal/wire"
	"synoptic/rx"
	"synoptic/tx"
)

// Network is a Prober by raw packets: the open ways to the targets and back.
// Dial opens a real one; tests make their own.
type Network struct {
	Ways []Way
	// Route gives the way to a target, by its index, and the link address that
	// the frame goes to. It reports false for one that no probe can go to.
	Route func(netip.Addr) (tx.Hop, bool)
	// Conns are the senders'; each puts frames on every way.
	Conns []tx.Conn
	TTL   uint8 // of the probes; 0: the default

	resolver *resolver           // nil: every link address is known
	kernel   *generate.Generator // nil: the Conns send
	slots    int                 // of it

	// Why the kernel does not do what it was to: judge the answers of a way, make
	// the probes.
	unjudged, unmade error
}

// Way is one interface of a Network.
type Way struct {
	tx.Link  // how probes look on it
	rx.Match // what answers look like; its sources are the probes'
	Source   rx.Source
	Drops    Drops  // nil: not known
	index    int    // of the interface
	heard    string // how, for Paths
}

// Drops counts packets that the machine dropped, on their way in before the Source
// could see them and on their way out behind the Conn, whosever they were.
type Drops interface {
	Count() (in, out uint64, err error)
	Late() time.Duration // how long after it a drop may be counted
	Close() error
}

// Options of a real network.
type Options struct {
	Routes *netif.Routes
	// SourcePort of the first try, and how many tries have one of their own
	// from there on: 1 makes all tries share it.
	SourcePort, Ports uint16
	Senders           int // sockets to send through, at least 1
	TTL               uint8
	Probes            uint64 // that the scan will send at most; 0: not known
	RingBlocks        int    // of the receive ring, 0: rx.RingBlocks
	Kernel            Kernel
}

// fewProbes are so many that a plain socket has room for the answers to all.
const fewProbes = 1 << 17

// few tells whether there will be few answers.
func (o *Options) few() bool { return o.Probes-1 < fewProbes }

// openSource opens what answers are heard by on a link.
func (o *Options) openSource(link *netif.Link, match rx.Match) (rx.Source, error) {
	if o.few() {
		socket, err := rx.OpenSocket(link.Index, link.Name, match)
		if !errors.Is(err, rx.ErrNoRoom) {
			return socket, err
		}
	}
	return rx.OpenRing(link.Name, match, cmp.Or(o.RingBlocks, rx.RingBlocks))
}

// Dial opens the sockets of a scan and finds the routers' link addresses. When
// it returns, the receiver misses nothing that arrives. All sockets are opened
// on the calling thread, in whose network namespace they stay.
func Dial(ctx context.Context, o Options) (_ *Network, err error) {
	n := &Network{TTL: o.TTL}
	defer func() {
		if err != nil {
			n.Close()
		}
	}()
	for i := range o.Routes.Links {
		link := &o.Routes.Links[i]
		way := Way{
			Link:  tx.Link{Header: headers[link.Kind].sent, MAC: link.MAC, Source4: link.Source4, Source6: link.Source6},
			Match: rx.Match{Source4: link.Source4, Source6: link.Source6, Port: o.SourcePort, Ports: o.Ports, Link: headers[link.Kind].received},
			index: link.Index,
		}
		n.Ways = append(n.Ways, way) // from here on Close knows it
		if slices.ContainsFunc(n.Ways[:i], func(w Way) bool { return w.index == link.Index }) {
			continue // an interface's drops count once
		}
		drops, err := link.OpenDrops()
		if err != nil {
			return nil, err
		}
		n.Ways[i].Drops = drops
	}
	first, err := dialLines(o.Routes.Links)
	n.Conns = append(n.Conns, first)
	for i := 1; i < o.Senders && err == nil; i++ {
		var lines tx.Lines
		if o.few() {
			lines, err = first.Share()
		} else {
			lines, err = dialLines(o.Routes.Links)
		}
		n.Conns = append(n.Conns, lines)
	}
	if err != nil {
		return nil, err
	}
	if n.resolver, err = newResolver(o.Routes, first); err != nil {
		return nil, err
	}
	n.Route = n.resolver.route
	if err = n.resolver.gateways(ctx); err != nil {
		return nil, err
	}
	return n, n.open(&o)
}

// headers are those in front of IP, by kind of link. On lo a received frame has
// an Ethernet header too.
var headers = map[netif.Kind]struct{ sent, received wire.Link }{
	netif.Ethernet: {wire.Ethernet, wire.Ethernet},
	netif.RawIP:    {wire.Raw, wire.Raw},
	netif.Loopback: {wire.Raw, wire.Ethernet},
}

// dialLines opens one sender's socket for each link and family.
func dialLines(links []netif.Link) (tx.Lines, error) {
	lines := make(tx.Lines, 2*len(links))
	for i := range lines {
		link, ipv4 := &links[i/2], i%2 == 0
		if ipv4 && !link.Source4.IsValid() || !ipv4 && !link.Source6.IsValid() {
			continue
		}
		var err error
		switch link.Kind {
		case netif.Ethernet:
			lines[i], err = tx.DialPacket(link.Index, link.Name)
		case netif.RawIP:
			lines[i], err = tx.DialRawIP(link.Index, link.Name, ipv4)
		case netif.Loopback:
			lines[i], err = tx.DialLocal(ipv4)
		}
		if err != nil {
			lines[i] = nil
			return lines, err
		}
	}
	return lines, nil
}

// Close closes all sockets, side by side: each packet socket takes the kernel a
// grace period of some ten milliseconds (packet_release, net/packet/af_packet.c).
func (n *Network) Close() error {
	var all []io.Closer
	for _, c := range n.Conns {
		all = append(all, c)
	}
	for _, w := range n.Ways {
		if w.Source != nil {
			all = append(all, w.Source)
		}
		if w.Drops != nil {
			all = append(all, w.Drops)
		}
	}
	if n.resolver != nil {
		all = append(all, n.resolver)
	}
	if n.kernel != nil {
		all = append(all, n.kernel)
	}
	errs := make([]error, len(all))
	var closing sync.WaitGroup
	for i, c := range all {
		closing.Go(func() { errs[i] = c.Close() })
	}
	closing.Wait()
	return errors.Join(errs...)
}

// Senders implements Prober.
func (n *Network) Senders(rate float64) (senders, maxSpan int) {
	if n.kernel != nil {
		return plan.Senders(rate, n.slots), tx.KernelSpan
	}
	return plan.Senders(rate, len(n.Conns)), plan.MaxSpan
}

// probe says how the probes look.
func (n *Network) probe(p *plan.Plan, m *method.Method, key cookie.Key) tx.Probe {
	probe := tx.Probe{Plan: p, Method: m, Key: key, SourcePort: n.Ways[0].Port, TTL: n.TTL, Route: n.Route}
	if n.Ways[0].Ports > 1 {
		probe.PortStep = 1
	}
	for _, w := range n.Ways {
		probe.Links = append(probe.Links, w.Link)
	}
	return probe
}

// Start implements Prober.
func (n *Network) Start(cfg Config, key cookie.Key, pacer *tx.Pacer) (Sender, Receiver) {
	if n.resolver != nil {
		n.resolver.begin(cfg)
	}
	probe := n.probe(cfg.Plan, cfg.Method, key)
	var inputs []rx.Input
	for _, w := range n.Ways {
		inputs = append(inputs, rx.Input{Source: w.Source, Class: &rx.Classifier{Plan: cfg.Plan, Method: cfg.Method, Key: key, Match: w.Match}})
	}
	senders, _ := n.Senders(cfg.Rate)
	if n.kernel != nil {
		return tx.NewKernel(n.kernel, senders, pacer), rx.New(inputs...)
	}
	return tx.New(probe, n.Conns[:senders], pacer, tx.NewPrefixes(cfg.RatePerPrefix)), rx.New(inputs...)
}

// Prepare implements Prober.
func (n *Network) Prepare(ctx context.Context, pacer *tx.Pacer) error {
	if n.resolver == nil {
		return nil
	}
	defer n.resolver.hangUp() // nobody is asked any more
	return n.resolver.targets(ctx, pacer)
}

// Reaches implements Prober.
func (n *Network) Reaches(a netip.Addr) bool {
	_, ok := n.Route(a)
	return ok
}

// Neighbours implements Prober.
func (n *Network) Neighbours() Neighbours {
	if n.resolver == nil {
		return Neighbours{}
	}
	return n.resolver.report()
}

// Living implements Prober.
func (n *Network) Living() iter.Seq[netip.Addr] {
	if n.resolver == nil {
		return func(func(netip.Addr) bool) {}
	}
	return n.resolver.living()
}

// Late implements Prober.
func (n *Network) Late() (late time.Duration) {
	for _, w := range n.Ways {
		if w.Drops != nil {
			late = max(late, w.Drops.Late())
		}
	}
	return late
}

// Dropped implements Prober.
func (n *Network) Dropped() (lost Lost, err error) {
	if n.resolver != nil {
		lost.Ring = n.resolver.lost.Load()
	}
	for _, w := range n.Ways {
		ring, dropErr := w.Source.Drops()
		lost.Ring += ring
		err = errors.Join(err, dropErr)
		if w.Drops != nil {
			in, out, dropErr := w.Drops.Count()
			lost.Kernel += in
			lost.Device += out
			err = errors.Join(err, dropErr)
		}
	}
	return lost, err
}
