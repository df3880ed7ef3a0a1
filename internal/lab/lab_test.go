package lab

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"

	"synoptic/bpf/respond"
)

// patiently is long enough for the second SYN, which is the one whose ICMP
// errors a blocked connect(2) is told of.
const patiently = 2500 * time.Millisecond

// dial connects from the scanner's namespace as any program would. Time running
// out is ETIMEDOUT, as the kernel has it.
func dial(l *Lab, to netip.AddrPort) error {
	return l.Scanner.Do(func() error {
		c, err := net.DialTimeout("tcp", to.String(), patiently)
		if err == nil {
			c.Close()
		}
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			return syscall.ETIMEDOUT
		}
		return err
	})
}

// attempt is a connection to try and what should come of it.
type attempt struct {
	to   netip.AddrPort
	want error
}

// dialAll makes all attempts at once, as most of them take their time.
func dialAll(t *testing.T, l *Lab, attempts []attempt) {
	var wg sync.WaitGroup
	for _, a := range attempts {
		wg.Go(func() {
			if err := dial(l, a.to); !errors.Is(err, a.want) {
				t.Errorf("connect to %s: %v, want %v", a.to, err, a.want)
			}
		})
	}
	wg.Wait()
}

// find returns an endpoint of the simulated range in the given state.
func find(t *testing.T, truth respond.Truth, state respond.State, first netip.Addr) netip.AddrPort {
	t.Helper()
	for a := first; truth.Contains(a); a = a.Next() {
		for port := uint16(1); port < 1000; port++ {
			if ap := netip.AddrPortFrom(a, port); truth.State(ap) == state {
				return ap
			}
		}
	}
	t.Fatalf("no port is %s", state)
	return netip.AddrPort{}
}

func TestKernelTalksToSimulatedHosts(t *testing.T) {
	cfg := respond.DefaultConfig()
	cfg.Rejected = respond.Fraction(1, 8)
	l := New(t, Config{Respond: &cfg})
	var attempts []attempt
	for _, first := range []string{"10.1.2.3", "fd00:10::77"} {
		for state, want := range map[respond.State]error{
			respond.Open:     nil,
			respond.Closed:   syscall.ECONNREFUSED,
			respond.Rejected: syscall.ECONNREFUSED,
			respond.Silent:   syscall.ETIMEDOUT,
		} {
			attempts = append(attempts, attempt{find(t, cfg.Truth(), state, netip.MustParseAddr(first)), want})
		}
	}
	dialAll(t, l, attempts)
	c, err := l.Responder.Counters()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Check(); err != nil {
		t.Error(err)
	}
	if c.SynAck != 2 || c.Accepted != 2 || c.BadChecksum+c.Malformed+c.NonTCP != 0 {
		t.Errorf("counters %+v", c)
	}
}
