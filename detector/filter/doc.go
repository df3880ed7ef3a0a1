// Package filter compiles the expressions of tcpdump to tables of tests, which
// [watch.Filter] and the program in the kernel decide by.
//
//	dst host 192.168.0.1 && dst portrange 1-1024
//
//	0  destination in 192.168.0.1/32   yes: 1      no: reject
//	1  destination port 1-1024         yes: pass   no: reject
//
// The language is the part of pcap-filter(7) that tells packets apart by
// addresses, ports and protocols:
//
//	[ip|ip6]   [DIR] host ADDRESS       "host" may be left out after DIR
//	[ip|ip6]   [DIR] net NETWORK        10.0.0.0/8, 10.0.0.0 mask 255.0.0.0, 10, 192.168, fd00::/8
//	[tcp|udp]  [DIR] port NUMBER
//	[tcp|udp]  [DIR] portrange N-N
//	[ip|ip6]   proto NUMBER
//	tcp  udp  icmp  ip  ip6
//	not and or ! && || ( )
//
// DIR is src, dst, src or dst, src and dst; without it, either end will do. not
// binds tightest; and and or bind equally and are taken from left to right. A
// value without a word before it means what the value before it meant: "tcp dst
// port 80 or 443" is "tcp dst port 80 or tcp dst port 443".
//
// An expression means what it means to tcpdump on a link of Ethernet frames,
// with two differences. We look behind VLAN tags and IPv6 extension headers,
// where tcpdump wants to be told; and packets that are not IP, which tcpdump's
// host and net find in ARP, never come here. What tcpdump has and this language
// has not is an error that says what to write. So are a few things which tcpdump
// takes in a way that surprises: "dst 443" is the host 0.0.1.187 to it, and
// "host 10.1" a network. Where the meaning is plain, we take what its grammar
// does not: "net 10/8", "host 10.0.0.1 and (10.0.0.2 or port 80)". Names of hosts, networks, ports and protocols are never
// looked up: a filter is the same on every machine.
//
// The package does no I/O and keeps no state; its functions may be called at the
// same time.
package filter
