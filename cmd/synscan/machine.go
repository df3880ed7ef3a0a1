package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"synoptic/internal/method"
)

// machine is what this machine and this process lack or have, for both paths of a
// scan. The zero value has nothing.
type machine struct {
	release string // of the kernel
	btf     bool
	caps    uint64 // the effective capabilities that count
	root    bool   // by number, whatever it may do
	nested  bool   // in a user namespace of its own, as in a rootless container
	raw     error  // why a raw socket cannot be opened
	memory  float64
	known   bool // memory is
}

// askMachine changes nothing.
func askMachine() (*machine, error) {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return nil, fmt.Errorf("ask for the kernel's version: %w", err)
	}
	m := &machine{release: unix.ByteSliceToString(uts.Release[:]), root: os.Geteuid() == 0, raw: checkPrivileges(method.ByName("syn"))}
	_, err := os.Stat("/sys/kernel/btf/vmlinux")
	m.btf = err == nil
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return nil, fmt.Errorf("ask for this process's capabilities: %w", err)
	}
	m.caps = uint64(data[1].Effective)<<32 | uint64(data[0].Effective)
	// BPF asks whether a process has its capabilities in the machine's own user
	// namespace (bpf_capable, kernel/bpf/token.c), which maps all there are.
	if ids, err := os.ReadFile("/proc/self/uid_map"); err == nil && strings.Join(strings.Fields(string(ids)), " ") != "0 0 4294967295" {
		m.nested = true
		m.caps &^= 1<<unix.CAP_BPF | 1<<unix.CAP_PERFMON | 1<<unix.CAP_SYS_ADMIN
	}
	m.memory, m.known = availableMemory()
	return m, nil
}

// kernelPath is the oldest Linux that has all that the kernel path needs: MinKernel of
// bpf/generate and bpf/validate.
var kernelPath = [2]int{5, 18}

// firstTCX is the oldest Linux that has tcx (BPF_TCX_INGRESS).
var firstTCX = [2]int{6, 6}

// newEnough reports whether a release is that version or a later one. What
// distributions add to older kernels it does not know.
func newEnough(release string, least [2]int) bool {
	var major, minor int
	if n, _ := fmt.Sscanf(release, "%d.%d", &major, &minor); n != 2 {
		return false
	}
	return major > least[0] || major == least[0] && minor >= least[1]
}

// capability is a bit of a set, capabilities(7).
type capability uint

func (c capability) String() string {
	return map[capability]string{
		unix.CAP_NET_RAW: "CAP_NET_RAW", unix.CAP_NET_ADMIN: "CAP_NET_ADMIN", unix.CAP_BPF: "CAP_BPF",
		unix.CAP_PERFMON: "CAP_PERFMON", unix.CAP_SYS_ADMIN: "CAP_SYS_ADMIN",
	}[c]
}

// What each path needs, by the package docs of bpf/generate and bpf/validate.
var (
	forPackets  = []capability{unix.CAP_NET_RAW}
	forReceive  = []capability{unix.CAP_BPF, unix.CAP_NET_ADMIN, unix.CAP_PERFMON}
	forTransmit = []capability{unix.CAP_BPF, unix.CAP_NET_ADMIN, unix.CAP_PERFMON, unix.CAP_SYS_ADMIN}
)

// lacking returns the names of those that are missing. CAP_SYS_ADMIN is what
// CAP_BPF and CAP_PERFMON were split from, and stands for them.
func (m *machine) lacking(needed []capability) []string {
	names := []string{}
	for _, c := range needed {
		stands := m.caps>>unix.CAP_SYS_ADMIN&1 != 0 && (c == unix.CAP_BPF || c == unix.CAP_PERFMON)
		if m.caps>>c&1 == 0 && !stands {
			names = append(names, c.String())
		}
	}
	return names
}

func (m *machine) version() finding {
	if newEnough(m.release, kernelPath) {
		return finding{State: works, Why: "Linux " + m.release}
	}
	return finding{lacks, fmt.Sprintf("Linux %s is older than %d.%d, the first with all that the kernel path needs", m.release, kernelPath[0], kernelPath[1]),
		"a newer kernel, or --path packet"}
}

func (m *machine) types() finding {
	if m.btf {
		return finding{State: works}
	}
	return finding{lacks, "there is no /sys/kernel/btf/vmlinux, by which programs in the kernel know its types",
		"a kernel with CONFIG_DEBUG_INFO_BTF=y, and /sys mounted"}
}

func (m *machine) capabilities() finding {
	var without []string
	if names := m.lacking(forPackets); len(names) > 0 {
		without = append(without, "no packet path without "+and(names))
	}
	if names := m.lacking(forTransmit); len(names) > 0 {
		without = append(without, "no kernel path without "+and(names))
	}
	if len(without) == 0 {
		return finding{State: works}
	}
	return finding{lacks, strings.Join(without, "; "), m.entitle()}
}

// entitle says how this process could have had more capabilities.
func (m *machine) entitle() string {
	switch {
	case m.nested:
		return "run synscan outside of this user namespace (rootless container): for BPF its capabilities do not count"
	case m.root:
		return "grant them to the container or service in which root runs synscan"
	}
	return "run synscan with sudo"
}

func (m *machine) room() finding {
	switch {
	case !m.known:
		return finding{State: unknown, Why: "the system does not say how much is available"}
	case m.memory < negligible:
		return finding{lacks, fmt.Sprintf("%s available, and a scan takes up to 16 MiB for each interface before it begins", size(m.memory)),
			"raise the memory limit of this container or service, or end something else"}
	}
	return finding{State: works, Why: size(m.memory) + " available"}
}

// packets says what of the machine is in the way of the packet path.
func (m *machine) packets() (finding, bool) {
	switch {
	case m.raw == nil:
		return finding{}, true
	case errors.Is(m.raw, errNoPrivilege):
		return finding{lacks, "CAP_NET_RAW is missing; the system's own connections (-sT) work without", m.entitle()}, false
	}
	return finding{State: lacks, Why: m.raw.Error()}, false
}

// programs says what of the machine is in the way of a program in the kernel.
func (m *machine) programs(needed []capability, btf bool) (finding, bool) {
	if f := m.version(); f.State == lacks {
		return f, false
	}
	if f := m.types(); btf && f.State == lacks {
		return f, false
	}
	if names := m.lacking(needed); len(names) > 0 {
		verb := " is missing"
		if len(names) > 1 {
			verb = " are missing"
		}
		return finding{lacks, and(names) + verb, m.entitle()}, false
	}
	return finding{}, true
}

// and joins words as people do.
func and(words []string) string {
	if n := len(words); n > 1 {
		return strings.Join(words[:n-1], ", ") + " and " + words[n-1]
	}
	return strings.Join(words, "")
}
