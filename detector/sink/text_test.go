package sink

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	"synoptic/detector"
)

func TestDescribe(t *testing.T) {
	horizontal := sample()
	horizontal.Hosts, horizontal.Direction = 40, detector.Horizontal
	single := summary()
	single.Probes, single.Hosts, single.Handshakes, single.Time = 1, 1, 1, single.Begin
	for _, tc := range []struct {
		name  string
		alert *detector.Alert
		want  string
	}{
		{"a_scan", sample(), "192.0.2.7 scans 10.0.0.1: syn, vertical, 24 points in 21ms by sophos (more than 21 in 300ms), ports 21-23 53 80 110 111 443, on eth0"},
		{"many_hosts", horizontal, "192.0.2.7 scans about 40 hosts, last 10.0.0.1: syn, horizontal, 24 points in 21ms by sophos (more than 21 in 300ms), ports 21-23 53 80 110 111 443, on eth0"},
		{"its_end", summary(), "192.0.2.7 has stopped: connect, block, 1000 probes to about 3 hosts, last 10.0.0.1 in 12.34s by sophos, 12 connections completed, on eth0"},
		{"one_of_each", single, "192.0.2.7 has stopped: connect, block, 1 probe to 10.0.0.1 in 0s by sophos, 1 connection completed, on eth0"},
		{"udp_of_a_network", datagrams(), "2001:db8::7 (2001:db8::/64) scans fd00::1: udp, vertical, 21 points in 21ms by scanlogd (21 or more, gaps up to 3s), ports 23 21/udp 22/udp 53/udp 80/udp 110/udp 111/udp 443/udp"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := Describe(tc.alert); got != tc.want {
				t.Errorf("%s\nwant\n%s", got, tc.want)
			}
		})
	}
}

func TestPorts(t *testing.T) {
	for _, tc := range []struct {
		name string
		tcp  []uint16
		udp  []uint16
		want string
	}{
		{"none", nil, nil, ""},
		{"two_neighbours_are_no_range", []uint16{2, 1}, nil, "1 2"},
		{"three_are", []uint16{3, 1, 2}, nil, "1-3"},
		{"twice_the_same", []uint16{5, 5, 5}, nil, "5"},
		{"both_protocols", []uint16{53, 54}, []uint16{54, 53, 55}, "53 54 53-55/udp"},
		{"the_ends", []uint16{65535, 0, 65534, 65533}, nil, "0 65533-65535"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var a detector.Alert
			for _, p := range tc.udp {
				a.Proof = append(a.Proof, detector.Point{Port: p, UDP: true})
			}
			for _, p := range tc.tcp {
				a.Proof = append(a.Proof, detector.Point{Port: p})
			}
			if got := strings.Join(ports(&a), " "); got != tc.want {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
}

func TestShort(t *testing.T) {
	for _, tc := range []struct {
		d    time.Duration
		want string
	}{
		{0, "0s"}, {1234567 * time.Nanosecond, "1ms"}, {234567 * time.Nanosecond, "235µs"}, {1234567 * time.Microsecond, "1.23s"}, {75 * time.Second, "1m15s"},
	} {
		if got := short(tc.d).String(); got != tc.want {
			t.Errorf("%v: %s, want %s", tc.d, got, tc.want)
		}
	}
}

// The time is the alert's own, of wherever the machine is; the journal has it
// already, and is told the severity.
func TestTextSink(t *testing.T) {
	in(t, "CET", 3600)
	for _, tc := range []struct {
		name    string
		journal bool
		want    string
	}{
		{"a_terminal", false, "synwatch: 2026-11-25 05:00:00.123 192.0.2.7 scans 10.0.0.1: *\nsynwatch: 2026-11-25 05:00:12.442 192.0.2.7 has stopped: *\nbye\n"},
		{"the_journal", true, "<4>192.0.2.7 scans 10.0.0.1: *\n<5>192.0.2.7 has stopped: *\nbye\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f, err := os.Create(t.TempDir() + "/text")
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			s := NewText(f, "stderr", "synwatch: ", tc.journal, Config{})
			s.Alert(sample())
			s.Alert(summary())
			s.Say("bye\n")
			if err := s.Close(time.Second); err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(f.Name())
			if err != nil {
				t.Fatal(err)
			}
			var lines [][]byte
			for line := range bytes.Lines(got) {
				if begin, _, ok := bytes.Cut(line, []byte(": syn, ")); ok {
					line = append(begin, ": *\n"...)
				} else if begin, _, ok := bytes.Cut(line, []byte(": connect, ")); ok {
					line = append(begin, ": *\n"...)
				}
				lines = append(lines, line)
			}
			if got := string(bytes.Join(lines, nil)); got != tc.want {
				t.Errorf("%q\nwant\n%q", got, tc.want)
			}
		})
	}
}
