package detector_test

import (
	"fmt"
	"math"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"synoptic/bpf/watch"
	"synoptic/detector"
	"synoptic/detector/naive"
)

// desk is a scorer whose alerts are kept and whose sources are what a test says.
type desk struct {
	*detector.Scorer
	t       *testing.T
	said    []*detector.Alert
	places  map[watch.Ref]watch.Snapshot
	lookups int
}

func (d *desk) Source(ref watch.Ref) (watch.Snapshot, bool) {
	d.lookups++
	o, found := d.places[ref]
	return o, found
}

func published() detector.Ruleset {
	return detector.Ruleset{Policies: detector.Policies(), Traps: detector.DefaultTraps(), V6Bits: 64}
}

// newDesk returns a scorer by the published rules, of these policies.
func newDesk(t *testing.T, change func(*detector.ScorerConfig), policies ...string) *desk {
	t.Helper()
	d := &desk{t: t, places: map[watch.Ref]watch.Snapshot{}}
	c := detector.ScorerConfig{Ruleset: published(), Sources: d, Wall: wall, Alert: func(a *detector.Alert) { d.said = append(d.said, a) }}
	c.Ruleset.Policies = slices.DeleteFunc(detector.Policies(), func(p detector.Policy) bool { return !slices.Contains(policies, p.Name) })
	if len(c.Ruleset.Policies) != len(policies) {
		t.Fatalf("not all of %q are policies", policies)
	}
	if change != nil {
		change(&c)
	}
	var err error
	if d.Scorer, err = detector.NewScorer(c); err != nil {
		t.Fatal(err)
	}
	return d
}

// expect compares what was said since the last time: policy, ! or . and the time.
func (d *desk) expect(want string) {
	d.t.Helper()
	var said []string
	for _, a := range d.said {
		mark := "!"
		if a.Summary {
			mark = "."
		}
		said = append(said, fmt.Sprintf("%s%s@%v", a.Policy, mark, a.Time.Sub(wall(start))))
	}
	if got := strings.Join(said, " "); got != want {
		d.t.Errorf("said %q, want %q", got, want)
	}
	d.said = nil
}

// snapshot is of a source that has probed ports at the given times since the
// start, the last one with this packet.
func snapshot(ref int, ports []uint16, times ...time.Duration) *watch.Snapshot {
	o := &watch.Snapshot{
		Ref: watch.Ref(ref), Source: netip.PrefixFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(ref)}), 32),
		Probed: true, Hosts: 1, MinTTL: 60, MaxTTL: 60, SourcePort: 4000,
		First: netip.MustParseAddr("192.0.2.1"), Latest: netip.MustParseAddr("192.0.2.2"), To: netip.MustParseAddr("192.0.2.2"),
	}
	o.From = o.Source.Addr()
	for i, port := range ports {
		at := start + uint64(times[min(i, len(times)-1)])
		o.Before, o.Last = o.Last, at
		o.Probes = append(o.Probes, watch.Probe{Time: at, Port: port, Kind: watch.SYN})
		o.Kinds[watch.SYN]++
	}
	o.Time, o.Born, o.Chain = o.Last, o.Probes[0].Time, o.Probes[0].Time
	return o
}

// scan is a snapshot that every policy over probes alarms at.
func scan(ref int, at time.Duration) *watch.Snapshot {
	return snapshot(ref, []uint16{1, 2, 3, 4, 5, 6, 7, 8}, at)
}

// look is what is remembered of the source after it has sent another probe.
func look(o *watch.Snapshot, at time.Duration) watch.Snapshot {
	l := *o
	l.Time, l.Probed, l.Before, l.From, l.To = 0, false, 0, netip.Addr{}, netip.Addr{}
	l.Last = start + uint64(at)
	l.Probes = append(append([]watch.Probe(nil), o.Probes[1:]...), watch.Probe{Time: l.Last, Port: o.Probes[0].Port, Kind: watch.SYN})
	l.Kinds[watch.SYN]++
	return l
}

