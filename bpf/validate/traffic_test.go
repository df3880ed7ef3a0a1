package validate_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"

	"synoptic/bpf/validate"
	"synoptic/internal/lab"
	"synoptic/internal/method"
)

// connected is a TCP connection from a host to an address of the scanner.
func connected(t testing.TB, l *lab.Lab, host *lab.Host, at netip.Addr) (from, to net.Conn) {
	t.Helper()
	var listener net.Listener
	err := l.Scanner.Do(func() (err error) { listener, err = net.Listen("tcp", netip.AddrPortFrom(at, 0).String()); return err })
	if err == nil {
		defer listener.Close()
		err = host.Namespace.Do(func() (err error) { from, err = net.Dial("tcp", listener.Addr().String()); return err })
	}
	if err == nil {
		to, err = listener.Accept()
	}
	if err != nil {
		t.Fatal(err)
	}
	return from, to
}

// scanner is the index of the scanner's device.
func scanner(t testing.TB, l *lab.Lab) (index int) {
	t.Helper()
	if err := l.Scanner.Do(func() error {
		dev, err := netlink.LinkByName(lab.ScannerDevice)
		if err == nil {
			index = dev.Attrs().Index
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return index
}

// Behind tcx there is what there was before: large segments arrive as large as they
// were sent, and none is lost.
func TestLargeSegmentsPassAsTheyAre(t *testing.T) {
	l := lab.New(t, lab.Config{})
	host := l.MustAddHost(t, lab.HostConfig{})
	index := scanner(t, l)
	for _, at := range []netip.Addr{lab.Scanner4, lab.Scanner6} {
		v := load(t, config(method.ByName("syn")))
		if err := l.Scanner.Do(func() error { _, err := v.Attach(index, validate.TCX); return err }); err != nil {
			t.Fatal(err)
		}
		const size = 256 << 20
		from, to := connected(t, l, host, at)
		sent, arrived := sha256.New(), sha256.New()
		go func() {
			io.CopyN(io.MultiWriter(sent, from), rand.NewChaCha8([32]byte{}), size)
			from.Close()
		}()
		n, err := io.Copy(arrived, to)
		to.Close()
		if err != nil || n != size || !bytes.Equal(arrived.Sum(nil), sent.Sum(nil)) {
			t.Errorf("%d bytes of %d arrived, or others: %v", n, size, err)
		}
		c := counters(t, v)
		each := float64(n) / float64(c.Frames())
		t.Logf("to %v: %.0f bytes per packet", at, each)
		if each < 10*1500 || c.Foreign != c.Frames() {
			t.Errorf("to %v: %.0f bytes per packet, want large ones: %+v", at, each, c)
		}
		v.Close()
	}
}

// BenchmarkTrafficBeside is what is left of TCP that arrives as fast as it can by the
// device that a validator is attached to, and idle, or an empty XDP program. An
// iteration is a pair, beside nothing and beside that; the figures are medians, of which
// one pair has little to say: -benchtime 60x.
func BenchmarkTrafficBeside(b *testing.B) {
	l := lab.New(b, lab.Config{})
	host := l.MustAddHost(b, lab.HostConfig{})
	index := scanner(b, l)
	from, to := connected(b, l, host, lab.Scanner4)
	defer to.Close()
	go func() {
		for block := make([]byte, 1<<18); ; {
			if _, err := from.Write(block); err != nil {
				return
			}
		}
	}()
	defer from.Close()
	var arrived atomic.Int64
	go func() {
		for block := make([]byte, 1<<18); ; {
			n, err := to.Read(block)
			arrived.Add(int64(n))
			if err != nil {
				return
			}
		}
	}()
	rate := func(b *testing.B) float64 {
		// Attaching may have cost packets, of which TCP has to recover.
		const settled = 32 << 20
		for first, end := arrived.Load(), time.Now().Add(20*time.Second); arrived.Load() < first+settled; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				b.Fatal("nothing arrives")
			}
		}
		before, begin := arrived.Load(), time.Now()
		time.Sleep(80 * time.Millisecond)
		return float64(arrived.Load()-before) / time.Since(begin).Seconds() / 1e6
	}
	empty := func(flags link.XDPAttachFlags) func() (io.Closer, error) {
		return func() (io.Closer, error) {
			p, err := validate.Empty(false)
			if err != nil {
				return nil, err
			}
			defer p.Close()
			return link.AttachXDP(link.XDPOptions{Program: p, Interface: index, Flags: flags})
		}
	}
	ours := func(mode validate.Mode) func() (io.Closer, error) {
		return func() (io.Closer, error) {
			v, err := validate.New(config(method.ByName("syn")))
			if err == nil {
				_, err = v.Attach(index, mode)
			}
			return v, err
		}
	}
	for _, c := range []struct {
		beside string
		attach func() (io.Closer, error)
	}{
		{"nothing", func() (io.Closer, error) { return io.NopCloser(nil), nil }},
		{"empty-generic", empty(link.XDPGenericMode)}, {"empty-native", empty(link.XDPDriverMode)},
		{"tcx", ours(validate.TCX)}, {"generic", ours(validate.Generic)}, {"native", ours(validate.Native)},
	} {
		b.Run(fmt.Sprintf("beside=%s", c.beside), func(b *testing.B) {
			var alone, beside, ratios []float64
			for b.Loop() {
				alone = append(alone, rate(b))
				var attached io.Closer
				if err := l.Scanner.Do(func() (err error) { attached, err = c.attach(); return err }); err != nil {
					b.Fatal(err)
				}
				beside = append(beside, rate(b))
				if err := attached.Close(); err != nil {
					b.Fatal(err)
				}
				ratios = append(ratios, beside[len(beside)-1]/alone[len(alone)-1])
			}
			for unit, list := range map[string][]float64{"alone-MB/s": alone, "MB/s": beside, "left": ratios} {
				slices.Sort(list)
				b.ReportMetric(list[len(list)/2], unit)
			}
		})
	}
}
