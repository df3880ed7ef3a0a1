package output

import (
	"cmp"
	"iter"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"synoptic/internal/result"
)

// Hosts keeps what a scan found until it can be told host by host. One serves
// any number of reports. It takes 16 bytes for each answer and about a hundred
// for each address with one.
type Hosts struct {
	index   map[netip.Addr]uint32
	seen    []seen
	answers []answer
	senders []netip.Addr // of ICMP errors, none of them a target itself
	sender  map[netip.Addr]uint32
	sorted  bool
	shared  bool // a Snapshot has the memory of answers too
}

// seen is an address that has an answer, or a silent port to be listed.
type seen struct {
	addr netip.Addr
	name string        // "": not known
	rtt  time.Duration // of its fastest answer, 0 when unknown
	rank uint32        // in the order of addresses; valid iff Hosts.sorted
}

// answer is what is kept of a record.
type answer struct {
	host    uint32 // index in seen
	sender  uint32 // index in senders and 1, or 0
	port    uint16
	state   result.State
	reason  result.Reason
	suspect result.Suspect
	ttl     uint8
}

// NewHosts returns an empty collection.
func NewHosts() *Hosts {
	return &Hosts{index: map[netip.Addr]uint32{}, sender: map[netip.Addr]uint32{}}
}

// Len returns how many addresses there are.
func (h *Hosts) Len() int { return len(h.seen) }

// Record takes one record. Of several for an endpoint, the best state counts.
func (h *Hosts) Record(r *result.Record) {
	addr := r.Addr.Addr()
	i, known := h.index[addr]
	if !known {
		i = uint32(len(h.seen))
		h.index[addr] = i
		h.seen = append(h.seen, seen{addr: addr})
	}
	s := &h.seen[i]
	if r.RTT > 0 && (s.rtt == 0 || r.RTT < s.rtt) {
		s.rtt = r.RTT
	}
	if r.Host != "" {
		s.name = r.Host
	}
	sender := uint32(0)
	if r.ReasonIP.IsValid() {
		if sender, known = h.sender[r.ReasonIP]; !known {
			h.senders = append(h.senders, r.ReasonIP)
			sender = uint32(len(h.senders))
			h.sender[r.ReasonIP] = sender
		}
	}
	h.answers = append(h.answers, answer{i, sender, r.Addr.Port(), r.State, r.Reason, r.Suspect, r.TTL})
	h.sorted = false
}

// sort orders the answers by address and port, and leaves one for each.
func (h *Hosts) sort() {
	if h.sorted {
		return
	}
	order := make([]uint32, len(h.seen))
	for i := range order {
		order[i] = uint32(i)
	}
	slices.SortFunc(order, func(a, b uint32) int { return h.seen[a].addr.Compare(h.seen[b].addr) })
	for rank, i := range order {
		h.seen[i].rank = uint32(rank)
	}
	// By address, then port, then the best state first: each pass keeps the order
	// of the one before.
	spare, other := make([]answer, len(h.answers)), h.answers
	if h.shared {
		other, h.shared = make([]answer, len(h.answers)), false
	}
	distribute(spare, h.answers, int(result.Open)+1, func(a *answer) int { return int(result.Open - a.state) })
	distribute(other, spare, 1<<16, func(a *answer) int { return int(a.port) })
	distribute(spare, other, len(h.seen), func(a *answer) int { return int(h.seen[a.host].rank) })
	h.answers = spare
	h.answers = slices.CompactFunc(h.answers, func(a, b answer) bool { return a.host == b.host && a.port == b.port })
	h.sorted = true
}

// distribute copies answers in the order of a key below n, those of equal keys in
// the order that they have: a counting sort, in linear time.
func distribute(to, from []answer, n int, key func(*answer) int) {
	next := make([]int, n+1)
	for i := range from {
		next[key(&from[i])+1]++
	}
	for k := range n {
		next[k+1] += next[k]
	}
	for i := range from {
		k := key(&from[i])
		to[next[k]] = from[i]
		next[k]++
	}
}

// host is one entry of a report.
type host struct {
	addr   netip.Addr
	name   string // "": not known
	rtt    time.Duration
	reason string // why it is up
	ttl    uint8  // of that answer, 0 when unknown
	groups []group
	ports  []answer // listed one by one, ascending
	hidden int      // ports that are not
}

// title is the address, behind its name if it has one.
func (h *host) title() string {
	if h.name == "" {
		return h.addr.String()
	}
	return h.name + " (" + h.addr.String() + ")"
}

// group are the ports of a host that are not listed, of one state.
type group struct {
	state   result.State
	count   int
	reasons []reason
}

// reason are those of them with one reason.
type reason struct {
	reason result.Reason
	count  int
	ports  []byte // as in 22,80,8000-8100
}

