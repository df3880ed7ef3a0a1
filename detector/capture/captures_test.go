package capture

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// captures calls f for each file of a folder of real captures. They lie beside
// the project and are not part of it.
func captures(t *testing.T, folder string, f func(t *testing.T, path string)) (files int) {
	t.Helper()
	root := filepath.Join("..", "..", "..", "shared", "captures", folder)
	list, err := os.ReadDir(root)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("there are no captures beside the project")
	} else if err != nil {
		t.Fatal(err)
	}
	for _, entry := range list {
		if name := entry.Name(); strings.Contains(name, ".pcap") {
			files++
			f(t, filepath.Join(root, name))
		}
	}
	return files
}

// What libpcap makes of the same file: tcpdump writes it again, packet by
// packet, as pcap with nanoseconds in the byte order of this machine.
func libpcap(t *testing.T, file []byte) (packets []got, link uint32, end error) {
	t.Helper()
	if z, err := gzip.NewReader(bytes.NewReader(file)); err == nil { // which it does not do itself
		if file, err = io.ReadAll(z); err != nil {
			t.Fatal(err)
		}
	}
	tcpdump := exec.Command("tcpdump", "--time-stamp-precision=nano", "-r", "-", "-w", "-")
	tcpdump.Stdin = bytes.NewReader(file)
	var out, said bytes.Buffer
	tcpdump.Stdout, tcpdump.Stderr = &out, &said
	var exit *exec.ExitError
	if end = tcpdump.Run(); errors.As(end, &exit) {
		end = errors.New(said.String())
	} else if end != nil {
		t.Fatal(end)
	}
	b := out.Bytes()
	if len(b) < 24 {
		return nil, 0, end
	}
	word := func(at int) uint32 { return binary.NativeEndian.Uint32(b[at:]) }
	if word(0) != 0xa1b23c4d {
		t.Fatalf("tcpdump wrote % x", b[:24])
	}
	link = word(20) & 0x03ffffff
	for b = b[24:]; len(b) >= 16; {
		at, size := uint64(word(0))*1e9+uint64(word(4)), word(8)
		packets = append(packets, got{string(b[16 : 16+size]), at, 0})
		b = b[16+size:]
	}
	return packets, link, end
}

// What tcpdump writes has 32 bits for the seconds and for the nanoseconds, which
// is too little for the times of these.
var beyond32bits = map[string]bool{
	"time_2106_overflow.pcapng":    true,
	"time_2107.pcapng":             true,
	"timestamp_invalid_micro.pcap": true, // 2^31 microseconds
	"rx_serviceid_oobr.pcap":       true, // as many in arbitrary bytes
}

// Real files, many of them broken on purpose: each is read to its end or to a
// fault, and where tcpdump reads it too, both have read the same.
func TestCapturesAreReadAsByTcpdump(t *testing.T) {
	for folder, least := range map[string]int{"tcpdump": 790, "zeek": 730} {
		t.Run(folder, func(t *testing.T) {
			var packets, compared, skipped, faults, more int
			files := captures(t, folder, func(t *testing.T, path string) {
				name := filepath.Base(path)
				file, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				theirs, link, end := libpcap(t, file)
				ours, r, err := readAll(bytes.NewReader(file))
				if err != io.EOF {
					var f *Fault
					if faults++; !errors.As(err, &f) || f.Frame != uint64(len(ours)+1) && known(link) {
						t.Errorf("%s: %v", name, err)
					}
					if end == nil {
						t.Errorf("%s: %v, and tcpdump reads it to its end", name, err)
					}
				}
				if r == nil {
					if len(theirs) > 0 {
						t.Errorf("%s: %v, and tcpdump reads %d packets", name, err, len(theirs))
					}
					return
				}
				packets += int(r.Stats().Packets)
				for _, n := range r.Stats().Skipped {
					skipped += int(n)
				}
				switch {
				case len(theirs) == 0 && end != nil: // it wants all interfaces alike
					if more++; len(ours) == 0 && err == io.EOF {
						t.Errorf("%s: tcpdump says %v, and we read nothing", name, end)
					}
					return
				case end != nil && err == io.EOF:
					if more++; len(ours) < len(theirs) {
						t.Errorf("%s: %d packets, tcpdump reads %d and then says %v", name, len(ours), len(theirs), end)
					}
				case uint64(len(theirs)) != r.Stats().Packets:
					t.Errorf("%s: %d packets, tcpdump reads %d (%v, %v)", name, r.Stats().Packets, len(theirs), err, end)
					return
				}
				if !known(link) {
					return
				}
				for i, want := range theirs {
					compared++
					want.at = max(want.at, earliest)
					if link != linkEthernet {
						want.frame = string(ethernet([]byte(strings.Repeat("\x00", headroom)+want.frame), link))
					}
					if i >= len(ours) || ours[i].frame != want.frame || ours[i].at != want.at && !beyond32bits[name] {
						t.Errorf("%s: packet %d is not as tcpdump has it", name, i+1)
						return
					}
				}
			})
			t.Logf("%d files, %d packets, %d of unknown link types, %d equal to tcpdump's; %d files end with a fault, %d are read farther than by tcpdump",
				files, packets, skipped, compared, faults, more)
			if files < least || compared < packets/2 {
				t.Errorf("of %d files and %d packets only %d were compared", files, packets, compared)
			}
		})
	}
}
