package tx

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"synoptic/internal/method"
	"synoptic/internal/plan"
	"synoptic/internal/wire"
)

// A queueing discipline would drop where the device refuses, and a receiving
// socket would be charged for every packet of the device. Nothing is sent.
func TestPacketSocketBypassesAndReceivesNothing(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("packet sockets need root")
		}
		t.Skip("packet sockets need root")
	}
	c, err := DialPacket(1, "lo")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fd := c.(*socket).fd
	if on, err := unix.GetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS); err != nil || on != 1 {
		t.Errorf("PACKET_QDISC_BYPASS is %d, %v", on, err)
	}
	name, err := unix.Getsockname(fd)
	if ll, ok := name.(*unix.SockaddrLinklayer); err != nil || !ok || ll.Protocol != 0 || ll.Ifindex != 1 {
		t.Errorf("bound to %+v, %v", name, err)
	}
	if _, err := DialPacket(1<<30, "nowhere"); err == nil {
		t.Error("a device that does not exist is dialled")
	}
}

// line is a Conn that notes what it is handed.
type line struct {
	name string
	log  *[]string
	take int // frames until one is refused; 0: never
}

func (l *line) Send(b *Batch, from, to int) (int, error) {
	n := to - from
	var err error
	if l.take > 0 && n > l.take {
		n, err = l.take, ErrRefused
	}
	for i := from; i < from+n; i++ {
		_, dst := b.Frame(i)
		*l.log = append(*l.log, l.name+" "+dst.String())
	}
	return n, err
}

func (l *line) Close() error { return errors.New("closed " + l.name) }

// Each frame goes to the socket of its link and family, in as few calls as
// there are sockets, and a refusal by one is a refusal at that frame.
func TestLinesPartFramesByLinkAndFamily(t *testing.T) {
	p := probe(newPlan(t, "80", "10.0.0.0/30", "10.1.0.0/30", "2001:db8::/126"), method.Table[0], wire.Ethernet)
	p.Links = append(p.Links, Link{Header: wire.Raw, Source4: source4, Source6: source6})
	p.Route = func(a netip.Addr) (Hop, bool) {
		if a.Is4() && a.As4()[1] == 0 {
			return Hop{}, a != netip.MustParseAddr("10.0.0.3")
		}
		return Hop{Link: 1}, true
	}
	f := NewFramer(p)
	var b Batch
	span := plan.Span{To: p.Plan.Len()}
	if b.fill(f, &span); span.Unreachable != 1 || b.Len() != 11 {
		t.Fatalf("%d frames, %d unreachable", b.Len(), span.Unreachable)
	}
	var log []string
	lines := Lines{&line{name: "eth4", log: &log}, nil, &line{name: "tun4", log: &log}, &line{name: "tun6", log: &log, take: 2}}
	if taken, err := lines.Send(&b, 0, b.Len()); taken != 9 || !errors.Is(err, ErrRefused) {
		t.Errorf("%d taken, %v", taken, err)
	}
	if taken, err := lines.Send(&b, 9, b.Len()); taken != 2 || err != nil {
		t.Errorf("%d taken, %v", taken, err)
	}
	want := map[string]int{"eth4 10.0": 3, "tun4 10.1": 4, "tun6 2001": 4}
	got := map[string]int{}
	for i, l := range log {
		got[l[:9]]++
		if i > 0 && l[:4] < log[i-1][:4] {
			t.Errorf("%s comes after %s", l, log[i-1])
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v, want %v", got, want)
	}
	if err := lines.Close(); err == nil || err.Error() != "closed eth4\nclosed tun4\nclosed tun6" {
		t.Errorf("closing: %v", err)
	}
}
