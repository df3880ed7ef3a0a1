package filter

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"synoptic/bpf/watch"
)

// text writes a table a line a test, for people to compare.
func text(f watch.Filter) string {
	to := func(n uint16) string {
		switch n {
		case watch.Pass:
			return "pass"
		case watch.Reject:
			return "reject"
		}
		return fmt.Sprint(n)
	}
	names := [...]string{"family", "protocol", "src", "dst", "sport", "dport"}
	var b strings.Builder
	for i, n := range f {
		what := fmt.Sprintf("%d-%d", n.Lo, n.Hi)
		if n.Test == watch.TestSource || n.Test == watch.TestDestination {
			what = n.Prefix.String()
		}
		fmt.Fprintf(&b, "%d %s %s %s %s\n", i, names[n.Test], what, to(n.Yes), to(n.No))
	}
	return b.String()
}

// sound checks what must hold of every table: it ends, nothing in it is dead, no
// test decides nothing or is there twice, and each is filled in as its kind wants.
func sound(t *testing.T, f watch.Filter) {
	t.Helper()
	wrong := false
	fail := func(format string, args ...any) {
		t.Helper()
		wrong = true
		t.Errorf(format, args...)
	}
	if len(f) > watch.MaxNodes {
		fail("%d tests", len(f))
	}
	reached := make([]bool, len(f))
	twice := map[watch.Node]bool{}
	for i := range f {
		n := &f[i]
		if twice[*n] {
			fail("test %d is there twice", i)
		}
		twice[*n] = true
		if n.Yes == n.No {
			fail("test %d decides nothing", i)
		}
		for _, to := range []uint16{n.Yes, n.No} {
			switch {
			case to == watch.Pass || to == watch.Reject:
			case int(to) <= i || int(to) >= len(f):
				t.Fatalf("test %d of %d leads to %d", i, len(f), to)
			default:
				reached[to] = true
			}
		}
		if i > 0 && !reached[i] {
			fail("nothing leads to test %d", i)
		}
		switch n.Test {
		case watch.TestSource, watch.TestDestination:
			if !n.Prefix.IsValid() || n.Prefix != n.Prefix.Masked() || n.Lo != 0 || n.Hi != 0 {
				fail("test %d: %+v", i, n)
			}
		case watch.TestFamily, watch.TestProtocol, watch.TestSourcePort, watch.TestDestinationPort:
			if n.Lo > n.Hi || n.Prefix.IsValid() {
				fail("test %d: %+v", i, n)
			}
		default:
			fail("test %d: unknown kind %d", i, n.Test)
		}
	}
	if wrong {
		t.Fatal(text(f))
	}
}

func mustCompile(t *testing.T, expr string) watch.Filter {
	t.Helper()
	f, err := Compile(expr)
	if err != nil {
		t.Fatalf("%q: %v", expr, err)
	}
	sound(t, f)
	return f
}

