package scan

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"synoptic/internal/netif"
	"synoptic/internal/wire"
	"synoptic/rx"
	"synoptic/tx"
)

// resolver finds link addresses: of routers before the scan is begun, and of
// targets on the link itself as its first step, at its rate and with its
// retries. All are asked before any is waited for, so a target that does not
// exist costs one question a try. What it has found does not change while
// probes are sent.
type resolver struct {
	routes *netif.Routes
	links  []*neighbours // by index of the link; nil: nobody to ask there
	tries  int
	wait   time.Duration

	hungUp  sync.Once
	closing sync.WaitGroup
	lost    atomic.Uint64 // answers for which there was no room
}

// neighbours are those on one link.
type neighbours struct {
	*netif.Link
	conn   tx.Conn
	source rx.Source
	asker  tx.Asker
	asked  atomic.Uint64       // questions sent
	total  uint64              // targets to ask
	only   map[netip.Addr]bool // those, of the link's; nil: all of them
	done   bool                // all were asked

	mu    sync.Mutex
	mac   map[netip.Addr][6]byte
	heard time.Time // when the last new answer came
	found int       // new answers
	alive []netip.Addr
}

// Neighbours says how asking for link addresses went.
type Neighbours struct {
	Targets   uint64     `json:"targets"`          // on a link itself
	Silent    uint64     `json:"silent"`           // of those, without a link address: there is no such host; 0 until all were asked
	Example   netip.Addr `json:"example,omitzero"` // a silent one
	Questions uint64     `json:"questions"`        // sent, to routers and targets
}

// newResolver opens the sockets to hear neighbours on, who are asked through the
// lines of a sender.
func newResolver(routes *netif.Routes, lines tx.Lines) (*resolver, error) {
	r := &resolver{routes: routes, links: make([]*neighbours, len(routes.Links))}
	for i := range routes.Links {
		link := &routes.Links[i]
		if len(link.Ask)+len(link.Gateways) == 0 {
			continue
		}
		source, err := rx.OpenNeighbours(link.Index, link.Name)
		if err != nil {
			return nil, errors.Join(err, r.Close())
		}
		r.links[i] = &neighbours{
			Link: link, mac: link.Known, conn: lines.Link(i), source: source,
			asker: tx.Asker{MAC: link.MAC, V4: link.Asker4, V6: link.Asker6},
		}
	}
	return r, nil
}

// hangUp begins to close what neighbours are heard on, beside whatever goes on.
func (r *resolver) hangUp() {
	r.hungUp.Do(func() {
		for _, n := range r.links {
			if n != nil {
				r.closing.Go(func() {
					lost, _ := n.source.Drops()
					r.lost.Add(lost)
					n.source.Close()
				})
			}
		}
	})
}

// Close implements io.Closer.
func (r *resolver) Close() error {
	r.hangUp()
	r.closing.Wait()
	return nil
}

// route implements Network.Route.
func (r *resolver) route(a netip.Addr) (tx.Hop, bool) {
	to, ok := r.routes.Hop(a)
	hop := tx.Hop{Link: to.Link, MAC: to.MAC}
	if ok && to.Next.IsValid() {
		hop.MAC, ok = r.links[to.Link].mac[to.Next]
	}
	return hop, ok
}

// gatewayTries is how often a router is asked, as often as the kernel asks
// (mcast_solicit, ip-sysctl.rst).
const gatewayTries = 3

// gateways finds the routers, without which nothing can be sent.
func (r *resolver) gateways(ctx context.Context) error {
	for i, n := range r.links {
		if n == nil || len(n.Gateways) == 0 {
			continue
		}
		if err := n.resolve(ctx, tx.NewPacer(0), slices.Values(n.Gateways), gatewayTries, blindCooldown); err != nil {
			return err
		}
		for _, g := range n.Gateways {
			mac, ok := n.mac[g]
			if !ok && ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if !ok {
				return fmt.Errorf("resolve gateway %s on %s: it does not answer: check the route, or give its link address with --router-mac", g, n.Name)
			}
			r.routes.SetGateway(i, g, mac)
		}
	}
	return nil
}

// Bounds of what is asked.
const (
	// Up to so many positions to visit, only their addresses are asked: more
	// would take long to collect.
	fewPositions = 1 << 20
	// Up to so many targets of a link are asked again as often as silent ports
	// are probed again, more of them once: a network of mostly nobody costs one
	// pass.
	askAgain = 1 << 12
)

// begin learns what the scan will visit.
func (r *resolver) begin(cfg Config) {
	r.tries, r.wait = cfg.Retries+1, cfg.Wait
	all := uint64(0)
	for _, n := range r.links {
		if n != nil {
			for _, s := range n.Ask {
				n.total += s.Len()
			}
			all += n.total
		}
	}
	limit := cfg.visit()
	if all <= limit || limit > fewPositions {
		return
	}
	for _, n := range r.links {
		if n == nil {
			continue
		}
		only := map[netip.Addr]bool{}
		for pos := range limit {
			if a := cfg.Plan.At(pos).Addr(); n.asks(a) {
				only[a] = true
			}
		}
		n.only, n.total = only, uint64(len(only))
	}
}

