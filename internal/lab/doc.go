// Package lab builds networks for tests out of network namespaces: a scanner,
// a link, a million simulated hosts with a known truth, and a few real ones.
//
//	 namespace "scanner"            namespace "gate"                      namespace "host…"
//	+--------------------+   veth  +-------------------------------+  veth  +-----------------+
//	| scan0              |=========| gate0 --- br0 ------- h1 -----|========| eth0            |
//	| 172.16.0.1/24      | 2 queues|  XDP      172.16.0.2/24       |        | 172.16.0.11/24  | OnLink
//	| fd00:172:16::1/64  | a side  |  |        fd00:172:16::2/64   |        +-----------------+
//	|                    |         |  |                            |
//	| via 172.16.0.2:    |         |  +- answers for 10.0.0.0/8    |  veth  +-----------------+
//	|   10.0.0.0/8       |         |     and fd00:10::/64          |========| eth0            |
//	|   192.168.0.0/16   |         |     (package respond)    h2 --|        | 192.168.2.2/24  | Routed
//	+--------------------+         +-------------------------------+        +-----------------+
//
// The frames of the simulated range never get beyond gate0, where the XDP
// program turns them round. All others reach the bridge and a kernel: the
// gate's own (AtGate), a neighbour's on the same Ethernet (OnLink), or one
// behind the gate, which forwards (Routed). Address resolution is real. There
// is no default route, and no way out of the lab.
//
// A host may also stand beside the gate, on a link of its own with the scanner:
// at 172.17.n.2 and fd00:172:17:n::2 behind a cable (OwnLink), a VLAN, a tun
// device (Tunnel) or WireGuard. Or it is the scanner itself (AtScanner).
// [Namespace.Watch] shows what arrives at any device of the lab, [Namespace.Record]
// keeps what passes there in a capture file, and [Namespace.Flood] sends storms,
// as of a [Segment]. [StartScanlogd] has another detector watch.
//
// [Truth.Answer] tells for any endpoint, simulated or real, what comes back to a
// probe, and [Truth.Expect] what a scan therefore has to find.
//
// Namespaces are anonymous unless a name is asked for, so that they end with
// their process, whichever way it ends. A process or a socket is put into a
// namespace with [Namespace.Command] and [Namespace.Do]; a whole test moves
// into one with [InNamespace]. Needs root, and Linux 5.18.
package lab
