package detector_test

import (
	"cmp"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"synoptic/bpf/watch"
	"synoptic/detector"
	"synoptic/detector/naive"
)

var (
	seedFlag      = flag.Uint64("seed", 0, "seed of the random tests; 0 takes one from the clock")
	sequencesFlag = flag.Int("sequences", 1500, "sequences of each of the random tests")
)

func seed(t *testing.T) uint64 {
	t.Helper()
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-seed=%d", seed)
	return seed
}

// wall keeps nanoseconds in both directions.
func wall(ns uint64) time.Time { return time.Unix(0, int64(ns)).UTC() }

// ruleset returns the rules in the detector's words.
func ruleset(s *naive.Setup) detector.Ruleset {
	set := detector.Ruleset{Traps: s.Rules.Traps, UDP: s.Rules.UDP, V6Bits: s.Rules.V6Bits}
	for i, l := range []watch.Line{s.Rules.Window, s.Rules.Gap, s.Rules.Packets} {
		if l.On {
			set.Policies = append(set.Policies, detector.Policy{Name: naive.Names[i], Span: l.Span, Threshold: int(l.Threshold),
				Reaches: l.Reaches, High: int(l.High), Low: int(l.Low), Trap: int(l.Trap), Quiet: s.Quiet[i]})
		}
	}
	return set
}

// event returns an alert in the naive scorer's words.
func event(a *detector.Alert) naive.Event {
	e := naive.Event{Policy: a.Policy, Source: a.Prefix, Summary: a.Summary, Time: uint64(a.Time.UnixNano()), Kind: string(a.Kind), Points: a.Points}
	for _, p := range a.Proof {
		e.Proof = append(e.Proof, naive.Point{Time: uint64(p.Time.UnixNano()), Port: p.Port, UDP: p.UDP, Points: p.Points})
	}
	if !slices.IsSortedFunc(e.Proof, func(a, b naive.Point) int { return cmp.Compare(a.Time, b.Time) }) {
		panic("a proof is not in the order of its times")
	}
	slices.SortStableFunc(e.Proof, func(a, b naive.Point) int {
		udp := map[bool]int{true: 1}
		return cmp.Or(cmp.Compare(a.Time, b.Time), udp[a.UDP]-udp[b.UDP], cmp.Compare(a.Port, b.Port))
	})
	return e
}

// run is a scorer with its table, beside a naive one.
type run struct {
	setup  naive.Setup
	table  table
	scorer *detector.Scorer
	naive  *naive.Scorer
	events []naive.Event
	number map[string]uint64 // of the active episodes, by policy and source
}

func newRun(t *testing.T, setup naive.Setup, every bool) *run {
	t.Helper()
	set := ruleset(&setup)
	rules, err := set.Rules()
	if err != nil {
		t.Fatal(err)
	}
	r := &run{setup: setup, table: table{rules: rules, every: every}, naive: naive.New(setup), number: map[string]uint64{}}
	config := detector.ScorerConfig{Ruleset: set, Wall: wall, Alert: func(a *detector.Alert) {
		who := fmt.Sprint(a.Policy, a.Prefix)
		if _, active := r.number[who]; active != a.Summary || active && r.number[who] != a.Episode {
			t.Fatalf("%s: an alert of episode %d, a summary: %v, when the active one was %v", who, a.Episode, a.Summary, r.number[who])
		}
		if r.number[who] = a.Episode; a.Summary {
			delete(r.number, who)
		}
		r.events = append(r.events, event(a))
	}}
	if !every {
		config.Sources = &r.table
	}
	if r.scorer, err = detector.NewScorer(config); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *run) advance(now uint64) {
	r.scorer.Advance(now)
	r.naive.Advance(now)
}

func (r *run) packet(p naive.Packet) {
	r.naive.Packet(p)
	if o, told := r.table.packet(p); told {
		r.scorer.Observe(&o)
	}
}

func (r *run) close() {
	r.scorer.Close()
	r.naive.Close()
}