func TestAlertAndSummary(t *testing.T) {
	d := newDesk(t, func(c *detector.ScorerConfig) {
		c.Device = func(index int) string { return fmt.Sprint("eth", index) }
	}, detector.Sophos)
	o := snapshot(3, []uint16{99, 21, 22, 12, 2000, 5000}, 0, 5*sec, 5*sec+ms, 5*sec+2*ms, 5*sec+3*ms)
	o.Born -= 7
	o.Device, o.Hosts, o.Handshakes, o.MinTTL, o.MaxTTL = 2, 3, 4, 50, 51
	d.Observe(o)
	at := func(d time.Duration) time.Time { return wall(start + uint64(d)) }
	alert := detector.Alert{
		Policy: "sophos", Threshold: 21, Span: 300 * ms, Points: 27,
		Proof: []detector.Point{
			{Time: at(5 * sec), Port: 21, Points: 3}, {Time: at(5*sec + ms), Port: 22, Points: 3}, {Time: at(5*sec + 2*ms), Port: 12, Points: 10},
			{Time: at(5*sec + 3*ms), Port: 2000, Points: 10}, {Time: at(5*sec + 3*ms), Port: 5000, Points: 1},
		},
		Kind: detector.SYN, Direction: detector.Block, Episode: 1, Time: at(5*sec + 3*ms), Begin: at(5 * sec),
		Source: netip.MustParseAddr("203.0.113.3"), Prefix: netip.MustParsePrefix("203.0.113.3/32"), Destination: netip.MustParseAddr("192.0.2.2"),
		SourcePort: 4000, DestinationPort: 5000, Protocol: "TCP", Interface: "eth2",
		Hosts: 3, Probes: 6, Handshakes: 4, MinTTL: 50, MaxTTL: 51,
	}
	if len(d.said) != 1 || !reflect.DeepEqual(*d.said[0], alert) {
		t.Fatalf("said %+v\nwant %+v", *d.said[0], alert)
	}
	// It copies what it needs.
	before := *o
	o.Probes[1], o.Kinds, o.From = watch.Probe{}, [watch.Kinds]uint32{}, netip.Addr{}

	last := before
	last.Probes = []watch.Probe{{Time: start + uint64(9*sec), Port: 1, Kind: watch.FIN}}
	last.Time, last.Last = last.Probes[0].Time, last.Probes[0].Time
	last.Kinds[watch.FIN], last.Hosts, last.Handshakes, last.MinTTL, last.MaxTTL, last.Before = 15, 40, 5, 49, 52, before.Last
	d.places[3] = last
	d.Close()
	summary := alert
	summary.Summary, summary.Time, summary.Kind, summary.Direction = true, at(9*sec), detector.FIN, detector.Horizontal
	summary.Hosts, summary.Probes, summary.Handshakes, summary.MinTTL, summary.MaxTTL = 40, 21, 5, 49, 52
	if len(d.said) != 2 || !reflect.DeepEqual(*d.said[1], summary) {
		t.Fatalf("said %+v\nwant %+v", *d.said[1], summary)
	}
	if got, want := fmt.Sprint(d.Stats()), "{0 1 1 1 0 0}"; got != want {
		t.Errorf("Stats() = %s, want %s", got, want)
	}
	d.said[1].Proof[0].Port = 1
	if d.said[0].Proof[0].Port != 21 {
		t.Error("an alert shares its proof with the summary")
	}
}

func TestAlertOfDatagrams(t *testing.T) {
	d := newDesk(t, func(c *detector.ScorerConfig) {
		c.Device = func(index int) string { return fmt.Sprint("eth", index) } // 0 is none
	}, detector.Sophos)
	o := scan(1, 0)
	for i := range o.Probes {
		o.Probes[i].Kind = watch.UDP
	}
	d.Observe(o)
	if len(d.said) != 1 || d.said[0].Kind != detector.UDP || d.said[0].Protocol != "UDP" || !d.said[0].Proof[7].UDP || d.said[0].Interface != "" {
		t.Errorf("said %+v", d.said)
	}
}

