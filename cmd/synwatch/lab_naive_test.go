package main_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/google/gopacket/pcapgo"
	"golang.org/x/sys/unix"

	"synoptic/detector"
)

// A second opinion on a capture: it keeps every packet and knows nothing of how
// the detector decides.

const (
	fin = 1 << iota
	syn
	rst
	psh
	ack
	urg
)

// packet is a TCP segment or UDP datagram over IPv4.
type packet struct {
	at       time.Time
	from, to netip.AddrPort
	udp      bool
	flags    uint8 // valid iff !udp
}

// readCapture returns the packets of a recording that readers of ports care
// about.
func readCapture(t *testing.T, path string) (list []packet) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := pcapgo.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for {
		frame, info, err := r.ZeroCopyReadPacketData()
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		if p, ok := dissect(frame); ok {
			p.at = info.Timestamp
			list = append(list, p)
		}
	}
}

func dissect(frame []byte) (p packet, ok bool) {
	if len(frame) < 34 || binary.BigEndian.Uint16(frame[12:]) != unix.ETH_P_IP {
		return p, false
	}
	ip := frame[14:]
	size := int(ip[0]&15) * 4
	if binary.BigEndian.Uint16(ip[6:])&0x1fff != 0 || len(ip) < size+14 && ip[9] == unix.IPPROTO_TCP || len(ip) < size+8 {
		return p, false
	}
	l4 := ip[size:]
	p.from = netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip[12:16])), binary.BigEndian.Uint16(l4))
	p.to = netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip[16:20])), binary.BigEndian.Uint16(l4[2:]))
	switch ip[9] {
	case unix.IPPROTO_TCP:
		p.flags = l4[13] & 63
	case unix.IPPROTO_UDP:
		p.udp = true
	default:
		return p, false
	}
	return p, true
}

// probes returns those packets to a host that are probes: not an answer, and of
// no conversation. A conversation is known from the host's own packets: its SYN,
// its SYN+ACK, its datagram. A SYN+ACK of no conversation is what a flood in the
// host's name scatters, and a probe only if its source is probing anyway.
func probes(packets []packet, host netip.Addr) (list []packet) {
	type conversation struct {
		here, there netip.AddrPort
		udp         bool
	}
	known, probed := map[conversation]bool{}, map[netip.Addr]time.Time{}
	for _, p := range packets {
		switch {
		case p.from.Addr() == host:
			if p.udp || p.flags&(syn|rst) == syn {
				known[conversation{p.from, p.to, p.udp}] = true
			}
		case p.to.Addr() != host || !p.udp && p.flags&rst != 0:
		case (p.udp || p.flags&ack != 0) && known[conversation{p.to, p.from, p.udp}]:
		case !p.udp && p.flags&(syn|ack) == syn|ack && p.at.Sub(probed[p.from.Addr()]) > rules[detector.Scanlogd].span:
		default:
			probed[p.from.Addr()] = p.at
			list = append(list, p)
		}
	}
	return list
}

// rule is a policy as semantics has it.
type rule struct {
	name              string
	span, quiet       time.Duration
	threshold         int // reached by scanlogd's, exceeded by the others
	high, low, trap   int
	chain, everything bool // new ports with no longer gap than span; every TCP packet scores
}

var rules = map[string]rule{
	detector.Sophos:       {name: detector.Sophos, span: 300 * time.Millisecond, quiet: 10 * time.Second, threshold: 22, high: 1, low: 3, trap: 10},
	detector.Scanlogd:     {name: detector.Scanlogd, span: 3 * time.Second, quiet: 3 * time.Second, threshold: 21, high: 1, low: 3, trap: 3, chain: true},
	detector.SophosPacket: {name: detector.SophosPacket, span: 300 * time.Millisecond, quiet: 10 * time.Second, threshold: 22, high: 1, low: 3, trap: 10, everything: true},
}

func (r rule) points(port uint16) int {
	switch {
	case port >= 1024 && port != 2000:
		return r.high
	case port == 11 || port == 12 || port == 13:
		return r.trap
	case port == 2000:
		if r.trap == r.low { // it has no traps
			return r.high
		}
		return r.trap
	}
	return r.low
}

