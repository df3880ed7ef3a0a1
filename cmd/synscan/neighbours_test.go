package main

import (
	"fmt"
	"net/netip"
	"regexp"
	"testing"
	"time"

	"synoptic/internal/lab"
)

// A link with 65,536 addresses, of which one in a hundred is somebody's.
func TestManyNeighboursFewAlive(t *testing.T) {
	l := lab.New(t, lab.Config{})
	h := l.MustAddHost(t, lab.HostConfig{Place: lab.OwnLink})
	const live, rate = 655, 20_000
	for _, c := range []struct {
		link    string // whose addresses are all on the link
		targets string // of them
		retries int
	}{
		{"172.20.0.0/16", "172.20.0.0/16", 0},
		{"fd00:172:20::/112", "fd00:172:20::/112", 0},
		// Every unanswered question is asked once more.
		{"172.21.0.0/16", "172.21.0.0/20", 1},
		{"fd00:172:21::/112", "fd00:172:21::/116", 1},
	} {
		link, targets := netip.MustParsePrefix(c.link), netip.MustParsePrefix(c.targets)
		// All but the first, which can be the network's name or an anycast address.
		own, alive := nth(link, 0xfffe), map[netip.Addr]bool{}
		var theirs []netip.Prefix
		for i := range live {
			a := nth(link, uint16(7+100*i))
			theirs = append(theirs, netip.PrefixFrom(a, link.Bits()))
			alive[a] = targets.Contains(a)
		}
		if err := h.Namespace.AddAddrs(h.Far, theirs...); err != nil {
			t.Fatal(err)
		}
		if err := l.Scanner.AddAddrs(h.Near, netip.PrefixFrom(own, link.Bits())); err != nil {
			t.Fatal(err)
		}
		t.Run(fmt.Sprintf("%s/retries=%d", c.targets, c.retries), func(t *testing.T) {
			asked := map[netip.Addr]int{}
			questions := 0
			var first, last time.Time
			stop, err := h.Namespace.Watch(h.Far, func(frame []byte) {
				if p, ok := parseFrame(frame); ok && p.target.IsValid() && targets.Contains(p.target) {
					asked[p.target]++
					questions++
					last = time.Now()
					if first.IsZero() {
						first = last
					}
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			// A closed port: the kernel answers a SYN+ACK that it knows nothing of
			// with a reset, for which it asks on its own account.
			s := scanIn(t, l.Scanner, "-sS", "-p80", "--rate", fmt.Sprint(rate), "--retries", fmt.Sprint(c.retries), c.targets)
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			s.ends(t, exitDone)

			all := 1 << (targets.Addr().BitLen() - targets.Bits())
			pass := time.Duration(float64(all) / rate * float64(time.Second))
			t.Logf("%d questions in %v; the scan took %v", questions, last.Sub(first), s.took)
			t.Attr("questions/address", fmt.Sprint(float64(questions)/float64(all)))
			t.Attr("s", fmt.Sprint(s.took.Seconds()))
			if most := pass*time.Duration(c.retries+1) + 5*time.Second; s.took > most {
				t.Errorf("took %v, want at most %v", s.took, most)
			}
			if last.Sub(first) < pass*9/10 {
				t.Errorf("%d questions within %v are more than %d a second", questions, last.Sub(first), rate)
			}
			// Nobody has to be asked where the own, the lowest and the broadcast
			// address are; everybody else is asked until there is an answer.
			wrong := 0
			expected := 0
			for i := range all {
				a, want := nth(targets, uint16(i)), c.retries+1
				if alive[a] {
					want = 1
				}
				if a == own || i == 0 || i == 0xffff {
					if a == own && asked[a] > 0 || asked[a] > want {
						t.Errorf("%v is asked for %d times", a, asked[a])
					}
				} else if asked[a] != want {
					if wrong++; wrong <= 10 {
						t.Errorf("%v is asked for %d times, want %d", a, asked[a], want)
					}
				}
				state := s.found[netip.AddrPortFrom(a, 80)]
				switch {
				case alive[a] || a == own:
					expected++
					if state != "closed reset" {
						t.Errorf("%v is %q", a, state)
					}
				case state != "":
					t.Errorf("%v, which is nobody's, is %q", a, state)
				}
			}
			if wrong > 10 {
				t.Errorf("... and %d more", wrong-10)
			}
			if got := s.summary; got.Probed != uint64(expected) || got.Unreachable != uint64(all-expected) || got.HostsAlive != uint64(expected) {
				t.Errorf("%d of %d probed, %d without a link address, %d alive; want %d, %d, %d",
					got.Probed, all, got.Unreachable, got.HostsAlive, expected, all-expected, expected)
			}
		})
	}
}

// nth returns the address of that number in a prefix of 2^16 or fewer.
func nth(p netip.Prefix, n uint16) netip.Addr {
	b := p.Addr().AsSlice()
	b[len(b)-2] |= byte(n >> 8)
	b[len(b)-1] |= byte(n)
	a, _ := netip.AddrFromSlice(b)
	return a
}

// Probes from an address that is not this machine's go out as such, with a
// warning; but nobody's neighbours are told that the address is here.
func TestForeignSource(t *testing.T) {
	l := lab.New(t, lab.Config{})
	hosts := []*lab.Host{
		l.MustAddHost(t, lab.HostConfig{Listen: []lab.Ports{lab.Port(80)}}),
		l.MustAddHost(t, lab.HostConfig{Place: lab.Routed, Listen: []lab.Ports{lab.Port(80)}}),
	}
	for _, source := range []string{"172.16.0.99", "198.51.100.7", "fd00:172:16::99", "2001:db8::7"} {
		t.Run(source, func(t *testing.T) {
			foreign := netip.MustParseAddr(source)
			targets := map[netip.Addr]int{} // and how often they were probed
			args := []string{"synscan", "-sS", "-p80,81", "--retries", "0", "--wait", "1", "-S", source}
			for _, h := range hosts {
				a := h.Addr4
				if foreign.Is6() {
					a = h.Addr6
				}
				targets[a] = 0
				args = append(args, a.String())
			}
			var lies, others []seen
			stop, err := l.Gate.Watch(lab.GateDevice, func(frame []byte) {
				p, ok := parseFrame(frame)
				_, target := targets[p.dst]
				switch {
				case !ok:
				case p.claims == foreign:
					lies = append(lies, p)
				case target && p.tcp && p.src == foreign:
					targets[p.dst]++
				case target && p.tcp:
					others = append(others, p)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			s := runIn(t, l.Scanner, args...)
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			s.ends(t, exitDone)
			for a, n := range targets {
				if n != 2 {
					t.Errorf("%d probes from the address reached %v, want 2", n, a)
				}
			}
			if len(lies) > 0 || len(others) > 0 {
				t.Errorf("neighbours were told that the address is here: %v; segments from elsewhere: %v", lies, others)
			}
			for at, state := range s.found {
				if state != "filtered no-response" {
					t.Errorf("%v is %q, though no answer can have come back", at, state)
				}
			}
			if !regexp.MustCompile(`(?m)\bwarning\b.*\banswers?\b`).MatchString(s.stderr) {
				t.Errorf("no warning that answers go elsewhere: %s", s.stderr)
			}
		})
	}
}