// Only a policy over packets tells of packets that are no probes, and it only.
func TestAlertOfPackets(t *testing.T) {
	d := newDesk(t, nil, detector.Sophos, detector.Scanlogd, detector.SophosPacket)
	o := scan(1, 0)
	o.Probed, o.LastPacket = false, o.Time+1
	o.Time++
	for range 7 {
		o.Packets = append(o.Packets, watch.Probe{Time: o.Time, Port: 80, Kind: watch.UDP})
	}
	o.Packets = append(o.Packets, watch.Probe{Time: o.Time, Port: 5000, Kind: watch.UDP}) // it has no meaning
	d.Observe(o)
	if len(d.said) != 1 || d.said[0].Protocol != "TCP" || d.said[0].Points != 22 || d.said[0].DestinationPort != 5000 || len(d.said[0].Proof) != 8 || d.said[0].Kind != detector.Mixed {
		t.Errorf("said %+v", d.said)
	}
	d.expect("sophos-packet!@1ns")
}

// A datagram is no packet to that policy, so it cannot be what crosses its line.
func TestDatagramsCrossNoLineOfPackets(t *testing.T) {
	d := newDesk(t, nil, detector.SophosPacket)
	o := scan(1, 0)
	o.Packets, o.LastPacket = o.Probes, o.Time
	o.Probes = append(o.Probes[1:8:8], watch.Probe{Time: o.Time + 1, Port: 53, Kind: watch.UDP})
	o.Before, o.Last, o.Time, o.BeforePacket = o.Time, o.Time+1, o.Time+1, 0
	d.Observe(o)
	d.expect("")
	o.Time, o.Last, o.Before = o.LastPacket, o.LastPacket, 0
	d.Observe(o)
	d.expect("sophos-packet!@0s")
}

// Handshakes from before the scan say nothing about it; those that come with it
// or after it do.
func TestHandshakes(t *testing.T) {
	for _, tt := range []struct {
		name          string
		older         bool // the source is remembered for longer than the scan goes on
		before, after uint32
		alert, end    detector.Kind
	}{
		{"none", false, 0, 0, detector.SYN, detector.SYN},
		{"an_old_one", true, 1, 1, detector.SYN, detector.SYN},
		{"one_of_the_scan", false, 1, 1, detector.Connect, detector.Connect},
		{"one_afterwards", false, 0, 1, detector.SYN, detector.Connect},
		{"another_afterwards", true, 1, 2, detector.SYN, detector.Connect},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDesk(t, nil, detector.Sophos)
			o := scan(1, 0)
			if tt.older {
				o.Born--
			}
			o.Handshakes = tt.before
			d.Observe(o)
			l := look(o, sec)
			l.Handshakes = tt.after
			d.places[1] = l
			d.Close()
			if len(d.said) != 2 || d.said[0].Kind != tt.alert || d.said[1].Kind != tt.end {
				t.Errorf("said %+v, want %s and %s", d.said, tt.alert, tt.end)
			}
		})
	}
}

func TestDirectionAtEnd(t *testing.T) {
	for _, tt := range []struct {
		name   string
		hosts  int
		probes uint32
		want   detector.Direction
	}{
		{"one_host", 1, 5000, detector.Vertical},
		{"few_hosts_many_ports_each", 30, 30000, detector.Block},
		{"many_hosts_few_ports_each", 300, 2400, detector.Horizontal},
		{"as_many_ports_as_hosts", 8, 8, detector.Block},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDesk(t, nil, detector.Sophos)
			o := scan(1, 0)
			d.Observe(o)
			l := look(o, sec)
			l.Hosts, l.Kinds[watch.SYN] = tt.hosts, tt.probes
			d.places[1] = l
			d.Close()
			if len(d.said) != 2 || d.said[0].Direction != detector.Vertical || d.said[1].Direction != tt.want {
				t.Errorf("said %+v, want %s", d.said, tt.want)
			}
		})
	}
}

