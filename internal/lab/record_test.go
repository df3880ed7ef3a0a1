package lab

import (
	"bytes"
	"context"
	"encoding/binary"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"synoptic/bpf/respond"
)

// recorded reads a capture file with another library's eyes.
func recorded(t *testing.T, path string) (times []time.Time, frames []gopacket.Packet) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := pcapgo.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for {
		data, info, err := r.ReadPacketData()
		if err != nil {
			break
		}
		times = append(times, info.Timestamp)
		frames = append(frames, gopacket.NewPacket(bytes.Clone(data), layers.LayerTypeEthernet, gopacket.NoCopy))
	}
	return times, frames
}

// tcpdumpCount has tcpdump count the packets of a capture file.
func tcpdumpCount(t *testing.T, path string, expression ...string) int {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "tcpdump", append([]string{"-n", "-r", path}, expression...)...).Output()
	if err != nil {
		t.Fatalf("tcpdump: %v", err)
	}
	return bytes.Count(out, []byte("\n"))
}

// A flood that the device takes is in the recording whole, in order and with
// the times at which it was sent, and so are the answers.
func TestFloodIsRecordedWhole(t *testing.T) {
	l := New(t, Config{})
	h := l.MustAddHost(t, HostConfig{Place: OwnLink})
	path, theirs := filepath.Join(t.TempDir(), "all.pcap"), filepath.Join(t.TempDir(), "one.pcap")
	stop, err := h.Namespace.Record(h.Far, path, netip.Addr{})
	if err != nil {
		t.Fatal(err)
	}
	stopOne, err := h.Namespace.Record(h.Far, theirs, netip.AddrFrom4([4]byte{172, 17, 1, 100}))
	if err != nil {
		t.Fatal(err)
	}
	template := segment(t, mac(4, 1), 20000, netip.AddrPortFrom(h.Addr4, 80), respond.SYN)
	const n = 20_000
	before := time.Now()
	done, err := l.Scanner.Flood(t.Context(), Flood{
		Device: h.Near, Packets: n, Time: 10 * time.Second,
		Frame: func(i uint64, buf *[1514]byte) int {
			size := copy(buf[:], template)
			copy(buf[26:], []byte{172, 17, 1, byte(100 + i%2)}) // the source: checksums no longer hold, which nobody here minds
			binary.BigEndian.PutUint32(buf[38:], uint32(i))     // the sequence number
			return size
		},
	})
	after := time.Now()
	if err != nil || done.Sent != n {
		t.Fatalf("flood: %+v, %v", done, err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if err := stopOne(); err != nil {
		t.Fatal(err)
	}
	times, frames := recorded(t, path)
	next := uint32(0)
	for i, p := range frames {
		tcp, ok := p.Layer(layers.LayerTypeTCP).(*layers.TCP)
		if !ok || !tcp.SYN || tcp.DstPort != 80 {
			continue
		}
		if tcp.Seq != next {
			t.Fatalf("frame %d is where %d should be", tcp.Seq, next)
		}
		next++
		if times[i].Before(before) || times[i].After(after) {
			t.Fatalf("frame %d is of %v, not from %v to %v", tcp.Seq, times[i], before, after)
		}
	}
	if next != n {
		t.Errorf("%d of %d frames were recorded", next, n)
	}
	if got := tcpdumpCount(t, path, "tcp", "dst", "port", "80"); got != n {
		t.Errorf("tcpdump reads %d of %d frames", got, n)
	}
	if got := tcpdumpCount(t, theirs); got != n/2 {
		t.Errorf("one source's recording has %d frames, not %d", got, n/2)
	}
	t.Logf("%d frames in %v, %d times no room", done.Sent, done.Elapsed, done.Refused)
}

// Both directions of a conversation are recorded.
func TestAnswersAreRecorded(t *testing.T) {
	l := New(t, Config{})
	h := l.MustAddHost(t, HostConfig{Place: OwnLink, Listen: []Ports{Port(80)}})
	path := filepath.Join(t.TempDir(), "all.pcap")
	stop, err := h.Namespace.Record(h.Far, path, netip.Addr{})
	if err != nil {
		t.Fatal(err)
	}
	dialAll(t, l, []attempt{{netip.AddrPortFrom(h.Addr4, 80), nil}})
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	for _, expression := range []string{"tcp[tcpflags] == tcp-syn", "tcp[tcpflags] == tcp-syn|tcp-ack"} {
		if got := tcpdumpCount(t, path, expression); got != 1 {
			t.Errorf("%d packets are %s", got, expression)
		}
	}
}

func TestFloodKeepsItsBounds(t *testing.T) {
	l := New(t, Config{})
	h := l.MustAddHost(t, HostConfig{Place: OwnLink})
	frame := func(_ uint64, buf *[1514]byte) int {
		return copy(buf[:], segment(t, mac(4, 1), 20000, netip.AddrPortFrom(h.Addr4, 80), respond.SYN))
	}
	if _, err := l.Scanner.Flood(t.Context(), Flood{Device: h.Near, Packets: 1, Frame: frame}); err == nil {
		t.Error("a flood of any duration begins")
	}
	if _, err := l.Scanner.Flood(t.Context(), Flood{Device: h.Near, Time: 1, Frame: frame}); err == nil {
		t.Error("a flood of any number begins")
	}
	done, err := l.Scanner.Flood(t.Context(), Flood{Device: h.Near, Packets: 1 << 40, Time: 200 * time.Millisecond, Rate: 1000, Frame: frame})
	if err != nil || done.Sent < 100 || done.Sent > 201 || done.Elapsed > time.Second {
		t.Errorf("1000 a second for 200 ms: %+v, %v", done, err)
	}
	gone, stop := context.WithCancel(t.Context())
	stop()
	if done, err := l.Scanner.Flood(gone, Flood{Device: h.Near, Packets: 10, Time: time.Second, Frame: frame}); err != nil || done.Sent != 0 {
		t.Errorf("after its end: %+v, %v", done, err)
	}
	here, err := currentNamespace()
	if err != nil {
		t.Fatal(err)
	}
	defer here.Close()
	if _, err := here.Flood(t.Context(), Flood{Device: "lo", Packets: 1, Time: time.Second, Frame: frame}); err == nil {
		t.Error("a flood begins in the machine's own namespace")
	}
}
