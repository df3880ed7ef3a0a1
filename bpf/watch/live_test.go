package watch_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"synoptic/bpf/watch"
	"synoptic/internal/lab"
)

var rules = watch.Rules{
	Window: watch.Line{On: true, Span: 300 * time.Millisecond, Threshold: 21, High: 1, Low: 3, Trap: 10},
	Gap:    watch.Line{On: true, Span: 3 * time.Second, Threshold: 21, Reaches: true, High: 1, Low: 3},
	V6Bits: 64,
}

// onLoopback attaches the program to lo of a namespace of its own.
func onLoopback(t *testing.T, cfg watch.Config) (*lab.Namespace, *watch.Watch) {
	t.Helper()
	lab.NeedRoot(t)
	ns, err := lab.NewNamespace("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	w, err := watch.Load(cfg, rules)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(func() { w.Close() })
	do(t, ns, func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		if err := netlink.LinkSetUp(lo); err != nil {
			return err
		}
		a, err := w.Attach("lo", watch.Auto)
		if err != nil {
			return err
		}
		t.Cleanup(func() { a.Close() }) // until then it is held: what is garbage is detached
		if a.Mode != watch.Generic {
			return fmt.Errorf("mode %s on lo", a.Mode)
		}
		return nil
	})
	return ns, w
}

func do(t *testing.T, ns *lab.Namespace, f func() error) {
	t.Helper()
	if err := ns.Do(f); err != nil {
		t.Fatal(err)
	}
}