// Ports that were probed before the scan are none of it.
func TestDirectionAtEndForgetsOlderPorts(t *testing.T) {
	d := newDesk(t, nil, detector.Sophos)
	o := snapshot(1, []uint16{20, 21, 22, 23, 24, 25, 26, 27, 1, 2, 3, 4, 5, 6, 7, 8}, 0, 0, 0, 0, 0, 0, 0, 0, sec)
	o.Hosts = 10
	d.Observe(o)
	d.places[1] = *o
	d.Close()
	if len(d.said) != 2 || d.said[0].Direction != detector.Horizontal || d.said[1].Direction != detector.Horizontal {
		t.Errorf("said %+v, want 8 ports of 10 hosts", d.said)
	}
}

// Processors may tell in another order than they have counted.
func TestCountsToldLate(t *testing.T) {
	d := newDesk(t, nil, detector.Sophos)
	o := scan(1, sec)
	o.Born, o.Handshakes, o.Hosts = start, 2, 5
	d.Observe(o)
	late := *o
	late.Time, late.Last, late.Handshakes, late.Hosts, late.Kinds[watch.SYN] = start, start, 1, 4, 3
	d.Observe(&late)
	d.places[1] = *o
	d.Close()
	if len(d.said) != 2 || d.said[1].Kind != detector.SYN || d.said[1].Handshakes != 2 || d.said[1].Hosts != 5 || d.said[1].Probes != 8 {
		t.Errorf("said %+v", d.said[1])
	}
	d.expect("sophos!@1s sophos.@1s")
}

// Episodes that end together are told in their order.
func TestSummariesAreInOrder(t *testing.T) {
	d := newDesk(t, nil, detector.Sophos)
	for i := 1; i <= 20; i++ {
		d.Observe(scan(i, 0))
	}
	d.Advance(start + uint64(10*sec) + 1)
	for i, a := range d.said {
		if want := uint64(i%20 + 1); a.Episode != want || a.Summary != (i >= 20) {
			t.Fatalf("alert %d: episode %d, a summary: %v", i, a.Episode, a.Summary)
		}
	}
	if len(d.said) != 40 {
		t.Errorf("%d alerts, want 40", len(d.said))
	}
}

// A source that is not told any more is looked up, once a quiet time.
func TestSourcesAreLookedUp(t *testing.T) {
	d := newDesk(t, nil, detector.Sophos)
	o := scan(1, 0)
	d.Observe(o)
	d.expect("sophos!@0s")
	for now := time.Duration(0); now <= 10*sec; now += 10 * ms {
		d.Advance(start + uint64(now))
	}
	if d.lookups != 0 {
		t.Errorf("%d look-ups before the quiet time was over", d.lookups)
	}
	d.places[1] = look(o, 4*sec)
	d.Advance(start + uint64(10*sec) + 1)
	d.Advance(start + uint64(14*sec))
	if d.lookups != 1 {
		t.Errorf("%d look-ups, want 1", d.lookups)
	}
	d.expect("")
	d.Advance(start + uint64(14*sec) + 1)
	d.expect("sophos.@4s")
	if d.lookups != 2 {
		t.Errorf("%d look-ups, want 2", d.lookups)
	}
	// And then it may begin again.
	again := scan(1, 20*sec)
	d.Observe(again)
	d.expect("sophos!@20s")
}

// A look that comes late finds the silence between the times of the ports, if it
// can be seen there.
func TestLateLooks(t *testing.T) {
	for _, tt := range []struct {
		name  string
		times []time.Duration // of the eight ports
		want  string
	}{
		{"no_silence", []time.Duration{0, 0, 0, 0, 0, 0, 9 * sec, 18 * sec}, ""},
		{"exactly_the_quiet_time", []time.Duration{0, 0, 0, 0, 0, 0, 10 * sec, 20 * sec}, ""},
		{"longer", []time.Duration{0, 0, 0, 0, 0, 1 * sec, 11*sec + 1, 12 * sec}, "sophos.@1s"},
		{"at_once", []time.Duration{0, 0, 0, 0, 0, 0, 0, 10*sec + 1}, "sophos.@0s"},
		{"in_the_end", []time.Duration{0, 0, 0, 0, 0, 0, 5 * sec, 15*sec + 1}, "sophos.@5s"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDesk(t, nil, detector.Sophos)
			d.Observe(scan(1, 0))
			d.expect("sophos!@0s")
			l := *snapshot(1, []uint16{1, 2, 3, 4, 5, 6, 7, 8}, tt.times...)
			l.Before = 0
			d.places[1] = l
			d.Advance(start + uint64(20*sec) + 1)
			d.expect(tt.want)
		})
	}
}