func TestTables(t *testing.T) {
	for _, c := range []struct{ name, expr, want string }{
		{"the_vendors_example", "dst host 192.168.0.1 && dst portrange 1-1024", `
0 dst 192.168.0.1/32 1 reject
1 dport 1-1024 pass reject`},
		{"either_end_by_default", "port 80", `
0 sport 80-80 pass 1
1 dport 80-80 pass reject`},
		{"src_and_dst", "src and dst port 80", `
0 sport 80-80 1 reject
1 dport 80-80 pass reject`},
		{"protocol_before_port", "tcp dst port 22", `
0 protocol 6-6 1 reject
1 dport 22-22 pass reject`},
		{"protocol_is_asked_once", "tcp dst port 22 or 80 or 443", `
0 protocol 6-6 1 reject
1 dport 22-22 pass 2
2 dport 80-80 pass 3
3 dport 443-443 pass reject`},
		{"addresses_tell_the_family", "ip net 10.0.0.0/8 and ip", `
0 src 10.0.0.0/8 pass 1
1 dst 10.0.0.0/8 pass reject`},
		{"families_exclude_each_other", "src net 10 and not dst net fd00::/8 or (ip6 and not ip)", `
0 src 10.0.0.0/8 pass 1
1 family 6-6 pass reject`},
		{"only_tcp_udp_sctp_have_ports", "icmp or (port 80 and not icmp)", `
0 family 4-4 1 2
1 protocol 1-1 pass 2
2 sport 80-80 pass 3
3 dport 80-80 pass reject`},
		{"whatever_port_it_is_it_is_not_icmp", "(icmp or port 80) and not icmp", `
0 family 4-4 1 2
1 protocol 1-1 reject 2
2 sport 80-80 pass 3
3 dport 80-80 pass reject`},
		{"not_turns_around_without_a_test", "not (tcp or udp)", `
0 protocol 6-6 reject 1
1 protocol 17-17 reject pass`},
		{"a_wider_range_decides", "dst portrange 1-1024 and not dst portrange 0-2000 or udp", `
0 protocol 17-17 pass reject`},
		{"a_wider_network_decides", "src net 10 or src net 10.1 or src host 10.1.2.3", `
0 src 10.0.0.0/8 pass reject`},
		{"a_test_that_turns_out_needless_hides_nothing", "udp src port 9 or (src port 0 and src port 8) or udp port 1", `
0 protocol 17-17 1 reject
1 sport 9-9 pass 2
2 sport 1-1 pass 3
3 dport 1-1 pass reject`},
		{"equal_ends_are_shared", "(tcp and dst port 1) or (udp and dst port 1)", `
0 protocol 6-6 2 1
1 protocol 17-17 2 reject
2 dport 1-1 pass reject`},
		{"everything_is_no_table", "tcp or not tcp", ``},
		{"every_ipv4_packet", "net 0.0.0.0/0", `
0 src 0.0.0.0/0 pass reject`},
		{"every_packet_with_ports", "portrange 0-65535", `
0 sport 0-65535 pass reject`},
		{"what_is_not_ipv6_is_ipv4", "not src net ::/0 and ip", `
0 src ::/0 reject pass`},
		{"what_is_not_ipv4_is_ipv6", "not src net 0.0.0.0/0 and ip6", `
0 src 0.0.0.0/0 reject pass`},
		{"icmp_is_of_ipv4", "icmp", `
0 family 4-4 1 reject
1 protocol 1-1 pass reject`},
		{"nothing", "", ``},
		{"blanks", " \t\r\n ", ``},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := text(mustCompile(t, c.expr)); got != strings.TrimPrefix(c.want+"\n", "\n") {
				t.Errorf("%q:\n%swant%s", c.expr, got, c.want)
			}
		})
	}
}

