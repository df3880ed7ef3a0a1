package sink

import (
	"fmt"
	"net"
	"strconv"
	"strings"
)

// Address is where syslog messages go.
type Address struct {
	network, address string
	local            bool // speaks as syslog(3) does
}

// Local is the log of this machine.
func Local() Address { return Address{network: "unixgram", address: "/dev/log", local: true} }

// maxPath is as long as the path of a socket may be, unix(7).
const maxPath = 107

// ParseAddress reads "local", udp://HOST:PORT, tcp://HOST:PORT or unix:///PATH.
func ParseAddress(text string) (Address, error) {
	scheme, rest, ok := strings.Cut(text, "://")
	switch {
	case text == "local":
		return Local(), nil
	case ok && scheme == "unix" && strings.HasPrefix(rest, "/") && len(rest) <= maxPath:
		return Address{network: "unixgram", address: rest}, nil
	case ok && (scheme == "udp" || scheme == "tcp"):
		host, port, err := net.SplitHostPort(rest)
		n, portErr := strconv.ParseUint(port, 10, 16)
		if err == nil && portErr == nil && host != "" && n > 0 {
			return Address{network: scheme, address: rest}, nil
		}
	}
	return Address{}, fmt.Errorf("a syslog address is local, udp://HOST:PORT, tcp://HOST:PORT or unix:///PATH, not %q", text)
}

func (a Address) String() string {
	switch {
	case a.local:
		return a.address
	case a.network == "unixgram":
		return "unix://" + a.address
	}
	return a.network + "://" + a.address
}