// What was sent after the end is not of the episode.
func TestLateLooksLearnNothingOfLaterScans(t *testing.T) {
	for _, policy := range []string{detector.Sophos, detector.SophosPacket} {
		t.Run(policy, func(t *testing.T) {
			d := newDesk(t, nil, policy)
			o := scan(1, 0)
			o.Packets, o.LastPacket = o.Probes, o.Time
			d.Observe(o)
			l := look(o, 10*sec+1)
			l.Packets, l.LastPacket, l.Kinds[watch.FIN], l.Hosts = l.Probes, l.Last, 1000, 50
			d.places[1] = l
			d.Advance(start + uint64(11*sec))
			if len(d.said) != 2 || d.said[1].Kind != detector.SYN || d.said[1].Probes != 8 || d.said[1].Hosts != 1 {
				t.Errorf("said %+v", d.said[1])
			}
			d.expect(policy + "!@0s " + policy + ".@0s")
		})
	}
}

// A packet tells what came before it.
func TestBefore(t *testing.T) {
	for _, tt := range []struct {
		name         string
		before, this time.Duration
		want         string
	}{
		{"prolonged", 10 * sec, 20 * sec, ""},
		{"ended_after_it", 10 * sec, 20*sec + 1, "sophos.@10s sophos!@20.000000001s"},
		{"ended_before_it", 10*sec + 1, 12 * sec, "sophos.@0s sophos!@12s"},
		{"soon", 0, 10 * sec, ""},
		{"too_late", 0, 10*sec + 1, "sophos.@0s sophos!@10.000000001s"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDesk(t, nil, detector.Sophos)
			d.Observe(scan(1, 0))
			d.expect("sophos!@0s")
			o := scan(1, tt.this)
			o.Before = start + uint64(tt.before)
			d.Observe(o)
			d.expect(tt.want)
		})
	}
}

// A packet that is none for a policy still tells how long there was none.
func TestOtherPacketsTellOfSilence(t *testing.T) {
	d := newDesk(t, nil, detector.Sophos)
	o := scan(1, 0)
	d.Observe(o)
	d.expect("sophos!@0s")
	p := *o
	p.Probed, p.Time = false, o.Time+uint64(10*sec)
	d.Observe(&p)
	d.expect("")
	p.Time++
	d.Observe(&p)
	d.expect("sophos.@0s")
}

