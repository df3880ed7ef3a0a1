package main

import (
	"fmt"

	"synoptic/internal/netif"
)

// finding is what synscan doctor has to say of one thing.
type finding struct {
	State string `json:"state"`
	Why   string `json:"why"`
	Fix   string `json:"fix"` // "": there is none, or nothing to fix
}

// What a finding says: whether something works, or how.
const (
	works   = "yes"
	likely  = "likely"
	unknown = "unknown"
	native  = "native"
	tcx     = "tcx"
	generic = "generic"
	lacks   = "no"
)

// away says why nothing can leave or come by an interface at the moment.
func away(i netif.Interface) (finding, bool) {
	switch i.State {
	case "up":
		return finding{}, true
	case "down":
		return finding{lacks, "it is down", "ip link set dev " + i.Name + " up"}, false
	}
	return finding{lacks, "it has no carrier", "the cable, the wireless network or the other end"}, false
}

// packet says whether probes can go by packet sockets.
func (m *machine) packet(i netif.Interface) finding {
	if f, ok := away(i); !ok {
		return f
	}
	if !i.Raw {
		return finding{State: lacks, Why: fmt.Sprintf("its link type is %s, to which no raw probes can go; the system's own connections (-sT) can", i.Type)}
	}
	if f, ok := m.packets(); !ok {
		return f
	}
	return finding{State: works}
}

// receive says whether and where answers can be judged by a program at the
// interface: as scan.Dial and validate.Attach decide.
func (m *machine) receive(i netif.Interface, a *netif.XDPAbility) finding {
	if f, ok := away(i); !ok {
		return f
	}
	switch {
	case i.Type == "loopback":
		return finding{State: lacks, Why: "scans of this machine itself go by the packet path"}
	case i.Type != "ether":
		return finding{State: lacks, Why: "it has no Ethernet headers, which the program reads"}
	case a.Program != nil && !newEnough(m.release, firstTCX):
		return occupied(i, a.Program)
	}
	if f, ok := m.programs(forReceive, false); !ok {
		return f
	}
	second := generic
	if newEnough(m.release, firstTCX) {
		second = tcx
	}
	switch {
	case a.Program != nil:
		return finding{State: tcx, Why: fmt.Sprintf("behind XDP program %d%s, which is attached there", a.Program.ID, before(" ", quoted(a.Program.Name)))}
	case !a.Known:
		return finding{State: unknown, Why: "native or generic: only attaching tells, as Linux before 6.3 does not say"}
	case a.Veth:
		return finding{State: second, Why: "native mode makes a veth slow for others"}
	case a.Features&netif.XDPBasic == 0:
		return finding{State: second, Why: itsDriver(a) + " has no native mode"}
	}
	return finding{State: native, Why: "or " + second + ", should the driver refuse a program"}
}

// transmit says whether probes that are made in the kernel can leave by the
// interface: as bpf/generate has it, and the drivers' ndo_xdp_xmit.
func (m *machine) transmit(i netif.Interface, a *netif.XDPAbility) finding {
	if f, ok := away(i); !ok {
		return f
	}
	switch {
	case i.Type == "loopback":
		return finding{State: lacks, Why: "loopback takes no frames of XDP, ever"}
	case i.Type != "ether":
		return finding{State: lacks, Why: "it has no Ethernet headers, which the probes made in the kernel have"}
	case a.Known && a.Features&netif.XDPNDOXmit == 0:
		if f, ok := takesNone(i, a); !ok {
			return f
		}
	}
	if f, ok := m.programs(forTransmit, true); !ok {
		return f
	}
	switch {
	case !a.Known:
		return finding{State: unknown, Why: "only a try tells, as Linux before 6.3 does not say whether it takes frames of XDP"}
	case a.Features&netif.XDPNDOXmit == 0:
		return finding{State: likely, Why: "once the receiver's program is attached, as drivers like virtio_net have it"}
	}
	return finding{State: works}
}

// takesNone says why a device takes no frames of XDP now. It is ok if attaching a
// program may change that: with many drivers, virtio_net among them, it does
// (xdp_features_set_redirect_target).
func takesNone(i netif.Interface, a *netif.XDPAbility) (f finding, ok bool) {
	switch {
	case a.Veth && a.Features&netif.XDPBasic == 0: // veth_set_xdp_features
		return finding{lacks, "its other end has more transmit queues than it has receive queues", "ethtool -L " + i.Name + " rx N (with N at least as many as those)"}, false
	case a.Veth:
		return finding{lacks, fmt.Sprintf("its other end%s takes no frames of XDP", before(" ", a.Peer)), receiveOffload(a)}, false
	case a.Features&netif.XDPBasic == 0:
		return finding{State: lacks, Why: itsDriver(a) + " takes no frames of XDP"}, false
	case a.Program == nil:
		return finding{}, true
	case a.Program.Mode == native:
		return finding{State: lacks, Why: itsDriver(a) + " takes no frames of XDP, not even with a program attached"}, false
	}
	return occupied(i, a.Program), false
}

// receiveOffload is the command by which the other end of a veth takes frames of XDP:
// it polls then (veth_xdp_xmit).
func receiveOffload(a *netif.XDPAbility) string {
	peer := a.Peer
	if peer == "" {
		peer = "PEER"
	}
	command := "ethtool -K " + peer + " gro on"
	if a.Elsewhere || a.Peer == "" {
		command += " (in the network namespace of that)"
	}
	return command
}

// occupied names the program that has an interface. One that ip(8) has attached ip
// can detach; the kernel keeps it from detaching those that programs hold by a
// link, as we do.
func occupied(i netif.Interface, p *netif.XDPProgram) finding {
	off := map[string]string{native: "xdp", generic: "xdpgeneric", "offloaded": "xdpoffload"}[p.Mode]
	f := finding{lacks, "XDP programs are attached there in several modes", "end what attached them"}
	if p.Mode != "several" {
		f.Why = fmt.Sprintf("XDP program %d%s is attached there, in %s mode", p.ID, before(" ", quoted(p.Name)), p.Mode)
		f.Fix = fmt.Sprintf("ip link set dev %s %s off (if ip attached it, else end what did)", i.Name, off)
	}
	return f
}

func itsDriver(a *netif.XDPAbility) string {
	if a.Driver == "" {
		return "it"
	}
	return "its driver, " + a.Driver + ","
}

func quoted(name string) string {
	if name == "" {
		return ""
	}
	return fmt.Sprintf("%q", name)
}

// before puts something in front of a word, if there is one.
func before(what, word string) string {
	if word == "" {
		return ""
	}
	return what + word
}
