package netif

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// XDPFeatures is what a device does for XDP at the moment, enum netdev_xdp_act of
// <linux/netdev.h>.
type XDPFeatures uint64

// The features that a scan needs.
const (
	XDPBasic   XDPFeatures = 1 << 0 // NETDEV_XDP_ACT_BASIC: takes a program in native mode
	XDPNDOXmit XDPFeatures = 1 << 2 // NETDEV_XDP_ACT_NDO_XMIT: sends the frames of XDP programs
)

// featureNames are the kernel's, bit by bit: Documentation/netlink/specs/netdev.yaml.
var featureNames = []string{"basic", "redirect", "ndo-xmit", "xsk-zerocopy", "hw-offload", "rx-sg", "ndo-xmit-sg"}

// Names returns the kernel's names of the features, without those that are newer
// than this program.
func (f XDPFeatures) Names() []string {
	names := []string{}
	for bit, name := range featureNames {
		if f>>bit&1 != 0 {
			names = append(names, name)
		}
	}
	return names
}

// XDPAbility is what an interface can do with XDP.
type XDPAbility struct {
	Driver   string // by ethtool; "" where there is none, as of loopback
	Known    bool   // the kernel tells the features, as Linux 6.3 and newer do
	Features XDPFeatures
	Program  *XDPProgram // what is attached; nil: nothing
	Veth     bool
	// Peer is the name of a veth's other end: "" if it is in a network namespace
	// that this process may not look into. Elsewhere: in another one than this.
	Peer      string
	Elsewhere bool
}

// XDPProgram is a program that somebody has attached to an interface.
type XDPProgram struct {
	ID   uint32
	Name string // "" without CAP_SYS_ADMIN
	Mode string // native, generic, offloaded; several, if there is one in each of these
}

// XDP asks what an interface of the calling thread's network namespace can do. It
// changes nothing and needs no privileges.
func XDP(index int) (*XDPAbility, error) {
	handle, err := open(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	defer handle.Close()
	link, err := handle.LinkByIndex(index)
	if err != nil {
		return nil, fmt.Errorf("find interface %d: %w", index, err)
	}
	name := link.Attrs().Name
	a := &XDPAbility{Veth: link.Type() == "veth", Program: attached(link.Attrs().Xdp)}
	if a.Driver, err = driver(name); err != nil {
		return nil, fmt.Errorf("ask for the driver of %s: %w", name, err)
	}
	if a.Features, a.Known, err = xdpFeatures(index, "netdev"); err != nil {
		return nil, fmt.Errorf("ask what %s can do with XDP: %w", name, err)
	}
	if a.Veth {
		a.Peer, a.Elsewhere = peer(handle, link.Attrs())
	}
	return a, nil
}

// attached reads IFLA_XDP_ATTACHED, of <linux/if_link.h>.
func attached(xdp *netlink.LinkXdp) *XDPProgram {
	if xdp == nil || !xdp.Attached {
		return nil
	}
	modes := map[uint32]string{
		nl.XDP_ATTACHED_DRV: "native", nl.XDP_ATTACHED_SKB: "generic",
		nl.XDP_ATTACHED_HW: "offloaded", 4: "several", // XDP_ATTACHED_MULTI
	}
	return &XDPProgram{ID: xdp.ProgId, Name: programName(xdp.ProgId), Mode: modes[xdp.AttachMode]}
}

func driver(device string) (string, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	info, err := unix.IoctlGetEthtoolDrvinfo(fd, device)
	switch {
	case errors.Is(err, unix.EOPNOTSUPP):
		return "", nil
	case err != nil:
		return "", err
	}
	return unix.ByteSliceToString(info.Driver[:]), nil
}

// Command and attributes of the family "netdev", <linux/netdev.h>.
const (
	netdevCmdDevGet       = 1 // NETDEV_CMD_DEV_GET
	netdevADevIfindex     = 1 // NETDEV_A_DEV_IFINDEX
	netdevADevXDPFeatures = 3 // NETDEV_A_DEV_XDP_FEATURES
)

// genlHeader is struct genlmsghdr. The library's nl.Genlmsg fills its reserved bytes
// with what lies behind it in memory (v1.3.1), which this family refuses.
type genlHeader [nl.SizeofGenlmsg]byte

func (genlHeader) Len() int            { return nl.SizeofGenlmsg }
func (h genlHeader) Serialize() []byte { return h[:] }

// xdpFeatures asks the named family of generic netlink, which older kernels do not
// know.
func xdpFeatures(index int, family string) (f XDPFeatures, known bool, err error) {
	handle, err := open(unix.NETLINK_GENERIC)
	if err != nil {
		return 0, false, err
	}
	defer handle.Close()
	netdev, err := handle.GenlFamilyGet(family)
	switch {
	case errors.Is(err, unix.ENOENT):
		return 0, false, nil
	case err != nil:
		return 0, false, err
	}
	req := nl.NewNetlinkRequest(int(netdev.ID), 0)
	req.AddData(genlHeader{netdevCmdDevGet, uint8(netdev.Version)})
	req.AddData(nl.NewRtAttr(netdevADevIfindex, nl.Uint32Attr(uint32(index))))
	answers, err := req.Execute(unix.NETLINK_GENERIC, 0)
	if err != nil {
		return 0, false, err
	}
	for _, m := range answers {
		if len(m) < nl.SizeofGenlmsg {
			continue
		}
		attrs, err := nl.ParseRouteAttr(m[nl.SizeofGenlmsg:])
		if err != nil {
			return 0, false, err
		}
		for _, a := range attrs {
			if a.Attr.Type == netdevADevXDPFeatures && len(a.Value) == 8 {
				return XDPFeatures(nl.NativeEndian().Uint64(a.Value)), true, nil
			}
		}
	}
	return 0, false, nil
}

// peer names the other end of a veth, if that can be seen.
func peer(handle *netlink.Handle, veth *netlink.LinkAttrs) (name string, elsewhere bool) {
	if far := farEnd(handle, veth); far != nil {
		name = far.Name
	}
	return name, veth.NetNsID >= 0
}

// farEnd finds the other end of a veth; nil: it is in a network namespace that this
// process may not see into.
func farEnd(handle *netlink.Handle, veth *netlink.LinkAttrs) *netlink.LinkAttrs {
	if veth.NetNsID < 0 {
		if far, err := handle.LinkByIndex(veth.ParentIndex); err == nil {
			return far.Attrs()
		}
		return nil
	}
	// The kernel tells of another namespace to whom it lets administer that.
	req := nl.NewNetlinkRequest(unix.RTM_GETLINK, 0)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(veth.ParentIndex)
	req.AddData(msg)
	req.AddData(nl.NewRtAttr(unix.IFLA_TARGET_NETNSID, nl.Uint32Attr(uint32(veth.NetNsID))))
	answers, err := req.Execute(unix.NETLINK_ROUTE, 0)
	if err != nil || len(answers) != 1 {
		return nil
	}
	far, err := netlink.LinkDeserialize(nil, answers[0])
	if err != nil {
		return nil
	}
	return far.Attrs()
}
