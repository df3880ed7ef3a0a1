package generate_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"synoptic/bpf/generate"
	"synoptic/internal/lab"
	"synoptic/internal/method"
	"synoptic/internal/plan"
)

// Devices of a namespace of their own, by what becomes of a frame that the generator
// sends there.
func TestCheckTellsWhatADeviceTakes(t *testing.T) {
	lab.NeedRoot(t)
	unsupported := errors.New("an Unsupported")
	for name, c := range map[string]struct {
		device func(*testing.T, *lab.Namespace) (index int)
		want   error
	}{
		"veth_to_xdp": {func(t *testing.T, n *lab.Namespace) int {
			near, far := veth(t)
			tally, err := generate.LoadTally()
			if err != nil {
				t.Fatalf("%+v", err)
			}
			t.Cleanup(func() { tally.Close() })
			attached, err := link.AttachXDP(link.XDPOptions{Interface: far, Program: tally.Sink(), Flags: link.XDPDriverMode})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { attached.Close() })
			return near
		}, nil},
		"veth_to_gro":     {func(t *testing.T, n *lab.Namespace) int { return vethToGRO(t, n) }, nil},
		"veth_to_neither": {func(t *testing.T, n *lab.Namespace) int { near, _ := veth(t); return near }, generate.ErrDevice},
		"down": {func(t *testing.T, n *lab.Namespace) int {
			index := vethToGRO(t, n)
			setDown(t, "near")
			return index
		}, generate.ErrDevice},
		"far_end_down": {func(t *testing.T, n *lab.Namespace) int {
			index := vethToGRO(t, n)
			setDown(t, "far")
			return index
		}, generate.ErrDevice},
		"driver_without_xdp": {func(t *testing.T, n *lab.Namespace) int { return withoutXDP(t) }, generate.ErrDevice},
		"loopback":           {func(t *testing.T, n *lab.Namespace) int { return setUp(t, "lo") }, unsupported},
		"no_such_device":     {func(t *testing.T, n *lab.Namespace) int { return 1 << 20 }, errors.New("no such")},
	} {
		t.Run(name, func(t *testing.T) {
			space, err := lab.NewNamespace("")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { space.Close() })
			if err := space.Do(func() error {
				index := c.device(t, space)
				err := generate.Check(index)
				t.Log(err)
				switch {
				case c.want == unsupported:
					if !errors.As(err, new(generate.Unsupported)) {
						t.Errorf("%v, want %v", err, c.want)
					}
				case !errors.Is(err, c.want) && !strings.Contains(fmt.Sprint(err), fmt.Sprint(c.want)):
					t.Errorf("%v, want %v", err, c.want)
				}
				if c.want != nil && !errors.Is(c.want, generate.ErrDevice) {
					return nil
				}
				// The same by a generator that has a plan, of either family.
				for _, targets := range []string{"10.0.0.0/28", "fd00::/124"} {
					p := scenario{targets: targets, ports: "80"}.plan(t, 1)
					g := load(t, config(framer(t, p, method.Table[0], 1), index, 2))
					for range 2 {
						if err := g.Check(); !errors.Is(err, c.want) {
							t.Errorf("%s: %v, want %v", targets, err, c.want)
						}
						r, err := g.Run(0, &plan.Span{To: 16})
						if (c.want == nil) != (err == nil && r.Sent == 16) && name != "far_end_down" {
							t.Errorf("%s: the check says %v, but a run %d sent, %v", targets, c.want, r.Sent, err)
						}
					}
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// The frame is seen at the far end, once, and is nobody's there.
func TestCheckSendsOneFrameThatIsNobodys(t *testing.T) {
	if !lab.InNamespace(t) {
		return
	}
	c := newCableTo(t, (*generate.Tally).Pass)
	const all = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8 // in network byte order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, all)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: c.far.Attrs().Index}); err != nil {
		t.Fatal(err)
	}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 200_000}); err != nil {
		t.Fatal(err)
	}
	if err := generate.Check(c.near.Attrs().Index); err != nil {
		t.Fatal(err)
	}
	mac := c.near.Attrs().HardwareAddr
	want := make([]byte, 60)
	copy(want, mac)
	copy(want[6:], mac)
	want[12], want[13] = 0x88, 0xb5
	got := make([]byte, 256)
	n, from, err := unix.Recvfrom(fd, got, 0)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got[:n], want) {
		t.Errorf("got  %x\nwant %x", got[:n], want)
	}
	if from, ok := from.(*unix.SockaddrLinklayer); !ok || from.Pkttype != unix.PACKET_OTHERHOST {
		t.Errorf("received as %+v, want another host's", from)
	}
	if n, _, err = unix.Recvfrom(fd, got, 0); err != unix.EAGAIN {
		t.Errorf("another frame: %x, %v", got[:max(n, 0)], err)
	}
}

// A process hears which capability it lacks.
func TestCheckWithoutCapabilities(t *testing.T) {
	if device, err := strconv.Atoi(os.Getenv("CHECK_DEVICE")); err == nil { // the child
		fmt.Println("check:", generate.Check(device))
		return
	}
	lab.NeedRoot(t)
	space, err := lab.NewNamespace("")
	if err != nil {
		t.Fatal(err)
	}
	defer space.Close()
	var device int
	if err := space.Do(func() error { device = vethToGRO(t, space); return nil }); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ has, want string }{
		{"+net_admin,+perfmon,+sys_admin,+bpf", "check: <nil>\n"},
		{"+net_admin,+perfmon,+bpf", "CAP_SYS_ADMIN"},
		{"+net_admin,+bpf", "CAP_PERFMON"},
		{"+perfmon,+bpf", "CAP_NET_ADMIN"},
		{"+net_admin,+perfmon", "CAP_BPF"},
	} {
		cmd := space.Command(t.Context(), "setpriv", "--bounding-set=-all,"+c.has, self, "-test.run=^TestCheckWithoutCapabilities$")
		cmd.Env = append(os.Environ(), fmt.Sprintf("CHECK_DEVICE=%d", device))
		out, err := cmd.CombinedOutput()
		text, _, _ := strings.Cut(string(out), "PASS\n")
		if err != nil || !strings.HasPrefix(text, "check: ") || !strings.Contains(text, c.want) {
			t.Errorf("with %s: %v, %s, want %s", c.has, err, out, c.want)
		}
		t.Logf("%s: %s", c.has, text)
	}
}