// targets finds the targets on the links.
func (r *resolver) targets(ctx context.Context, pacer *tx.Pacer) error {
	for _, n := range r.links {
		if n == nil || len(n.Ask) == 0 {
			continue
		}
		tries := r.tries
		if n.total > askAgain {
			tries = 1
		}
		if err := n.resolve(ctx, pacer, n.targets(), tries, r.wait); err != nil {
			return err
		}
		n.mu.Lock()
		n.done = ctx.Err() == nil
		n.mu.Unlock()
	}
	return nil
}

// living yields the targets that have answered.
func (r *resolver) living() iter.Seq[netip.Addr] {
	return func(yield func(netip.Addr) bool) {
		for _, n := range r.links {
			if n == nil {
				continue
			}
			for _, a := range n.alive {
				if !yield(a) {
					return
				}
			}
		}
	}
}

// targets yields the targets on the link that are to be asked.
func (n *neighbours) targets() iter.Seq[netip.Addr] {
	if n.only != nil {
		return maps.Keys(n.only)
	}
	return func(yield func(netip.Addr) bool) {
		for _, s := range n.Ask {
			for a := s.First; ; a = a.Next() {
				if !yield(a) {
					return
				}
				if a == s.Last {
					break
				}
			}
		}
	}
}

// report sums up for all links.
func (r *resolver) report() Neighbours {
	var sum Neighbours
	for _, n := range r.links {
		if n == nil {
			continue
		}
		sum.Questions += n.asked.Load()
		sum.Targets += n.total
		if silent, example := n.silent(); silent > 0 {
			sum.Silent += silent
			sum.Example = example
		}
	}
	return sum
}

// silent returns how many targets have no link address once all were asked, and
// one of them.
func (n *neighbours) silent() (count uint64, example netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.done {
		return 0, example
	}
	count = n.total
	for a := range n.mac {
		if n.asks(a) {
			count--
		}
	}
	if count == 0 {
		return 0, example
	}
	for example = range n.targets() { // no more are looked at than have one
		if _, ok := n.mac[example]; !ok {
			break
		}
	}
	return count, example
}

// resolve asks for those of who that have no link address yet, up to so many
// times, each time waiting for the last answers.
func (n *neighbours) resolve(ctx context.Context, pacer *tx.Pacer, who iter.Seq[netip.Addr], tries int, wait time.Duration) error {
	listenCtx, hangUp := context.WithCancel(context.Background())
	defer hangUp()
	failed := make(chan error, 1)
	go func() { failed <- rx.Neighbours(listenCtx, n.source, n.hear) }()
	for range tries {
		silent, before := 0, n.news()
		err := n.asker.Ask(ctx, n.conn, pacer, func(yield func(netip.Addr) bool) {
			for a := range who {
				if n.knows(a) {
					continue
				}
				silent++
				if !yield(a) {
					return
				}
				n.asked.Add(1)
			}
		})
		if err != nil || silent == 0 || ctx.Err() != nil {
			hangUp()
			return errors.Join(err, <-failed)
		}
		n.await(ctx, before+silent, wait)
	}
	hangUp()
	return <-failed
}

// quietFor is how long no new answer may come before the rest is given up. On a
// link most answer within a millisecond, and a host asleep on a wireless one
// within three beacons of a tenth of a second.
const quietFor = 400 * time.Millisecond

// await waits for answers to the questions sent until now, so many with those
// that came before.
func (n *neighbours) await(ctx context.Context, answers int, wait time.Duration) {
	asked := time.Now()
	for ctx.Err() == nil && n.news() < answers {
		n.mu.Lock()
		heard := n.heard
		n.mu.Unlock()
		until := asked.Add(blindCooldown)
		if !heard.IsZero() {
			until = asked.Add(quietFor)
			if later := heard.Add(quietFor); later.After(until) {
				until = later
			}
		}
		if latest := asked.Add(wait); latest.Before(until) {
			until = latest
		}
		if !time.Now().Before(until) {
			return
		}
		time.Sleep(pollAnswers)
	}
}

const pollAnswers = 2 * time.Millisecond

func (n *neighbours) news() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.found
}

func (n *neighbours) knows(a netip.Addr) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	_, ok := n.mac[a]
	return ok
}

// hear takes an answer, if it is one to a question of ours.
func (n *neighbours) hear(answer wire.Neighbour) {
	to := n.asker.V4
	switch {
	case answer.Addr.Is6():
		to = n.asker.V6
	case !to.IsValid():
		to = netip.IPv4Unspecified()
	}
	target := n.asks(answer.Addr)
	if answer.To != to || !target && !slices.Contains(n.Gateways, answer.Addr) {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, ok := n.mac[answer.Addr]; !ok {
		n.mac[answer.Addr], n.heard = answer.MAC, time.Now()
		n.found++
		if target {
			n.alive = append(n.alive, answer.Addr)
		}
	}
}

// asks reports whether an address is one of the targets to ask.
func (n *neighbours) asks(a netip.Addr) bool {
	if n.only != nil {
		return n.only[a]
	}
	_, in := slices.BinarySearchFunc(n.Ask, a, func(s netif.Stretch, a netip.Addr) int {
		switch {
		case s.Last.Less(a):
			return -1
		case a.Less(s.First):
			return 1
		}
		return 0
	})
	return in
}