// accuse returns when each source's episodes begin. For the literal rule it
// takes all packets, for the others probes.
func (r rule) accuse(packets []packet) map[netip.Addr][]time.Time {
	type key struct {
		port uint16
		udp  bool
	}
	type state struct {
		latest      map[key]time.Time
		began       time.Time // of the chain
		fresh, last time.Time
		packets     []packet
		active      bool
	}
	accused, all := map[netip.Addr][]time.Time{}, map[netip.Addr]*state{}
	for _, p := range packets {
		s := all[p.from.Addr()]
		if s == nil {
			s = &state{latest: map[key]time.Time{}}
			all[p.from.Addr()] = s
		}
		if s.active && p.at.Sub(s.last) > r.quiet {
			s.active = false
		}
		s.last = p.at
		sum, k := 0, key{p.to.Port(), p.udp}
		before, seen := s.latest[k]
		switch {
		case r.everything:
			if p.udp {
				continue
			}
			s.packets = append(s.packets, p)
			for p.at.Sub(s.packets[0].at) > r.span {
				s.packets = s.packets[1:]
			}
			for _, q := range s.packets {
				sum += r.points(q.to.Port())
			}
		case r.chain:
			if s.fresh.IsZero() || p.at.Sub(s.fresh) > r.span {
				s.began, s.fresh = p.at, p.at
			}
			s.latest[k] = p.at
			if seen && !before.Before(s.began) {
				continue
			}
			s.fresh = p.at
			for q, at := range s.latest {
				if !at.Before(s.began) {
					sum += r.points(q.port)
				}
			}
		default:
			s.latest[k] = p.at
			if seen && p.at.Sub(before) <= r.span {
				continue
			}
			for q, at := range s.latest {
				if p.at.Sub(at) <= r.span {
					sum += r.points(q.port)
				}
			}
		}
		if sum >= r.threshold && !s.active {
			s.active = true
			accused[p.from.Addr()] = append(accused[p.from.Addr()], p.at)
		}
	}
	return accused
}

// TestSecondOpinion holds the second opinion itself against cases by hand.
func TestSecondOpinion(t *testing.T) {
	host, other := netip.MustParseAddr("172.17.1.2"), netip.MustParseAddr("172.17.1.1")
	start := time.Unix(1_700_000_000, 0)
	// each is a probe of a port so many microseconds after the first.
	type each struct {
		after int
		port  uint16
	}
	spread := func(n, gap int, first uint16) (list []each) {
		for i := range n {
			list = append(list, each{i * gap, first + uint16(i)})
		}
		return list
	}
	for _, c := range []struct {
		name   string
		probes []each
		sophos int // index of the probe that crosses the line, -1 for none
		gap    int
	}{
		{"twenty_one_high_ports_reach_only_scanlogds_line", spread(21, 1000, 5000), -1, 20},
		{"twenty_two_exceed_both", spread(22, 1000, 5000), 21, 20},
		{"seven_low_ports_are_21_points", spread(7, 1000, 100), -1, 6},
		{"eight_are_24", spread(8, 1000, 100), 7, 6},
		{"two_traps_are_20_and_a_low_port_makes_23", []each{{0, 11}, {1, 2000}, {2, 80}}, 2, -1},
		{"the_window_is_inclusive", []each{{0, 11}, {1, 12}, {300_000, 80}}, 2, -1},
		{"and_sharp", []each{{0, 11}, {1, 12}, {300_001, 80}}, -1, -1},
		{"the_gap_is_inclusive", spread(7, 3_000_000, 100), -1, 6},
		{"and_sharp_too", spread(7, 3_000_001, 100), -1, -1},
		{"a_port_counts_once", []each{{0, 80}, {1, 80}, {2, 80}, {3, 80}, {4, 80}, {5, 80}, {6, 80}, {7, 80}, {8, 80}}, -1, -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			var packets []packet
			for _, p := range c.probes {
				packets = append(packets, packet{
					at: start.Add(time.Duration(p.after) * time.Microsecond), from: netip.AddrPortFrom(other, 4000), to: netip.AddrPortFrom(host, p.port), flags: syn,
				})
			}
			for policy, want := range map[string]int{detector.Sophos: c.sophos, detector.Scanlogd: c.gap} {
				got := fmt.Sprint(rules[policy].accuse(probes(packets, host))[other])
				text := "[]"
				if want >= 0 {
					text = fmt.Sprint([]time.Time{packets[want].at})
				}
				if got != text {
					t.Errorf("%s accuses at %s, want %s", policy, got, text)
				}
			}
		})
	}
	t.Run("answers_and_conversations_are_no_probes", func(t *testing.T) {
		here, there := netip.AddrPortFrom(host, 80), netip.AddrPortFrom(other, 4000)
		for _, c := range []struct {
			name string
			list []packet
			want int
		}{
			{"reset", []packet{{to: here, from: there, flags: rst}}, 0},
			{"ack_of_no_connection", []packet{{to: here, from: there, flags: ack}}, 1},
			{"connection", []packet{{to: here, from: there, flags: syn}, {to: there, from: here, flags: syn | ack}, {to: here, from: there, flags: ack}, {to: here, from: there, flags: fin | ack}}, 1},
			{"ack_of_a_closed_port", []packet{{to: here, from: there, flags: syn}, {to: there, from: here, flags: rst | ack}, {to: here, from: there, flags: ack}}, 2},
			{"datagram_and_answer", []packet{{to: there, from: here, udp: true}, {to: here, from: there, udp: true}}, 0},
			{"backscatter", []packet{{at: start, to: here, from: there, flags: syn | ack}}, 0},
			{"a_syn_ack_among_probes", []packet{{at: start, to: here, from: there, flags: syn}, {at: start, to: here, from: there, flags: syn | ack}}, 2},
			{"datagram", []packet{{to: here, from: there, udp: true}}, 1},
		} {
			if got := len(probes(c.list, host)); got != c.want {
				t.Errorf("%s: %d probes, want %d", c.name, got, c.want)
			}
		}
	})
}