// veth makes a pair in the calling thread's namespace.
func veth(t *testing.T) (near, far int) {
	t.Helper()
	if err := lab.Guard(); err != nil {
		t.Fatal(err)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "near"
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "far"}); err != nil {
		t.Fatal(err)
	}
	return setUp(t, "near"), setUp(t, "far")
}

// vethToGRO makes a pair with GRO at its far end.
func vethToGRO(t *testing.T, n *lab.Namespace) (near int) {
	t.Helper()
	near, _ = veth(t)
	if err := n.SetGRO("far", true); err != nil {
		t.Fatal(err)
	}
	return near
}

// withoutXDP makes an Ethernet device, of the kinds that a kernel may have, whose
// driver never takes frames of XDP.
func withoutXDP(t *testing.T) int {
	t.Helper()
	if err := lab.Guard(); err != nil {
		t.Fatal(err)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "plain"
	var errs error
	for _, l := range []netlink.Link{&netlink.Dummy{LinkAttrs: attrs}, &netlink.Ifb{LinkAttrs: attrs}, &netlink.Bridge{LinkAttrs: attrs}} {
		err := netlink.LinkAdd(l)
		if err == nil {
			return setUp(t, "plain")
		}
		errs = errors.Join(errs, err)
	}
	t.Fatal(errs)
	return 0
}

func setUp(t *testing.T, name string) (index int) {
	t.Helper()
	l, err := netlink.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(l); err != nil {
		t.Fatal(err)
	}
	return l.Attrs().Index
}

func setDown(t *testing.T, name string) {
	t.Helper()
	l, err := netlink.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetDown(l); err != nil {
		t.Fatal(err)
	}
}