func TestPlacesThatWereLost(t *testing.T) {
	t.Run("empty", func(t *testing.T) {
		d := newDesk(t, nil, detector.Sophos)
		d.Observe(scan(1, 0))
		d.Advance(start + uint64(10*sec) + 1)
		d.expect("sophos!@0s sophos.@0s")
		if n := d.Stats().Forgotten; n != 1 {
			t.Errorf("Forgotten = %d, want 1", n)
		}
	})
	t.Run("anothers", func(t *testing.T) {
		d := newDesk(t, nil, detector.Sophos)
		d.Observe(scan(1, 0))
		d.places[1] = look(scan(2, 0), 5*sec)
		d.Advance(start + uint64(10*sec) + 1)
		d.expect("sophos!@0s sophos.@0s")
		if n := d.Stats().Forgotten; n != 1 {
			t.Errorf("Forgotten = %d, want 1", n)
		}
	})
	// The source has another place since, or its own again: it goes on.
	t.Run("its_own_again", func(t *testing.T) {
		d := newDesk(t, nil, detector.Sophos)
		o := scan(1, 0)
		o.Hosts = 5
		d.Observe(o)
		l := *snapshot(1, []uint16{9, 10, 11}, 5*sec)
		l.Kinds = [watch.Kinds]uint32{watch.FIN: 30}
		d.places[1] = l
		d.Advance(start + uint64(10*sec) + 1)
		d.expect("sophos!@0s")
		d.Advance(start + uint64(15*sec) + 1)
		if len(d.said) != 1 || d.said[0].Kind != detector.FIN || d.said[0].Probes != 30 || d.said[0].Hosts != 5 {
			t.Errorf("said %+v, want 8 SYNs and 30 FINs", d.said)
		}
		d.expect("sophos.@5s")
		if n := d.Stats().Forgotten; n != 0 {
			t.Errorf("Forgotten = %d, want 0", n)
		}
	})
	t.Run("another_place", func(t *testing.T) {
		d := newDesk(t, nil, detector.Sophos)
		o := scan(1, 0)
		d.Observe(o)
		moved := look(o, 5*sec)
		moved.Ref, moved.Time, moved.Born, moved.Probed = 77, moved.Last, moved.Last, true
		d.Observe(&moved)
		d.places[77] = look(&moved, 15*sec)
		d.Advance(start + uint64(15*sec) + 1)
		d.expect("sophos!@0s")
		d.Advance(start + uint64(25*sec) + 1)
		d.expect("sophos.@15s")
	})
	// What was told before it was born again, but comes late, changes nothing.
	t.Run("told_late", func(t *testing.T) {
		d := newDesk(t, nil, detector.Sophos)
		o := scan(1, sec)
		d.Observe(o)
		late := *scan(1, 0)
		late.Ref, late.Kinds = 5, [watch.Kinds]uint32{watch.FIN: 1000}
		d.Observe(&late)
		d.places[1] = *o
		d.Close()
		if len(d.said) != 2 || d.said[1].Kind != detector.SYN {
			t.Errorf("said %+v", d.said)
		}
		d.expect("sophos!@1s sophos.@1s")
	})
}

// There are so many episodes and no more; the one that ends soonest has to go.
func TestCrowdedEpisodes(t *testing.T) {
	d := newDesk(t, func(c *detector.ScorerConfig) { c.Most = 3 }, detector.Sophos)
	for i := 1; i <= 3; i++ {
		d.Observe(scan(i, time.Duration(i)*ms))
	}
	d.Observe(scan(1, 10*ms)) // now 2 ends soonest
	d.expect("sophos!@1ms sophos!@2ms sophos!@3ms")
	d.places[2] = look(scan(2, 2*ms), 5*ms)
	d.Observe(scan(4, 20*ms))
	d.expect("sophos.@5ms sophos!@20ms")
	if s := d.Stats(); s.Active != 3 || s.Crowded != 1 || s.Alerts != 4 || s.Summaries != 1 {
		t.Errorf("Stats() = %+v", s)
	}
	d.Observe(scan(2, 30*ms)) // which alarms again
	d.expect("sophos.@3ms sophos!@30ms")
	d.Advance(start + uint64(10*sec+10*ms))
	d.expect("")
	d.Advance(start + uint64(10*sec+10*ms) + 1)
	d.expect("sophos.@10ms")
	d.Close()
	d.expect("sophos.@20ms sophos.@30ms")
	if s := d.Stats(); s.Active != 0 || s.Alerts != s.Summaries {
		t.Errorf("Stats() = %+v", s)
	}
}