// Spellings of the same.
func TestSpellings(t *testing.T) {
	for _, c := range [][]string{
		{"host 10.0.0.1", "src or dst host 10.0.0.1", "dst or src 10.0.0.1", "src || dst 10.0.0.1", " host\t10.0.0.1\n", "(host 10.0.0.1)", "host (10.0.0.1)",
			"((host ((10.0.0.1))))", "not not host 10.0.0.1", "!!host 10.0.0.1", "host not not 10.0.0.1", "ip host 10.0.0.1", "net 10.0.0.1", "net 10.0.0.1/32"},
		{"src and dst host fd00::1", "dst and src fd00::1", "src && dst host FD00:0::0:1", "ip6 src and dst host fd00::1", "src and dst net fd00::1/128"},
		{"net 10.0.0.0/8", "net 10.0.0.0 mask 255.0.0.0", "net 10", "net 10/8", "net 10.0.0.0 / 8", "net 10.0.0.0/010", "net 10.0/0x8", "net 10.0.0 mask 255.0.0.0", "ip net 10"},
		{"net 192.168.0.0/16", "net 192.168", "net 192.168.0.0 mask 255.255.0.0"},
		{"net 192.168.7.0/24", "net 192.168.7"},
		{"net 0.0.0.0/0", "net 0.0.0.0 mask 0.0.0.0", "net 0/0"},
		{"ip6 net fd00::/8", "net fd00::/8"},
		{"port 80", "src or dst port 80", "port 0x50", "port 0120", "portrange 80", "portrange 80-80", "port !!80"},
		{"portrange 80-90", "portrange 90-80", "portrange 080-0090"},
		{"proto 6", "tcp", "proto 0x6"},
		{"ip proto 1", "icmp"},
		{"ip and proto 47", "ip proto 47", "ip proto (47)"},
		{"ip6 and proto 58", "ip6 proto 58"},
		{"tcp && ! port 22", "tcp and not port 22", "tcp&&!port 22", "tcp and !(port 22)"},
		// and and or are equal, from the left
		{"tcp or udp and port 53", "(tcp or udp) and port 53"},
		{"tcp and port 53 or udp", "(tcp and port 53) or udp"},
		{"tcp or udp and port 53 or icmp and ip", "(((tcp or udp) and port 53) or icmp) and ip"},
		// not binds tightest
		{"not tcp and port 53", "(not tcp) and port 53"},
		{"not host 10.0.0.1 and 10.0.0.2", "(not host 10.0.0.1) and host 10.0.0.2"},
		// a bare value
		{"dst port 80 or 443", "dst port 80 or dst port 443", "dst port (80 or 443)"},
		{"tcp dst port 80 or 443 or 8080", "tcp dst port 80 or tcp dst port 443 or tcp dst port 8080", "tcp dst port (80 or (443 or 8080))"},
		{"host 10.0.0.1 or 10.0.0.2 and 10.0.0.3", "(host 10.0.0.1 or host 10.0.0.2) and host 10.0.0.3"},
		{"host 10.0.0.1 and not 10.0.0.2", "host 10.0.0.1 and not host 10.0.0.2", "host (10.0.0.1 and not 10.0.0.2)"},
		{"host 10.0.0.1 and (10.0.0.2 or 10.0.0.3)", "host 10.0.0.1 and (host 10.0.0.2 or host 10.0.0.3)"},
		{"host 10.0.0.1 and (10.0.0.2 or port 80)", "host 10.0.0.1 and (host 10.0.0.2 or port 80)"},
		{"portrange 1-2 or 5-6 or 9", "portrange 1-2 or portrange 5-6 or port 9"},
		{"src net 10.0.0.0/8 or 192.168.0.0/16 or 11", "src net 10 or src net 192.168 or src net 11"},
		{"ip proto 6 or 17", "ip and (tcp or udp)"},
		{"net 10.0.0.0 mask 255.0.0.0 or 11.0.0.0 mask 255.0.0.0", "net 10 or net 11"},
		// what a bare value means behind parentheses is what it meant before them
		{"tcp port 80 and (dst 10.0.0.1 or 10.0.0.2) or 443", "tcp port 80 and (dst host 10.0.0.1 or dst host 10.0.0.2) or tcp port 443"},
		{"port 80 or not (tcp) or 443", "port 80 or not tcp or port 443"},
		{"port 80 and (udp) or 443", "(port 80 and udp) or port 443"},
		{"port (80) or 443", "port 80 or port 443"},
		{"not port 80 or 443", "(not port 80) or port 443"},
	} {
		want := text(mustCompile(t, c[0]))
		if want == "" {
			t.Errorf("%q is nothing", c[0])
		}
		for _, other := range c[1:] {
			if got := text(mustCompile(t, other)); got != want {
				t.Errorf("%q:\n%sis not %q:\n%s", other, got, c[0], want)
			}
		}
	}
}

