package main

import (
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"synoptic/bpf/watch"
)

// readings are two Documents, two seconds apart.
func readings() (before, after *Document) {
	at := time.Date(2026, 11, 25, 4, 0, 0, 0, time.UTC)
	before = &Document{
		Version: "v1.2.3", Since: at.Add(-90 * time.Minute), Time: at, Policies: []string{"sophos", "scanlogd"},
		Interfaces: []Interface{{"eth0", "native"}, {"eth1", "tcx"}},
		Sources:    1234, Room: 458752, Episodes: 1, Evictions: Evictions{Idle: 5}, Lost: map[string]uint64{"ring-full": 0},
		RunTime: RunTime{NS: 1_000_000, Count: 10_000},
	}
	c := &before.Counters
	c.TCP[ack], c.TCP[ack|psh], c.TCP[syn], c.UDP, c.NotIP = 1_000_000, 234_567, 4_000, 500, 7
	c.Probes, c.Repeats, c.Backscatter, c.Ignored = 4_400, 1, 3, 2
	copied := *before
	after = &copied
	after.Time = at.Add(2 * time.Second)
	after.Counters.TCP[ack] += 100_001
	after.Counters.TCP[fin|psh|urg] += 11
	after.Counters.UDP += 3
	after.RunTime = RunTime{NS: 1_000_000 + 4_600_000, Count: 10_000 + 100_000}
	after.Evictions.Live = 1
	after.Lost = map[string]uint64{"ring-full": 12, "crowded": 1, "none": 0}
	after.Alerts = []AlertCount{{"scanlogd", "syn", 1}, {"sophos", "syn", 2}}
	after.Sinks = []SinkState{{Name: "eve", Written: 3}, {Name: "syslog", Written: 1, Lost: 2, Failures: 4, Failing: true, Err: "send to udp://10.0.0.1:514: connection refused"},
		{Name: "stderr", Written: 1000, Failures: 1, Err: "old"}}
	after.Top = []Source{
		{Source: netip.MustParsePrefix("192.0.2.7/32"), Points: map[string]int{"sophos": 66, "scanlogd": 60}, Ports: 22, Hosts: 1,
			Kinds: map[string]uint32{"syn": 998, "udp": 2, "null": 0, "ack": 2}, Probes: 1002, Since: at.Add(-time.Minute), Last: at.Add(1500 * time.Millisecond)},
		{Source: netip.MustParsePrefix("2001:db8::/64"), Points: map[string]int{"sophos": 3}, Ports: 1, Hosts: 40,
			Kinds: map[string]uint32{"syn": 40}, Probes: 40, Since: at.Add(-time.Hour), Last: at.Add(-59 * time.Minute)},
		{Source: netip.MustParsePrefix("198.51.100.1/32"), Ports: 1, Hosts: 1, Kinds: map[string]uint32{"udp": 1}, Probes: 1, Since: at, Last: at.Add(3 * time.Second)},
	}
	return before, after
}

const statusText = `synwatch    v1.2.3, since 2026-11-25 02:30:00 (1h30m2s)
policies    sophos, scanlogd
interfaces  eth0 (native), eth1 (tcx)
cost        46 ns a packet, 0.23 % of a core at 50,000 packets/s
packets     1,339,089: tcp-ack 1,334,568, tcp-syn 4,000, udp 503, tcp-xmas 11, not-ip 7
probes      4,400, of which 1 repeat; 3 SYN+ACKs of backscatter, 2 ignored
sources     1,234 remembered, room for 458,752; 5 idle and 1 live ones evicted; 1 active episode
alerts      3: scanlogd syn 1, sophos syn 2
lost        crowded 1, ring-full 12
output      eve: 3 written
output      syslog: 1 written, 2 lost, failing: send to udp://10.0.0.1:514: connection refused
output      stderr: 1,000 written, 1 failure in the past

SOURCE         SOPHOS  SCANLOGD  PORTS  HOSTS  PROBES  AGE   LAST   KINDS
192.0.2.7      66      60        22     1      1,002   1m2s  500ms  syn ack udp
2001:db8::/64  3       0         1      40     40      1h0m2s  59m2s  syn
198.51.100.1   0       0         1      1      1       2s    0s     udp
`

