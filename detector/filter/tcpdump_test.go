package filter

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
)

// capture writes the frames to a file, each at a time that is its number in
// microseconds.
func (s *frameSet) capture(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "frames.pcap")
	var b bytes.Buffer
	w := pcapgo.NewWriter(&b)
	if err := w.WriteFileHeader(1<<18, layers.LinkTypeEthernet); err != nil {
		t.Fatal(err)
	}
	for i, frame := range s.frames {
		info := gopacket.CaptureInfo{Timestamp: time.UnixMicro(int64(i)), CaptureLength: len(frame), Length: len(frame)}
		if err := w.WritePacket(info, frame); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// tcpdump runs tcpdump with an expression over a capture, from standard input
// because it may not be allowed to open our files. It is killed with the test.
func tcpdump(t *testing.T, path string, args ...string) ([]byte, error) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd := exec.CommandContext(t.Context(), "tcpdump", append([]string{"-n", "-r", "-"}, args...)...)
	cmd.Stdin = f
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if errors.Is(err, exec.ErrNotFound) {
		t.Fatalf("%v: scripts/need test installs it", err)
	}
	if err != nil {
		err = fmt.Errorf("%w: %s", err, stderr.String())
	}
	return out, err
}

// selects returns which frames of a capture tcpdump selects.
func (s *frameSet) selects(t *testing.T, path, expr string, options ...string) []bool {
	t.Helper()
	out, err := tcpdump(t, path, append(options, "-w", "-", expr)...)
	if err != nil {
		t.Fatalf("%q: %v", expr, err)
	}
	selected := make([]bool, len(s.frames))
	r, err := pcapgo.NewReader(bytes.NewReader(out))
	if err != nil {
		t.Fatal(err)
	}
	for {
		frame, info, err := r.ReadPacketData()
		if err == io.EOF {
			return selected
		}
		if err != nil {
			t.Fatal(err)
		}
		i := info.Timestamp.UnixMicro()
		if !bytes.Equal(frame, s.frames[i]) || selected[i] {
			t.Fatalf("%q: frame %d comes back as another one", expr, i)
		}
		selected[i] = true
	}
}

// compare fails unless tcpdump and we select the same frames, and returns how
// many these are.
func (s *frameSet) compare(t *testing.T, path, expr string, options ...string) (n int) {
	t.Helper()
	f, err := Compile(expr)
	nothing := errors.Is(err, ErrNothing)
	if err != nil && !nothing {
		t.Fatalf("%q: %v", expr, err)
	}
	for i, want := range s.selects(t, path, expr, options...) {
		if want {
			n++
		}
		if got := !nothing && f.Match(&s.packets[i]); got != want {
			t.Fatalf("%q of %+v: %t, and tcpdump says %t\n%x", expr, s.packets[i], got, want, s.frames[i])
		}
	}
	return n
}

// expressions that people write; each selects some of the synthesized frames
// and not all of them.
var expressions = []string{
	"tcp", "udp", "icmp", "ip", "ip6", "not tcp", "tcp or udp", "not (tcp or udp)", "!tcp&&!udp",
	"host 10.0.0.1", "src host 10.0.0.1", "dst host 10.0.0.1", "src and dst host 10.0.0.1", "src or dst host 10.0.0.1", "src 10.0.0.1", "dst fd00::1",
	"host fd00::1", "ip host 10.0.0.2", "ip6 host fd00::2", "ip6 src fd00::1", "host 255.255.255.255", "host ::1", "host 0.0.0.0",
	"net 10.0.0.0/8", "net 10", "net 10.0", "net 10.0.0", "net 10.0.0.1", "net 192.168", "net 10.0.0.0 mask 255.0.0.0", "net 10.0.0.0 mask 255.254.0.0",
	"src net 10", "dst net 192.168.0.0/16", "src and dst net 10", "net 0.0.0.0/0", "net ::/0", "not net ::/0", "net 0.0.0.0/1", "net 10.0.0.1/32", "net 10.0.0.0/30",
	"net fd00::/8", "ip6 net fd00::/16", "src net fd00::/112", "dst net 2001:db8::/48", "net 2001:db8::/33", "net fd00::1", "ip net 172.16.0.0/12",
	"port 80", "src port 80", "dst port 80", "src and dst port 80", "src or dst port 80", "tcp port 80", "udp port 53", "tcp src port 443", "udp dst port 53", "port 0", "port 65535",
	"port 0x50", "port 0120", "not port 22", "not tcp port 22", "tcp and not port 22",
	"portrange 1-1024", "portrange 1024-1", "tcp portrange 1-1024", "dst portrange 1-1024", "udp dst portrange 1-1024", "src and dst portrange 0-1023", "portrange 80", "portrange 0-65535",
	"portrange 010-080", "not portrange 0-65535",
	"proto 6", "ip proto 1", "ip6 proto 58", "ip proto 47", "ip6 proto 132", "proto 255", "ip proto 6 or 17", "ip proto (6 or 17)", "proto 0x11", "ip6 proto 1",
	"dst port 80 or 443", "tcp dst port 80 or 443 or 22", "port (80 or 443)", "tcp dst port (80 or 443)", "port not 80", "host !10.0.0.1", "host 10.0.0.1 or 10.0.0.2",
	"host 10.0.0.1 and not 10.0.0.2", "not host 10.0.0.1 and 10.0.0.2", "not (host 10.0.0.1 or 10.0.0.2)", "host 10.0.0.1 and (10.0.0.2 or 192.168.0.1)",
	"src net 10 or 192.168.0.0/16 or 11", "portrange 1-22 or 80-90 or 443", "port 80 and (tcp) or 443", "port 80 or not (tcp) or 443",
	"tcp port 80 and (dst 10.0.0.1 or 10.0.0.2) or 443", "host (not 10.0.0.1)", "host (10.0.0.1 or (10.0.0.2 and not 10.1.0.1))",
	"tcp or udp and port 53", "tcp and port 53 or udp", "udp or tcp and src port 443 or icmp and ip", "not tcp and port 53", "not not tcp",
	"ip and tcp and dst port 22", "ip6 and not icmp", "ip6 and (tcp or udp) and not port 53", "icmp or port 53",
	"src net 10 and dst net 10 and (dst port 22 or 80 or portrange 1000-2000) and not src 10.0.0.1",
	"(tcp dst port 22 or 80 or 443) and net 10.0.0.0/8 and not src host 10.0.0.1",
	"dst net 10 && dst portrange 1-1024", "dst host 192.168.0.1 && dst portrange 1-1024",
}

