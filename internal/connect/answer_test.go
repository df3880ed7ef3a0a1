package connect

import (
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"synoptic/internal/method"
	"synoptic/internal/result"
)

func TestVerdicts(t *testing.T) {
	for _, tt := range []struct {
		errno  unix.Errno
		state  result.State
		reason result.Reason
	}{
		{0, result.Open, result.SynAck},
		{unix.ECONNRESET, result.Open, result.SynAck}, // in SYN-SENT it is ECONNREFUSED (tcp_reset, net/ipv4/tcp_input.c)
		{unix.EPIPE, result.Open, result.SynAck},
		{unix.ECONNREFUSED, result.Closed, result.ConnRefused},
		{unix.EHOSTUNREACH, result.Filtered, result.HostUnreach},
		{unix.ENETUNREACH, result.Filtered, result.NetUnreach},
		{unix.ETIMEDOUT, result.Unknown, result.NoReason},
		{unix.ECONNABORTED, result.Unknown, result.NoReason},
		{unix.EPROTO, result.Unknown, result.NoReason},
		{unix.EMFILE, result.Unknown, result.NoReason},
		{unix.ENFILE, result.Unknown, result.NoReason},
		{unix.ENOBUFS, result.Unknown, result.NoReason},
		{unix.ENOMEM, result.Unknown, result.NoReason},
		{unix.EADDRNOTAVAIL, result.Unknown, result.NoReason},
		{unix.EPERM, result.Unknown, result.NoReason},
		{unix.EACCES, result.Unknown, result.NoReason},
	} {
		v, says := verdict(method.Connect, tt.errno)
		if v.State != tt.state || v.Reason != tt.reason || says != (tt.state != result.Unknown) {
			t.Errorf("%v: %+v %v, want %v %v", tt.errno, v, says, tt.state, tt.reason)
		}
	}
}

// Control messages as recvmsg(2) gives them on a little-endian machine of 64
// bits.
var (
	// cmsghdr: length 48, level IP, type IP_RECVERR;
	// sock_extended_err: errno 111, origin ICMP, type 3, code 3; sockaddr_in.
	control4 = "30000000 00000000 00000000 0b000000" +
		"6f000000 02 03 03 00 00000000 00000000" +
		"0200 0000 c0a80102 0000000000000000"
	// length 60, level IPV6, type IPV6_RECVERR;
	// errno 13, origin ICMP6, type 1, code 1; sockaddr_in6; padding.
	control6 = "3c000000 00000000 29000000 19000000" +
		"0d000000 03 01 01 00 00000000 00000000" +
		"0a00 0000 00000000 20010db8000000000000000000000001 00000000 00000000"
	// level SOCKET, type SCM_TIMESTAMP: somebody else's.
	timestamp = "20000000 00000000 01000000 1d000000 0000000000000000 0000000000000000"
)

func TestErrorQueue(t *testing.T) {
	router4, router6 := netip.MustParseAddr("192.168.1.2"), netip.MustParseAddr("2001:db8::1")
	for _, tt := range []struct {
		fact    string
		control string
		want    rejection
		ok      bool
	}{
		{"an_icmp_error", control4, rejection{false, 3, 3, router4}, true},
		{"an_icmpv6_error", control6, rejection{true, 1, 1, router6}, true},
		{"behind_another_message", timestamp + control6, rejection{true, 1, 1, router6}, true},
		{"a_local_error_is_none", strings.Replace(control4, "6f000000 02", "6f000000 01", 1), rejection{}, false},
		{"nothing", "", rejection{}, false},
		{"a_length_beyond_the_buffer", strings.Replace(control4, "30", "31", 1), rejection{}, false},
		{"a_length_below_a_header", strings.Replace(control4, "30", "0f", 1), rejection{}, false},
		{"too_short_for_an_address", "24000000 00000000 00000000 0b000000 6f000000 02030300 00000000 00000000 02000000", rejection{}, false},
	} {
		t.Run(tt.fact, func(t *testing.T) {
			control, err := hex.DecodeString(strings.ReplaceAll(tt.control, " ", ""))
			if err != nil {
				t.Fatal(err)
			}
			if got, ok := parseRejection(control); got != tt.want || ok != tt.ok {
				t.Errorf("%+v %v, want %+v %v", got, ok, tt.want, tt.ok)
			}
			for n := range control {
				parseRejection(control[:n:n]) // and does not panic
			}
		})
	}
}

func TestRefusalsNameTheRemedy(t *testing.T) {
	for host, want := range map[string]string{
		"192.0.2.1": "connect to 192.0.2.1:80: invalid argument: this machine has no way there from that source address, or a blackhole route",
		"fe80::1":   "connect to [fe80::1]:80: a link-local address needs an interface: name it with -e",
	} {
		if got := refusal(netip.AddrPortFrom(netip.MustParseAddr(host), 80), unix.EINVAL).Error(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