func TestRenderStatus(t *testing.T) {
	inUTC(t)
	before, after := readings()
	got := renderStatus(after, costLine(costBetween(before, after), nil, 2*time.Second))
	if want := aligned(statusText); aligned(got) != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	for line := range strings.Lines(got) {
		if strings.HasSuffix(line, " \n") {
			t.Errorf("spaces at the end of %q", line)
		}
	}
}

// aligned makes columns that are apart by any number of spaces two apart.
func aligned(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		for strings.Contains(line, "   ") {
			line = strings.ReplaceAll(line, "   ", "  ")
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "")
}

const topText = `synwatch 04:00:02  up 1h30m2s  eth0 (native), eth1 (tcx)  sophos, scanlogd
packets/s 50,008: tcp-ack 50,001, tcp-xmas 6, udp 2
sources  1,234 remembered, room for 458,752; 5 idle and 1 live ones evicted; 1 active episode
alerts  3: scanlogd syn 1, sophos syn 2  lost crowded 1, ring-full 12
cost  46 ns a packet, 0.23 % of a core at 50,000 packets/s
output  syslog: 1 written, 2 lost, failing: send to udp://10.0.0.1:514: connection refused

SOURCE  SOPHOS  SCANLOGD  PORTS  HOSTS  PROBES  AGE  LAST  KINDS
192.0.2.7  66  60  22  1  1,002  1m2s  500ms  syn ack udp
2001:db8::/64  3  0  1  40  40  1h0m2s  59m2s  syn
198.51.100.1  0  0  1  1  1  2s  0s  udp
`

func TestRenderTop(t *testing.T) {
	inUTC(t)
	before, after := readings()
	cost := costLine(costBetween(before, after), nil, 2*time.Second)
	got := renderTop(after, before, cost, 0)
	if aligned(got) != topText {
		t.Errorf("%s\nwant\n%s", aligned(got), topText)
	}
	all := strings.Split(got, "\n")
	for height, rows := range map[int]int{6: 0, 7: 0, 8: 0, 9: 1, 10: 2, 11: 3, 24: 3} {
		lines := strings.Split(strings.TrimSuffix(renderTop(after, before, cost, height), "\n"), "\n")
		if len(lines) > max(height, 6) {
			t.Errorf("%d lines at a height of %d", len(lines), height)
		}
		if n := max(len(lines)-8, 0); n != rows {
			t.Errorf("%d sources at a height of %d, want %d", n, height, rows)
		}
		if lines[0] != all[0] {
			t.Errorf("at a height of %d the first line is %q", height, lines[0])
		}
	}
}

// Nothing has happened yet.
func TestRenderNothing(t *testing.T) {
	inUTC(t)
	d := &Document{Version: "v", Since: time.Unix(0, 0).UTC(), Time: time.Unix(0, 0).UTC()}
	got := renderStatus(d, costLine(nil, nil, 0))
	for _, want := range []string{"interfaces  none\n", "packets     0: none\n", "alerts      none\n", "lost        nothing\n", "cost        not measured\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing from\n%s", want, got)
		}
	}
	if got := renderTop(d, d, "", 24); !strings.Contains(got, "packets/s -: none\n") || strings.Contains(got, "SOURCE") {
		t.Errorf("top shows\n%s", got)
	}
}