// The contract: what tcpdump selects on a link of Ethernet frames, we select.
func TestTcpdumpSelectsTheSameFrames(t *testing.T) {
	s := synthesized(t, seeded(t), 3000)
	made := len(s.frames)
	files := s.captured(t)
	t.Logf("%d frames made, and %d of %d files, %d of them tagged; left out: %v", made, len(s.frames)-made, files, s.tagged, s.left)
	if files > 0 {
		captured := len(s.frames) - made
		if unfair := s.left[extension] + s.left[cut] + s.left[broken]; captured < 10000 || s.tagged < 20 || unfair*50 > captured {
			t.Errorf("%d captured frames, %d tagged, and %v left out", captured, s.tagged, s.left)
		}
	}
	path := s.capture(t)
	for _, expr := range expressions {
		t.Run(strings.ReplaceAll(expr, "/", "|"), func(t *testing.T) {
			t.Parallel()
			s.compare(t, path, expr)
			f := mustCompile(t, expr)
			n := 0
			for i := range s.packets[:made] {
				if f.Match(&s.packets[i]) {
					n++
				}
			}
			if n == 0 || n == made {
				t.Errorf("%d of %d frames: this tells nothing", n, made)
			}
		})
	}
}

func TestTcpdumpSelectsTheSameFramesByRandomExpressions(t *testing.T) {
	r := seeded(t)
	made := synthesized(t, r, 1500)
	real := &frameSet{left: map[verdict]int{}}
	real.captured(t)
	for _, c := range []struct {
		name string
		set  *frameSet
		of   *values
		runs int
	}{{"made", made, few(), 200}, {"captured", real, real.values(), 80}} {
		if len(c.set.frames) == 0 {
			continue // the captures are not part of the project
		}
		t.Run(c.name, func(t *testing.T) {
			path := c.set.capture(t)
			telling := 0
			for range c.runs {
				q := c.of.query(r, 1+r.IntN(7))
				// Unoptimized, for it refuses what it sees to select nothing.
				if n := c.set.compare(t, path, q.print(&printer{r: r}), "-O"); n > 0 && n < len(c.set.frames) {
					telling++
				}
			}
			t.Logf("%d of %d expressions select some frames and not others", telling, c.runs)
			if telling < c.runs/4 {
				t.Error("these are too few")
			}
		})
	}
}

// Which of our mistakes are tcpdump's too is known: the others are what its
// language has and ours has not.
func TestTcpdumpRefusesWhatWeRefuse(t *testing.T) {
	path := (&frameSet{}).capture(t)
	for _, c := range mistakes {
		if c.tcpdump == "asks" {
			continue
		}
		_, err := tcpdump(t, path, "-O", "-d", c.expr)
		if c.tcpdump != "takes" && c.tcpdump != "refuses" || (err == nil) != (c.tcpdump == "takes") {
			t.Errorf("%q: tcpdump, which %s it: %v", c.expr, c.tcpdump, err)
		}
	}
	// And what it refuses we take nevertheless.
	for _, expr := range []string{"net 10/8", "net 0/0", "net 10.0.0 mask 255.0.0.0 or 11/8", "host 10.0.0.1 and (10.0.0.2 or port 80)", "host ((10.0.0.1))"} {
		if _, err := tcpdump(t, path, "-O", "-d", expr); err == nil {
			t.Errorf("tcpdump takes %q", expr)
		}
		mustCompile(t, expr)
	}
}