// A reload ends nothing but the episodes of policies that are no more.
func TestSetPolicies(t *testing.T) {
	d := newDesk(t, nil, detector.Sophos, detector.Scanlogd)
	o := scan(1, 0)
	d.Observe(o)
	d.Observe(scan(2, sec))
	d.expect("sophos!@0s scanlogd!@0s sophos!@1s scanlogd!@1s")

	bad := published()
	bad.Policies[1].Span = 0
	if err := d.SetPolicies(bad); err == nil || !strings.Contains(err.Error(), "scanlogd") {
		t.Errorf("SetPolicies = %v", err)
	}
	d.expect("")

	next := published()
	next.Policies = next.Policies[:1]
	next.Policies[0].Quiet, next.Policies[0].Threshold, next.Policies[0].Low, next.Policies[0].Span = 2*sec, 65, 3, sec
	d.places[2] = look(scan(2, sec), 1500*ms)
	if err := d.SetPolicies(next); err == nil || !strings.Contains(err.Error(), "65") {
		t.Errorf("SetPolicies = %v", err)
	}
	next.Policies[0].High = 3
	if err := d.SetPolicies(next); err != nil {
		t.Fatal(err)
	}
	d.expect("scanlogd.@0s scanlogd.@1.5s")
	// The quiet time is the new one; what was said is said of the old line.
	d.Observe(o)
	d.expect("")
	d.Advance(start + uint64(2*sec) + 1)
	if len(d.said) != 1 || d.said[0].Threshold != 21 || d.said[0].Span != 300*ms || d.said[0].Proof[0].Points != 3 {
		t.Errorf("said %+v", d.said)
	}
	d.expect("sophos.@0s")
	// Neither is over the new line.
	d.Observe(scan(3, 2*sec))
	d.expect("")
	d.Advance(start + uint64(3500*ms))
	d.expect("")
	d.Advance(start + uint64(3500*ms) + 1)
	d.expect("sophos.@1.5s")
	// The config is the caller's own.
	next.Policies[0].Threshold = 1
	next.Traps = append(next.Traps[:0], 1, 2, 3, 4, 5)
	d.Observe(scan(3, 4*sec))
	d.expect("")
}

// Shorter quiet times change which episode ends first.
func TestSetPoliciesOrdersDeadlines(t *testing.T) {
	d := newDesk(t, nil, detector.Sophos, detector.Scanlogd)
	d.Observe(scan(1, 0))
	d.expect("sophos!@0s scanlogd!@0s")
	next := published()
	next.Policies[0].Quiet = sec
	if err := d.SetPolicies(next); err != nil {
		t.Fatal(err)
	}
	d.Advance(start + uint64(sec) + 1)
	d.expect("sophos.@0s")
	d.Advance(start + uint64(3*sec) + 1)
	d.expect("scanlogd.@0s")
}

// With UDP only counted, datagrams are no probes.
func TestDatagramsThatAreOnlyCounted(t *testing.T) {
	for _, tt := range []struct {
		mode   watch.UDPMode
		kind   detector.Kind
		probes uint64
	}{{watch.UDPScore, detector.Mixed, 118}, {watch.UDPCount, detector.SYN, 18}} {
		d := newDesk(t, func(c *detector.ScorerConfig) { c.Ruleset.UDP = tt.mode }, detector.Sophos)
		o := scan(1, 0)
		o.Kinds[watch.UDP] = 70
		d.Observe(o)
		l := look(o, sec)
		l.Kinds = [watch.Kinds]uint32{watch.SYN: 18, watch.UDP: 100}
		d.places[1] = l
		d.Close()
		if len(d.said) != 2 || d.said[1].Kind != tt.kind || d.said[1].Probes != tt.probes {
			t.Errorf("mode %d: said %+v, want %s and %d", tt.mode, d.said, tt.kind, tt.probes)
		}
	}
}

// At the end of all time nothing overflows.
func TestLastMoment(t *testing.T) {
	d := newDesk(t, nil, detector.Sophos)
	o := scan(1, 0)
	for i := range o.Probes {
		o.Probes[i].Time = math.MaxUint64 - 5
	}
	o.Time, o.Last, o.Before, o.Chain, o.Born = math.MaxUint64-5, math.MaxUint64-5, math.MaxUint64-5, math.MaxUint64-5, math.MaxUint64-5
	d.Observe(o)
	d.Advance(math.MaxUint64)
	if len(d.said) != 1 || d.said[0].Summary {
		t.Errorf("said %+v, want an alert", d.said)
	}
	d.Close()
	if len(d.said) != 2 || !d.said[1].Summary {
		t.Errorf("said %+v, want a summary", d.said)
	}
}

