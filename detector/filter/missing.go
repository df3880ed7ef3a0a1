package filter

import "strings"

// missing says what to write in place of a word of pcap-filter(7) that this
// language does not have. It returns "" for any other word.
func missing(w string) string {
	switch w {
	case "vlan":
		return "packets are matched as if they had no VLAN tags, so leave it out"
	case "mpls", "pppoed", "pppoes", "geneve":
		return "tunnels are not looked into; leave it out"
	case "ether", "link", "fddi", "tr", "wlan", "ppp", "slip", "radio", "llc",
		"ra", "ta", "addr1", "addr2", "addr3", "addr4", "address1", "address2", "address3", "address4",
		"type", "subtype", "dir", "direction":
		return `link-layer headers are not looked at; write "host" or "net" with an IP address`
	case "arp", "rarp", "aarp", "atalk", "decnet", "ipx", "netbeui", "stp", "lat", "sca", "moprc", "mopdl",
		"iso", "clnp", "esis", "es-is", "isis", "is-is", "l1", "l2", "iih", "lsp", "snp", "csnp", "psnp",
		"lane", "metac", "bcc", "sc", "ilmic", "oam", "oamf4", "oamf4ec", "oamf4sc", "vpi", "vci", "connectmsg", "metaconnect",
		"fisu", "lssu", "lsu", "msu", "hfisu", "hlssu", "hmsu", "sio", "opc", "dpc", "sls", "hsio", "hopc", "hdpc", "hsls":
		return "only IPv4 and IPv6 are counted; leave it out"
	case "icmp6":
		return `write "ip6 proto 58"`
	case "igmp", "igrp", "pim", "ah", "esp", "vrrp", "carp", "sctp":
		return `write "proto ` + protocolNumber(w) + `"`
	case "protochain":
		return `write "proto", which looks behind extension headers`
	case "less", "greater", "len", "length":
		return "lengths are not looked at; leave it out"
	case "gateway":
		return `link-layer headers are not looked at; write "not host" with the address of the gateway, or "net"`
	case "broadcast":
		return `write "dst host" with the broadcast address`
	case "multicast":
		return `write "dst net 224.0.0.0/4" or "dst net ff00::/8"`
	case "inbound", "outbound", "ifname", "ifindex", "on":
		return "what is counted comes in by the interfaces that were chosen; leave it out"
	case "rset", "ruleset", "rnr", "rulenum", "srnr", "subrulenum", "reason", "action":
		return "the firewall's decisions are not known; leave it out"
	case "[", "]", "byte", "tcpflags", "icmptype", "icmpcode", "icmp6type", "icmp6code":
		return "bytes of a packet are not looked at; write a test of addresses, ports or protocols"
	case "&":
		return `arithmetic is not done here; "and" is "&&"`
	case "|":
		return `arithmetic is not done here; "or" is "||"`
	case "-":
		return `arithmetic is not done here; a range has no spaces, as in "portrange 1-1024"`
	case "%":
		return "packets do not tell the zone of an address, and arithmetic is not done here; leave it out"
	case "+", "*", "/", "^", "<", ">", "=", "==", "!=", "<=", ">=", "<<", ">>":
		return "arithmetic is not done here; write a test of addresses, ports or protocols"
	}
	for _, field := range []string{"icmp-", "icmp6-", "tcp-"} {
		if strings.HasPrefix(w, field) {
			return "bytes of a packet are not looked at; write a test of addresses, ports or protocols"
		}
	}
	return ""
}

// protocolNumber returns the number of an IP protocol that has a name in
// pcap-filter(7), or "". (IANA, Assigned Internet Protocol Numbers)
func protocolNumber(name string) string {
	switch name {
	case "icmp":
		return "1"
	case "igmp":
		return "2"
	case "tcp":
		return "6"
	case "igrp":
		return "9"
	case "udp":
		return "17"
	case "esp":
		return "50"
	case "ah":
		return "51"
	case "icmp6", "ipv6-icmp":
		return "58"
	case "eigrp":
		return "88"
	case "ospf":
		return "89"
	case "pim":
		return "103"
	case "vrrp", "carp":
		return "112"
	case "sctp":
		return "132"
	}
	return ""
}