// differences compares what the two have said of each source by each policy.
func (r *run) differences() string {
	var b strings.Builder
	got, want := bySource(r.events), bySource(r.naive.Events)
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			fmt.Fprintf(&b, "missing: %+v\n", want[i])
		case i >= len(want):
			fmt.Fprintf(&b, "too much: %+v\n", got[i])
		default:
			g := got[i]
			if want[i].Unsure {
				g.Unsure, g.Kind = true, want[i].Kind
			}
			if fmt.Sprint(g) != fmt.Sprint(want[i]) {
				fmt.Fprintf(&b, "got  %+v\nwant %+v\n", g, want[i])
			}
		}
	}
	return b.String()
}

func bySource(events []naive.Event) []naive.Event {
	sorted := slices.Clone(events)
	slices.SortStableFunc(sorted, func(a, b naive.Event) int {
		return cmp.Or(cmp.Compare(a.Policy, b.Policy), a.Source.Addr().Compare(b.Source.Addr()))
	})
	return sorted
}

// content counts what the sequences had in them, so that they are not about
// nothing.
type content struct {
	alerts, again, proofs, edges, kinds map[string]int
	unsure                              int
}

func (c *content) add(r *run) {
	scans := map[string]int{}
	for _, e := range r.naive.Events {
		if e.Summary {
			continue
		}
		if len(e.Proof) > watch.MaxProbes {
			panic("a proof is longer than the memory")
		}
		c.alerts[e.Policy]++
		c.kinds[e.Kind]++
		if scans[fmt.Sprint(e.Policy, e.Source)]++; scans[fmt.Sprint(e.Policy, e.Source)] > 1 {
			c.again[e.Policy]++
		}
		line := r.line(e.Policy)
		if age := e.Time - e.Proof[0].Time; age == uint64(line.Span) {
			c.edges[e.Policy]++
		}
		if len(e.Proof) == watch.MaxProbes {
			c.proofs[e.Policy]++
		}
		if e.Unsure {
			c.unsure++
		}
	}
}

func (r *run) line(policy string) watch.Line {
	return [...]watch.Line{r.setup.Rules.Window, r.setup.Rules.Gap, r.setup.Rules.Packets}[slices.Index(naive.Names[:], policy)]
}

func newContent() *content {
	return &content{alerts: map[string]int{}, again: map[string]int{}, proofs: map[string]int{}, edges: map[string]int{}, kinds: map[string]int{}}
}

// enough fails the test if the sequences have hardly tried something.
func (c *content) enough(t *testing.T, sequences int) {
	t.Helper()
	t.Logf("%d sequences: %+v", sequences, *c)
	if sequences < 1000 {
		return
	}
	for _, policy := range naive.Names {
		if c.alerts[policy] < sequences/10 || c.again[policy] < sequences/50 || c.proofs[policy] < sequences/200 || c.edges[policy] < sequences/500 {
			t.Errorf("the sequences hardly try %s", policy)
		}
	}
	for _, kind := range []detector.Kind{detector.Connect, detector.SYN, detector.NULL, detector.FIN, detector.XMAS, detector.Maimon,
		detector.ACK, detector.UDP, detector.Tiny, detector.Mixed} {
		if c.kinds[string(kind)] < sequences/100 {
			t.Errorf("the sequences hardly try %s scans", kind)
		}
	}
	if c.unsure > sequences/50 {
		t.Errorf("%d kinds could not be compared", c.unsure)
	}
}

// random runs sequences and compares.
func random(t *testing.T, every bool, write func(*rand.Rand, *naive.Setup) []naive.Packet, feed func(*rand.Rand, *run, []naive.Packet, []uint64)) {
	t.Helper()
	first := seed(t)
	c := newContent()
	for i := range *sequencesFlag {
		rng := rand.New(rand.NewPCG(first+uint64(i), 0))
		setup := naive.RandomSetup(rng)
		sequence := write(rng, &setup)
		r := newRun(t, setup, every)
		feed(rng, r, sequence, naive.Clock(sequence, &setup))
		r.close()
		if d := r.differences(); d != "" {
			t.Fatalf("-seed=%d -sequences=1: %+v\n%s\n%s", first+uint64(i), setup, trace(sequence), d)
		}
		c.add(r)
	}
	c.enough(t, *sequencesFlag)
}