// What happens for most snapshots and at most moments allocates nothing.
func TestNothingNewAllocatesNothing(t *testing.T) {
	setup := naive.Published()
	setup.Rules.Window.Threshold = 1 // so that all three are active
	set := ruleset(&setup)
	alerts := 0
	s, err := detector.NewScorer(detector.ScorerConfig{Ruleset: set, Wall: wall, Alert: func(*detector.Alert) { alerts++ }})
	if err != nil {
		t.Fatal(err)
	}
	o := scan(1, 0)
	for range 22 {
		o.Packets = append(o.Packets, watch.Probe{Time: o.Time, Port: 80})
	}
	o.LastPacket, o.BeforePacket = o.Time, o.Time
	for i := 1; i < 100; i++ {
		other := *o
		other.Source = netip.PrefixFrom(netip.AddrFrom4([4]byte{203, 0, 114, byte(i)}), 32)
		s.Observe(&other)
	}
	s.Observe(o)
	if alerts != 300 {
		t.Fatalf("%d alerts, want 300", alerts)
	}
	quiet := scan(2, 0) // which never crosses a line
	quiet.Probes = quiet.Probes[:1]
	quiet.Probes[0].Port = 5000
	allocated := testing.AllocsPerRun(1000, func() {
		o.Time += uint64(ms)
		o.Last, o.LastPacket = o.Time, o.Time
		o.Probes[7].Time, o.Packets[21].Time = o.Time, o.Time
		o.Kinds[watch.SYN]++
		s.Observe(o)
		s.Observe(quiet)
		s.Advance(o.Time)
	})
	if allocated != 0 || alerts != 300 {
		t.Errorf("%v allocations and %d alerts, want 0 and 300", allocated, alerts)
	}
}

// BenchmarkObserve is what the snapshot of a source costs that is scanning, alone
// or among many.
func BenchmarkObserve(b *testing.B) {
	for _, sources := range []int{1, detector.DefaultMost / 2} { // each has two episodes
		b.Run(fmt.Sprintf("sources=%d", sources), func(b *testing.B) {
			s, err := detector.NewScorer(detector.ScorerConfig{Ruleset: published(), Wall: wall, Alert: func(*detector.Alert) {}})
			if err != nil {
				b.Fatal(err)
			}
			o := scan(1, 0)
			for i := range sources - 1 {
				other := *o
				other.Source = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
				s.Observe(&other)
			}
			b.ReportAllocs()
			for b.Loop() {
				o.Time++
				o.Last, o.Probes[7].Time = o.Time, o.Time
				s.Observe(o)
				s.Advance(o.Time)
			}
		})
	}
}

// TestTimesOfAnAlertAreOfOneClock: the wall's clock may be corrected, or asked
// late, while an alert is put together. The times in it are as far apart as the
// probes were.
func TestTimesOfAnAlertAreOfOneClock(t *testing.T) {
	asked := 0
	d := newDesk(t, func(c *detector.ScorerConfig) {
		c.Wall = func(ns uint64) time.Time {
			asked++
			return wall(ns).Add(time.Duration(asked) * time.Millisecond)
		}
	}, detector.Sophos)
	const apart = 10 * time.Millisecond
	var ports []uint16
	var times []time.Duration
	for i := range 8 {
		ports, times = append(ports, uint16(i+1)), append(times, time.Duration(i)*apart)
	}
	d.Observe(snapshot(1, ports, times...))
	d.Close()
	if len(d.said) != 2 {
		t.Fatalf("said %d times", len(d.said))
	}
	for _, a := range d.said {
		if !a.Begin.Equal(a.Proof[0].Time) || a.Time.Sub(a.Begin) != 7*apart {
			t.Errorf("begun at %v, by the proof at %v, over the line at %v", a.Begin, a.Proof[0].Time, a.Time)
		}
		for i := range a.Proof[1:] {
			if gap := a.Proof[i+1].Time.Sub(a.Proof[i].Time); gap != apart {
				t.Errorf("probes %d and %d are %v apart", i, i+1, gap)
			}
		}
	}
}
