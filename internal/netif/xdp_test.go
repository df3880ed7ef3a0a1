package netif

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	labs "synoptic/internal/lab"
)

// askXDP asks in a namespace of a lab. Only a kernel that cannot tell skips a test.
func askXDP(t *testing.T, ns *labs.Namespace, device string) *XDPAbility {
	t.Helper()
	var a *XDPAbility
	err := ns.Do(func() error {
		dev, err := netlink.LinkByName(device)
		if err != nil {
			return err
		}
		a, err = XDP(dev.Attrs().Index)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if !a.Known {
		var uts unix.Utsname
		var major, minor int
		unix.Uname(&uts)
		release := unix.ByteSliceToString(uts.Release[:])
		if n, _ := fmt.Sscanf(release, "%d.%d", &major, &minor); n == 2 && (major < 6 || major == 6 && minor < 3) {
			t.Skipf("Linux 6.3 or newer tells what devices can do with XDP, and this is %s", release)
		}
		t.Fatalf("Linux %s does not tell what %s can do with XDP", release, device)
	}
	return a
}

// attachPass attaches a program that passes everything, until it is called off.
func attachPass(t *testing.T, ns *labs.Namespace, device string, mode link.XDPAttachFlags) (id ebpf.ProgramID, off func()) {
	t.Helper()
	pass := must(ebpf.NewProgram(&ebpf.ProgramSpec{Name: "pass_all", Type: ebpf.XDP, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 2), asm.Return()}}))(t)
	t.Cleanup(func() { pass.Close() })
	info := must(pass.Info())(t)
	id, _ = info.ID()
	var l link.Link
	err := ns.Do(func() error {
		dev, err := netlink.LinkByName(device)
		if err != nil {
			return err
		}
		l, err = link.AttachXDP(link.XDPOptions{Program: pass, Interface: dev.Attrs().Index, Flags: mode})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return id, func() { l.Close() }
}

// What a veth can send is up to its other end.
func TestAVethSendsWhatItsFarEndTakes(t *testing.T) {
	l := labs.New(t, labs.Config{})
	check := func(when string, want bool) {
		t.Helper()
		if a := askXDP(t, l.Gate, labs.GateDevice); a.Features&XDPNDOXmit != 0 != want || a.Features&XDPBasic == 0 {
			t.Errorf("%s: it can do %v, want ndo-xmit: %t", when, a.Features.Names(), want)
		}
	}
	gro := func(on bool) {
		t.Helper()
		if err := l.Scanner.SetGRO(labs.ScannerDevice, on); err != nil {
			t.Fatal(err)
		}
	}
	check("with GRO at the far end", true)
	gro(false)
	check("without", false)
	_, off := attachPass(t, l.Scanner, labs.ScannerDevice, link.XDPDriverMode)
	check("with a program there", true)
	off()
	check("after the program has gone", false)
	_, off = attachPass(t, l.Scanner, labs.ScannerDevice, link.XDPGenericMode)
	check("with a program in generic mode", false)
	off()
	gro(true)
	check("with GRO again", true)
}

func TestXDPSeesTheProgramThatIsAttached(t *testing.T) {
	l := labs.New(t, labs.Config{})
	if a := askXDP(t, l.Scanner, labs.ScannerDevice); a.Program != nil || a.Driver != "veth" || !a.Veth {
		t.Errorf("with no program: %+v", a)
	}
	for mode, flag := range map[string]link.XDPAttachFlags{"native": link.XDPDriverMode, "generic": link.XDPGenericMode} {
		id, off := attachPass(t, l.Scanner, labs.ScannerDevice, flag)
		want := XDPProgram{ID: uint32(id), Name: "pass_all", Mode: mode}
		if a := askXDP(t, l.Scanner, labs.ScannerDevice); a.Program == nil || *a.Program != want {
			t.Errorf("%+v, want %+v", a.Program, want)
		}
		off()
		if a := askXDP(t, l.Scanner, labs.ScannerDevice); a.Program != nil {
			t.Errorf("after it was taken away: %+v", a.Program)
		}
	}
}

// The other end has a name, here and in another namespace.
func TestXDPNamesTheOtherEnd(t *testing.T) {
	l := labs.New(t, labs.Config{})
	if a := askXDP(t, l.Scanner, labs.ScannerDevice); a.Peer != labs.GateDevice || !a.Elsewhere {
		t.Errorf("the other end is %q, elsewhere: %t", a.Peer, a.Elsewhere)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "near"
	if err := l.Scanner.Do(func() error { return netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "far"}) }); err != nil {
		t.Fatal(err)
	}
	if a := askXDP(t, l.Scanner, "near"); a.Peer != "far" || a.Elsewhere {
		t.Errorf("the other end is %q, elsewhere: %t", a.Peer, a.Elsewhere)
	}
}

func TestLoopbackDoesNothingForXDP(t *testing.T) {
	l := labs.New(t, labs.Config{})
	if a := askXDP(t, l.Scanner, "lo"); a.Features != 0 || a.Driver != "" || a.Program != nil || a.Veth || a.Peer != "" {
		t.Errorf("%+v", a)
	}
}

// A kernel without the family is no error.
func TestXDPFeaturesOfAnOlderKernelAreUnknown(t *testing.T) {
	if f, known, err := xdpFeatures(1, "netdev-of-6.3"); f != 0 || known || err != nil {
		t.Errorf("%v, known: %t, %v", f, known, err)
	}
}

func TestXDPOfNoInterface(t *testing.T) {
	if a, err := XDP(1 << 30); err == nil {
		t.Errorf("%+v", a)
	}
}

func TestXDPFeatureNames(t *testing.T) {
	if got := (XDPBasic | XDPNDOXmit | 1<<40).Names(); !slices.Equal(got, []string{"basic", "ndo-xmit"}) {
		t.Errorf("%v", got)
	}
	if got := XDPFeatures(0).Names(); got == nil || len(got) != 0 {
		t.Errorf("%#v: a list without entries, not the lack of one", got)
	}
}

func TestFindInterface(t *testing.T) {
	l := newLab(t, "v0")
	i := must(FindInterface("v0"))(t)
	if i.Name != "v0" || i.Index != l.link(l.here, "v0").Attrs().Index || i.State != "up" || i.Kind != Ethernet {
		t.Errorf("%+v", i)
	}
	if _, err := FindInterface("v1"); err == nil || !strings.Contains(err.Error(), "did you mean v0? this machine has lo, v0") {
		t.Errorf("%v", err)
	}
}
