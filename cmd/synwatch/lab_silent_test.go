package main_test

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"synoptic/detector"
	"synoptic/internal/lab"
)

// The page with the table, and the lines around it.
const (
	page       = "../../docs/detection.md"
	tableStart = "<!-- table of TestItStaysSilent: go test ./cmd/synwatch -run TestItStaysSilent -update -->\n"
	tableEnd   = "<!-- end of table -->\n"
)

// updating tells whether the flag of that name is set.
func updating() bool {
	f := flag.Lookup("update")
	return f != nil && f.Value.String() == "true"
}

// TestItStaysSilent: traffic that is no scan raises no alarm with the default
// policies, save where the rule itself has it so. The literal reading of the
// rule is put to the same packets, from the capture; docs/detection.md shows
// both.
func TestItStaysSilent(t *testing.T) {
	lab.NeedRoot(t)
	synwatch := build(t, "synwatch")
	table := new(bytes.Buffer)
	fmt.Fprintln(table, "| traffic | sources | `sophos` | `scanlogd` | `sophos-packet` |\n|---|--:|--:|--:|--:|")
	var notes []string
	all := true
	for _, traffic := range traffics() {
		ran := false
		t.Run(traffic.name, func(t *testing.T) {
			ran = true
			l := lab.New(t, lab.Config{})
			h := l.MustAddHost(t, lab.HostConfig{Place: lab.OwnLink})
			path := filepath.Join(t.TempDir(), "traffic.pcap")
			w := start(t, synwatch, h.Namespace, h.Far)
			stop, err := h.Namespace.Record(h.Far, path, netip.Addr{})
			if err != nil {
				t.Fatal(err)
			}
			traffic.run(t, l, h)
			time.Sleep(inTime)
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			w.stop()

			packets := readCapture(t, path)
			arrived := slices.DeleteFunc(slices.Clone(packets), func(p packet) bool { return p.to.Addr() != h.Addr4 })
			from, happened := map[netip.Addr]bool{}, 0
			for _, p := range arrived {
				from[p.from.Addr()] = true
				if traffic.happened(p) {
					happened++
				}
			}
			if happened < traffic.atLeast {
				t.Fatalf("%d packets of it were seen, want %d: no test", happened, traffic.atLeast)
			}
			row := fmt.Sprintf("| %s | %s", traffic.title, thousands(len(from)))
			for _, policy := range []string{detector.Sophos, detector.Scanlogd} {
				want := slices.SortedFunc(maps.Keys(rules[policy].accuse(probes(packets, h.Addr4))), netip.Addr.Compare)
				if expected := policy == detector.Sophos && traffic.sophos || policy == detector.Scanlogd && traffic.scanlogd; expected != (len(want) > 0) {
					t.Errorf("%s: by a second opinion the rule accuses %v", policy, some(want))
				}
				got := sources(w.begun(policy))
				if !slices.Equal(got, want) {
					t.Errorf("%s accuses %s, want %s", policy, some(got), some(want))
				}
				row += " | " + thousands(len(got))
			}
			literal := slices.SortedFunc(maps.Keys(rules[detector.SophosPacket].accuse(arrived)), netip.Addr.Compare)
			got := sources(replay(t, synwatch, path, detector.SophosPacket, "dst host "+h.Addr4.String()))
			if !slices.Equal(got, literal) {
				t.Errorf("%s accuses %s, want %s", detector.SophosPacket, some(got), some(literal))
			}
			fmt.Fprintf(table, "%s | %s |\n", row, thousands(len(got)))
			if traffic.note != "" {
				notes = append(notes, fmt.Sprintf("- %s: %s", traffic.title, traffic.note))
			}
			t.Logf("%d packets arrived from %d sources; %d of what makes it; the literal rule accuses %d", len(arrived), len(from), happened, len(got))
		})
		all = all && ran
	}
	if !all || t.Failed() { // the table would have holes
		return
	}
	fmt.Fprintf(table, "\n%s\n", strings.Join(notes, "\n"))
	compareTable(t, table.String())
}

// compareTable holds the page's table against one, or writes it there.
func compareTable(t *testing.T, table string) {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, begun := strings.Cut(string(text), tableStart)
	had, after, ended := strings.Cut(rest, tableEnd)
	if !begun || !ended {
		t.Fatalf("%s has no place for the table", page)
	}
	if had == table {
		return
	}
	if !updating() {
		t.Errorf("%s shows\n%s\nwant\n%s\nrefresh it with -update", page, had, table)
		return
	}
	if err := os.WriteFile(page, []byte(before+tableStart+table+tableEnd+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

// some writes a list of addresses that may be long.
func some(list []netip.Addr) string {
	if len(list) > 5 {
		return fmt.Sprintf("%v and %d more", list[:5], len(list)-5)
	}
	return fmt.Sprint(list)
}

// thousands writes a number with commas.
func thousands(n int) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
