package naive

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"synoptic/bpf/watch"
)

// Setup is a detector's rules: where the lines are drawn, and for how long a
// source has to be quiet before its next scan is another.
type Setup struct {
	Rules watch.Rules
	Quiet [3]time.Duration // of the lines, in the order of Names
}

// Names of the policies: of the lines Window, Gap and Packets.
var Names = [3]string{"sophos", "scanlogd", "sophos-packet"}

func (s *Setup) line(policy int) watch.Line {
	return [...]watch.Line{s.Rules.Window, s.Rules.Gap, s.Rules.Packets}[policy]
}

// Point is a port of a proof.
type Point struct {
	Time   uint64
	Port   uint16
	UDP    bool
	Points int
}

// Event is what is to be said of a source.
type Event struct {
	Policy  string
	Source  netip.Prefix
	Summary bool   // at an episode's end, else at its beginning
	Time    uint64 // of the packet that crossed the line; at the end of the last one
	Kind    string // in the words of package detector

	// In a summary as at the beginning.
	Points int
	Proof  []Point // oldest first; those of one time by protocol and port

	// Unsure is set when a detector with the table's memory may say another
	// Kind: of the ports in the proof of a policy over packets it has to know
	// which were probed, but more ports were probed at the time than it keeps.
	Unsure bool
}

// Scorer says of the packets it is given what a detector should. Events holds
// what it has said, in order.
type Scorer struct {
	Events []Event

	setup   Setup
	sources []*source
}

// source is everything that was seen of a source.
type source struct {
	prefix     netip.Prefix
	remembered uint64 // the time since which the table would know it; 0: it does not
	packets    []Packet
	probes     []Packet
	chain      []Packet // the probes of the present chain of new ports
	fresh      uint64   // the time of the last that counts for its going on
	over       bool     // the chain has crossed the line
	handshakes int      // since it is remembered
	episodes   [3]*episode
}

type episode struct {
	event      Event
	last       uint64
	kinds      map[watch.Kind]int // of the proof's ports, and of the probes since
	unprobed   int                // ports of the proof
	handshakes int
}

// New returns a Scorer that has seen nothing.
func New(setup Setup) *Scorer { return &Scorer{setup: setup} }

// Advance ends the episodes whose sources have been quiet for longer than they
// may at the time now. No packet that is to come is older.
func (s *Scorer) Advance(now uint64) {
	for _, src := range s.sources {
		s.endQuiet(src, now)
	}
}

// Close ends all episodes.
func (s *Scorer) Close() {
	for _, src := range s.sources {
		for policy := range src.episodes {
			s.end(src, policy)
		}
	}
}

// Packet takes a packet. One that is older than its source's last counts as of
// the same time: it returns as of which it counts, or 0 if it counts for nothing.
func (s *Scorer) Packet(p Packet) uint64 {
	rules, src := &s.setup.Rules, s.source(p.Source)
	if p.Handshake && src.remembered != 0 {
		src.handshakes++
	}
	if p.udp() && rules.UDP != watch.UDPScore || !p.Probe && !rules.Packets.On {
		return 0
	}
	time := max(p.Time, last(src.packets).Time, last(src.probes).Time)
	fromNowhere := p.Probe && p.Kind == watch.SYNACK && (len(src.probes) == 0 || time-src.fresh > uint64(rules.Gap.Span))
	if fromNowhere && !rules.Packets.On {
		return 0
	}
	if src.remembered == 0 {
		src.remembered = time
	}
	p.Time = time
	s.endQuiet(src, time)
	isPacket, isProbe := rules.Packets.On && !p.udp(), p.Probe && !fromNowhere
	if isPacket {
		src.packets = append(src.packets, p)
	}
	if isProbe {
		s.probe(src, p)
	}
	if isProbe {
		s.decide(src, 0, distinct(within(src.probes, time, rules.Window.Span)), time)
		s.decide(src, 1, distinct(src.chain), time)
	}
	if isPacket {
		s.decide(src, 2, within(src.packets, time, rules.Packets.Span), time)
	}
	return time
}

// probe keeps a probe, and the chain that it goes on with or begins.
func (s *Scorer) probe(src *source, p Packet) {
	gap := s.setup.Rules.Gap
	if len(src.probes) == 0 || p.Time-src.fresh > uint64(gap.Span) {
		src.chain, src.over = nil, false
	}
	isNew := !slices.ContainsFunc(src.chain, samePort(p))
	src.probes = append(src.probes, p)
	src.chain = append(src.chain, p)
	// A chain goes on with new ports. One that has crossed the line goes on
	// with any.
	if isNew || src.over {
		src.fresh = p.Time
	}
	src.over = src.over || gap.On && crosses(gap, s.sum(gap, distinct(src.chain)))
	for _, e := range src.episodes {
		if e != nil {
			e.kinds[p.Kind]++
		}
	}
}

