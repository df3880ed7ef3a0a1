package tx

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
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
