package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"synoptic/internal/lab"
	"synoptic/internal/wire"
)

// held is what a process has in the kernel.
type held struct {
	programs, maps, links []uint32
	spaces                []int // its network namespaces but its own, by the id that the scanner's has for them
}

var objectID = regexp.MustCompile(`(?m)^(prog|map|link)_id:\s+(\d+)$`)

// inspect stops a process and finds all that it has, which it goes on to have until
// it is killed.
func inspect(t *testing.T, l *lab.Lab, pid int) (h held) {
	t.Helper()
	if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	tasks := func() []string {
		paths, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
		if err != nil || len(paths) == 0 {
			t.Fatalf("the process has ended (%v)", err)
		}
		return paths
	}
	wait(t, "the process to stop", func() bool {
		return !slices.ContainsFunc(tasks(), func(task string) bool {
			stat, err := os.ReadFile(task + "/stat")
			return err == nil && !strings.Contains(string(stat), ") T ")
		})
	})
	infos, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", pid))
	if err != nil {
		t.Fatal(err)
	}
	places := []string{}
	for _, task := range tasks() {
		places = append(places, task+"/ns/net")
	}
	for _, info := range infos {
		text := readText(t, info)
		kinds := map[string]*[]uint32{"prog": &h.programs, "map": &h.maps, "link": &h.links}
		for _, found := range objectID.FindAllStringSubmatch(text, -1) {
			id, _ := strconv.ParseUint(found[2], 10, 32)
			*kinds[found[1]] = append(*kinds[found[1]], uint32(id))
		}
		places = append(places, strings.Replace(info, "/fdinfo/", "/fd/", 1))
	}
	h.spaces = numbered(t, l.Scanner, places)
	return h
}

// numbered returns the ids that a namespace has for those which some files stand
// for, and gives them one. It keeps none of them alive.
func numbered(t *testing.T, ns *lab.Namespace, files []string) (ids []int) {
	t.Helper()
	if err := ns.Do(func() error {
		own, err := os.Readlink("/proc/thread-self/ns/net")
		if err != nil {
			return err
		}
		for _, file := range files {
			if to, err := os.Readlink(file); err != nil || !strings.HasPrefix(to, "net:") || to == own {
				continue
			}
			space, err := unix.Open(file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer unix.Close(space)
			id, err := netlink.GetNetNsIdByFd(space)
			if err == nil && id < 0 {
				if err = netlink.SetNetNsIdByFd(space, -1); err == nil {
					id, err = netlink.GetNetNsIdByFd(space)
				}
			}
			if err != nil {
				return err
			}
			if !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return ids
}

// known returns all ids that a namespace has for others, which end with those.
func known(t *testing.T, ns *lab.Namespace) (ids []int) {
	t.Helper()
	if err := ns.Do(func() error {
		request := nl.NewNetlinkRequest(unix.RTM_GETNSID, unix.NLM_F_DUMP)
		request.AddData(nl.NewRtGenMsg())
		answers, err := request.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWNSID)
		if err != nil {
			return err
		}
		for _, answer := range answers {
			attributes, err := nl.ParseRouteAttr(answer[4:]) // behind struct rtgenmsg, padded
			if err != nil {
				return err
			}
			for _, a := range attributes {
				if a.Attr.Type == unix.NETNSA_NSID {
					ids = append(ids, int(nl.NativeEndian().Uint32(a.Value)))
				}
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return ids
}

// left returns what of all that is still there, in words.
func (h held) left(t *testing.T, l *lab.Lab) (left []string) {
	t.Helper()
	for _, id := range h.programs {
		if p, err := ebpf.NewProgramFromID(ebpf.ProgramID(id)); err == nil {
			left = append(left, p.String())
			p.Close()
		}
	}
	for _, id := range h.maps {
		if m, err := ebpf.NewMapFromID(ebpf.MapID(id)); err == nil {
			left = append(left, m.String())
			m.Close()
		}
	}
	for _, id := range h.links {
		if k, err := link.NewFromID(link.ID(id)); err == nil {
			left = append(left, fmt.Sprintf("%T", k))
			k.Close()
		}
	}
	spaces := known(t, l.Scanner)
	for _, id := range h.spaces {
		if slices.Contains(spaces, id) {
			left = append(left, fmt.Sprintf("network namespace %d", id))
		}
	}
	if id := programAt(t, l.Scanner, lab.ScannerDevice); id != 0 {
		left = append(left, fmt.Sprintf("program %d attached to %s", id, lab.ScannerDevice))
	}
	return left
}

// programAt returns the id of the XDP program of a device, or else of the first that is
// at its ingress, or 0.
func programAt(t *testing.T, ns *lab.Namespace, device string) (id uint32) {
	t.Helper()
	if err := ns.Do(func() error {
		dev, err := netlink.LinkByName(device)
		if err != nil {
			return err
		}
		if dev.Attrs().Xdp != nil && dev.Attrs().Xdp.Attached {
			id = dev.Attrs().Xdp.ProgId
			return nil
		}
		ingress, err := link.QueryPrograms(link.QueryOptions{Target: dev.Attrs().Index, Attach: ebpf.AttachTCXIngress})
		if err == nil && len(ingress.Programs) > 0 {
			id = uint32(ingress.Programs[0].ID)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return id
}

// Kill -9 at any moment, from the first steps on, leaves nothing: no program, map
// or link, nothing attached, and not the namespace in which the generator parks
// its programs. The next scan finds everything.
func TestAKilledKernelScanLeavesNothing(t *testing.T) {
	l := openLab(t, nil)
	args := []string{"synscan", "--path", "kernel", "-p1-16", "--rate", "500k", "--seed", "5", "10.0.0.0/12", "-q"}
	for n := range 12 {
		early := n%2 == 0 // while all is being made, or later
		before, err := l.Responder.Counters()
		if err != nil {
			t.Fatal(err)
		}
		p := begin(t, l, t.TempDir(), nil, args[1:]...)
		if early {
			time.Sleep(time.Duration(rand.IntN(120)) * time.Millisecond)
		} else {
			wait(t, "probes", func() bool {
				c, err := l.Responder.Counters()
				return err == nil && c.TCP[wire.SYN] > before.TCP[wire.SYN]+10_000
			})
			time.Sleep(time.Duration(rand.IntN(300)) * time.Millisecond)
		}
		has := inspect(t, l, p.Process.Pid)
		there := has.left(t, l)
		t.Logf("early %t: %d programs, %d maps, %d links, %d namespaces", early, len(has.programs), len(has.maps), len(has.links), len(has.spaces))
		if !early && (len(has.programs) < 3 || len(has.maps) < 8 || len(has.links) < 4 || len(has.spaces) != 1 ||
			len(there) != len(has.programs)+len(has.maps)+len(has.links)+len(has.spaces)+1) {
			t.Fatalf("in the middle of a sweep it has %+v, and of that there is %q", has, there)
		}
		p.Process.Kill()
		p.ends(-1)
		var left []string
		for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			if left = has.left(t, l); len(left) == 0 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("5 s after kill -9 there is still %q", left)
			}
		}
	}
	s := sweepIn(t, l.Scanner, "--path", "kernel", "-p1-4", "--rate", "max", "--retries", "0", "10.0.0.0/18")
	s.all(t, exitDone, 4<<14)
	s.ways(t, "kernel", "kernel")
}