// decide judges a source by one policy, of which it has just sent a probe or a
// packet, and these count.
func (s *Scorer) decide(src *source, policy int, counted []Packet, time uint64) {
	if e := src.episodes[policy]; e != nil {
		e.last = time
		return
	}
	line := s.setup.line(policy)
	points := s.sum(line, counted)
	if !line.On || !crosses(line, points) {
		return
	}
	e := &episode{last: time, kinds: map[watch.Kind]int{}}
	e.event = Event{Policy: Names[policy], Source: src.prefix, Time: time, Points: points}
	for _, p := range counted {
		e.event.Proof = append(e.event.Proof, Point{p.Time, p.Port, policy != 2 && p.udp(), s.points(line, p.Port)})
	}
	slices.SortStableFunc(e.event.Proof, func(a, b Point) int {
		return cmp.Or(cmp.Compare(a.Time, b.Time), compareBools(a.UDP, b.UDP), cmp.Compare(a.Port, b.Port))
	})
	e.countKinds(src, policy, line, counted)
	// Only those of this scan tell something about it.
	if src.remembered >= e.event.Proof[0].Time {
		e.handshakes = src.handshakes
	}
	e.event.Kind = e.kind()
	e.handshakes -= src.handshakes // later those that come on top
	src.episodes[policy] = e
	s.Events = append(s.Events, e.event)
}

// countKinds counts each port of the proof by its latest probe.
func (e *episode) countKinds(src *source, policy int, line watch.Line, counted []Packet) {
	ports := distinct(counted)
	if policy == 2 { // not every packet was a probe
		probed := distinct(within(src.probes, e.last, line.Span))
		e.event.Unsure = len(probed) > watch.MaxProbes
		for _, p := range ports {
			if i := slices.IndexFunc(probed, samePort(Packet{Port: p.Port})); i >= 0 {
				e.kinds[probed[i].Kind]++
			} else {
				e.unprobed++
			}
		}
		return
	}
	for _, p := range ports {
		e.kinds[p.Kind]++
	}
}

// kind names the kind that three quarters are of.
func (e *episode) kind() string {
	all := e.unprobed
	for _, n := range e.kinds {
		all += n
	}
	most := func(n, of int) bool { return of > 0 && float64(n)/float64(of) >= 0.75 }
	halfOpen := e.kinds[watch.SYN] + e.kinds[watch.SystemSYN]
	switch {
	case most(halfOpen, all) && (e.handshakes > 0 || most(e.kinds[watch.SystemSYN], halfOpen)):
		return "connect"
	case most(halfOpen, all):
		return "syn"
	}
	for kind, name := range map[watch.Kind]string{
		watch.NULL: "null", watch.FIN: "fin", watch.XMAS: "xmas", watch.Maimon: "maimon",
		watch.ACK: "ack", watch.UDP: "udp", watch.Tiny: "tiny-fragment",
	} {
		if most(e.kinds[kind], all) {
			return name
		}
	}
	return "mixed"
}

func (s *Scorer) endQuiet(src *source, now uint64) {
	for policy, e := range src.episodes {
		if e != nil && now > e.last && now-e.last > uint64(s.setup.Quiet[policy]) {
			s.end(src, policy)
		}
	}
}

func (s *Scorer) end(src *source, policy int) {
	e := src.episodes[policy]
	if e == nil {
		return
	}
	src.episodes[policy] = nil
	e.handshakes += src.handshakes
	summary, said := e.event, e.event.Kind
	summary.Summary, summary.Time, summary.Kind = true, e.last, e.kind()
	isSYN := func(kind string) bool { return kind == "syn" || kind == "connect" }
	if isSYN(said) && isSYN(summary.Kind) && e.handshakes == 0 {
		summary.Kind = said
	}
	s.Events = append(s.Events, summary)
}

func (s *Scorer) source(addr netip.Addr) *source {
	prefix := Prefix(addr, s.setup.Rules.V6Bits)
	for _, src := range s.sources {
		if src.prefix == prefix {
			return src
		}
	}
	src := &source{prefix: prefix}
	s.sources = append(s.sources, src)
	return src
}

// Prefix returns what counts as one source with the address.
func Prefix(addr netip.Addr, v6Bits int) netip.Prefix {
	bits := 32
	if addr.Is6() {
		bits = v6Bits
	}
	return netip.PrefixFrom(addr, bits).Masked()
}

func (s *Scorer) sum(line watch.Line, counted []Packet) (points int) {
	for _, p := range counted {
		points += s.points(line, p.Port)
	}
	return points
}

func (s *Scorer) points(line watch.Line, port uint16) int {
	switch {
	case line.Trap > 0 && slices.Contains(s.setup.Rules.Traps, port):
		return int(line.Trap)
	case port < 1024:
		return int(line.Low)
	}
	return int(line.High)
}

func crosses(line watch.Line, points int) bool {
	if line.Reaches {
		return points >= int(line.Threshold)
	}
	return points > int(line.Threshold)
}

// within returns those that are not older than span.
func within(packets []Packet, now uint64, span time.Duration) (young []Packet) {
	for _, p := range packets {
		if now-p.Time <= uint64(span) {
			young = append(young, p)
		}
	}
	return young
}

// distinct returns the latest to each protocol and port, oldest first.
func distinct(packets []Packet) (latest []Packet) {
	for i, p := range packets {
		if !slices.ContainsFunc(packets[i+1:], samePort(p)) {
			latest = append(latest, p)
		}
	}
	return latest
}

func samePort(p Packet) func(Packet) bool {
	return func(q Packet) bool { return p.Port == q.Port && p.udp() == q.udp() }
}

func last(packets []Packet) Packet {
	if len(packets) == 0 {
		return Packet{}
	}
	return packets[len(packets)-1]
}

func compareBools(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}