// manyPorts is how many ports of a host may be in a state other than open and
// still be listed, nmap's own number; each -v adds as many again.
const manyPorts = 25

// all yields the hosts in the order of their addresses. A host is valid until
// the next.
func (h *Hosts) all(scan *Scan) iter.Seq[*host] {
	h.sort()
	return func(yield func(*host) bool) {
		for rest := h.answers; len(rest) > 0; {
			n := slices.IndexFunc(rest, func(a answer) bool { return a.host != rest[0].host })
			if n < 0 {
				n = len(rest)
			}
			entry := h.host(rest[:n], scan)
			rest = rest[n:]
			if scan.OpenOnly && len(entry.ports) == 0 {
				continue
			}
			if !yield(entry) {
				return
			}
		}
	}
}

// host makes an entry of the answers of one host.
func (h *Hosts) host(answers []answer, scan *Scan) *host {
	s := &h.seen[answers[0].host]
	entry := &host{addr: s.addr, name: s.name, rtt: s.rtt}
	entry.reason, entry.ttl = whyUp(s.addr, answers)

	var counts [result.Open + 1]int
	for i := range answers {
		counts[answers[i].state]++
	}
	var groups [result.Open + 1]group
	for i := range answers {
		a := &answers[i]
		if shown(a, counts[a.state], scan) {
			entry.ports = append(entry.ports, *a)
			continue
		}
		entry.hidden++
		groups[a.state].add(a)
	}
	for state, g := range groups {
		if g.count == 0 {
			continue
		}
		g.state = result.State(state)
		// The most first, as nmap has it; of equals the later in nmap's list.
		slices.SortFunc(g.reasons, func(a, b reason) int {
			return cmp.Or(cmp.Compare(b.count, a.count), cmp.Compare(b.reason, a.reason))
		})
		for i := range g.reasons {
			g.reasons[i].ports = rangesOf(answers, g.state, g.reasons[i].reason)
		}
		entry.groups = append(entry.groups, g)
	}
	slices.SortFunc(entry.groups, func(a, b group) int {
		return cmp.Or(cmp.Compare(b.count, a.count), cmp.Compare(a.state, b.state))
	})
	return entry
}

// shown tells whether a port is listed by itself, when so many ports of its host
// are in its state. Open ports and suspect answers always are; nmap's rule for
// all others holds for open|filtered and unfiltered ports as well.
func shown(a *answer, inState int, scan *Scan) bool {
	switch {
	case a.state == result.Open, a.suspect != result.NotSuspect:
		return true
	case scan.OpenOnly && (a.state == result.Closed || a.state == result.Filtered):
		return false
	}
	return scan.AllStates || inState <= manyPorts*(1+scan.Verbose)
}

func (g *group) add(a *answer) {
	g.count++
	for i := range g.reasons {
		if g.reasons[i].reason == a.reason {
			g.reasons[i].count++
			return
		}
	}
	g.reasons = append(g.reasons, reason{reason: a.reason, count: 1})
}

// rangesOf writes the ports that are in a state for a reason, and not suspect.
func rangesOf(answers []answer, state result.State, why result.Reason) []byte {
	var dst []byte
	for i := 0; i < len(answers); i++ {
		first := i
		in := func(i int) bool {
			return answers[i].state == state && answers[i].reason == why && answers[i].suspect == result.NotSuspect
		}
		if !in(i) {
			continue
		}
		for i+1 < len(answers) && answers[i+1].port == answers[i].port+1 && in(i+1) {
			i++
		}
		if len(dst) > 0 {
			dst = append(dst, ',')
		}
		dst = strconv.AppendUint(dst, uint64(answers[first].port), 10)
		if i > first {
			dst = append(dst, '-')
			dst = strconv.AppendUint(dst, uint64(answers[i].port), 10)
		}
	}
	return dst
}

// whyUp returns the best sign of life among the answers of a host, and its TTL:
// nmap's words, which for loopback and for a host of which only others have
// spoken are no answers.
func whyUp(addr netip.Addr, answers []answer) (string, uint8) {
	if addr.IsLoopback() {
		return "localhost-response", 0
	}
	best, rank := -1, 0
	for i := range answers {
		r := 1
		switch a := &answers[i]; {
		case a.reason == result.SynAck:
			r = 4
		case a.reason == result.Reset:
			r = 3
		case a.reason == result.ConnRefused:
			r = 2
		case a.sender != 0, a.reason == result.NoResponse, a.reason == result.NoReason:
			continue
		}
		if r > rank {
			best, rank = i, r
		}
	}
	if best < 0 {
		return "user-set", 0
	}
	return answers[best].reason.String(), answers[best].ttl
}