func counters(t *testing.T, w *watch.Watch) watch.Counters {
	t.Helper()
	c, err := w.Counters()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const (
	fin = 0x01
	syn = 0x02
	rst = 0x04
	ack = 0x10
)

// TestSocketsTellConversations: both ends of every connection are here, so
// only what no socket knows may be a probe.
func TestSocketsTellConversations(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "::1"} {
		t.Run(host, func(t *testing.T) {
			ns, w := onLoopback(t, watch.Config{})
			do(t, ns, func() error {
				l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
				if err != nil {
					return err
				}
				defer l.Close()
				for range 3 { // one connection after another, each closed by its opener
					c, err := net.Dial("tcp", l.Addr().String())
					if err != nil {
						return err
					}
					s, err := l.Accept()
					if err != nil {
						return err
					}
					for range 20 {
						if _, err := c.Write([]byte("hello")); err != nil {
							return err
						}
						if _, err := io.ReadFull(s, make([]byte, 5)); err != nil {
							return err
						}
					}
					c.Close()
					io.Copy(io.Discard, s)
					s.Close()
				}
				time.Sleep(50 * time.Millisecond)
				return nil
			})
			c := counters(t, w)
			if c.Probes != 3 || c.TCP[syn] != 3 || c.Handshakes != 3 || c.Sources != 1 {
				t.Errorf("%d probes, %d SYNs, %d handshakes, %d sources: want 3, 3, 3, 1", c.Probes, c.TCP[syn], c.Handshakes, c.Sources)
			}
			if c.TCP[fin|ack] < 3 || c.Backscatter != 0 {
				t.Errorf("%d FINs, %d SYN+ACKs unknown", c.TCP[fin|ack], c.Backscatter)
			}
			if c.Cached < c.Known {
				t.Errorf("%d packets left at the cache, %d asked a socket", c.Cached, c.Known)
			}
			err := w.Sources(func(s *watch.Snapshot) {
				if s.Handshakes != 3 || s.Kinds[watch.SystemSYN] != 3 || len(s.Probes) != 1 || s.Classes[watch.High] != 3 {
					t.Errorf("the source is %+v", s)
				}
				if want := netip.MustParsePrefix("::1/64").Masked(); host == "::1" && s.Source != want {
					t.Errorf("source %s, want %s", s.Source, want)
				}
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// TestDatagrams: those to a bound socket, or from the peer of a connected one,
// are no probes; others are.
func TestDatagrams(t *testing.T) {
	ns, w := onLoopback(t, watch.Config{})
	do(t, ns, func() error {
		bound, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer bound.Close()
		for range 10 { // questions and answers, each from a port of its own
			c, err := net.Dial("udp4", bound.LocalAddr().String())
			if err != nil {
				return err
			}
			if _, err := c.Write([]byte("question")); err != nil {
				return err
			}
			_, from, err := bound.ReadFrom(make([]byte, 100))
			if err != nil {
				return err
			}
			if _, err := bound.WriteTo([]byte("answer"), from); err != nil {
				return err
			}
			if _, err := c.Read(make([]byte, 100)); err != nil {
				return err
			}
			c.Close()
		}
		return nil
	})
	if c := counters(t, w); c.UDP != 20 || c.Probes != 0 {
		t.Errorf("%d datagrams, %d probes: want 20 and 0", c.UDP, c.Probes)
	}
	do(t, ns, func() error {
		connected, err := net.Dial("udp4", "127.0.0.1:9") // discard; its peer is nobody
		if err != nil {
			return err
		}
		defer connected.Close()
		other, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer other.Close()
		_, err = other.WriteTo([]byte("not from its peer"), connected.LocalAddr())
		if err == nil {
			_, err = other.WriteTo([]byte("to nobody"), &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 7})
		}
		return err
	})
	if c := counters(t, w); c.UDP != 22 || c.Probes != 2 {
		t.Errorf("%d datagrams, %d probes: want 22 and 2", c.UDP, c.Probes)
	}
}

func raw(t *testing.T) int {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// TestSegmentsOfNobody: an ACK or FIN+ACK for a port that only listens, or is
// closed, is a probe; a SYN+ACK is not unless its source probes already; a RST
// never is. In gateway mode only flags decide.
func TestSegmentsOfNobody(t *testing.T) {
	for _, gateway := range []bool{false, true} {
		t.Run(fmt.Sprintf("gateway=%v", gateway), func(t *testing.T) {
			ns, w := onLoopback(t, watch.Config{Gateway: gateway})
			do(t, ns, func() error {
				l, err := net.Listen("tcp4", "127.0.0.1:80")
				if err != nil {
					return err
				}
				defer l.Close()
				fd := raw(t)
				for _, flags := range []byte{syn | ack, rst | ack, rst, ack, fin | ack, syn | ack} {
					for _, port := range []byte{80, 81} {
						seg := make([]byte, 20)
						seg[0], seg[3], seg[12], seg[13] = 99, port, 5<<4, flags
						if err := unix.Sendto(fd, seg, 0, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
							return err
						}
					}
				}
				time.Sleep(20 * time.Millisecond)
				return nil
			})
			c := counters(t, w)
			if c.TCP[syn|ack] != 4 || c.TCP[ack] != 2 || c.TCP[fin|ack] != 2 {
				t.Fatalf("the segments did not arrive: %+v", c)
			}
			want, unasked := uint64(6), uint64(2) // ACK, FIN+ACK, the later SYN+ACKs
			if gateway {
				want, unasked = 0, 0
			}
			if c.Probes != want || c.Backscatter != unasked {
				t.Errorf("%d probes and %d of backscatter, want %d and %d", c.Probes, c.Backscatter, want, unasked)
			}
		})
	}
}

func TestAttach(t *testing.T) {
	l := lab.New(t, lab.Config{})
	h := l.MustAddHost(t, lab.HostConfig{})
	only4 := rules // not what neighbours say to each other
	only4.Count = watch.Filter{{Test: watch.TestFamily, Lo: 4, Hi: 4, Yes: watch.Pass, No: watch.Reject}}
	w, err := watch.Load(watch.Config{Memory: watch.MinMemory}, only4)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	defer w.Close()
	attached := func() (on bool) {
		do(t, h.Namespace, func() error {
			dev, err := netlink.LinkByName("eth0")
			on = err == nil && dev.Attrs().Xdp != nil && dev.Attrs().Xdp.Attached
			return err
		})
		return on
	}
	attach := func(device string, mode watch.Mode) (a *watch.Attachment, err error) {
		h.Namespace.Do(func() error {
			a, err = w.Attach(device, mode)
			return nil
		})
		return a, err
	}
	seen := func() uint64 {
		before := counters(t, w).ICMP
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if out, err := l.Scanner.Command(ctx, "hping3", "--icmp", "-c", "1", "-q", h.Addr4.String()).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return counters(t, w).ICMP - before
	}
	for _, m := range []struct{ ask, got watch.Mode }{{watch.Auto, watch.Native}, {watch.Native, watch.Native}, {watch.Generic, watch.Generic}, {watch.TCX, watch.TCX}} {
		a, err := attach("eth0", m.ask)
		if err != nil {
			t.Fatal(err)
		}
		if a.Mode != m.got || attached() != (m.got != watch.TCX) {
			t.Errorf("asked for %s: mode %s, XDP attached: %v", m.ask, a.Mode, attached())
		}
		if n := seen(); n != 1 {
			t.Errorf("mode %s: %d of 1 ping was seen", m.ask, n)
		}
		if err := a.Close(); err != nil {
			t.Error(err)
		}
		if attached() {
			t.Errorf("mode %s: still attached after Close", m.ask)
		}
		if n := seen(); n != 0 {
			t.Errorf("mode %s: a ping was seen after Close", m.ask)
		}
	}
	t.Run("another_program_is_left_alone", func(t *testing.T) {
		other, err := watch.Load(watch.Config{Memory: watch.MinMemory}, only4)
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		var first *watch.Attachment // held: what is garbage is detached
		do(t, h.Namespace, func() (err error) { first, err = other.Attach("eth0", watch.Native); return err })
		defer first.Close()
		for _, mode := range []watch.Mode{watch.Native, watch.Generic} {
			if _, err := attach("eth0", mode); !errors.Is(err, watch.ErrOccupied) {
				t.Errorf("mode %s: %v, want ErrOccupied", mode, err)
			}
		}
		a, err := attach("eth0", watch.Auto)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		if a.Mode != watch.TCX || !a.Occupied {
			t.Errorf("mode %s, occupied %v", a.Mode, a.Occupied)
		}
		if n := seen(); n != 1 || counters(t, other).ICMP != 1 {
			t.Errorf("%d pings seen behind the other program, %d by it", n, counters(t, other).ICMP)
		}
	})
	t.Run("unknown_device_and_mode", func(t *testing.T) {
		if _, err := attach("eth9", watch.Auto); err == nil || !strings.Contains(err.Error(), "eth9") {
			t.Errorf("%v", err)
		}
		if _, err := attach("eth0", "offload"); err == nil || !strings.Contains(err.Error(), "offload") {
			t.Errorf("%v", err)
		}
	})
}

// TestAttachLeavesNothing: no descriptor, so no program or map, is left after
// many cycles. Most of a cycle is the kernel's grace periods, so several
// namespaces wait for them together.
func TestAttachLeavesNothing(t *testing.T) {
	lab.NeedRoot(t)
	const cycles, together = 10_000, 40
	w, err := watch.Load(watch.Config{Memory: watch.MinMemory}, rules)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	defer w.Close()
	before, goroutines := descriptors(t), runtime.NumGoroutine()
	var all sync.WaitGroup
	for range together {
		all.Go(func() {
			ns, err := lab.NewNamespace("")
			if err != nil {
				t.Error(err)
				return
			}
			defer ns.Close()
			err = ns.Do(func() error {
				for range cycles / together {
					a, err := w.Attach("lo", watch.Auto)
					if err != nil {
						return err
					}
					if err := a.Close(); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for range 10_000 {
		if err := w.SetRules(rules); err != nil {
			t.Fatal(err)
		}
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
	if after := runtime.NumGoroutine(); after > goroutines {
		t.Errorf("%d goroutines before, %d after", goroutines, after)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	dir, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(dir)
}