func trace(sequence []naive.Packet) string {
	var b strings.Builder
	for _, p := range sequence {
		fmt.Fprintf(&b, "%d %v:%d probe=%v kind=%d handshake=%v\n", p.Time, p.Source, p.Port, p.Probe, p.Kind, p.Handshake)
	}
	return b.String()
}

// As in replay: the clock is told before each packet, the table tells what is
// interesting, and sources are looked up.
func TestDecidesAsOneWhoKeepsEveryPacket(t *testing.T) {
	random(t, false, naive.Sequence, func(rng *rand.Rand, r *run, sequence []naive.Packet, clock []uint64) {
		for i, p := range sequence {
			r.advance(clock[i])
			if rng.IntN(50) == 0 {
				if err := r.scorer.SetPolicies(ruleset(&r.setup)); err != nil {
					t.Fatal(err)
				}
			}
			r.packet(p)
		}
	})
}

// Every packet is told, in any order, and the clock never or now and then: then
// only the snapshots tell when an episode has ended.
func TestSnapshotsTellWhenAnEpisodeHasEnded(t *testing.T) {
	random(t, true, naive.Disorder, func(rng *rand.Rand, r *run, sequence []naive.Packet, clock []uint64) {
		often := rng.IntN(2) == 0
		for i, p := range sequence {
			if often && rng.IntN(4) == 0 {
				r.advance(clock[i])
			}
			p.Handshake = false // no snapshot would tell of a handshake that is the last
			r.packet(p)
		}
	})
}

// The clock is told too seldom for exactness; but the first scan of a source is
// always noticed as it should.
func TestTheFirstScanNeedsNoClock(t *testing.T) {
	first := seed(t)
	alerts := 0
	for i := range *sequencesFlag {
		rng := rand.New(rand.NewPCG(first+uint64(i), 0))
		setup := naive.RandomSetup(rng)
		sequence := naive.Disorder(rng, &setup)
		r := newRun(t, setup, false)
		for _, p := range sequence {
			r.packet(p)
		}
		r.close()
		r.events, r.naive.Events = firsts(r.events), firsts(r.naive.Events)
		if d := r.differences(); d != "" {
			t.Fatalf("-seed=%d -sequences=1: %+v\n%s\n%s", first+uint64(i), setup, trace(sequence), d)
		}
		alerts += len(r.events)
	}
	if alerts < *sequencesFlag/2 {
		t.Errorf("only %d alerts in %d sequences", alerts, *sequencesFlag)
	}
}

func firsts(events []naive.Event) (first []naive.Event) {
	seen := map[string]bool{}
	for _, e := range events {
		if who := fmt.Sprint(e.Policy, e.Source); !seen[who] {
			seen[who] = true
			first = append(first, e)
		}
	}
	return first
}

// The two ways to write rules say the same.
func TestRulesOfARuleset(t *testing.T) {
	rng := rand.New(rand.NewPCG(seed(t), 0))
	for range 2000 {
		setup := naive.RandomSetup(rng)
		set := ruleset(&setup)
		rules, err := set.Rules()
		if err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(rules) != fmt.Sprint(setup.Rules) {
			t.Fatalf("Rules() = %+v\nwant      %+v", rules, setup.Rules)
		}
	}
	set := detector.Ruleset{Policies: detector.Policies(), Traps: detector.DefaultTraps(), V6Bits: 64}
	published := naive.Published()
	if want := ruleset(&published); fmt.Sprint(set) != fmt.Sprint(want) {
		t.Errorf("the published numbers are %+v\nhere and  %+v there", set, want)
	}
}