// mistakes are expressions that are refused, with the column and a part of what
// is said. tcpdump takes those that are marked, and refuses the others too.
var mistakes = []struct {
	expr    string
	column  int
	message string
	tcpdump string // "takes", "refuses"; "asks" would make it look up a name
}{
	{"tcp and port 80 vlan 3", 17, `"vlan" is not part of this language: packets are matched as if they had no VLAN tags, so leave it out`, "refuses"},
	{"vlan and tcp", 1, `"vlan" is not part of this language: packets are matched`, "takes"},
	{"tcp and ether host 00:11:22:33:44:55", 9, `"ether" is not part of this language: link-layer headers`, "takes"},
	{"tcp[13] & 2 != 0", 4, `"[" is not part of this language: bytes of a packet`, "takes"},
	{"(tcp [tcpflags] & tcp-syn) != 0", 6, `"[" is not part of this language: bytes of a packet`, "takes"},
	{"tcp and tcpflags = 2", 9, `"tcpflags" is not part of this language: bytes of a packet`, "takes"},
	{"icmp-echo = 8", 1, `"icmp-echo" is not part of this language: bytes of a packet`, "takes"},
	{"port 80 & tcp", 9, `"&" is not part of this language: arithmetic is not done here; "and" is "&&"`, "refuses"},
	{"port 80 | tcp", 9, `"or" is "||"`, "refuses"},
	{"less 64", 1, `"less" is not part of this language: lengths`, "takes"},
	{"tcp or greater 1000", 8, `"greater" is not part of this language: lengths`, "takes"},
	{"len > 64", 1, `"len" is not part of this language: lengths`, "takes"},
	{"icmp6", 1, `"icmp6" is not part of this language: write "ip6 proto 58"`, "takes"},
	{"sctp port 9", 1, `"sctp" is not part of this language: write "proto 132"`, "takes"},
	{"not igmp", 5, `"igmp" is not part of this language: write "proto 2"`, "takes"},
	{"gateway 10.0.0.1", 1, `"gateway" is not part of this language`, "refuses"},
	{"ip broadcast", 4, `"broadcast" is not part of this language: write "dst host"`, "takes"},
	{"ip multicast", 4, `"multicast" is not part of this language: write "dst net 224.0.0.0/4" or "dst net ff00::/8"`, "takes"},
	{"arp", 1, `"arp" is not part of this language: only IPv4 and IPv6 are counted`, "takes"},
	{"mpls", 1, `"mpls" is not part of this language: tunnels`, "takes"},
	{"ip6 protochain 6", 5, `"protochain" is not part of this language: write "proto"`, "takes"},
	{"inbound", 1, `"inbound" is not part of this language: what is counted comes in`, "refuses"},
	{"rset 1", 1, `"rset" is not part of this language: the firewall`, "refuses"},
	{"foo", 1, `"foo" is not part of this language: a test begins with one of "host"`, "refuses"},
	{"TCP and udp", 1, `"TCP" is not part of this language: write "tcp"`, "refuses"},
	{"tcp and Port 80", 9, `"Port" is not part of this language: write "port"`, "refuses"},
	{"mask 255.0.0.0", 1, `"mask" is not part of this language: a test begins`, "refuses"},
	{"пакет", 1, `"пакет" is not part of this language`, "refuses"},

	{"10.0.0.1", 1, `"10.0.0.1" needs a word before it that says what it is: write "host 10.0.0.1"`, "refuses"},
	{"80", 1, `"80" needs a word before it that says what it is: write "port 80"`, "refuses"},
	{"port 80 or tcp or 443", 19, `write "port 443"`, "refuses"},
	{"(port 80) or 443", 14, `write "port 443"`, "refuses"},
	{"port 80 and (tcp or 443)", 21, `write "port 443"`, "refuses"},
	{"tcp 80", 5, `"80" follows a test that is complete: write "and" or "or" before it`, "refuses"},
	{"host 10.0.0.1 port 80", 15, `"port" follows a test that is complete`, "refuses"},
	{"host 10.0.0.1 not port 80", 15, `"not" follows a test that is complete`, "refuses"},
	{"(tcp udp)", 6, `"udp" follows a test that is complete`, "refuses"},
	{"(tcp (udp))", 6, `"(" follows a test that is complete`, "refuses"},
	{"tcp and", 8, `the expression ends where a test should be`, "refuses"},
	{"not", 4, `the expression ends where a test should be`, "refuses"},
	{"port", 5, `the expression ends where a port should be`, "refuses"},
	{"portrange ", 11, `the expression ends where a port range should be`, "refuses"},
	{"tcp src", 1, `"tcp" does not go with "host"`, "refuses"},
	{"src", 4, `the expression ends where an address should be`, "refuses"},
	{"net not", 8, `the expression ends where a network should be`, "refuses"},
	{"proto", 6, `the expression ends where a protocol's number should be`, "refuses"},
	{"and tcp", 1, `a test is missing before "and"`, "refuses"},
	{"tcp and || udp", 9, `a test is missing before "||"`, "refuses"},
	{"()", 2, `a test is missing before ")"`, "refuses"},
	{"tcp or (udp", 8, `this "(" is never closed`, "refuses"},
	{"tcp)", 4, `this ")" closes nothing`, "refuses"},
	{"host port 80", 6, `"port" stands where an address should be`, "refuses"},
	{"host (10.0.0.1 or tcp)", 19, `"tcp" stands where an address should be`, "refuses"},
	{"port not src", 10, `"src" stands where a port should be`, "refuses"},
	{"host src 10.0.0.1", 6, `"src" stands where an address should be`, "refuses"},
	{"dst tcp port 80", 5, `"tcp" stands where an address should be`, "refuses"},
	{"host and 10.0.0.1", 6, `a test is missing before "and"`, "refuses"},
	{"src or port 80", 8, `write "src or dst"`, "refuses"},
	{"dst && dst port 80", 8, `write "dst && src"`, "refuses"},
	{"ip src or dst proto 6", 15, `a protocol has no direction`, "refuses"},
	{"src proto 6", 5, `a protocol has no direction`, "refuses"},

	{"tcp host 10.0.0.1", 1, `"tcp" does not go with "host": write "tcp and host ..."`, "refuses"},
	{"port 1 or icmp net 10.0.0.0/8", 11, `"icmp" does not go with "net": write "icmp and net ..."`, "refuses"},
	{"ip port 80", 1, `"ip" does not go with "port": write "ip and port ..."`, "refuses"},
	{"icmp portrange 1-2", 1, `"icmp" does not go with "portrange"`, "refuses"},
	{"tcp proto 6", 1, `"tcp" does not go with "proto"`, "refuses"},
	{"ip6 host 10.0.0.1", 10, `"ip6" is IPv6, and "10.0.0.1" is not: write "ip"`, "refuses"},
	{"ip net fd00::/8", 8, `"ip" is IPv4, and "fd00::" is not: write "ip6"`, "refuses"},

	{"host example.org", 6, `"example.org" is not an address, and names are not looked up: write the address`, "asks"},
	{"src localhost", 5, `"localhost" is not an address, and names are not looked up`, "asks"},
	{"dst 443", 5, `"443" is not an address: write "port 443" if it is a port`, "takes"},
	{"host 10.1", 6, `"10.1" is not a whole address: write "net 10.1" if it is a network`, "takes"},
	{"host 10.0.0.256", 6, `"10.0.0.256" is not an IP address`, "refuses"},
	{"host 10.0.0.01", 6, `"10.0.0.01" is not an IP address`, "takes"},
	{"host fd00:::1", 6, `"fd00:::1" is not an IP address`, "asks"},
	{"host fe80::1%eth0", 13, `"%" is not part of this language: packets do not tell the zone of an address`, "refuses"},
	{"net fe80::%eth0/10", 11, `"%" is not part of this language: packets do not tell the zone of an address`, "refuses"},
	{"port 5 + 6", 8, `"+" is not part of this language: arithmetic is not done here`, "refuses"},
	{"host ::ffff:10.0.0.1", 6, `write 10.0.0.1`, "takes"},
	{"src 10.0.0.0/8", 5, `"host" takes one address, not a network: write "net 10.0.0.0/8"`, "refuses"},
	{"net 10.0.0.1/8", 5, `10.0.0.1 has bits beyond the first 8: write "net 10.0.0.0/8"`, "refuses"},
	{"net fd00::1/64", 5, `write "net fd00::/64"`, "refuses"},
	{"net 10.0.0.0 mask 0.0.0.0", 5, `write "net 0.0.0.0/0"`, "refuses"},
	{"net 10.0.0.0/33", 14, `"33" is not a prefix length, which is a number from 0 to 32`, "refuses"},
	{"net fd00::/129", 12, `"129" is not a prefix length, which is a number from 0 to 128`, "refuses"},
	{"net 10.0.0.0/", 14, `"" is not a prefix length`, "refuses"},
	{"net 10.0.0.0/x", 14, `"x" is not a prefix length`, "refuses"},
	{"net 10.0.0.0/255.0.0.0", 14, `"255.0.0.0" is not a prefix length`, "refuses"},
	{"net 10.0.0.0 mask 255.0.255.0", 19, `"255.0.255.0" has ones behind zeros`, "takes"},
	{"net 10.0.0.0 mask 8", 19, `"8" is not a netmask`, "refuses"},
	{"net 10.0.0.0 mask ffff::", 19, `"ffff::" is not a netmask`, "refuses"},
	{"net fd00:: mask ffff::", 17, `IPv6 networks have no masks: write "net fd00::/..."`, "refuses"},
	{"net 0", 5, `"net 0" is read in two ways`, "takes"},
	{"net 256", 5, `"256" is not a network`, "takes"},
	{"net 10.", 5, `"10." is not a network`, "asks"},
	{"net lan", 5, `"lan" is not a network, and names are not looked up`, "asks"},
	{"net ::ffff:0.0.0.0/96", 5, `write 0.0.0.0`, "takes"},
	{"port http", 6, `"http" is not a port, and names are not looked up: write a number`, "asks"},
	{"port 65536", 6, `"65536" is not a port, which is a number from 0 to 65535`, "refuses"},
	{"port 99999999999999999999", 6, `"99999999999999999999" is not a port`, "refuses"},
	{"port 08", 6, `"08" is not a port: a number that begins with 0 is octal`, "refuses"},
	{"port 0x", 6, `"0x" is not a port`, "refuses"},
	{"port -1", 6, `"-1" is not a port`, "refuses"},
	{"port 1_0", 6, `"1_0" is not a port`, "asks"},
	{"port 80-90", 6, `"80-90" is not a port`, "asks"},
	{"port 80,443", 6, `"80,443" is not a port`, "refuses"},
	{"portrange 1-65536", 11, `"1-65536" goes beyond the ports, which are 0 to 65535`, "refuses"},
	{"portrange x", 11, `"x" is not a port range, and names are not looked up`, "asks"},
	{"portrange 65536", 11, `"65536" is not a port range, which is a number from 0 to 65535`, "refuses"},
	{"portrange 1-", 11, `"1-" is not a port range`, "refuses"},
	{"portrange ftp-ssh", 11, `"ftp-ssh" is not a port range, and names are not looked up: write it like 1-1024`, "asks"},
	{"portrange 1 - 1024", 13, `"-" is not part of this language: arithmetic is not done here; a range has no spaces`, "refuses"},
	{`ip proto \tcp`, 10, `is a name, and protocols are given by number: write 6`, "takes"},
	{"proto udp", 7, `"udp" is a name, and protocols are given by number: write 17`, "refuses"},
	{"ip proto foo", 10, `"foo" is not a protocol, and names are not looked up`, "asks"},
	{"ip proto 256", 10, `"256" is not a protocol, which is a number from 0 to 255`, "takes"},
	{"ip6 proto 44", 11, `44 is an extension header of IPv6, which are looked behind: write "ip proto 44"`, "takes"},
	{"proto 0", 7, `write "ip proto 0"`, "takes"},
}