func TestCost(t *testing.T) {
	before, after := readings()
	if c := costBetween(before, after); c == nil || c.NSPerPacket != 46 || c.PacketRate != 50_000 || c.Core != 0.0023 {
		t.Errorf("%+v", c)
	}
	// Nobody counted, the daemon was restarted, or time stands still.
	for name, change := range map[string]func(d *Document){
		"no_runs":     func(d *Document) { d.RunTime = before.RunTime },
		"less_runs":   func(d *Document) { d.RunTime.Count = 5 },
		"less_time":   func(d *Document) { d.RunTime.NS = 5 },
		"same_moment": func(d *Document) { d.Time = before.Time },
	} {
		_, after := readings()
		change(after)
		if c := costBetween(before, after); c != nil {
			t.Errorf("%s: %+v", name, c)
		}
	}
	if got := costLine(nil, errors.New("enable run statistics: operation not permitted"), time.Second); got != "not known: enable run statistics: operation not permitted" {
		t.Errorf("without privilege: %s", got)
	}
	if got := costLine(nil, nil, time.Second); got != "no packets in 1s" {
		t.Errorf("without packets: %s", got)
	}
}

// Every frame is in one class, and every set of flags.
func TestClassesAddUp(t *testing.T) {
	var c watch.Counters
	n := uint64(0)
	next := func() uint64 { n++; return n * n }
	for i := range c.TCP {
		c.TCP[i] = next()
	}
	for _, p := range []*uint64{&c.NotIP, &c.Malformed, &c.TooDeep, &c.Filtered, &c.UDP, &c.ICMP, &c.Other, &c.Fragments, &c.Tiny} {
		*p = next()
	}
	c.Probes, c.Known, c.Events = next(), next(), next()
	var sum uint64
	var names []string
	for _, class := range packetClasses(&c) {
		sum += class.packets
		names = append(names, class.name)
	}
	if sum != c.Frames() {
		t.Errorf("the classes have %d packets of %d", sum, c.Frames())
	}
	slices.Sort(names)
	if len(slices.Compact(names)) != 18 {
		t.Errorf("%d classes: %v", len(names), names)
	}
}

func TestFlagClasses(t *testing.T) {
	for flags, want := range map[int]string{
		0: "tcp-null", syn: "tcp-syn", syn | psh | urg: "tcp-syn", syn | ack: "tcp-syn-ack", ack: "tcp-ack", ack | psh: "tcp-ack", ack | psh | urg: "tcp-ack",
		fin: "tcp-fin", fin | psh | urg: "tcp-xmas", fin | psh: "tcp-odd", psh: "tcp-odd", fin | ack: "tcp-fin-ack", fin | ack | psh: "tcp-fin-ack",
		rst: "tcp-rst", rst | ack: "tcp-rst", 63: "tcp-rst", syn | fin: "tcp-odd", syn | fin | ack: "tcp-odd", urg: "tcp-odd",
	} {
		if got := flagClass(flags); got != want {
			t.Errorf("flags %#02x are %s, want %s", flags, got, want)
		}
	}
	counts := map[string]int{}
	for flags := range 64 {
		counts[flagClass(flags)]++
	}
	want := map[string]int{"tcp-rst": 32, "tcp-ack": 4, "tcp-fin-ack": 4, "tcp-syn-ack": 4, "tcp-syn": 4, "tcp-null": 1, "tcp-fin": 1, "tcp-xmas": 1, "tcp-odd": 13}
	for class, n := range want {
		if counts[class] != n {
			t.Errorf("%d sets of flags are %s, want %d", counts[class], class, n)
		}
	}
}

// Programs read the keys of the Document; lists are lists though they are empty.
func TestDocumentKeys(t *testing.T) {
	d := &Document{}
	d.fill()
	text, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(text, &keys); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"version", "since", "time", "policies", "interfaces", "packets", "counters", "sources", "room", "episodes", "evictions", "lost",
		"alerts", "sinks", "top", "run_time_ns", "run_cnt"} {
		if _, ok := keys[key]; !ok {
			t.Errorf("%s is missing", key)
		}
	}
	for _, key := range []string{"interfaces", "policies", "alerts", "sinks", "top"} {
		if string(keys[key]) != "[]" {
			t.Errorf("%s is %s", key, keys[key])
		}
	}
	for _, key := range []string{"cost", "error"} {
		if _, ok := keys[key]; ok {
			t.Errorf("%s is there", key)
		}
	}
}

func inUTC(t *testing.T) {
	t.Helper()
	old := time.Local
	time.Local = time.UTC
	t.Cleanup(func() { time.Local = old })
}