func TestMistakesAreNamedWithTheirColumn(t *testing.T) {
	for _, c := range mistakes {
		f, err := Compile(c.expr)
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("%q: %v", c.expr, err)
			continue
		}
		if f != nil || e.Offset != c.column-1 || !strings.Contains(e.Message, c.message) {
			t.Errorf("%q: offset %d: %s\nwant %d: %s", c.expr, e.Offset, e.Message, c.column-1, c.message)
		}
		if want := fmt.Sprintf("filter: column %d: %s", c.column, e.Message); err.Error() != want {
			t.Errorf("%q, want %q", err, want)
		}
	}
}

// Names of protocols are the numbers that the system's list has for them.
func TestNamesOfProtocolsAreRefusedWithTheirNumbers(t *testing.T) {
	for name, n := range map[string]string{"icmp": "1", "igmp": "2", "tcp": "6", "igrp": "9", "udp": "17", "esp": "50", "ah": "51", "ipv6-icmp": "58",
		"eigrp": "88", "ospf": "89", "pim": "103", "vrrp": "112", "carp": "112", "sctp": "132"} {
		_, err := Compile(`ip proto \` + name)
		if want := fmt.Sprintf(`filter: column 10: "\\%s" is a name, and protocols are given by number: write %s`, name, n); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestAnExpressionThatNothingMatchesIsAnError(t *testing.T) {
	for _, expr := range []string{"tcp and udp", "icmp and port 80", "icmp and ip6", "src host 10.0.0.1 and dst net fd00::/8", "port 80 and not port 80",
		"src net 10 and src net 11", "not portrange 0-65535 and port 3", "not ip and not ip6", "not net 0.0.0.0/0 and not net ::/0"} {
		if f, err := Compile(expr); !errors.Is(err, ErrNothing) || f != nil {
			t.Errorf("%q: %v, %v", expr, f, err)
		}
	}
}

// alternatives is an expression of n ports that have nothing in common.
func alternatives(n int) string {
	ports := make([]string, n)
	for i := range ports {
		ports[i] = fmt.Sprint(2 * i)
	}
	return "dst port " + strings.Join(ports, " or ")
}

func TestTooManyTests(t *testing.T) {
	if f := mustCompile(t, alternatives(watch.MaxNodes)); len(f) != watch.MaxNodes {
		t.Errorf("%d tests", len(f))
	}
	for _, n := range []int{watch.MaxNodes + 1, 4 * watch.MaxNodes, 4*watch.MaxNodes + 1, 30000} {
		_, err := Compile(alternatives(n))
		if want := fmt.Sprintf("filter: %d tests, and 256 is the most: use networks and port ranges", n); err == nil || err.Error() != want {
			t.Errorf("%d ports: %v", n, err)
		}
	}
	// What is said twice counts once.
	if f := mustCompile(t, alternatives(200)+" or "+alternatives(200)); len(f) != 200 {
		t.Errorf("%d tests", len(f))
	}
}

func TestNesting(t *testing.T) {
	open := strings.Repeat("(", deepest-1)
	want := text(mustCompile(t, "tcp"))
	if got := text(mustCompile(t, open+"tcp"+strings.Repeat(")", deepest-1))); got != want {
		t.Error(got)
	}
	for _, deep := range []string{strings.Repeat("(", 1<<20), strings.Repeat("!", 1<<20), strings.Repeat("port (", 1<<19), strings.Repeat("host not ", 1<<17), open + "(tcp"} {
		_, err := Compile(deep)
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(e.Message, "parentheses") && !strings.Contains(e.Message, "stands where") && !strings.Contains(e.Message, "not an address") {
			t.Errorf("%.20q: %v", deep, err)
		}
	}
	// Nesting is no matter of length.
	if f := mustCompile(t, "tcp"+strings.Repeat(" and (tcp) and not udp", 100)); text(f) != want {
		t.Error(text(f))
	}
}

func TestFilterMatchesWhatItSays(t *testing.T) {
	p := watch.Packet{Source: netip.MustParseAddr("10.0.0.1"), Destination: netip.MustParseAddr("192.168.0.1"), SourcePort: 40000, DestinationPort: 22, Protocol: 6, HasPorts: true}
	fragment := p
	fragment.HasPorts = false
	for expr, want := range map[string][2]bool{
		"dst host 192.168.0.1 && dst portrange 1-1024": {true, false},
		"src host 192.168.0.1":                         {false, false},
		"tcp":                                          {true, true},
		"not port 22":                                  {false, true},
		"port 0":                                       {false, false},
		"src port 40000 and dst port 22":               {true, false},
		"src and dst net 10":                           {false, false},
		"ip":                                           {true, true},
		"ip6":                                          {false, false},
		"":                                             {true, true},
	} {
		f := mustCompile(t, expr)
		if got := [2]bool{f.Match(&p), f.Match(&fragment)}; got != want {
			t.Errorf("%q: %v, want %v", expr, got, want)
		}
	}
}
